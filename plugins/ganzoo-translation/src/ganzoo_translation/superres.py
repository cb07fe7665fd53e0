"""Generators that enlarge: SRResNet (Ledig et al. 2017) and ESRGAN's RRDB (Wang et al. 2018)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganzoo.interfaces import Condition, DataSpec, in_full_precision


def scale_of(data: DataSpec) -> int:
    """How many times larger the image is than its source: 1, 2, 4 or 8. Raises ValueError for what is none of them."""
    if data.source is None:
        raise ValueError("super-resolution needs data with a smaller source image: --data 'downscaled:data=...,scale=4'")
    ratios = {target / source for target, source in zip(data.resolution, data.source.resolution, strict=True)}
    scale = int(min(ratios))
    if len(ratios) > 1 or scale not in (1, 2, 4, 8) or ratios != {float(scale)}:
        raise ValueError(f"images of {data.resolution} from {data.source.resolution}: not 1, 2, 4 or 8 times as large")
    return scale


class PlainResidual(nn.Module):
    """x + two 3x3 convolutions, a PReLU between, batch norm after each where wanted."""

    def __init__(self, width: int, norm: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(2):
            layers += [nn.Conv2d(width, width, 3, padding=1, bias=not norm)]
            layers += [nn.BatchNorm2d(width)] if norm else []
            layers += [nn.PReLU()] if i == 0 else []
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class SRResNet(nn.Module):
    """Images [N, C, h, w] to images 2, 4 or 8 times as large, of any size; around [-1, 1], without tanh.

    Ledig et al. 2017 (arXiv:1609.04802), section 2.2: a 9x9 convolution, residual blocks at the small size, a skip around them,
    doublings by pixel shuffle, a 9x9 convolution.

    Options:
        channels: width of every map
        blocks: residual blocks (the paper: 16)
        norm: batch (the paper; it couples the samples of a batch in training) or none (later work; sharper, no artefacts)
        base: what the last layer adds to: bicubic, the enlarged source, or none (the paper)
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        channels: int = 64,
        blocks: int = 16,
        norm: Literal["batch", "none"] = "none",
        base: Literal["bicubic", "none"] = "bicubic",
    ) -> None:
        super().__init__()
        for name, value in (("channels", channels), ("blocks", blocks)):
            if value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        self.scale, self.base = scale_of(data), base
        inputs = data.source.channels if data.source is not None else data.channels
        if base == "bicubic" and inputs != data.channels:
            raise ValueError(f"base=bicubic adds {inputs} channels to {data.channels}: take base=none")
        normed = norm == "batch"
        self.first = nn.Sequential(nn.Conv2d(inputs, channels, 9, padding=4), nn.PReLU())
        self.blocks = nn.Sequential(*(PlainResidual(channels, normed) for _ in range(blocks)))
        after = nn.Conv2d(channels, channels, 3, padding=1, bias=not normed)
        self.after = nn.Sequential(after, nn.BatchNorm2d(channels) if normed else nn.Identity())
        ups: list[nn.Module] = []
        for _ in range(self.scale.bit_length() - 1):
            ups += [nn.Conv2d(channels, 4 * channels, 3, padding=1), nn.PixelShuffle(2), nn.PReLU()]
        self.ups = nn.Sequential(*ups)
        self.last = nn.Conv2d(channels, data.channels, 9, padding=4)
        if base != "none":
            nn.init.zeros_(self.last.bias)
            with torch.no_grad():
                self.last.weight.mul_(0.1)  # at first little more than the enlarged source

    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        first = self.first(x)
        out = self.last(self.ups(first + self.after(self.blocks(first))))
        return out + enlarged(x, self.scale) if self.base == "bicubic" else out


def enlarged(x: Tensor, scale: int) -> Tensor:
    """Bicubic enlargement [N, C, h, w] -> [N, C, scale h, scale w]."""
    return F.interpolate(x, scale_factor=scale, mode="bicubic", align_corners=False) if scale > 1 else x


class Dense(nn.Module):
    """Five 3x3 convolutions, each of all before it; x + .2 times the last."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        widths = [width + i * growth for i in range(5)]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inputs, growth if i < 4 else width, 3, padding=1) for i, inputs in enumerate(widths)
        )

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for convolution in self.convolutions:
            out = convolution(torch.cat(maps, 1))
            maps.append(F.leaky_relu(out, 0.2))
        return x + 0.2 * out


class RRDB(nn.Module):
    """A residual of three dense blocks: x + .2 times their result."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Dense(width, growth) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.2 * self.blocks(x)


class RRDBGenerator(nn.Module):
    """Images [N, C, h, w] to images 2, 4 or 8 times as large, of any size; around [-1, 1], without tanh.

    Wang et al. 2018 (arXiv:1809.00219), section 3.1: residual-in-residual dense blocks without norms, nearest-neighbour
    doublings each with a convolution. Inside, values are in [0, 1], as in the published weights.

    Options:
        channels: width of every map
        blocks: residual-in-residual dense blocks (the paper: 23)
        growth: what each convolution of a dense block adds
    """

    def __init__(self, data: DataSpec, *, channels: int = 64, blocks: int = 23, growth: int = 32) -> None:
        super().__init__()
        for name, value in (("channels", channels), ("blocks", blocks), ("growth", growth)):
            if value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        doublings = scale_of(data).bit_length() - 1
        inputs = data.source.channels if data.source is not None else data.channels
        self.first = nn.Conv2d(inputs, channels, 3, padding=1)
        self.body = nn.Sequential(*(RRDB(channels, growth) for _ in range(blocks)))
        self.after = nn.Conv2d(channels, channels, 3, padding=1)
        self.ups = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(doublings))
        self.large = nn.Conv2d(channels, channels, 3, padding=1)
        self.last = nn.Conv2d(channels, data.channels, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # a tenth of He's, as the authors found best for deep residual nets
                nn.init.kaiming_normal_(module.weight)
                assert module.bias is not None
                nn.init.zeros_(module.bias)
                with torch.no_grad():
                    module.weight.mul_(0.1)
        assert self.last.bias is not None
        nn.init.constant_(self.last.bias, 0.5)  # grey

    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        x = self.first((x + 1) / 2)
        x = x + self.after(self.body(x))
        for up in self.ups:
            with in_full_precision(x):  # CUDA's autocast widens what is enlarged
                x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = F.leaky_relu(up(x), 0.2)
        return self.last(F.leaky_relu(self.large(x), 0.2)) * 2 - 1
