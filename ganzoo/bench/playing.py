"""One training of a bench, by the shared trainer, and what is counted on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganzoo import __version__
from ganzoo.bench.protocols import Training
from ganzoo.bench.training import make_trainer
from ganzoo.bench.unfinished import Unfinished
from ganzoo.data.cache import Progress, materialise
from ganzoo.data.dataset import Dataset, Modes
from ganzoo.data.pictures import to_uint8
from ganzoo.errors import GanzooError, RunError, UsageError
from ganzoo.metrics.modes import count_modes
from ganzoo.training.preview import Preview, guarded
from ganzoo.training.trainer import Trainer, choose_device, is_out_of_memory

Tell = Callable[[str, int], object]
_LATENTS = 10_000  # a seed's latents are drawn from this far beside it, or they would be those of its batches
_CHUNK = 1000  # samples made at once


def begin(training: Training, device: str = "cpu") -> tuple[Trainer, Dataset]:
    """A trainer before its first round: weights, data and noise are functions of the seed. Draws into torch's random state."""
    plan = training.plan(device)
    return make_trainer(plan, choose_device(device)), plan.dataset


def play(
    training: Training, tell: Tell = lambda kind, looks: None, device: str = "cpu", place: Path | None = None
) -> dict[str, Any]:
    """Train one seed of one variant and return its line. Raises GanzooError.

    tell   is called with "kept" and how many looks had been kept in `place`, where any, and with "look" and 1 after each
    place  the bench's directory: a training that was killed goes on from its last look that is kept there
    """
    began = time.perf_counter()
    try:
        unfinished = Unfinished(place, training)
        trainer, dataset = begin(training, device)
        try:
            looks, before = unfinished.resume(trainer)
        except RunError:  # damaged, or kept by other code
            unfinished.forget()
            trainer, dataset = begin(training, device)
            looks, before = [], 0.0
        if looks:
            tell("kept", len(looks))
        began -= before
        preview = Preview(trainer.game, trainer.device, training.seed)
        z = _latents(trainer, training)
        count = 0
        for look in range(len(looks) + 1, training.looks + 1):
            steps = training.steps * look // training.looks
            trainer.total = steps * trainer.batch
            trainer.train()
            made = _samples(trainer, preview, z)
            modes = _modes(dataset, made)
            count = modes.count
            found = {"steps": steps, **_counted(modes, training.held)}
            looks.append(found if np.isfinite(made).all() else {**found, "diverged": True})
            tell("look", 1)  # first: one that is left behind by a killed bench ends here, and keeps nothing
            if look < training.looks:
                unfinished.keep(trainer, looks, time.perf_counter() - began)
    except Exception as err:
        if is_out_of_memory(err):
            raise GanzooError(f"out of memory on {device}: try fewer --jobs") from err
        raise
    return _line(training, count, looks, began, device)


def count_data(training: Training, progress: Progress | None = None) -> dict[str, Any]:
    """The line of as many records as samples are counted, drawn from the data themselves: what a perfect generator comes to."""
    began = time.perf_counter()
    dataset = training.plan().dataset
    store = materialise(dataset, progress=progress)
    rows = np.random.default_rng(0).integers(len(store), size=training.samples)
    rows.sort()  # a memory map is read in order
    modes = _modes(dataset, np.asarray(store.fields["real"][rows]))
    line = _line(training, modes.count, [{"steps": 0, **_counted(modes, training.held)}], began, "cpu")
    return line if modes.accuracy is None else {**line, "accuracy": modes.accuracy}


def _latents(trainer: Trainer, training: Training) -> Mapping[str, Tensor]:
    """The same at every look, for all variants of a seed."""
    generator = torch.Generator(trainer.device).manual_seed(_LATENTS + training.seed)
    blank = torch.zeros(1, device=trainer.device).expand(training.samples, *trainer.game.data.shape)
    return trainer.game.draw({"real": blank}, generator)


@torch.no_grad()
def _samples(trainer: Trainer, preview: Preview, batch: Mapping[str, Tensor]) -> np.ndarray[Any, Any]:
    """float32 [N, *shape], by the averaged generator with batch-norm statistics of its own."""
    network = preview.settled(trainer.ema.network)
    with guarded(trainer.device):
        chunks = [
            trainer.game.generate(network, {name: value[at : at + _CHUNK] for name, value in batch.items()}).float().cpu()
            for at in range(0, len(batch["real"]), _CHUNK)
        ]
    return torch.cat(chunks).numpy()


def _modes(dataset: Dataset, samples: np.ndarray[Any, Any]) -> Modes:
    image = dataset.spec.modality == "image" and samples.dtype != np.uint8
    modes = dataset.modes(to_uint8(samples) if image else samples)
    if modes is None:
        raise UsageError(f"{type(dataset).__name__}: the modes of these data cannot be told; take ring, grid or stacked")
    return modes


def _counted(modes: Modes, held: float) -> dict[str, Any]:
    counted = count_modes(modes, held)
    return {"modes": counted.modes, "quality": round(counted.quality, 6), "kl": round(counted.kl, 6)}


def _line(training: Training, count: int, looks: list[dict[str, Any]], began: float, device: str) -> dict[str, Any]:
    named = {name: getattr(training, name) for name in ("protocol", "suite", "case", "recipe", "seed", "hash")}
    versions = {"ganzoo-core": __version__, "torch": torch.__version__}
    seconds = round(time.perf_counter() - began, 1)
    return {**named, "count": count, "seconds": seconds, "device": device, "versions": versions, "looks": looks}
