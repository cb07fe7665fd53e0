"""Looking at a latent space: walks, truncation, style mixing, classes, nearest training images.

Each returns a grid of images [rows, columns, C, H, W] in [-1, 1] on the CPU; along the columns something changes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ganzoo.errors import UsageError
from ganzoo.models import Model

LAYERS = ("coarse", "middle", "fine")  # a third of the styles each
_ROWS = 12  # classes at most in a walk
_CHUNK = 2048  # training images compared at once


def interpolate(model: Model, seeds: Sequence[int], steps: int, label: str | int | None = None) -> Tensor:
    """A walk from each seed to the next, `steps` images a leg, the last one included.

    One row a leg; of a model with classes and no `label` one row a class (the first ones), each the whole walk. Normal noise is
    walked along the sphere (its length is nearly constant), uniform noise along the line.
    """
    if len(seeds) < 2:
        raise UsageError(f"a walk goes from one seed to another, and there is {len(seeds)}: give --seeds 0,1 or more")
    x, _ = model.inputs(seeds, label)
    between = _line if model.config["noise"]["prior"] == "uniform" else _sphere
    times = torch.linspace(0, 1, steps).tolist()
    legs = [torch.stack([between(a, b, t) for t in times]) for a, b in pairwise(x)]
    if model.data.classes and label is None:
        walk = torch.cat([leg[i > 0 :] for i, leg in enumerate(legs)])  # the end of a leg is the start of the next
        return _rows(model, [walk] * min(_ROWS, len(model.data.classes)), range(_ROWS))
    index = 0 if label is None else model.class_index(label)
    return _rows(model, legs, [index] * len(legs))


def truncation(model: Model, seeds: Sequence[int], values: Sequence[float], label: str | int | None = None) -> Tensor:
    """Each seed (a row) at each truncation (a column): 1 is as trained, beyond 1 exaggerated.

    0 is the mean image (of its class, where mean_w is) of a generator with styles, the image of zero noise of another.
    """
    x, labels = model.inputs(seeds, label)
    return torch.stack([model.generate(x, labels, value) for value in values], 1)


def mix(model: Model, rows: Sequence[int], columns: Sequence[int], label: str | int | None = None) -> Tensor:
    """Style mixing: each row seed with the coarse, then the middle, then the fine styles of each column seed.

    The first row and column show the seeds themselves. Raises UsageError for a generator without styles.
    """
    if not model.config["style"]:
        raise UsageError("--mix needs a generator with styles (it provides 'style'); 'ganzoo search style' lists them")
    own, other = _styles(model, rows, label), _styles(model, columns, label)
    count = own.shape[1]
    ends = [round(count * i / len(LAYERS)) for i in range(len(LAYERS) + 1)]
    header = torch.cat([torch.ones(1, *model.data.shape), _synthesise(model, other)])
    grid = [header]
    for first, last in pairwise(ends):
        for w in own:
            mixed = w.repeat(len(other), 1, 1)
            mixed[:, first:last] = other[:, first:last]
            grid.append(torch.cat([_synthesise(model, w[None]), _synthesise(model, mixed)]))
    return torch.stack(grid)


def classes(model: Model, seeds: Sequence[int]) -> Tensor:
    """The same noise (a column) through every class (a row)."""
    if not model.data.classes:
        raise UsageError("--classes needs a generator that was trained with classes, and this one was not")
    x, _ = model.inputs(seeds)
    return _rows(model, [x] * len(model.data.classes), range(len(model.data.classes)))


@dataclass(frozen=True, slots=True)
class Neighbours:
    """grid: each sample, then its nearest training images; `index` [rows, k] and `distance` [rows, k] of those.

    usual  the median distance from such training images to their own nearest neighbour: what is much nearer is a copy
    """

    grid: Tensor
    index: Tensor
    distance: Tensor
    usual: float


def neighbours(
    model: Model, real: Any, seeds: Sequence[int], k: int, label: str | int | None = None, features: Any = None
) -> Neighbours:
    """The k training images nearest to each sample, and to its mirror image, by root mean square distance.

    real      uint8 [N, C, H, W], as a data set's store holds them
    features  a network [N, C, H, W] -> [N, D] to compare in; None: pixels, reduced to 32 a side
    """
    look: Callable[[Tensor], Tensor] = _pixels if features is None else features
    samples = model.generate(*model.inputs(seeds, label))
    k = min(k, len(real))
    distance, index = _nearest(look, [samples, samples.flip(-1)], real, k)
    shown = torch.stack([_unit(real, row) for row in index])
    theirs = _unit(real, index[:, 0])
    among, _ = _nearest(look, [theirs, theirs.flip(-1)], real, min(2, len(real)))  # the nearest of all is itself
    return Neighbours(torch.cat([samples[:, None], shown], 1), index, distance, float(among[:, -1].median()))


def _nearest(look: Callable[[Tensor], Tensor], views: list[Tensor], real: Any, k: int) -> tuple[Tensor, Tensor]:
    """Distances [N, k] and indices [N, k] of the nearest reals to the nearest of each sample's views."""
    with torch.no_grad():
        ours = [look(view) for view in views]
        best, where = torch.empty(len(views[0]), 0), torch.empty(len(views[0]), 0, dtype=torch.int64)
        for begin in range(0, len(real), _CHUNK):
            numbers = torch.arange(begin, min(begin + _CHUNK, len(real)))
            theirs = look(_unit(real, numbers))
            # The exact form: the one by products is off where distances are small, and copies are what is looked for.
            new = torch.stack([torch.cdist(v, theirs, compute_mode="donot_use_mm_for_euclid_dist") for v in ours]).amin(0)
            best, where = torch.cat([best, new], 1), torch.cat([where, numbers.expand(len(new), -1)], 1)
            best, order = best.topk(min(k, best.shape[1]), largest=False)
            where = where.gather(1, order)
    return best / ours[0].shape[1] ** 0.5, where


def _pixels(images: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(images, [min(32, side) for side in images.shape[-2:]]).flatten(1)


def _unit(real: Any, index: Tensor) -> Tensor:
    """Training images as floats in [-1, 1]."""
    return torch.from_numpy(np.asarray(real[index.numpy()])).float() / 127.5 - 1


def _sphere(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Between a and b along the great circle, the length as between theirs (Shoemake 1985, slerp)."""
    along, to = a / a.norm(), b / b.norm()
    angle = torch.acos((along * to).sum().clamp(-1, 1))
    if float(angle) < 1e-4:
        return _line(a, b, t)
    way = (torch.sin((1 - t) * angle) * along + torch.sin(t * angle) * to) / torch.sin(angle)
    return way * torch.lerp(a.norm(), b.norm(), t)


def _line(a: Tensor, b: Tensor, t: float) -> Tensor:
    return torch.lerp(a, b, t)


def _rows(model: Model, noise: Sequence[Tensor], labels: Sequence[int]) -> Tensor:
    """Each row's noise [columns, z_dim] under the row's class."""
    made = []
    for x, index in zip(noise, labels, strict=False):
        condition = torch.full((len(x),), index, device=x.device) if model.data.classes else None
        made.append(model.generate(x, condition))
    return torch.stack(made)


def _styles(model: Model, seeds: Sequence[int], label: str | int | None) -> Tensor:
    x, labels = model.inputs(seeds, label)
    with torch.no_grad():
        return model.network.mapping(x, model.condition(len(x), labels))


def _synthesise(model: Model, w: Tensor) -> Tensor:
    with torch.no_grad():
        return model.network.synthesis(w).float().cpu()
