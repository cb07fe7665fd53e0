"""`ganzoo export`: a run's generator as a model to share."""

from __future__ import annotations

import os

import click


@click.command("export")
@click.argument("run")
@click.option("--to", metavar="B|A", help="Of a game that goes both ways: B, what its data hold, or A, their source.")
@click.option("--checkpoint", metavar="K", help="A checkpoint by its kimg; without it the newest.")
@click.option("--strict", is_flag=True, help="Refuse a plugin that is not the one it was trained with.")
@click.option("--out", metavar="DIR", help="Where to; without it RUN/model, or RUN/model-TO.")
def command(run: str, to: str | None, checkpoint: str | None, strict: bool, out: str | None) -> None:
    """Write RUN's generator as a model: weights, configuration and model card; ganzoo and its plugin open it."""
    from ganzoo.cli.card import model_card
    from ganzoo.errors import UsageError
    from ganzoo.loading import load
    from ganzoo.runs import Run, check_writable, expanded

    opened = Run.open(run)
    where = expanded(out) if out else opened.path / (f"model-{to}" if to else "model")
    if os.path.lexists(where) and not (where / "config.json").is_file() and not (where.is_dir() and not any(where.iterdir())):
        raise UsageError(f"--out {where}: it exists, and is neither a model nor an empty directory; choose another")
    check_writable(where)
    model = load(opened.path, at=checkpoint, to=to, strict=strict)
    if model.destinations and to is not None:
        raise UsageError(f"--to {to}: one generator makes all of {', '.join(model.destinations)}: leave --to out")
    click.echo(str(model.save(where, model_card(model, opened))))
