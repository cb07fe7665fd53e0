"""Perceptual path length (Karras et al. 2019, arXiv:1812.04948): how evenly images change along a path between styles."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ganzoo.interfaces import DataSpec, Measured, Metric, Sampled
from ganzoo.metrics.subjects import seeds_of
from ganzoo.training.preview import guarded

_BATCH = 32
_CUT = 0.01  # of the paths, at either end, that are left out


class PathLength(Metric):
    """The mean of d(G(w(t)), G(w(t + eps))) / eps^2 on straight lines between styles w, for a generator that has styles.

    d is the squared distance of the feature network's maps, each vector of unit length over channels, the mean over places,
    summed over maps: not that of the published figures, whose network has learned weights. The lowest and highest hundredth
    are left out, as published. The error is of the mean over paths.

    Options:
        paths: how many
        eps: the step
        at: "end": t = 0 alone; "full": t anywhere between
        seed: of the paths
    """

    uses = frozenset({"model"})

    def __init__(
        self, data: DataSpec, *, paths: int = 1000, eps: float = 1e-4, at: Literal["end", "full"] = "end", seed: int = 0
    ) -> None:
        super().__init__(data)
        if paths < 2 or eps <= 0:
            raise ValueError(f"paths={paths} must be at least 2 and eps={eps} above 0")
        self.paths, self.eps, self.at, self.seed = paths, eps, at, seed

    def __call__(self, real: Sampled, fake: Sampled) -> Measured:
        model, look = fake.model, fake.look
        assert model is not None
        assert look is not None
        lengths: list[Tensor] = []
        generator = torch.Generator().manual_seed(self.seed)
        for begin in range(0, self.paths, _BATCH):
            n = min(_BATCH, self.paths - begin)
            x, labels = model.inputs(seeds_of(self.seed, 2 * begin, 2 * (begin + n)))
            if labels is not None:
                labels = labels[:n].repeat(2)  # both ends of a path are of one class
            t = (torch.rand(n, generator=generator) if self.at == "full" else torch.zeros(n)).to(x.device)[:, None, None]
            with torch.no_grad():
                one, other = model.network.mapping(x, model.condition(len(x), labels)).chunk(2)
                images = []
                for step in (0.0, self.eps):
                    with guarded(model.device, begin):  # the same noise inputs at both places
                        images.append(model.network.synthesis(torch.lerp(one, other, t + step)).float())
                lengths.append(sum(_apart(a, b) for a, b in zip(look(images[0]), look(images[1]), strict=True)) / self.eps**2)
        found = torch.cat(lengths).double().cpu().sort().values
        kept = found[int(_CUT * len(found)) : len(found) - int(_CUT * len(found))]
        return Measured(float(kept.mean()), float(kept.std() / len(kept) ** 0.5))


def _apart(a: Tensor, b: Tensor) -> Tensor:
    """[N]: squared distance of maps [N, C, h, w], unit vectors over channels, the mean over places."""
    a, b = (x / (x.square().sum(1, keepdim=True) + 1e-10).sqrt() for x in (a, b))
    return (a - b).square().sum(1).mean((1, 2))
