"""`ganzoo list`: what is installed, and with --all what could be."""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import Any

import click

from ganzoo.catalog import Catalog, canonical, get_catalog
from ganzoo.errors import UsageError
from ganzoo.fitting import go_together
from ganzoo.plugin import KIND_OF, KINDS
from ganzoo.registry import Entry, Registry, as_kind, get_registry, installed, matches

Row = dict[str, Any]
_FITTED = ("generator", "discriminator", "loss", "regularizer", "augmentation")


@click.command("list")
@click.argument("kind", required=False)
@click.argument("pattern", required=False)
@click.option(
    "--fits",
    multiple=True,
    metavar="KEY=NAME",
    help="Only what goes with it: --fits gen=stylegan (keys: gen, disc, loss, reg, aug, data).",
)
@click.option("--all", "everything", is_flag=True, help="Also what the catalogue knows and is not installed.")
@click.option("--json", "as_json", is_flag=True, help="An array of objects, for programs.")
def command(kind: str | None, pattern: str | None, fits: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """List the components that are installed.

    KIND is generator, discriminator, loss and so on; PATTERN is a glob over names ('r*'), or over
    plugin/name where it has a slash.
    """
    if kind is not None and pattern is None and set(kind) & set("*?["):
        kind, pattern = None, kind
    kind = as_kind(kind) if kind is not None else None
    registry = get_registry()
    if fits and everything:
        raise UsageError("--fits goes by what installed components declare: leave --all out")
    entries = registry.select(kind, pattern)
    rows = [row_of(entry) for entry in (fitting(registry, entries, fits) if fits else entries)]
    if everything:
        rows += installable(registry, get_catalog(), kind, pattern)
        rows.sort(key=lambda row: [*KINDS, "plugin"].index(row["kind"]))
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    elif not rows:
        click.echo("nothing matches" + ("" if everything else "; --all shows what could be installed"), err=True)
    else:
        show(rows)


def show(rows: list[Row]) -> None:
    """Rows as a table on a terminal, as aligned text elsewhere."""
    (_draw if sys.stdout.isatty() else _write)(rows)


def row_of(entry: Entry) -> Row:
    """An installed component."""
    return {
        "kind": entry.kind,
        "name": entry.name,
        "plugin": entry.dist,
        "version": entry.version,
        "summary": entry.component.summary,
        "paper": entry.component.paper,
        "installed": True,
    }


def fitting(registry: Registry, entries: list[Entry], fits: tuple[str, ...]) -> list[Entry]:
    """Those of the entries that go with all that `fits` names, of kinds that are not named: "gen=stylegan". UsageError."""
    given = []
    for text in fits:
        key, equals, name = text.partition("=")
        if not equals or key not in KIND_OF:
            raise UsageError(f"--fits {text}: write KEY=NAME with a key of {', '.join(KIND_OF)}: --fits gen=NAME")
        given.append(registry.find(KIND_OF[key], name))
    if not go_together(given, registry):
        raise UsageError(f"--fits: {' and '.join(map(str, given))} do not go together, so nothing goes with them")
    taken = {entry.kind for entry in given} - {"regularizer"}  # of which a game may have several
    return [e for e in entries if e.kind in _FITTED and e.kind not in taken and go_together([*given, e], registry)]


def installable(registry: Registry, catalog: Catalog, kind: str | None, pattern: str | None) -> list[Row]:
    """What the catalogue offers beyond what is installed; a plugin that offers no component is a row of the kind "plugin"."""
    have = {(canonical(entry.dist), entry.kind, entry.name) for entry in registry.entries}
    rows = [
        _offered(offer.distribution, of_kind, name)
        for offer in catalog.offers
        for of_kind, names in offer.names.items()
        for name in names
        if kind in (None, of_kind) and (pattern is None or matches(offer.distribution, name, pattern))
        if (canonical(offer.distribution), of_kind, name) not in have
    ]
    rows += [
        _offered(offer.distribution, "plugin", offer.distribution)
        for offer in catalog.offers
        if kind is None and not offer.names and (pattern is None or matches(offer.distribution, offer.distribution, pattern))
        if installed(offer.distribution) is None
    ]
    return rows


def _offered(distribution: str, kind: str, name: str) -> Row:
    facts = {"kind": kind, "name": name, "plugin": distribution}
    return {**facts, "version": None, "summary": None, "paper": None, "installed": False}


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
