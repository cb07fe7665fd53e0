"""Watches runs for TensorBoard: scalars, sheets of samples and the configuration, as event files in RUN/tensorboard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ganzoo.plugin import hookimpl

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

ganzoo_api = 1

_writers: dict[Path, SummaryWriter] = {}  # by run: a process may train several


@hookimpl
def ganzoo_run_start(run: Path, nimg: int) -> None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except Exception as err:  # protobuf says with a TypeError of many lines that versions do not go together
        cause = f"{type(err).__name__}: {err}".partition("\n")[0]
        raise ImportError(f"TensorBoard cannot be imported ({cause}): pip install --upgrade tensorboard") from err
    # log.jsonl is cut back likewise: what was written at the checkpoint stays, what came after it comes again.
    first = nimg + 1 if nimg else 0
    _writers[run] = writer = SummaryWriter(str(run / "tensorboard"), purge_step=first)
    config = (run / "run.toml").read_text("utf-8")
    writer.add_text("run.toml", f"```toml\n{config}```", first)  # TensorBoard reads Markdown
    writer.flush()


@hookimpl
def ganzoo_run_tick(run: Path, nimg: int, stats: Mapping[str, float]) -> None:
    writer = _writers[run]
    for name, value in stats.items():
        writer.add_scalar(name, value, nimg)
    writer.flush()  # a run that is killed keeps its events


@hookimpl
def ganzoo_run_images(run: Path, nimg: int, path: Path) -> None:
    import numpy as np
    from PIL import Image

    with Image.open(path) as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    writer = _writers[run]
    writer.add_image("samples", pixels, nimg, dataformats="HWC")
    writer.flush()


@hookimpl
def ganzoo_run_end(run: Path) -> None:
    if writer := _writers.pop(run, None):  # a run may fail before it starts
        writer.close()
