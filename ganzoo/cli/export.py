"""`ganzoo export`: a run's generator as a model to share."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("export")
@click.argument("run")
@click.option("--checkpoint", metavar="K", help="A checkpoint by its kimg; without it the newest.")
@click.option("--out", metavar="DIR", help="Where to; without it RUN/model.")
def command(run: str, checkpoint: str | None, out: str | None) -> None:
    """Write RUN's generator as a model: weights, configuration and model card; ganzoo and its plugin open it."""
    from ganzoo.cli.card import model_card
    from ganzoo.models import load
    from ganzoo.runs import Run

    opened = Run.open(run)
    model = load(opened.path, at=checkpoint, warn=lambda words: click.echo(f"ganzoo: {words}", err=True))
    where = Path(out) if out else opened.path / "model"
    click.echo(str(model.save(where, model_card(model, opened))))
