"""`ganzoo resume`: go on with a run from its newest whole checkpoint."""

from __future__ import annotations

import click


@click.command("resume")
@click.argument("run")
@click.option("--kimg", type=click.FloatRange(min=0, min_open=True), metavar="TOTAL", help="A new total budget.")
@click.option("--strict", is_flag=True, help="Refuse plugins that are not those it was trained with.")
def command(run: str, kimg: float | None, strict: bool) -> int:
    """Go on with a run that was stopped, or extend one that is done."""
    from ganzoo.cli.display import display_for
    from ganzoo.training import distributed, launch

    distributed.join()
    display = display_for()
    session = launch.resume(run, display, kimg, strict)
    display.say(f"run {session.run.path}, from {session.trainer.nimg / 1000:g} kimg")
    return display.conclude(session.run, session.play())
