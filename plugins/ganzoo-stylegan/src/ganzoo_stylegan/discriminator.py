"""The discriminator of StyleGAN2 (arXiv:1912.04958), with the projection of the class that came with ADA (arXiv:2006.06676)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ganzoo.interfaces import Condition, DataSpec, Score, in_full_precision
from ganzoo_stylegan.layers import GAIN, Conv, Linear, full, rectified, unit_rms
from ganzoo_stylegan.shapes import Width, auto_widths, number, sizes, widths


class Block(nn.Module):
    """Two 3x3 convolutions, the second to half the resolution, and where `residual` a 1x1 one beside them.

    Both branches of a residual block are divided by sqrt 2, so that their sum keeps its scale.
    """

    def __init__(self, inputs: int, outputs: int, residual: bool) -> None:
        super().__init__()
        half = math.sqrt(0.5) if residual else 1.0
        self.first = Conv(inputs, inputs, 3, gain=GAIN)
        self.second = Conv(inputs, outputs, 3, gain=GAIN * half, down=True)
        self.skip = Conv(inputs, outputs, 1, gain=half, bias=False, down=True) if residual else None

    def forward(self, x: Tensor) -> Tensor:
        y = rectified(self.second(rectified(self.first(x))))
        return y if self.skip is None else y + self.skip(x)


class ClassMap(nn.Module):
    """Labels [N] to vectors [N, D]: a mapping network of the class alone."""

    def __init__(self, classes: int, width: int, depth: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(classes, width)
        self.hidden = nn.ModuleList(Linear(width, width, multiplier=0.01, gain=GAIN) for _ in range(depth))

    def forward(self, labels: Tensor) -> Tensor:
        x = unit_rms(self.embedding(labels))
        for layer in self.hidden:
            x = rectified(layer(x))
        return x


class StyleDiscriminator(nn.Module):
    """Images [N, C, H, W] to logits [N], sides powers of two from 8, square or not.

    Labels: the features' inner product with the mapped class, divided by the root of their width. What works on the smallest
    map is computed in full precision.

    Options:
        channels: width of the map of full resolution; each halving doubles it; "auto": 64, or 32768 / side where that is less
        max_channels: the width at which the doubling stops; "auto": twice the shorter side, between 64 and 512
        residual: a 1x1 convolution beside each pair of 3x3 ones; the published configuration for CIFAR has none
        minibatch_stddev: size of the groups of consecutive samples whose mean deviation is a channel of the last map; 0: none
        mapping_layers: depth of the mapping network of the class; 0: its embedding alone
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        channels: Width = "auto",
        max_channels: Width = "auto",
        residual: bool = True,
        minibatch_stddev: int = 4,
        mapping_layers: int = 2,
    ) -> None:
        super().__init__()
        maps = widths(data, channels, max_channels)
        self.group = number(0, minibatch_stddev=minibatch_stddev)
        depth = number(0, mapping_layers=mapping_layers)
        top, (height, width) = maps[0], sizes(data)[0]
        self.from_image = Conv(data.channels, maps[-1], 1, gain=GAIN)
        self.blocks = nn.ModuleList(Block(maps[k], maps[k - 1], residual) for k in range(len(maps) - 1, 0, -1))
        self.mix = Conv(top + (self.group > 1), top, 3, gain=GAIN)
        self.hidden = Linear(top * height * width, top, gain=GAIN)
        self.head = Linear(top, top if data.classes else 1)
        self.classes = ClassMap(len(data.classes), top, depth) if data.classes else None

    @classmethod
    def auto(cls, data: DataSpec, batch: int) -> dict[str, object]:
        """The numbers for options that are "auto"."""
        return auto_widths(data)

    def forward(self, images: Tensor, condition: Condition) -> Score:
        x = rectified(self.from_image(images))
        features = []
        for block in self.blocks:
            x = block(x)
            features.append(x)
        with in_full_precision(x):
            x = full(x)
            if self.group > 1:
                x = with_spread(x, self.group)
            h = rectified(self.hidden(rectified(self.mix(x)).flatten(1)))  # [N, D]
            said = self.head(h)
            if self.classes is None:
                logits = said.squeeze(1)
            else:
                logits = (said * self.classes(condition["labels"])).sum(1) / math.sqrt(said.shape[1])
        return Score(logits, (*features, h))


def with_spread(x: Tensor, group: int) -> Tensor:
    """Append a channel with the mean deviation within each group of consecutive samples: [N, C, H, W] to [N, C + 1, H, W].

    Raises ValueError where N is no multiple of `group`.
    """
    if len(x) % group:
        raise ValueError(f"a batch of {len(x)} is no multiple of minibatch_stddev={group}: change one of the two")
    y = x.unflatten(0, (-1, group))
    y = y - y.mean(1, keepdim=True)
    spread = (y.square().mean(1) + 1e-8).sqrt().mean((1, 2, 3))  # [N / group]
    return torch.cat([x, spread.repeat_interleave(group)[:, None, None, None].expand(-1, 1, *x.shape[2:])], 1)
