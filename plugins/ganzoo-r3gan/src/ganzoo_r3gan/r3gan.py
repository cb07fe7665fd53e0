"""R3GAN (Huang et al. 2024): symmetric residual networks of grouped convolutions, without any normalisation."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganzoo.interfaces import Condition, DataSpec, Score, in_full_precision
from ganzoo_r3gan.resampling import Double, Halve

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)

SLOPE = 0.2
GAIN = math.sqrt(2 / (1 + SLOPE**2))  # keeps the second moment through a leaky ReLU (He et al. 2015)


def at_least_one(**options: int | None) -> None:
    """ValueError, which names the option, for one below 1; None passes."""
    for name, value in options.items():
        if value is not None and value < 1:
            raise ValueError(f"{name}={value} must be at least 1")


def stages(data: DataSpec, channels: int, max_channels: int) -> tuple[tuple[int, int], list[int]]:
    """The sides of the smallest map (the shorter one is 4), and the widths of the maps from that one to the largest.

    Raises ValueError for more channels than there may be, which would otherwise go unheard.
    """
    if channels > max_channels:
        raise ValueError(f"channels={channels} is above max_channels={max_channels}: raise both")
    height, width = data.resolution
    halvings = int(math.log2(min(height, width))) - 2
    return (height >> halvings, width >> halvings), [min(channels << i, max_channels) for i in reversed(range(halvings + 1))]


def groups_of(inner: int, group_size: int) -> int:
    """How many groups of `group_size` channels, or of all where there are fewer. ValueError where they do not come out even."""
    size = min(group_size, inner)
    if inner % size:
        fitting = [n for n in range(1, inner + 1) if inner % n == 0]
        raise ValueError(
            f"group_size={group_size} does not divide the {inner} channels inside a block (channels x expansion): "
            f"use one of {', '.join(map(str, fitting))}, or other channels"
        )
    return inner // size


class Pointwise(nn.Conv2d):
    """A 1x1 convolution as the matrix product that it is in channels_last: a tenth less time a step on the CPU."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = False, gain: float = 1.0) -> None:
        super().__init__(inputs, outputs, 1, bias=bias)
        scaled(self, gain)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.permute(0, 2, 3, 1), self.weight[:, :, 0, 0], self.bias).permute(0, 3, 1, 2)


class Residual(nn.Module):
    """x + f(x), f = 1x1, leaky ReLU, grouped 3x3, leaky ReLU, 1x1 convolutions; the last one has no bias and starts at 0.

    Fix-up initialisation (arXiv:1901.09321): the weights before each of the two leaky ReLUs are He's times depth^(-1/4), with
    `depth` the number of blocks in the network.
    """

    def __init__(self, width: int, *, expansion: int, group_size: int, depth: int) -> None:
        super().__init__()
        inner = width * expansion
        groups = groups_of(inner, group_size)
        self.widen = Pointwise(width, inner, bias=True, gain=GAIN * depth**-0.25)
        self.grouped = nn.Conv2d(inner, inner, 3, 1, 1, groups=groups)
        self.narrow = Pointwise(inner, width)
        scaled(self.grouped, GAIN * depth**-0.25)
        nn.init.zeros_(self.narrow.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.widen(x), SLOPE)
        return x + self.narrow(F.leaky_relu(self.grouped(y), SLOPE))


class Readout(nn.Conv2d):
    """One learned map a channel, multiplied with the whole map and summed: [N, C, H, W] -> [N, C]."""

    def __init__(self, channels: int, size: tuple[int, int]) -> None:
        super().__init__(channels, channels, size, groups=channels, bias=False)
        scaled(self, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        # As a depthwise convolution its second derivative would be taken channel by channel.
        return (x * self.weight[:, 0]).sum((2, 3))


def scaled(layer: Layer, gain: float) -> Layer:
    """`layer` with weights N(0, gain^2 / inputs), so that an output of unit inputs has the deviation `gain`; biases 0."""
    nn.init.normal_(layer.weight, 0.0, gain / math.sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def transition(inputs: int, outputs: int) -> nn.Module:
    """A 1x1 convolution where the width changes. It commutes with resampling: it is done where the map is smaller."""
    if inputs == outputs:
        return nn.Identity()
    return Pointwise(inputs, outputs)


class R3GANGenerator(nn.Module):
    """Noise [N, z_dim] to images [N, C, H, W], not bounded but of the scale of [-1, 1]; sides powers of two from 8.

    Huang et al. 2024 (arXiv:2501.05441), section 3 and figure 2, configuration E: learned maps, modulated by z, at the bottom;
    at each resolution residual blocks; between them bilinear doubling and, where the width changes, a 1x1 convolution; a 1x1
    convolution to the image. Labels: a learned embedding beside z.

    Options:
        z_dim: width of the noise
        channels: width of the largest map; each halving doubles it
        max_channels: the width at which the doubling stops
        blocks: residual blocks a resolution; the paper has 2, and more channels: see its recipes
        expansion: how many times wider a block is inside
        group_size: channels in a group of the 3x3 convolutions; it divides the channels inside a block, or is above them
        embedding: width of the class embedding beside z
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        z_dim: int = 64,
        channels: int = 48,
        max_channels: int = 192,
        blocks: int = 1,
        expansion: int = 2,
        group_size: int = 16,
        embedding: int = 64,
    ) -> None:
        super().__init__()
        at_least_one(z_dim=z_dim, channels=channels, max_channels=max_channels, blocks=blocks)
        at_least_one(expansion=expansion, group_size=group_size, embedding=embedding)
        self.z_dim = z_dim
        size, widths = stages(data, channels, max_channels)
        classes, depth = len(data.classes), blocks * len(widths)
        self.embedding = nn.Embedding(classes, embedding) if classes else None
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, 0.0, 1 / math.sqrt(classes))
        self.modulation = scaled(nn.Linear(z_dim + (embedding if classes else 0), widths[0], bias=False), 1.0)
        self.basis = nn.Parameter(torch.randn(*size, widths[0]))  # channels behind: the layout of channels_last
        self.transitions = nn.ModuleList(transition(*pair) for pair in pairwise(widths))
        self.doubles = nn.ModuleList(Double(w) for w in widths[1:])
        self.stages = nn.ModuleList(
            nn.Sequential(*(Residual(w, expansion=expansion, group_size=group_size, depth=depth) for _ in range(blocks)))
            for w in widths
        )
        self.image = Pointwise(widths[-1], data.channels)

    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        if self.embedding is not None:
            x = torch.cat([x, self.embedding(condition["labels"])], 1)
        x = (self.modulation(x)[:, None, None] * self.basis).permute(0, 3, 1, 2)
        x = self.stages[0](x)
        for narrow, double, stage in zip(self.transitions, self.doubles, self.stages[1:], strict=True):
            x = stage(double(narrow(x)))
        return self.image(x)


class R3GANDiscriminator(nn.Module):
    """Images [N, C, H, W] to logits [N], sides powers of two from 8, square or not.

    Huang et al. 2024 (arXiv:2501.05441), section 3 and figure 2, configuration E: the generator turned around, and at the end a
    learned map a channel that takes a weighted sum of its values, then a linear layer. Labels: the inner product of the linear
    layer's output and a class embedding (appendix D).

    Options:
        channels: width of the largest map; each halving doubles it
        max_channels: the width at which the doubling stops
        blocks: residual blocks a resolution; the paper has 2, and more channels: see its recipes
        expansion: how many times wider a block is inside
        group_size: channels in a group of the 3x3 convolutions; it divides the channels inside a block, or is above them
        embedding: width of the class embedding; none: that of the smallest map
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        channels: int = 48,
        max_channels: int = 192,
        blocks: int = 1,
        expansion: int = 2,
        group_size: int = 16,
        embedding: int | None = None,
    ) -> None:
        super().__init__()
        at_least_one(channels=channels, max_channels=max_channels, blocks=blocks)
        at_least_one(expansion=expansion, group_size=group_size, embedding=embedding)
        size, widths = stages(data, channels, max_channels)
        widths.reverse()
        classes, depth, last = len(data.classes), blocks * len(widths), widths[-1]
        outputs = (embedding or last) if classes else 1
        self.image = Pointwise(data.channels, widths[0])
        self.stages = nn.ModuleList(
            nn.Sequential(*(Residual(w, expansion=expansion, group_size=group_size, depth=depth) for _ in range(blocks)))
            for w in widths
        )
        self.halves = nn.ModuleList(Halve(w) for w in widths[:-1])
        self.transitions = nn.ModuleList(transition(*pair) for pair in pairwise(widths))
        self.readout = Readout(last, size)
        self.head = scaled(nn.Linear(last, outputs, bias=False), 1.0)  # the loss sees differences: a bias would never move
        self.embedding = nn.Embedding(classes, outputs) if classes else None
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, 0.0, 1 / math.sqrt(outputs * classes))  # as a layer on one-hot labels

    def forward(self, images: Tensor, condition: Condition) -> Score:
        x = self.stages[0](self.image(images))
        features = [x]
        for halve, widen, stage in zip(self.halves, self.transitions, self.stages[1:], strict=True):
            x = stage(widen(halve(x)))
            features.append(x)
        # The relativistic loss sees differences, and nothing holds the logits' level: bf16 would round the differences away.
        with in_full_precision(x):
            h = self.readout(x.to(self.readout.weight.dtype))  # [N, F]
            logits = self.head(h)
            logits = logits.squeeze(1) if self.embedding is None else (self.embedding(condition["labels"]) * logits).sum(1)
        return Score(logits, (*features, h))
