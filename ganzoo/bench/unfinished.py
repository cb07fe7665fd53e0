"""Where a training of hours was at its last look, whatever ended it: it goes on from there."""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path
from typing import Any

from ganzoo.bench.protocols import Training
from ganzoo.errors import RunError
from ganzoo.runs import Run
from ganzoo.training import checkpoint
from ganzoo.training.trainer import Trainer

EVERY = 60.0  # seconds of training between two looks that are kept: shorter trainings just begin again


class Unfinished:
    """A training's last look: a checkpoint under DIR/unfinished/, and what had been counted. Nowhere where `place` is None."""

    def __init__(self, place: Path | None, training: Training) -> None:
        name = f"{training.suite}-{training.recipe}-{training.seed}-{training.hash}"
        self._run = Run(place / "unfinished" / name) if place is not None else None
        self._kept = time.monotonic()

    def resume(self, trainer: Trainer) -> tuple[list[dict[str, Any]], float]:
        """The looks until then, and the seconds they took. Raises RunError where they are damaged, or of another trainer."""
        saved = checkpoint.newest(self._run, lambda _: None) if self._run is not None else None
        if saved is None:
            return [], 0.0
        trainer.resume(saved)
        return saved.table["looks"], saved.table["seconds"]

    def keep(self, trainer: Trainer, looks: list[dict[str, Any]], seconds: float) -> None:
        """After a look, where the last kept one is a while ago."""
        if self._run is None or time.monotonic() - self._kept < EVERY:
            return
        with contextlib.suppress(RunError, OSError):  # a full disk: only what is kept for the worst case is lost
            self._run.path.mkdir(parents=True, exist_ok=True)
            trainer.save(self._run, looks=looks, seconds=seconds)
            checkpoint.prune(self._run, 1, None)
        self._kept = time.monotonic()

    def forget(self) -> None:
        """Once its line is written, or where it cannot be used."""
        if self._run is not None:
            shutil.rmtree(self._run.path, ignore_errors=True)
            with contextlib.suppress(OSError):  # others are there
                self._run.path.parent.rmdir()
