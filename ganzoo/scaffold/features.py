"""A frozen feature network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ganzoo.interfaces import DataSpec, Features


class Mine(Features):
    """Random convolutions, the same ones each time.

    Options:
        channels: width of the shallowest map; each of the three after it is twice as wide
    """

    strides = (2, 4, 8, 16)

    def __init__(self, data: DataSpec, *, channels: int = 16) -> None:
        super().__init__()
        self.channels = (channels, 2 * channels, 4 * channels, 8 * channels)
        self.width = 8 * channels
        with torch.random.fork_rng(devices=[]):  # replace this by your network and its weights
            torch.default_generator.manual_seed(0)  # not the GPUs' too, as torch.manual_seed
            self.layers = nn.ModuleList(
                nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
                for inputs, outputs in zip((data.channels, *self.channels), self.channels, strict=False)
            )
        self.requires_grad_(False).eval()

    def maps(self, images: Tensor) -> tuple[Tensor, ...]:
        found = []
        for layer in self.layers:
            images = nn.functional.silu(layer(images))
            found.append(images)
        return tuple(found)

    def forward(self, images: Tensor) -> Tensor:
        return self.maps(images)[-1].mean((2, 3))
