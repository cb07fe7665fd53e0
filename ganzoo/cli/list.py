"""`ganzoo list`: what is installed, and with --all what could be."""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import Any

import click

from ganzoo.catalog import Catalog, get_catalog
from ganzoo.plugin import KINDS
from ganzoo.registry import Registry, as_kind, canonical, get_registry, matches

Row = dict[str, Any]


@click.command("list")
@click.argument("kind", required=False)
@click.argument("pattern", required=False)
@click.option("--all", "everything", is_flag=True, help="Also what the catalogue knows and is not installed.")
@click.option("--json", "as_json", is_flag=True, help="An array of objects, for programs.")
def command(kind: str | None, pattern: str | None, everything: bool, as_json: bool) -> None:
    """List the components that are installed.

    KIND is generator, discriminator, loss and so on; PATTERN is a glob over names ('r*'), or over
    plugin/name where it has a slash.
    """
    if kind is not None and pattern is None and set(kind) & set("*?["):
        kind, pattern = None, kind
    kind = as_kind(kind) if kind is not None else None
    registry = get_registry()
    rows = installed(registry, kind, pattern)
    if everything:
        rows += installable(registry, get_catalog(), kind, pattern)
        rows.sort(key=lambda row: KINDS.index(row["kind"]))
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    elif not rows:
        click.echo("nothing matches" + ("" if everything else "; --all shows what could be installed"), err=True)
    elif sys.stdout.isatty():
        _draw(rows)
    else:
        _write(rows)


def installed(registry: Registry, kind: str | None, pattern: str | None) -> list[Row]:
    return [
        {
            "kind": entry.kind,
            "name": entry.name,
            "plugin": entry.dist,
            "version": entry.version,
            "summary": entry.component.summary,
            "paper": entry.component.paper,
            "installed": True,
        }
        for entry in registry.select(kind, pattern)
    ]


def installable(registry: Registry, catalog: Catalog, kind: str | None, pattern: str | None) -> list[Row]:
    """What the catalogue offers beyond what is installed."""
    have = {(canonical(entry.dist), entry.kind, entry.name) for entry in registry.entries}
    return [
        {
            "kind": of_kind,
            "name": name,
            "plugin": offer.distribution,
            "version": None,
            "summary": None,
            "paper": None,
            "installed": False,
        }
        for offer in catalog.offers
        for of_kind, names in offer.names.items()
        for name in names
        if kind in (None, of_kind) and (pattern is None or matches(offer.distribution, name, pattern))
        if (canonical(offer.distribution), of_kind, name) not in have
    ]


def _cells(rows: list[Row]) -> list[tuple[str, str, str, str]]:
    """Kind, name, plugin and summary as text; a name that two plugins offer is written as it must be typed."""
    offers = Counter((row["kind"], row["name"]) for row in rows if row["installed"])
    cells = []
    for row in rows:
        name = f"{row['plugin']}/{row['name']}" if offers[row["kind"], row["name"]] > 1 else row["name"]
        if row["installed"]:
            cells.append((row["kind"], name, f"{row['plugin']} {row['version']}", " ".join(row["summary"].split())))
        else:
            cells.append((row["kind"], name, row["plugin"], f"not installed: pip install {row['plugin']}"))
    return cells


def _write(rows: list[Row]) -> None:
    lines = _cells(rows)
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=False)]
        click.echo("  ".join([*cells, line[3]]).rstrip())


def _draw(rows: list[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    before = None
    for kind, name, plugin, summary in _cells(rows):
        table.add_row("" if kind == before else kind, name, plugin, summary)
        before = kind
    Console().print(table, markup=False)
