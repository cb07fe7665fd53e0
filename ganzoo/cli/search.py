"""`ganzoo search`: which components go by a word, under whatever name a paper gives them."""

from __future__ import annotations

import json
from typing import Any

import click

from ganzoo.catalog import canonical, get_catalog
from ganzoo.cli.list import Row, installable, row_of, show
from ganzoo.registry import Entry, Registry, get_registry


@click.command("search")
@click.argument("words", nargs=-1, required=True, metavar="WORD...")
@click.option("--json", "as_json", is_flag=True, help="An array of objects, for programs.")
def command(words: tuple[str, ...], as_json: bool) -> None:
    """Find components by name, by other names that papers use, by summary, capability or paper.

    Every WORD must occur. What is known and not installed is listed too. The best matches come first.
    """
    registry = get_registry()
    rows = found(registry, [word.casefold() for word in words])
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    elif rows:
        show([_with_aliases(row) for row in rows])
    else:
        click.echo(f"nothing is known of '{' '.join(words)}'; 'ganzoo list --all' shows everything", err=True)


def found(registry: Registry, words: list[str]) -> list[Row]:
    """Rows as `ganzoo list` has them, with "aliases", best first: a name, another name, a part of one, the rest."""
    ranked: list[tuple[int, Row]] = []
    for entry in registry.entries:
        row = {**row_of(entry), "aliases": list(entry.component.aliases)}
        ranked += [(rank, row) for rank in [_rank(words, _texts(entry))] if rank is not None]
    catalog = get_catalog()
    about = {canonical(offer.distribution): offer.summary for offer in catalog.offers}
    for row in installable(registry, catalog, None, None):
        texts = [[row["name"]], [], [row["plugin"], about[canonical(row["plugin"])], row["kind"]]]
        ranked += [(rank, {**row, "aliases": []}) for rank in [_rank(words, texts)] if rank is not None]
    return [row for _, row in sorted(ranked, key=lambda pair: pair[0])]


def _texts(entry: Entry) -> list[list[str]]:
    """Where a word may occur, the best place first."""
    c = entry.component
    more = [c.summary, c.paper or "", entry.kind, entry.dist, *c.provides, *c.modality]
    return [[c.name], list(c.aliases), more]


def _rank(words: list[str], texts: list[list[str]]) -> int | None:
    """The place of the worst-placed word, whole names before parts of them; None where one is missing."""
    places = [text.casefold() for group in texts for text in group]
    if not all(any(word in place for place in places) for word in words):
        return None
    phrase = " ".join(words)
    for rank, group in enumerate(texts[:2]):
        if phrase in (text.casefold() for text in group):
            return rank
    for rank, group in enumerate(texts):
        if any(phrase in text.casefold() for text in group):
            return 2 + rank
    return 5


def _with_aliases(row: Row) -> dict[str, Any]:
    if not row["aliases"]:
        return row
    return {**row, "summary": f"{row['summary']} (also: {', '.join(row['aliases'])})"}
