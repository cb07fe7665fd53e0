"""StarGAN (Choi et al. 2018): one generator for all domains, and a discriminator that also names the domain."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganzoo.interfaces import Condition, DataSpec, Score


class Residual(nn.Module):
    """x + two 3x3 convolutions with instance norm, a ReLU between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.InstanceNorm2d(width, affine=True),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.InstanceNorm2d(width, affine=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class StarGenerator(nn.Module):
    """Images [N, C, H, W] and the class they are to become to images of the same size in [-1, 1], sides multiples of 4.

    Choi et al. 2018 (arXiv:1711.09020), table 4: as CycleGAN's translator, with a plane for each class stacked on the image,
    instance norm with gain and shift, and zero padding: under reflection a plane is constant and the norm would take it away.

    Options:
        channels: width at full resolution; twice and four times as much at a half and a quarter
        blocks: residual blocks
    """

    def __init__(self, data: DataSpec, *, channels: int = 64, blocks: int = 6) -> None:
        super().__init__()
        for name, value in (("channels", channels), ("blocks", blocks)):
            if value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        self.classes = len(data.classes)
        inputs = data.source.channels if data.source is not None else data.channels
        widths = (channels, 2 * channels, 4 * channels)
        layers: list[nn.Module] = [nn.Conv2d(inputs + self.classes, channels, 7, padding=3, bias=False), *_norm(channels)]
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 4, 2, 1, bias=False), *_norm(after)]
        layers += [Residual(widths[-1]) for _ in range(blocks)]
        for before, after in pairwise(reversed(widths)):
            layers += [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False), *_norm(after)]
        self.layers = nn.Sequential(*layers)
        self.last = nn.Conv2d(channels, data.channels, 7, padding=3, bias=False)

    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        planes = F.one_hot(condition["labels"], self.classes).to(x.dtype)[:, :, None, None].expand(-1, -1, *x.shape[2:])
        return self.last(self.layers(torch.cat([x, planes], 1))).tanh()


def _norm(width: int) -> list[nn.Module]:
    return [nn.InstanceNorm2d(width, affine=True), nn.ReLU()]


class StarDiscriminator(nn.Module):
    """Images [N, C, H, W] to a map of logits [N, h, w], and class logits [N, K] of the whole image; sides from 8.

    Choi et al. 2018 (arXiv:1711.09020), table 5: 4x4 convolutions of stride 2 with leaky ReLU .01 and no norm, then a 3x3 one
    to the logits and one as large as the map to the classes.

    Options:
        channels: width after the first convolution; each further one doubles it
        depth: halvings; auto: down to 2 on the shorter side, 6 at most (the paper: 6 at 128 pixels)
        max_channels: the width at which the doubling stops
    """

    def __init__(
        self, data: DataSpec, *, channels: int = 64, depth: int | Literal["auto"] = "auto", max_channels: int = 2048
    ) -> None:
        super().__init__()
        if depth == "auto":
            raise ValueError("depth='auto' depends on the images: take StarDiscriminator.auto(data, batch), or give a number")
        if not 1 <= depth < min(data.resolution).bit_length():
            raise ValueError(f"depth={depth} halvings are too many for images of {data.resolution}")
        widths = [data.channels, *(min(channels << i, max_channels) for i in range(depth))]
        self.convolutions = nn.ModuleList(nn.Conv2d(before, after, 4, 2, 1) for before, after in pairwise(widths))
        self.head = nn.Conv2d(widths[-1], 1, 3, padding=1, bias=False)
        sides = [side >> depth for side in data.resolution]
        self.domains = nn.Conv2d(widths[-1], len(data.classes), (sides[0], sides[1]), bias=False)

    @classmethod
    def auto(cls, data: DataSpec, batch: int) -> dict[str, object]:
        """depth: halvings of the shorter side down to 2, 6 at most."""
        return {"depth": max(1, min(6, min(data.resolution).bit_length() - 2))}

    def forward(self, images: Tensor, condition: Condition) -> Score:
        features = []
        x = images
        for convolution in self.convolutions:
            x = F.leaky_relu(convolution(x), 0.01)
            features.append(x)
        return Score(self.head(x).squeeze(1), tuple(features), self.domains(x).flatten(1))
