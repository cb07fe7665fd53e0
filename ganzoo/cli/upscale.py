"""`ganzoo upscale`: files and folders of images, enlarged."""

from __future__ import annotations

from typing import Any

import click

from ganzoo.cli.translate import options, work


@click.command("upscale")
@options
def command(run: str, inputs: tuple[str, ...], **given: Any) -> None:
    """Enlarge images with RUN, a run's directory or an exported model of super-resolution.

    INPUT are images, and folders of them with all their sub-folders. A file keeps its name, and its format where that holds
    the result, else it becomes .png. The generator sees what is transparent on white; the transparency itself is enlarged
    beside it.
    """
    work(run, inputs, to=None, enlarging=True, **given)
