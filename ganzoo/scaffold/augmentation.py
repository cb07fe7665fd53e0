"""An augmentation of what D sees, reals and fakes alike."""

from __future__ import annotations

import torch
from torch import Tensor

from ganzoo.interfaces import Augment, DataSpec


class Mine(Augment):
    """Images [N, C, H, W], each brighter or darker with probability p.

    Options:
        p: the share of images that it changes
        strength: by how much at most; images are in [-1, 1]
    """

    def __init__(self, data: DataSpec, *, p: float = 0.5, strength: float = 0.5) -> None:
        super().__init__(data)
        self.p, self.strength = p, strength

    def forward(self, images: Tensor) -> Tensor:
        chosen = torch.rand(len(images), 1, 1, 1, device=images.device, dtype=images.dtype) < self.p
        change = torch.rand(len(images), 1, 1, 1, device=images.device, dtype=images.dtype) * 2 - 1
        return images + chosen * self.strength * change  # replace this; gradients must pass through it
