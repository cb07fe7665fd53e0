"""A generator of images."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from ganzoo.interfaces import Condition, DataSpec


def block(inputs: int, outputs: int) -> nn.Module:
    """[N, inputs, H, W] to [N, outputs, 2H, 2W]. Replace this: it is where your idea goes."""
    return nn.Sequential(
        nn.Upsample(scale_factor=2),
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.GroupNorm(1, outputs),
        nn.LeakyReLU(0.2),
    )


class Mine(nn.Module):
    """Noise [N, z_dim] to images [N, C, H, W] in [-1, 1], sides powers of two from 8; by class where the data have classes.

    Options:
        z_dim: width of the noise
        channels: width of the largest map; each smaller one is twice as wide, up to 256
    """

    def __init__(self, data: DataSpec, *, z_dim: int = 64, channels: int = 32) -> None:
        super().__init__()
        self.z_dim = z_dim
        doublings = min(data.resolution).bit_length() - 3  # from 4 on the shorter side
        self.start = tuple(side >> doublings for side in data.resolution)
        widths = [min(256, channels << (doublings - i)) for i in range(doublings + 1)]
        self.embedding = nn.Embedding(len(data.classes), z_dim) if data.classes else None
        inputs = 2 * z_dim if data.classes else z_dim
        self.first = nn.Linear(inputs, widths[0] * self.start[0] * self.start[1])
        self.blocks = nn.Sequential(*(block(a, b) for a, b in itertools.pairwise(widths)))
        self.last = nn.Conv2d(widths[-1], data.channels, 3, padding=1)

    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        if self.embedding is not None:
            x = torch.cat([x, self.embedding(condition["labels"])], 1)
        x = self.first(x).unflatten(1, (-1, *self.start))
        return self.last(self.blocks(x)).tanh()
