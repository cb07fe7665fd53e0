"""Checks of parts in training: `check_...(entry, data, options)`, for whatever plays: networks, losses, regularizers and so on.

The part is trained with the tiny partners of `partners`, on random data, on the CPU.
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from ganzoo.plugin import DataSpec
from ganzoo.registry import Entry
from ganzoo.runs import Run
from ganzoo.testing.cases import NO_OPTIONS, Options, differing
from ganzoo.testing.contracts import check, expect
from ganzoo.testing.games import weights, who_moved
from ganzoo.testing.partners import make_trainer, play
from ganzoo.training import checkpoint
from ganzoo.training.trainer import Trainer

_ROUNDS = 3


@check("three rounds: both players learn, and every loss, gradient and weight stays finite")
def check_training_rounds(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    trainer = make_trainer(entry, data, options)
    before = weights(trainer.game)
    play(trainer, _ROUNDS)
    stats = trainer.fetch()  # raises where a statistic is not finite
    expect({"D/loss", "G/loss"} <= set(stats), "D/loss and G/loss among the statistics", ", ".join(sorted(stats)))
    moved = who_moved(before, weights(trainer.game))
    expect(moved == {"G", "D"}, "both players moved", ", ".join(sorted(moved)) or "nobody")
    wild = [
        f"{file}:{name}" for file, tensors in trainer.capture().items() for name, t in tensors.items() if not t.isfinite().all()
    ]
    expect(not wild, "finite state after three rounds", ", ".join(wild[:5]))


@check("everything that changes the next step is in a state_dict: a captured state, restored elsewhere, goes on bit for bit")
def check_training_resume(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    trainer, other = make_trainer(entry, data, options), make_trainer(entry, data, options, seed=1)
    play(trainer, _ROUNDS)
    state, where = trainer.capture(), (trainer.nimg, trainer.round, trainer.batches.state_dict())
    play(trainer, _ROUNDS)
    play(other, 1)  # whatever it did before is forgotten
    other.restore(state)
    other.nimg, other.round = where[:2]
    other.batches.load_state_dict(where[2])
    play(other, _ROUNDS)
    _expect_same(trainer, other)


@check("the same through a run directory: saved, read again and continued, bit for bit")
def check_training_run(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    trainer = make_trainer(entry, data, options)
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder, "run"), {})
        play(trainer, _ROUNDS)
        saved = checkpoint.Checkpoint(trainer.save(run))
        play(trainer, _ROUNDS)
        other = make_trainer(entry, data, options, seed=1)
        other.resume(saved)
        play(other, _ROUNDS)
        run.unlock()
    _expect_same(trainer, other)


@check("what a round made is freed as it ends: no circle of references keeps it until the garbage collector comes")
def check_training_frees(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    trainer = make_trainer(entry, data, options)
    play(trainer, 1)
    kept = _kept_by_circles(lambda: play(trainer, 1))
    expect(not kept, "no tensor in a circle of references", f"{len(kept)}, such as {', '.join(sorted(set(kept))[:5])}")


def _kept_by_circles(act: Callable[[], None]) -> list[str]:
    """Shapes of the tensors that `act` leaves to the garbage collector."""
    enabled, debug = gc.isenabled(), gc.get_debug()
    gc.disable()
    gc.freeze()  # what is there already is not looked at
    try:
        act()
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        return [str(list(thing.shape)) for thing in gc.garbage if isinstance(thing, torch.Tensor)]
    finally:
        gc.set_debug(debug)
        gc.garbage.clear()
        gc.unfreeze()
        if enabled:
            gc.enable()


def _expect_same(trainer: Trainer, other: Trainer) -> None:
    expect(trainer.nimg == other.nimg, f"{trainer.nimg} images seen", other.nimg)
    one, two = trainer.capture(), other.capture()
    wrong = [f"{file}:{name}" for file in one for name in differing(one[file], two[file])]
    expect(not wrong, "the state of an undisturbed training", f"another at {', '.join(wrong[:5])}")


CHECKS = (
    check_training_rounds,
    check_training_resume,
    check_training_run,
    check_training_frees,
)
