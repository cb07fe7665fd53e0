"""Path length regularization (Karras et al. 2020, arXiv:1912.04958, section 3.2 and appendix B)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ganzoo.interfaces import DataSpec, Play, Regularizer, batch_mean


class PathLength(Regularizer):
    """weight E (|J_w^T y| - a)^2: a step in w shall change the image by the same amount wherever it is made.

    Equation 4 of the paper. y is normal noise of the image's shape divided by sqrt(H W); the length's square is a sum over the
    dimensions of w and a mean over layers; a is the running mean of lengths, from 0. The pass through G is its own.

    Options:
        weight: of the penalty
        decay: how fast the running mean follows
        share: of the batch that is used
        every: rounds between penalties; above 1 each is a G step of its own, N times as strong
    """

    players = frozenset({"G"})
    double_backward = True
    mean: Tensor

    def __init__(self, data: DataSpec, *, weight: float = 2.0, decay: float = 0.01, share: float = 0.5, every: int = 4) -> None:
        super().__init__(data)
        if weight < 0:
            raise ValueError(f"weight={weight} must not be negative")
        for name, value in (("decay", decay), ("share", share)):
            if not 0 < value <= 1:
                raise ValueError(f"{name}={value} must be above 0 and at most 1")
        if every < 1:
            raise ValueError(f"every={every} must be at least 1 round")
        self.weight, self.decay, self.share, self.every = weight, decay, share, every
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, play: Play) -> Tensor:
        n = math.ceil(len(play.x) * self.share)
        w = play.gen.mapping(play.x[:n], {name: value[:n] for name, value in play.condition.items()})  # [n, L, W]
        lengths = path_lengths(play.gen.synthesis(w), w)
        self.mean.lerp_(batch_mean(lengths.detach().mean()), self.decay)
        return self.weight * (lengths - self.mean).square()


def path_lengths(images: Tensor, w: Tensor) -> Tensor:
    """|J_w^T y| of each sample, [N], differentiable: images [N, C, H, W] made of w [N, L, W], y drawn here."""
    y = torch.randn_like(images) / math.sqrt(math.prod(images.shape[2:]))
    (slope,) = torch.autograd.grad((images * y).sum(), w, create_graph=True)
    return slope.square().sum(2).mean(1).sqrt()
