"""`ganzoo arena`: every valid combination of some parts, trained alike, measured alike, in one table."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

_LISTS = "Repeat it, or separate by commas"


@click.command("arena")
@click.option("--gens", multiple=True, metavar="A,B", help=f"Generators. {_LISTS}.")
@click.option("--discs", multiple=True, metavar="C,D", help="Discriminators.")
@click.option("--losses", multiple=True, metavar="A,B", help="Losses; 'recommended': what G and D recommend. [recommended]")
@click.option("--regs", multiple=True, metavar="A+B,C", help="Sets of regularizers: r1+spectral-norm, none. [recommended]")
@click.option("--augs", multiple=True, metavar="A,B", help="Augmentations, or none. [recommended]")
@click.option("--data", metavar="S|PATH", help="Data set by name, or a folder, .zip, .npz or .npy.")
@click.option("--budget", metavar="10m|N", help="Of each run: minutes (or hours) of training wall-clock, or kimg.")
@click.option("--seeds", type=click.IntRange(1, 1000), metavar="N", help="Runs of each combination: seeds 0 to N - 1. [1]")
@click.option("--metric", metavar="M", help="What the table is sorted by. [kid]")
@click.option("--samples", type=click.IntRange(min=2), metavar="N", help="Samples that are measured. [2000]")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of every run: batch=32, data.res=32, device=cpu."
)
@click.option("--jobs", type=click.IntRange(min=1), metavar="N", help="Runs at once. [1 on a CPU, else one a GPU]")
@click.option("--out", metavar="DIR", default="arena", show_default=True, help="Where it is kept; there it goes on.")
@click.option("--retry", is_flag=True, help="Try again what failed.")
@click.option("--markdown", metavar="FILE", help="Write the table there too, between the markers of a page.")
@click.option("--json", "as_json", is_flag=True, help="The table as one object, for programs.")
@click.option("--blind", metavar="FILE.html", help="Write a page on which a person compares unnamed samples.")
@click.option("--answers", multiple=True, metavar="FILE", help="What such a page saved: adds a win rate.")
@click.option("--dry-run", is_flag=True, help="Show what would run, and what does not fit and why.")
def command(jobs: int | None, out: str, as_json: bool, dry_run: bool, **given: Any) -> int:
    """Train every valid combination of some parts, measure each, and rank them.

    A comma begins a new entry unless OPTION=VALUE follows, an option of the entry before it:
    dcgan:channels=32,z_dim=64,stylegan is two. An arena that was stopped goes on with `ganzoo arena --out DIR`; what is done
    is not run again.
    """
    from ganzoo.arena.blind import check_page, win_rates, write_page
    from ganzoo.arena.play import Player, make_slots
    from ganzoo.arena.store import Arena
    from ganzoo.arena.table import check_markdown, leaderboard, write_markdown
    from ganzoo.cli.display import display_for
    from ganzoo.runs import expanded

    path = expanded(out)
    page, table = (expanded(given[name]) if given[name] else None for name in ("blind", "markdown"))
    if page is not None:
        check_page(page)
    if table is not None:
        check_markdown(table)
    arena, configs = _opened(path, given)
    wins = win_rates(arena, [expanded(name) for name in given["answers"]]) if given["answers"] else None
    device = _device(arena, configs)
    slots = make_slots(device, jobs)
    if dry_run:
        click.echo("\n".join(_outlook(arena, len(slots))))
        return 0
    say = display_for(err=as_json).say
    if configs is not None:
        arena = Arena.create(path, arena.question, configs)
    arena.lock()
    try:
        if given["retry"]:
            arena.forget_failures()
        player = Player(arena, slots, device, say)
        if player.queue:
            say(f"{_runs(len(player.queue))} of {player.budget.words} each, {len(slots)} at once; {arena.path}")
        if player.play() == "stopped":
            say(f"stopped. To go on: {arena.command}")
            return 130
        board = leaderboard(arena, wins)
        written = _pictures(arena, board)
        if table is not None:
            write_markdown(board, table)
            written.append(table)
        if page is not None:
            pairs = write_page(arena, page)
            say(f"{page}: {pairs} pair{'s' * (pairs != 1)} to choose between; then: {arena.command} --answers answers.json")
    finally:
        arena.unlock()
    _print(board, written, as_json)
    return 1 if board["failed"] else 0


def _opened(path: Path, given: dict[str, Any]) -> tuple[Any, Any]:
    """The arena at `path`, and for a new one, which is not written yet, its combinations. Raises UsageError."""
    from ganzoo.arena.question import Question, combinations
    from ganzoo.arena.store import Arena
    from ganzoo.errors import UsageError
    from ganzoo.registry import get_registry
    from ganzoo.runs import quote

    arena = Arena.open(path)
    if arena is None:
        question, registry = Question.ask(given), get_registry()
        Arena.check_free(path)
        configs = combinations(question, registry)
        _check_metric(question.metric, registry, configs)
        return Arena(path, question, [cell for cell, _ in configs]), configs
    if (what := arena.question.differs(given)) is not None:
        raise UsageError(
            f"{path} holds another arena: {what}; go on with that one by --out {quote(path)} alone, or choose another"
        )
    return arena, None


def _check_metric(name: str, registry: Any, configs: list[tuple[Any, Any]]) -> None:
    """Refuse a metric that these data have no use for, before anything is trained."""
    from ganzoo.metrics.asking import check_uses, parse

    playable = [config for _, config in configs if config is not None]
    data = playable[0].data
    dataset = registry.build(registry.find("dataset", data.name), data.options)
    asked = parse([name], registry, dataset.spec)
    for config in playable:
        check_uses(asked, dataset, True, registry.find("generator", config.gen.name).component.provides)


def _device(arena: Any, configs: Any) -> str:
    """Of all runs: the setting."""
    import tomllib

    if configs is not None:
        return str(next(config.settings.device for _, config in configs if config is not None))
    cell = next(cell for cell in arena.cells if cell.reason is None)
    return str(tomllib.loads(arena.config_file(cell).read_text(encoding="utf-8"))["device"])


def _outlook(arena: Any, jobs: int) -> list[str]:
    """What would run, what is done, what does not fit."""
    from ganzoo.training.display import duration

    done = {line["run"] for line in arena.results()}
    failed = {line["run"]: line["error"] for line in arena.failures()}
    lines, left = [], 0
    for training in arena.trainings():
        state = "done" if training.name in done else f"failed: {failed[training.name]}" if training.name in failed else "to run"
        left += state == "to run"
        lines.append(f"{training.name}  {training.cell.words}  {state}")
    lines += [f"does not fit: {cell.words}: {cell.reason}" for cell in arena.cells if cell.reason is not None]
    budget = arena.question.limit
    hours = (
        f", about {duration(60 * budget.minutes * -(-left // jobs))} and what start-up and measuring take"
        if budget.minutes
        else ""
    )
    return [*lines, f"{_runs(left)} of {budget.words} each, {jobs} at once{hours}"]


def _runs(count: int) -> str:
    return f"{count} run{'s' * (count != 1)}"


def _pictures(arena: Any, board: dict[str, Any]) -> list[Path]:
    from ganzoo.arena.pictures import draw

    return draw(arena, board) if board["rows"] else []


def _print(board: dict[str, Any], written: list[Path], as_json: bool) -> None:
    from ganzoo.arena.table import markdown, show

    if as_json:
        click.echo(json.dumps(board, indent=2, ensure_ascii=False))
        return
    if sys.stdout.isatty():
        show(board)
    else:
        click.echo(markdown(board))
    for path in written:
        click.echo(str(path))
