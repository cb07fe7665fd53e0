"""`ganzoo bench`: experiments that anybody can run again, with tables and pictures of what they found."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ganzoo.bench.protocols import Suite
    from ganzoo.bench.tables import Report

_OUT = "bench/collapse"


@click.group("bench", invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Run experiments whose protocols are written down."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@command.command("collapse")
@click.option(
    "--suite", "suites", metavar="S", multiple=True, help="ring, grid, unrolled or stacked; all that the protocol has."
)
@click.option("--recipe", "recipes", metavar="R", multiple=True, help="A variant: gan, pacgan, r3gan ...; each suite's own.")
@click.option("--protocol", default="ganzoo", show_default=True, metavar="P", help="ganzoo, pacgan or unrolled.")
@click.option("--seeds", type=click.IntRange(min=1), metavar="N", help="Of each variant, from 0. [the suite's]")
@click.option("--steps", type=click.IntRange(min=1), metavar="N", help="Of each training, in place of the protocol's.")
@click.option("--jobs", type=click.IntRange(min=1), metavar="N", help="Trainings at once. [one a CPU, or one a GPU]")
@click.option("--device", default="cpu", show_default=True, metavar="D", help="cpu, cuda, cuda:N, mps or auto.")
@click.option("--out", default=_OUT, show_default=True, metavar="DIR", help="Where finished trainings and pictures are.")
@click.option("--page", metavar="FILE", help="A Markdown page to write tables and pictures into, between its marks.")
@click.option("--report", "only_report", is_flag=True, help="Train nothing: show what DIR has.")
@click.option("--json", "as_json", is_flag=True, help="One object, for programs.")
@click.option("--dry-run", is_flag=True, help="Print every number of the protocol; train nothing.")
def collapse(
    suites: tuple[str, ...],
    recipes: tuple[str, ...],
    protocol: str,
    seeds: int | None,
    steps: int | None,
    jobs: int | None,
    device: str,
    out: str,
    page: str | None,
    only_report: bool,
    as_json: bool,
    dry_run: bool,
) -> int:
    """Count the modes that GANs lose, over paired seeds.

    Each finished training is a line of DIR/SUITE.jsonl and is not run again: a bench that was stopped goes on where it was.
    """
    from ganzoo.bench.lines import Lines
    from ganzoo.bench.protocols import find_suites
    from ganzoo.errors import UsageError
    from ganzoo.runs import expanded

    found = find_suites(protocol, suites, recipes, steps)
    lines = Lines(expanded(out))
    if dry_run:
        for suite in found:
            suite.check()
            click.echo("\n".join(_numbers(suite, seeds)))
        return 0
    from ganzoo.bench.collapse import Bench
    from ganzoo.bench.tables import check_page
    from ganzoo.cli.display import display_for

    bench = Bench(found, lines, display_for(err=as_json), seeds, jobs, device)
    if page is not None:
        check_page(expanded(page), found)
    if not only_report:
        bench.check()
        with lines.held():
            if not bench.play():
                return 130
    reports = [report for report in bench.reports() if report.rows]
    if not reports:
        names = ", ".join(suite.name for suite in found)
        raise UsageError(f"--report: {out} has no training of {names} with these numbers; leave --report out to run them")
    drawn = {report.suite.name: bench.draw(report) for report in reports}
    if page is not None:
        bench.write_page(expanded(page), drawn)
    if as_json:
        told = {"protocol": protocol, "out": str(lines.place), "suites": [report.to_dict() for report in reports]}
        click.echo(json.dumps(told, indent=1, ensure_ascii=False))
        return 0
    for report in reports:
        _show(report)
        for place in drawn[report.suite.name].values():
            click.echo(str(place))
    return 0


def _numbers(suite: Suite, seeds: int | None) -> Iterator[str]:
    """A suite's protocol as TOML; a variant's table holds what it changes."""
    from ganzoo.bench.protocols import content
    from ganzoo.options import toml_text

    name = suite.name
    yield f"# {suite.protocol}: {content()[suite.protocol]['summary']}"
    yield f"[{name}]"
    for key in ("steps", "looks", "samples", "held", "near"):
        if (value := getattr(suite, key)) is not None:
            yield f"{key} = {toml_text(value)}"
    yield f"seeds = {seeds or suite.seeds}"
    yield f"expected = {toml_text(list(suite.expected))}"
    yield f"\n[{name}.train]"
    yield from (f"{key} = {toml_text(value)}" for key, value in suite.train.items())
    yield f"\n[{name}.recipes] # what each changes of it"
    for row in suite.rows():
        changes = {key: value for key, value in row.table.items() if value not in (suite.train.get(key), [], "none")}
        yield f"{toml_text(row.label)} = {toml_text(changes)} # {content()['recipes'][row.recipe]['summary']}"
    if suite.published:
        yield f"\n[{name}.published] # modes, share of high quality, reverse KL"
        yield from (f"{key} = {toml_text(list(value))}" for key, value in suite.published.items())
    yield ""


def _show(report: Report) -> None:
    """A table on a terminal, Markdown elsewhere."""
    from ganzoo.bench.tables import cells, markdown, said

    click.echo(f"\n{report.suite.name}, protocol {report.suite.protocol}: {said(report)}\n")
    if not sys.stdout.isatty():
        click.echo(markdown(report))
        return
    from rich.console import Console
    from rich.table import Table

    head, rows = cells(report)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for number, words in enumerate(head):
        table.add_column(words, justify="left" if number == 0 else "right", style="bold" if number == 0 else None)
    for row in rows:
        table.add_row(*row)
    Console().print(table, markup=False)


@command.command("train")
@click.option("--recipe", "recipes", metavar="R", multiple=True, help="One or several; without it what `ganzoo train` takes.")
@click.option("--device", default="auto", show_default=True, metavar="D", help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--precision", metavar="P", help="fp32, bf16, or auto; the recipe's without it.")
@click.option("--set", "sets", metavar="KEY=VALUE", multiple=True, help="Any setting, as `ganzoo train` takes it.")
@click.option("--blocks", default=10, show_default=True, type=click.IntRange(min=1), metavar="N", help="Of rounds, a recipe.")
@click.option("--json", "as_json", is_flag=True, help="One object, for programs.")
def train(
    recipes: tuple[str, ...], device: str, precision: str | None, sets: tuple[str, ...], blocks: int, as_json: bool
) -> int:
    """Time trainings: images/s, start-up, memory, and where a round's time goes.

    Blocks of whole rounds of all recipes alternate; shown are medians and quartiles. Nothing is kept.
    """
    from ganzoo.assembly import make_plan
    from ganzoo.cli.train import layer_of
    from ganzoo.registry import get_registry

    plans = []
    for recipe in recipes or (None,):
        given = {"recipe": recipe, "device": device, "precision": precision, "sets": sets}
        plan = make_plan(get_registry(), layer_of(get_registry(), given))
        options = {"--recipe": recipe, "--device": device, "--precision": precision}
        arguments = [word for option, value in options.items() if value is not None for word in (option, value)]
        arguments += [word for text in sets for word in ("--set", text)]
        plans.append((plan.config.settings.recipe or "no recipe", plan, arguments))
    from ganzoo.bench.training import Bench
    from ganzoo.cli.display import display_for

    display = display_for(err=as_json)
    bench = Bench(plans, device)
    with display.progress("timing") as tell:
        found = bench.run(blocks, tell)
    if as_json:
        click.echo(json.dumps(found, indent=1, ensure_ascii=False))
    else:
        _show_times(found)
    return 0


def _show_times(found: dict[str, Any]) -> None:
    """A table of the recipes, and one of a round of each."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    about = found["machine"]
    where = about["processor"] if about["device"] == "cpu" else about["device"]
    console = Console(width=None if sys.stdout.isatty() else 128)
    console.print(
        f"{where}, {about['threads']} of {about['cores']} cores, torch {about['torch']}", markup=False, highlight=False
    )
    style = box.SIMPLE_HEAD if sys.stdout.isatty() else box.MARKDOWN

    def table(*columns: str) -> Table:
        made = Table(box=style, pad_edge=style is box.MARKDOWN)
        for number, words in enumerate(columns):
            made.add_column(words, justify="left" if number == 0 else "right", style="bold" if number == 0 else None)
        return made

    speed = table("recipe", "size", "batch", "precision", "images/s", "quartiles", "a CPU second", "start-up", "memory")
    for row in found["recipes"]:
        wall, start = row["images_per_second"], row["start"]
        speed.add_row(
            row["recipe"],
            "x".join(map(str, row["resolution"])),
            str(row["batch"]),
            row["precision"],
            f"{wall['median']:.4g}",
            f"{wall['low']:.4g}-{wall['high']:.4g}",
            f"{row['images_per_cpu_second']['median']:.4g}",
            f"{sum(start['seconds'].values()):.1f} s",
            f"{start['peak'] / 2**20:.0f} MiB",
        )
    console.print(speed)
    clock = "CPU ms" if about["device"] == "cpu" else "ms"
    for row in found["recipes"]:
        split = table(f"{row['recipe']}: a round", clock, "quartiles", "share")
        whole = sum(part["median"] for part in row["round"].values())
        for name, part in row["round"].items():
            low, median, high = (1000 * part[key] for key in ("low", "median", "high"))
            split.add_row(name, f"{median:.1f}", f"{low:.1f}-{high:.1f}", f"{part['median'] / whole:.1%}")
        console.print(split)
