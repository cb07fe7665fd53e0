"""The hooks that a plugin may implement. Every one is optional; a plugin with none of them is a problem."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from ganzoo.plugin import Component

hookspec = pluggy.HookspecMarker("ganzoo")


@hookspec
def ganzoo_components() -> Iterable[Component]:  # type: ignore[empty-body]
    """What the plugin offers. Called at start-up: it must not import torch, numpy or timm."""


@hookspec
def ganzoo_run_start(run: Path, config: Mapping[str, Any], nimg: int) -> None:
    """A training starts, or goes on from `nimg` images; `config` is run.toml as plain values. Only rank 0 calls observers."""


@hookspec
def ganzoo_run_tick(run: Path, nimg: int, stats: Mapping[str, float]) -> None:
    """The line that was just written to log.jsonl."""


@hookspec
def ganzoo_run_images(run: Path, nimg: int, path: Path) -> None:
    """A sheet of samples was written to `path`."""


@hookspec
def ganzoo_run_checkpoint(run: Path, nimg: int, path: Path) -> None:
    """A checkpoint directory was completed at `path`."""


@hookspec
def ganzoo_run_end(run: Path, nimg: int, reason: str) -> None:
    """The training ended: `reason` is "done", "stopped" or "failed"."""
