"""`ganzoo info`: one component, its capabilities and its options."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import click

from ganzoo.config import flatten, recipe_values
from ganzoo.options import Option, format_value, options_of, to_toml_value, toml_text, type_text
from ganzoo.registry import Entry, get_registry


@click.command("info")
@click.argument("kind")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="One object, for programs.")
def command(kind: str, name: str, as_json: bool) -> None:
    """Show one component: what it is, what it needs, and every option with type, default and meaning.

    NAME may be plugin/name.
    """
    registry = get_registry()
    entry = registry.find(kind, name)
    target = registry.load(entry)
    options = [] if entry.kind == "recipe" else list(options_of(target).values())
    facts = describe(entry)
    if entry.kind == "recipe":
        facts |= {"table": target, "values": recipe_values(target)}
    else:
        facts["options"] = [_option(option) for option in options]
    click.echo(json.dumps(facts, indent=2, ensure_ascii=False) if as_json else "\n".join(_lines(facts, options)))


def describe(entry: Entry) -> dict[str, Any]:
    """What a component declares, as plain values."""
    component = entry.component
    return {
        "kind": entry.kind,
        "name": entry.name,
        "plugin": entry.dist,
        "version": entry.version,
        "summary": component.summary,
        "paper": component.paper,
        "licence": component.licence,
        "aliases": list(component.aliases),
        "modality": sorted(component.modality),
        "resolutions": component.resolutions,
        "labels": component.labels,
        "min_group": component.min_group,
        "couples": component.couples,
        "provides": _capabilities(component.provides),
        "needs": _capabilities(component.needs),
        "recommends": to_toml_value(component.recommends),
        "target": component.target,
    }


def _option(option: Option) -> dict[str, Any]:
    return {
        "name": option.name,
        "type": type_text(option.annotation),
        "default": None if option.required else to_toml_value(option.default),
        "required": option.required,
        "meaning": option.meaning,
    }


def _capabilities(names: frozenset[str]) -> dict[str, str]:
    """Name and contract. The table is beside torch, so it is fetched only where there is something to say."""
    if not names:
        return {}
    from ganzoo.interfaces import CAPABILITIES

    return {name: CAPABILITIES.get(name, "") for name in sorted(names)}


def _lines(facts: Mapping[str, Any], options: list[Option]) -> Iterator[str]:
    yield f"{facts['kind']} {facts['name']}  ({facts['plugin']} {facts['version']})"
    if facts["summary"]:
        yield from _wrapped("", facts["summary"])
    for key in ("paper", "licence", "resolutions", "couples"):
        if facts[key]:
            yield from _wrapped(key, facts[key])
    for key in ("aliases", "modality"):
        if facts[key]:
            yield from _wrapped(key, ", ".join(facts[key]))
    if facts["labels"] != "ignored":
        yield from _wrapped("labels", facts["labels"])
    if facts["min_group"] != 1:
        yield from _wrapped("min_group", f"{facts['min_group']} (batches are multiples of it)")
    for key in ("provides", "needs"):
        for name, contract in facts[key].items():
            yield from _wrapped(key, f"{name}: {contract}" if contract else name)
    for key, value in flatten(facts["recommends"]):
        yield from _wrapped("recommends", f"{key} = {toml_text(value)}")
    if "table" in facts:
        yield from _recipe(facts)
        return
    yield "" if options else "takes no options"
    for option in options:
        default = "required" if option.required else f"= {format_value(option.default)}"
        yield f"{option.name} {default}  ({type_text(option.annotation)})"
        yield from textwrap.wrap(option.meaning, 100, initial_indent="    ", subsequent_indent="    ")


def _recipe(facts: Mapping[str, Any]) -> Iterator[str]:
    table, rows = facts["table"], facts["values"]
    for key in ("number", "note"):
        if key in table:
            yield from _wrapped(key, table[key])
    yield ""
    texts = [f"{row['key']} = {toml_text(row['value'])}" for row in rows]
    width = min(max(map(len, texts), default=0), 44)
    before = None
    for text, row in zip(texts, rows, strict=True):
        source = row["source"] or ""
        yield f"{text:<{width}}  {source if source != before or not source else '  as above'}".rstrip()
        before = source


def _wrapped(label: str, text: str) -> list[str]:
    return textwrap.wrap(text, 100, initial_indent=f"{label:<12}" if label else "", subsequent_indent=" " * 12 * bool(label))
