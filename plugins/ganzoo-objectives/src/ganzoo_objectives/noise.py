"""Noise on all that D sees (Sønderby et al. 2017; Arjovsky and Bottou 2017)."""

from __future__ import annotations

import torch
from torch import Tensor

from ganzoo.interfaces import DataSpec, Play, Regularizer


class InstanceNoise(Regularizer):
    """x + sigma_t n with n ~ N(0, 1) a value, for reals and fakes and in both players' phases; sigma_t falls linearly to 0.

    Options:
        sigma: standard deviation at the start; images are in [-1, 1]
        until: share of the budget after which there is none; none: constant
    """

    def __init__(self, data: DataSpec, *, sigma: float = 0.1, until: float | None = 0.5) -> None:
        super().__init__(data)
        if sigma < 0:
            raise ValueError(f"sigma={sigma} must not be negative")
        if until is not None and not 0 < until <= 1:
            raise ValueError(f"until={until} must be a share of the budget, above 0 and at most 1, or none")
        self.sigma, self.until = sigma, until

    def show(self, images: Tensor, play: Play, real: bool | None) -> Tensor:
        sigma = self.sigma if self.until is None else self.sigma * max(0.0, 1 - play.progress / self.until)
        return images + sigma * torch.randn_like(images) if sigma else images
