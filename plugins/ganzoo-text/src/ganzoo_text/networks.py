"""DCGAN that looks at a caption: its vector beside the noise in G (Reed et al. 2016), in a projection in D."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganzoo.interfaces import Condition, DataSpec, Score

Norm = Literal["batch", "layer", "none"]


def stages(data: DataSpec, channels: int, max_channels: int) -> tuple[tuple[int, int], list[int]]:
    """The sides of the smallest map (the shorter one is 4), and the widths of the maps from it to that of half the size."""
    height, width = data.resolution
    halvings = int(math.log2(min(height, width))) - 2
    return (height >> halvings, width >> halvings), [min(channels << i, max_channels) for i in reversed(range(halvings))]


def check(data: DataSpec, init: float | None, **counts: int) -> None:
    if not data.text:
        raise ValueError(
            "it looks at captions, and what it is shown has none: take data with captions, and no packs of samples"
        )
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name}={value} must be at least 1")
    if init is not None and init < 0:
        raise ValueError(f"init={init} must be at least 0")


def normalisation(norm: Norm, width: int) -> nn.Module:
    """What follows a convolution of `width` channels; "layer" is over channels and places of a sample."""
    match norm:
        case "batch":
            return nn.BatchNorm2d(width)
        case "layer":
            return nn.GroupNorm(1, width)
        case "none":
            return nn.Identity()


class Caption(nn.Linear):
    """The vector of a caption [N, T], brought to mean square 1, through a learned linear map: [N, outputs]."""

    def forward(self, text: Tensor) -> Tensor:
        return super().forward(text * (text.square().mean(1, keepdim=True) + 1e-8).rsqrt())


class NearestConv(nn.ConvTranspose2d):
    """Nearest-neighbour doubling and a 3x3 convolution, [N, C, H, W] -> [N, O, 2H, 2W], as one transposed convolution.

    A 3x3 kernel at four offsets sums to a 4x4 kernel of stride 2: exact, and 2.25 times fewer multiplications.
    """

    offsets: Tensor

    def __init__(self, inputs: int, outputs: int, *, bias: bool) -> None:
        super().__init__(inputs, outputs, 3, bias=bias)
        line = torch.eye(4, 3) + torch.eye(4, 3).roll(1, 0)  # tap i of 3 falls on taps i and i + 1 of 4
        self.register_buffer("offsets", torch.kron(line, line).T.contiguous(), persistent=False)  # [9, 16]

    def forward(self, x: Tensor) -> Tensor:
        weight = (self.weight.flatten(2) @ self.offsets).unflatten(2, (4, 4))
        return F.conv_transpose2d(x, weight, self.bias, 2, 1)


def initialise(net: nn.Module, init: float | None) -> None:
    """N(0, init^2) for weights, N(1, init^2) for batch norm's gains; for None weights that keep the variance of ReLUs (He)."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, math.sqrt(2 / fan_in(module)) if init is None else init)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d) and init is not None:
            nn.init.normal_(module.weight, 1.0, init)


def fan_in(module: nn.Module) -> float:
    """How many weights an output of a layer is a sum over; of a transposed kernel of stride 2 a pixel sees a quarter."""
    inputs, outputs, *kernel = module.weight.shape
    if isinstance(module, NearestConv):
        return 9 * inputs
    if isinstance(module, nn.ConvTranspose2d):
        return inputs * math.prod(kernel) / 4
    return outputs * math.prod(kernel)  # of Linear and Conv2d: the second side is the inputs


class TextDCGANGenerator(nn.Module):
    """Noise [N, z_dim] and the caption's vector [N, T] to images [N, C, H, W] in [-1, 1], sides powers of two from 8.

    Reed et al. 2016 (arXiv:1605.05396), section 4: the vector, through a linear layer and a leaky ReLU, beside z; then DCGAN: a
    linear layer to a map with 4 on its shorter side, doublings with norm and ReLU, the last one to the image, tanh.

    Options:
        z_dim: width of the noise
        embedding: width of the caption's vector beside z
        channels: width of the map of half the resolution; each halving doubles it
        max_channels: the width at which the doubling stops
        upsample: transposed: a transposed convolution, 4x4; nearest: nearest-neighbour doubling and a 3x3 convolution, which
            leaves no checkerboard
        norm: after each layer but the last; "batch" couples the samples of a batch in training, "layer" is over a sample
        init: standard deviation of the weights; none: He's initialisation
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        z_dim: int = 100,
        embedding: int = 128,
        channels: int = 64,
        max_channels: int = 512,
        upsample: Literal["transposed", "nearest"] = "transposed",
        norm: Norm = "batch",
        init: float | None = 0.02,
    ) -> None:
        super().__init__()
        check(data, init, z_dim=z_dim, embedding=embedding, channels=channels, max_channels=max_channels)
        self.z_dim = z_dim
        (height, width), widths = stages(data, channels, max_channels)
        self.small = (height, width, widths[0])
        bias = norm == "none"  # a norm would take it away again

        def double(inputs: int, outputs: int, bias: bool) -> nn.Module:
            if upsample == "nearest":
                return NearestConv(inputs, outputs, bias=bias)
            return nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=bias)

        self.caption = Caption(data.text, embedding)
        self.project = nn.Linear(z_dim + embedding, math.prod(self.small), bias=bias)
        self.norms = nn.ModuleList(normalisation(norm, w) for w in widths)
        self.ups = nn.ModuleList(double(i, o, bias) for i, o in pairwise(widths))
        self.ups.append(double(widths[-1], data.channels, True))
        initialise(self, init)

    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        told = F.leaky_relu(self.caption(condition["text"]), 0.2)
        x = self.project(torch.cat([x, told.to(x.dtype)], 1))
        x = x.unflatten(1, self.small).permute(0, 3, 1, 2)  # channels behind: the layout of channels_last
        for norm, up in zip(self.norms, self.ups, strict=True):
            x = up(F.relu(norm(x)))
        return x.tanh()


class TextDiscriminator(nn.Module):
    """Images [N, C, H, W], sides powers of two from 8, and the vectors of captions [N, T] to logits [N].

    DCGAN's convolutions (arXiv:1511.06434) to features h. The logit is the head's, which knows no caption, plus the inner
    product of a linear map of h and one of the caption's vector (projection, arXiv:1802.05637): whether it is an image, and
    whether it is one of this.

    Options:
        embedding: width in which image and caption meet
        channels: width of the map of half the resolution; each halving doubles it
        max_channels: the width at which the doubling stops
        norm: after each convolution but the first; "batch" couples the samples of a batch, "layer" is over a sample
        init: standard deviation of the weights; none: He's initialisation
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        embedding: int = 128,
        channels: int = 64,
        max_channels: int = 512,
        norm: Norm = "batch",
        init: float | None = 0.02,
    ) -> None:
        super().__init__()
        check(data, init, embedding=embedding, channels=channels, max_channels=max_channels)
        (height, width), widths = stages(data, channels, max_channels)
        widths = [data.channels, *reversed(widths)]
        places = height * width
        self.convolutions = nn.ModuleList(
            nn.Conv2d(i, o, 4, 2, 1, bias=norm == "none" or not n) for n, (i, o) in enumerate(pairwise(widths))
        )
        self.norms = nn.ModuleList(normalisation(norm if n else "none", w) for n, w in enumerate(widths[1:]))
        self.head = nn.Linear(widths[-1] * places, 1)
        self.image = nn.Linear(widths[-1] * places, embedding)
        self.caption = Caption(data.text, embedding)
        initialise(self, init)

    def forward(self, images: Tensor, condition: Condition) -> Score:
        x, features = images, []
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.leaky_relu(norm(convolution(x)), 0.2)
            features.append(x)
        h = x.flatten(1)  # [N, F]
        matching = (self.image(h) * self.caption(condition["text"].to(h.dtype))).sum(1)
        return Score(self.head(h).squeeze(1) + matching / math.sqrt(self.image.out_features), (*features, h))
