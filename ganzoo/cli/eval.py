"""`ganzoo eval`: figures of a run, a model or a folder of samples, each with its protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ganzoo.metrics.evaluation import Result


@click.command("eval")
@click.argument("subject", metavar="RUN|MODEL|FOLDER|ZIP")
@click.option("--against", metavar="DATA", help="Reals, as --data of train; without it the data that a run was trained on.")
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    help="METRIC[-FEATURES[-SIZE]][:OPTION=VALUE], as kid-lite0-128 or fid; again for more. [kid]",
)
@click.option("--features", "network", metavar="NAME", help="The feature network of metrics that name none.")
@click.option("--size", type=click.IntRange(min=1), metavar="N", help="Side that images are resized to for those.")
@click.option("--samples", type=click.IntRange(min=2), default=2000, show_default=True, help="Fakes, at most.")
@click.option("--reals", type=click.IntRange(min=2), default=10_000, show_default=True, help="Reals, at most.")
@click.option("--split", metavar="NAME", help="Of data that have splits: held-out, test.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Of the fakes.")
@click.option("--truncation", type=float, metavar="X", help="1: as trained; towards 0: more usual, less varied.")
@click.option("--checkpoint", metavar="K", help="A run's checkpoint by its kimg; without it the newest.")
@click.option("--picture", metavar="FILE.png", help="Show the fakes that are nearest to a real, each beside it.")
@click.option("--device", default="auto", show_default=True, help="Where to compute.")
@click.option("--strict", is_flag=True, help="Refuse a plugin that is not the one it was trained with.")
@click.option("--json", "as_json", is_flag=True, help="A line of JSON a metric, with its whole protocol.")
def command(
    subject: str,
    against: str | None,
    metrics: tuple[str, ...],
    network: str | None,
    size: int | None,
    samples: int,
    reals: int,
    split: str | None,
    seed: int,
    truncation: float | None,
    checkpoint: str | None,
    picture: str | None,
    device: str,
    strict: bool,
    as_json: bool,
) -> None:
    """Hold the samples of RUN, MODEL, or those in FOLDER or ZIP, against real data.

    A run's figures are also appended to its metrics.jsonl.
    """
    import json

    from ganzoo.cli.display import display_for
    from ganzoo.errors import UsageError
    from ganzoo.metrics.evaluation import evaluate
    from ganzoo.runs import check_writable, expanded

    shown = None if picture is None else expanded(picture)
    if shown is not None:
        if shown.suffix.lower() != ".png":
            raise UsageError(f"--picture {picture}: write FILE.png")
        check_writable(shown.parent)
    results = evaluate(
        subject,
        metrics or ("kid",),
        against=against,
        split=split,
        samples=samples,
        reals=reals,
        network=network,
        size=size,
        seed=seed,
        truncation=truncation,
        at=checkpoint,
        device=device,
        strict=strict,
        picture=shown,
        progress=display_for(err=True).progress,
    )
    if as_json:
        for result in results:
            click.echo(json.dumps(result.to_dict()))
    else:
        _show(results)
    if shown is not None:
        click.echo(str(shown), err=as_json)


def _show(results: Sequence[Result]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("metric", "value", "standard error", "better", "besides"):
        table.add_column(name, justify="right" if name in ("value", "standard error") else "left")
    for result in results:
        details = "  ".join(f"{name} {value:.4g}" for name, value in list(result.details.items())[:12])
        error = "" if result.error is None else f"± {result.error:.2g}"
        table.add_row(result.metric, f"{result.value:.5g}", error, result.better or "", details)
    console = Console(highlight=False, markup=False)
    console.print(table)
    first = results[0].protocol
    hidden = {"versions", "network", "network's hash", "resize"}
    about = [f"{name} {value}" for name, value in first.items() if name not in hidden and value is not None]
    networks = dict.fromkeys(
        f"{p['network']} ({p.get('resize', 'as they are')})" for p in (r.protocol for r in results) if "network" in p
    )
    console.print(f"protocol: {'; '.join(about)}; {'; '.join(networks)}", soft_wrap=True)
    for result in results:
        for note in result.notes:
            console.print(f"note: {result.metric}: {note}", soft_wrap=True)
