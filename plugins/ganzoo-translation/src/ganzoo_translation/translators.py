"""Generators from image to image: CycleGAN's residual translator and pix2pix's U-Net."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganzoo.interfaces import Condition, DataSpec
from ganzoo_translation.patch import Norm, normalisation

SIDE_OF_NINE = 256  # from here on nine residual blocks, as published; six below


def source_channels(data: DataSpec) -> int:
    """Channels of the image that a translator eats. Raises ValueError where there is none, or one of another size."""
    if data.source is None:
        raise ValueError("a translator needs data with a source image: --data paired, unpaired or emoji-pairs")
    if data.source.resolution != data.resolution:
        raise ValueError(
            f"source images of {data.source.resolution} for images of {data.resolution}: a translator keeps the size"
        )
    return data.source.channels


def initialise(network: nn.Module, std: float) -> None:
    """N(0, std^2) for convolutions, N(1, std^2) for gains, zero biases: as both papers' authors do."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, std)


class Residual(nn.Module):
    """x + two 3x3 convolutions with norm, a ReLU between."""

    def __init__(self, width: int, norm: Norm, padding: str) -> None:
        super().__init__()
        bias = norm == "none"
        self.first = nn.Conv2d(width, width, 3, padding=1, padding_mode=padding, bias=bias)
        self.second = nn.Conv2d(width, width, 3, padding=1, padding_mode=padding, bias=bias)
        self.norms = nn.ModuleList(normalisation(norm, width) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norms[1](self.second(F.relu(self.norms[0](self.first(x)))))


class ResnetTranslator(nn.Module):
    """Images [N, C, H, W] to images of the same size in [-1, 1], sides multiples of 4.

    Johnson et al. 2016 (arXiv:1603.08155) as in CycleGAN (arXiv:1703.10593, appendix 7.2): a 7x7 convolution, two of stride 2,
    residual blocks, two transposed ones, a 7x7 one and tanh; norm and ReLU after each but the last.

    Options:
        channels: width at full resolution; twice and four times as much at a half and a quarter
        blocks: residual blocks; auto: 9 from 256 pixels on, 6 below
        norm: instance (CycleGAN), batch (it couples the samples of a batch in training) or none
        padding: reflect, as published, or zeros
        init: standard deviation of the weights
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        channels: int = 64,
        blocks: int | Literal["auto"] = "auto",
        norm: Norm = "instance",
        padding: Literal["reflect", "zeros"] = "reflect",
        init: float = 0.02,
    ) -> None:
        super().__init__()
        if blocks == "auto":
            raise ValueError("blocks='auto' depends on the images: take ResnetTranslator.auto(data, batch), or give a number")
        for name, value in (("channels", channels), ("blocks", blocks)):
            if value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        inputs, bias = source_channels(data), norm == "none"
        widths = (channels, 2 * channels, 4 * channels)
        layers: list[nn.Module] = [
            nn.Conv2d(inputs, channels, 7, padding=3, padding_mode=padding, bias=bias),
            normalisation(norm, channels),
            nn.ReLU(),
        ]
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, 2, 1, bias=bias), normalisation(norm, after), nn.ReLU()]
        layers += [Residual(widths[-1], norm, padding) for _ in range(blocks)]
        for before, after in pairwise(reversed(widths)):
            up = nn.ConvTranspose2d(before, after, 3, 2, 1, output_padding=1, bias=bias)
            layers += [up, normalisation(norm, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.last = nn.Conv2d(channels, data.channels, 7, padding=3, padding_mode=padding)
        initialise(self, init)

    @classmethod
    def auto(cls, data: DataSpec, batch: int) -> dict[str, object]:
        """blocks: 9 from 256 pixels on, 6 below."""
        return {"blocks": 9 if min(data.resolution) >= SIDE_OF_NINE else 6}

    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        return self.last(self.layers(x)).tanh()


class Dropout(nn.Module):
    """Each value is zero with probability p in training; the mask does not depend on the memory layout, as torch's does."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        kept = torch.rand(x.shape, device=x.device) >= self.p
        return x * kept / (1 - self.p)


class UNet(nn.Module):
    """Images [N, C, H, W] to images of the same size in [-1, 1], any sides from 8.

    Isola et al. 2017 (arXiv:1611.07004), appendix 6.1.1: halvings by 4x4 convolutions down to one pixel or so, doublings back
    by transposed ones, each with the map of its size from the way down beside. Sides that cannot be halved so often are padded
    (by reflection where there is room) and what is too much is cut off again. The published network keeps dropout and the
    batch's own statistics at test time, its only noise; here eval mode is deterministic.

    Options:
        channels: width of the first map
        max_channels: the width at which the doubling stops
        depth: halvings; auto: down to one pixel on the shorter side, 8 at most
        norm: batch (pix2pix; it couples the samples of a batch in training), instance or none
        dropout: in the three innermost doublings
        init: standard deviation of the weights
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        channels: int = 64,
        max_channels: int = 512,
        depth: int | Literal["auto"] = "auto",
        norm: Norm = "batch",
        dropout: float = 0.5,
        init: float = 0.02,
    ) -> None:
        super().__init__()
        if depth == "auto":
            raise ValueError("depth='auto' depends on the images: take UNet.auto(data, batch), or give a number")
        if not 1 <= depth <= min(data.resolution).bit_length():
            raise ValueError(
                f"depth={depth} must be from 1 to {min(data.resolution).bit_length()} for images of {data.resolution}"
            )
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout={dropout} must be from 0 to below 1")
        self.multiple = 1 << depth
        bias = norm == "none"
        widths = [min(channels << i, max_channels) for i in range(depth)]
        self.downs = nn.ModuleList()
        for i, (before, after) in enumerate(zip([source_channels(data), *widths], widths, strict=False)):
            # No norm at the outermost, nor at the innermost, where a map may be one pixel: its instance norm would be zero.
            plain = i in (0, depth - 1)
            down = nn.Conv2d(before, after, 4, 2, 1, bias=plain or bias)
            self.downs.append(nn.Sequential(down, nn.Identity() if plain else normalisation(norm, after)))
        self.ups = nn.ModuleList()
        for i in reversed(range(depth)):
            inputs = widths[i] if i == depth - 1 else 2 * widths[i]
            if i == 0:
                self.ups.append(nn.ConvTranspose2d(inputs, data.channels, 4, 2, 1))
                continue
            up = [nn.ConvTranspose2d(inputs, widths[i - 1], 4, 2, 1, bias=bias), normalisation(norm, widths[i - 1])]
            inner = depth - 1 > i >= depth - 4 and dropout > 0
            self.ups.append(nn.Sequential(*up, *([Dropout(dropout)] if inner else [])))
        initialise(self, init)

    @classmethod
    def auto(cls, data: DataSpec, batch: int) -> dict[str, object]:
        """depth: halvings of the shorter side down to one pixel, 8 at most."""
        return {"depth": min(8, min(data.resolution).bit_length() - 1)}

    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        height, width = x.shape[2:]
        x = padded(x, self.multiple)
        maps: list[Tensor] = []
        for i, down in enumerate(self.downs):
            x = down(F.leaky_relu(x, 0.2) if i else x)
            maps.append(x)
        x = maps.pop()
        for up in self.ups:
            x = up(F.relu(x))
            if maps:
                x = torch.cat([x, maps.pop()], 1)
        return x[:, :, :height, :width].tanh()


def padded(x: Tensor, multiple: int) -> Tensor:
    """[N, C, H, W] with sides made up to multiples: below and to the right, by reflection where the image is large enough."""
    height, width = x.shape[2:]
    below, right = -height % multiple, -width % multiple
    if not (below or right):
        return x
    mode = "reflect" if below < height and right < width else "replicate"
    return F.pad(x, (0, right, 0, below), mode)
