"""`ganzoo resume`: go on with a run from its newest whole checkpoint."""

from __future__ import annotations

import click


@click.command("resume")
@click.argument("run")
@click.option("--kimg", type=click.FloatRange(min=0, min_open=True), metavar="TOTAL", help="A new total budget.")
def command(run: str, kimg: float | None) -> int:
    """Go on with a run that was stopped, or extend one that is done."""
    from ganzoo.cli.display import display_for
    from ganzoo.training import launch

    display = display_for()
    session = launch.resume(run, display, kimg)
    display.say(f"run {session.run.path}, from {session.trainer.nimg / 1000:g} kimg")
    return display.conclude(session.run, session.play())
