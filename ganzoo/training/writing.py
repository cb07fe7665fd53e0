"""What a run writes while it trains: the log, sheets of samples, checkpoints; and who is told."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from ganzoo.config import CheckpointConfig, Settings
from ganzoo.errors import RunError
from ganzoo.interfaces import alone
from ganzoo.runs import Run, quote, stamp
from ganzoo.training import checkpoint
from ganzoo.training.health import Health
from ganzoo.training.preview import Preview

if TYPE_CHECKING:
    from ganzoo.training.evaluating import Evaluator
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
            except KeyboardInterrupt:
                raise
            except BaseException as err:  # SystemExit too: an observer that exits would end the training without a word
                self._watching.remove((name, observer))
                at = traceback.extract_tb(err.__traceback__)[-1]
                what = f"{type(err).__name__}: {err} ({at.filename}:{at.lineno})"
                self._warn(f"observer {name} failed and is left out from here on: {what}")


class Writer:
    """Decides after each round, from the images seen alone, what is due. By itself it is what the other ranks have, and writes
    nothing: it takes part where a tick asks all of them."""

    def __init__(self, settings: Settings) -> None:
        self.keep: CheckpointConfig = settings.checkpoint
        images, batch = 1000 * settings.kimg, settings.batch
        # In images; a short budget is no reason to write after each round.
        self._tick = 1000 * self.keep.tick if self.keep.tick else max(4 * batch, min(10_000, images / 100))
        self._images = 1000 * self.keep.images if self.keep.images else max(16 * batch, images / 20)
        self._every = 1000 * self.keep.every if self.keep.every else max(16 * batch, images / 20)
        takes = 1000 * settings.eval.every if settings.eval.every else max(16 * batch, images / 10)
        self._takes = takes if settings.eval.metrics else float("inf")
        self._patience = _PATIENCE if self.keep.every is None else float("inf")
        self._saved = time.perf_counter()

    def known(self, lines: list[dict[str, Any]]) -> None:
        """The figures that a run which goes on has already."""

    def start(self, trainer: Trainer, config: Mapping[str, Any]) -> None:
        """Before the first round."""

    def after_round(self, trainer: Trainer) -> None:
        def due(interval: float) -> bool:
            return trainer.nimg // interval > (trainer.nimg - trainer.batch) // interval

        images, save, take = due(self._images), due(self._every), due(self._takes)
        if due(self._tick) or images or save or take:
            best = self.tick(trainer, take)
            save = save or best or time.perf_counter() - self._saved > self._patience
        ending = trainer.nimg >= trainer.total or trainer.stopping  # `finish` writes those
        if images and not ending:
            self.sheet(trainer)
        if save and not ending:
            self.checkpoint(trainer)

    def tick(self, trainer: Trainer, take: bool = False) -> bool:
        """Fetch and check the statistics; whether figures, where they are due, are the best so far."""
        trainer.fetch()
        self._taken(trainer, take)
        return False

    def _taken(self, trainer: Trainer, take: bool) -> None:
        """After figures all ranks have rank 0's budget: it may have ended the training, and they wait for it here."""
        if take:
            trainer.total = trainer.ranks.told(lambda: trainer.total)

    def finish(self, trainer: Trainer) -> None:
        """The end of the budget, or Ctrl-C: the last tick, where rank 0 has one due."""
        due, take = trainer.ranks.told(lambda: self._last(trainer))
        if due:
            self.tick(trainer, take)

    def _last(self, trainer: Trainer) -> tuple[bool, bool]:
        """Whether a last tick is due, and figures with it: rank 0 knows."""
        raise NotImplementedError

    def failed(self, nimg: int) -> None:
        """An error ends the training."""

    def sheet(self, trainer: Trainer) -> None:
        """Samples."""

    def checkpoint(self, trainer: Trainer) -> None:
        """A checkpoint."""


class RunWriter(Writer):
    """What rank 0 writes, and whom it tells."""

    def __init__(
        self,
        run: Run,
        settings: Settings,
        preview: Preview,
        draw: Callable[..., None],
        observers: Observers,
        say: Callable[[str], None],
        evaluator: Evaluator | None = None,
    ) -> None:
        super().__init__(settings)
        self._evaluator, self._patience_of_it = evaluator, settings.eval.patience
        self._evaluated = 0
        self.run, self.preview, self.observers, self._draw, self._say = run, preview, observers, draw, say
        self._health = Health()
        self._since = self._saved
        self._at = 0

    def known(self, lines: list[dict[str, Any]]) -> None:
        if self._evaluator is not None:
            self._evaluator.known(lines)
            if (best := self._evaluator.best) is not None and (self.run.checkpoints_dir / stamp(best[1])).is_dir():
                self.run.mark_best(stamp(best[1]))  # it was killed between the checkpoint and its mark
            self._evaluated = max((int(line["nimg"]) for line in lines if "nimg" in line), default=0)

    def start(self, trainer: Trainer, config: Mapping[str, Any]) -> None:
        self._since = self._saved = time.perf_counter()
        self._at = trainer.nimg
        self.observers.tell("ganzoo_run_start", run=self.run.path, config=config, nimg=trainer.nimg)
        if trainer.nimg == 0:
            self.sheet(trainer)

    def _last(self, trainer: Trainer) -> tuple[bool, bool]:
        take = self._evaluator is not None and trainer.nimg > self._evaluated and trainer.nimg >= trainer.total
        return trainer.nimg > self._at or take, take

    def finish(self, trainer: Trainer) -> None:
        """The last tick, sheet and checkpoint."""
        super().finish(trainer)
        newest = next(iter(self.run.checkpoints()), None)
        if newest is None or newest.name != stamp(trainer.nimg):
            self.checkpoint(trainer)
        self.sheet(trainer)
        reason = "done" if trainer.nimg >= trainer.total else "stopped"
        self.observers.tell("ganzoo_run_end", run=self.run.path, nimg=trainer.nimg, reason=reason)

    def failed(self, nimg: int) -> None:
        self.observers.tell("ganzoo_run_end", run=self.run.path, nimg=nimg, reason="failed")

    def tick(self, trainer: Trainer, take: bool = False) -> bool:
        """Fetch the statistics (this waits for the device), check them, write a line; with figures where they are due.

        Returns whether they are the best so far.
        """
        means = trainer.fetch()
        now = time.perf_counter()
        figures, best = self._figures(trainer) if take else ({}, False)
        seconds = now - self._since
        stats = {
            "kimg": trainer.nimg / 1000,
            "nimg": trainer.nimg,
            "round": trainer.round,
            "seconds": round(seconds, 3),
            "images_per_second": round((trainer.nimg - self._at) / max(seconds, 1e-9), 2),
            **{name: float(f"{value:.6g}") for name, value in means.items()},
            **{f"{name}/lr": opt.lr for name, opt in trainer.optimizers.items()},
            **{name: float(f"{value:.6g}") for name, value in figures.items()},
            "memory_gib": round(memory(trainer.device) / 2**30, 3),
        }
        self._at = trainer.nimg
        self.run.append_log(stats)
        self.observers.tell("ganzoo_run_tick", run=self.run.path, nimg=trainer.nimg, stats=stats)
        for words in self._health.look(stats, bool(trainer.game.data.classes), trainer.nimg / trainer.total):
            self._say(words)
        self._taken(trainer, take)
        self._since = time.perf_counter()
        return best

    def _figures(self, trainer: Trainer) -> tuple[dict[str, float], bool]:
        """Take them, write them down, mark the best; stop where none was better for long enough."""
        evaluator, nimg = self._evaluator, trainer.nimg
        assert evaluator is not None
        with alone():
            results, stats, best = evaluator.take(trainer.game, self.preview.settled(trainer.ema.network), nimg)
        self.run.append_metrics([result.to_dict() for result in results], nimg)
        self._evaluated = nimg
        before = evaluator.best
        if before is not None and self._patience_of_it and nimg - before[1] >= 1000 * self._patience_of_it:
            self._say(
                f"no better {evaluator.name} than {before[0]:.4g}, at {before[1] / 1000:g} kimg, for "
                f"{self._patience_of_it:g} kimg: the training ends here (eval.patience)"
            )
            trainer.total = nimg
        return stats, best

    def sheet(self, trainer: Trainer) -> None:
        path = self.run.samples_dir / f"{stamp(trainer.nimg)}.png"
        try:
            path.parent.mkdir(exist_ok=True)
            with alone():
                samples, columns = self.preview.samples(trainer.ema.network)
            self._draw(samples.numpy(), path, columns=columns)
        except OSError as err:
            raise RunError(
                f"the samples {path} could not be written: {err.strerror}; mend it, then: ganzoo resume {quote(self.run.path)}"
            ) from None
        self.observers.tell("ganzoo_run_images", run=self.run.path, nimg=trainer.nimg, path=path)

    def checkpoint(self, trainer: Trainer) -> None:
        path = trainer.save(self.run)
        if self._evaluator is not None and self._evaluator.best is not None and self._evaluator.best[1] == trainer.nimg:
            self.run.mark_best(path.name)
        checkpoint.prune(self.run, self.keep.keep, self.keep.milestone)
        self._saved = time.perf_counter()
        self.observers.tell("ganzoo_run_checkpoint", run=self.run.path, nimg=trainer.nimg, path=path)


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
