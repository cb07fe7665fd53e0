"""What a run writes while it trains: the log, sheets of samples, checkpoints; and who is told."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ganzoo.config import CheckpointConfig, Settings
from ganzoo.errors import RunError
from ganzoo.runs import Run, quote, stamp
from ganzoo.training import checkpoint
from ganzoo.training.health import Health
from ganzoo.training.preview import Preview

if TYPE_CHECKING:
    from ganzoo.training.trainer import Trainer

_PATIENCE = 15 * 60  # seconds without a checkpoint, where none is configured


class Observers:
    """Everybody who watches a run: the display and the plugins' hooks. One that raises is reported once and dropped."""

    def __init__(self, watching: list[tuple[str, Any]], warn: Callable[[str], None]) -> None:
        self._watching, self._warn = list(watching), warn

    def tell(self, hook: str, **facts: Any) -> None:
        for name, observer in list(self._watching):
            try:
                if (call := getattr(observer, hook, None)) is not None:
                    call(**facts)
            except Exception as err:
                self._watching.remove((name, observer))
                at = traceback.extract_tb(err.__traceback__)[-1]
                what = f"{type(err).__name__}: {err} ({at.filename}:{at.lineno})"
                self._warn(f"observer {name} failed and is left out from here on: {what}")


class RunWriter:
    """Decides after each round, from the images seen alone, what is due."""

    def __init__(
        self,
        run: Run,
        settings: Settings,
        preview: Preview,
        draw: Callable[..., None],
        observers: Observers,
        say: Callable[[str], None],
    ) -> None:
        self.run, self.preview, self.observers, self._draw, self._say = run, preview, observers, draw, say
        self.keep: CheckpointConfig = settings.checkpoint
        images, batch = 1000 * settings.kimg, settings.batch
        # In images; a short budget is no reason to write after each round.
        self._tick = 1000 * self.keep.tick if self.keep.tick else max(4 * batch, min(10_000, images / 100))
        self._images = 1000 * self.keep.images if self.keep.images else max(16 * batch, images / 20)
        self._every = 1000 * self.keep.every if self.keep.every else max(16 * batch, images / 20)
        self._patience = _PATIENCE if self.keep.every is None else float("inf")
        self._health = Health()
        self._since = self._saved = time.perf_counter()
        self._at = 0

    def start(self, trainer: Trainer, config: Mapping[str, Any]) -> None:
        self._since = self._saved = time.perf_counter()
        self._at = trainer.nimg
        self.observers.tell("ganzoo_run_start", run=self.run.path, config=config, nimg=trainer.nimg)
        if trainer.nimg == 0:
            self.sheet(trainer)

    def after_round(self, trainer: Trainer) -> None:
        def due(interval: float) -> bool:
            return trainer.nimg // interval > (trainer.nimg - trainer.batch) // interval

        images, save = due(self._images), due(self._every)
        if due(self._tick) or images or save:
            self.tick(trainer)
            save = save or time.perf_counter() - self._saved > self._patience
        ending = trainer.nimg >= trainer.total or trainer.stopping  # `finish` writes those
        if images and not ending:
            self.sheet(trainer)
        if save and not ending:
            self.checkpoint(trainer)

    def finish(self, trainer: Trainer) -> None:
        """The end of the budget, or Ctrl-C: the last tick, sheet and checkpoint."""
        if trainer.nimg > self._at:
            self.tick(trainer)
        newest = next(iter(self.run.checkpoints()), None)
        if newest is None or newest.name != stamp(trainer.nimg):
            self.checkpoint(trainer)
        self.sheet(trainer)
        reason = "done" if trainer.nimg >= trainer.total else "stopped"
        self.observers.tell("ganzoo_run_end", run=self.run.path, nimg=trainer.nimg, reason=reason)

    def failed(self, nimg: int) -> None:
        self.observers.tell("ganzoo_run_end", run=self.run.path, nimg=nimg, reason="failed")

    def tick(self, trainer: Trainer) -> None:
        """Fetch the statistics (this waits for the device), check them, write a line."""
        means = trainer.fetch()
        now = time.perf_counter()
        seconds = now - self._since
        stats = {
            "kimg": trainer.nimg / 1000,
            "nimg": trainer.nimg,
            "round": trainer.round,
            "seconds": round(seconds, 3),
            "images_per_second": round((trainer.nimg - self._at) / max(seconds, 1e-9), 2),
            **{name: float(f"{value:.6g}") for name, value in means.items()},
            **{f"{name}/lr": opt.lr for name, opt in trainer.optimizers.items()},
            "memory_gib": round(memory(trainer.device) / 2**30, 3),
        }
        self._at = trainer.nimg
        self.run.append_log(stats)
        self.observers.tell("ganzoo_run_tick", run=self.run.path, nimg=trainer.nimg, stats=stats)
        for words in self._health.look(stats, bool(trainer.game.data.classes), trainer.nimg / trainer.total):
            self._say(words)
        self._since = time.perf_counter()

    def sheet(self, trainer: Trainer) -> None:
        path = self.run.samples_dir / f"{stamp(trainer.nimg)}.png"
        try:
            path.parent.mkdir(exist_ok=True)
            samples, columns = self.preview.samples(trainer.ema.network)
            self._draw(samples.numpy(), path, columns=columns)
        except OSError as err:
            raise RunError(
                f"the samples {path} could not be written: {err.strerror}; mend it, then: ganzoo resume {quote(self.run.path)}"
            ) from None
        self.observers.tell("ganzoo_run_images", run=self.run.path, nimg=trainer.nimg, path=path)

    def checkpoint(self, trainer: Trainer) -> Path:
        path = trainer.save(self.run)
        checkpoint.prune(self.run, self.keep.keep, self.keep.milestone)
        self._saved = time.perf_counter()
        self.observers.tell("ganzoo_run_checkpoint", run=self.run.path, nimg=trainer.nimg, path=path)
        return path


def memory(device: torch.device) -> int:
    """Peak bytes: of the device's allocator, or of the process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
