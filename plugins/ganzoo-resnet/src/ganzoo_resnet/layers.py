"""Layers that residual GANs share: convolutions with the change of resolution folded in, norms with class tables, attention."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Norm = Literal["batch", "layer", "instance", "none"]
Init = Literal["xavier", "orthogonal"]


def _offsets() -> Tensor:
    """[9, 16]: of a flat 3x3 kernel, the sum of its copies at the four offsets in a flat 4x4 one."""
    line = torch.eye(4, 3) + torch.eye(4, 3).roll(1, 0)  # tap i of 3 falls on taps i and i + 1 of 4
    return torch.kron(line, line).T.contiguous()


class UpConv(nn.Conv2d):
    """Nearest-neighbour doubling and a 3x3 convolution, [N, C, H, W] -> [N, O, 2H, 2W], as one transposed convolution.

    Exact: of the 3x3 taps that read one pixel of the small map, the sum is a tap of a 4x4 kernel of stride 2, with 2.25 times
    fewer multiplications. `weight` stays the 3x3 kernel [O, C, 3, 3], so that a norm of it is taken before the fold.
    """

    offsets: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)
        # Half a turn: a transposed convolution writes where a convolution reads.
        self.register_buffer("offsets", _offsets().flip(1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        weight = (self.weight.transpose(0, 1).flatten(2) @ self.offsets).unflatten(2, (4, 4))
        return F.conv_transpose2d(x, weight, self.bias, 2, 1)


class DownConv(nn.Conv2d):
    """A 3x3 convolution and the mean of each 2x2 places, [N, C, 2H, 2W] -> [N, O, H, W], as one convolution of stride 2.

    Exact: the 4x4 kernel is the mean of the 3x3 kernel at four offsets. `weight` stays the 3x3 kernel.
    """

    offsets: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1)
        self.register_buffer("offsets", _offsets() / 4, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        weight = (self.weight.flatten(2) @ self.offsets).unflatten(2, (4, 4))
        return F.conv2d(x, weight, self.bias, 2, 1)


def normalisation(norm: Norm, width: int, affine: bool = True) -> nn.Module:
    """The norm before an activation of `width` channels; "layer" is over channels and places of a sample."""
    match norm:
        case "batch":
            return nn.BatchNorm2d(width, affine=affine)
        case "layer":
            return nn.GroupNorm(1, width, affine=affine)
        case "instance":
            return nn.InstanceNorm2d(width, affine=affine)
        case "none":
            return nn.Identity()


class ClassNorm(nn.Module):
    """A norm with a gain (from 1) and a shift (from 0) for each class, [N, C, H, W] and labels [N] (arXiv:1610.07629).

    Statistics, running ones too, are shared by the classes. Gains are plain parameters: spectral norm leaves them alone.
    """

    def __init__(self, norm: Norm, width: int, classes: int) -> None:
        super().__init__()
        self.norm = normalisation(norm, width, affine=False)
        self.gain = nn.Parameter(torch.ones(classes, width))
        self.shift = nn.Parameter(torch.zeros(classes, width))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        return torch.addcmul(self.shift[labels][:, :, None, None], self.norm(x), self.gain[labels][:, :, None, None])


class SelfAttention(nn.Module):
    """x + gate * attention(x), [N, C, H, W], even H and W (Zhang et al. 2019, equations 1 to 3; gate starts at 0).

    As in the authors' code: queries and keys of C/8 channels, values of C/2, keys and values the largest of each 2x2 places,
    softmax over the keys, no scale, no biases. At least one channel each.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        inner, half = max(width // 8, 1), max(width // 2, 1)
        self.query = nn.Conv2d(width, inner, 1, bias=False)
        self.key = nn.Conv2d(width, inner, 1, bias=False)
        self.value = nn.Conv2d(width, half, 1, bias=False)
        self.out = nn.Conv2d(half, width, 1, bias=False)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        query = self.query(x).flatten(2)  # [N, C/8, HW]
        key = F.max_pool2d(self.key(x), 2).flatten(2)  # [N, C/8, HW/4]
        value = F.max_pool2d(self.value(x), 2).flatten(2)  # [N, C/2, HW/4]
        # Written out: the fused kernels have no second derivative.
        weights = (query.transpose(1, 2) @ key).softmax(2)  # [N, HW, HW/4]
        read = (value @ weights.transpose(1, 2)).unflatten(2, x.shape[2:])  # [N, C/2, H, W]
        return x + self.gate * self.out(read)


def initialise(net: nn.Module, init: Init) -> None:
    """Uniform Xavier, or orthogonal, weights; those of 3x3 convolutions, ReLUs about them, times sqrt 2; biases 0.

    As in the code of Gulrajani et al. and of Miyato et al. Of a folded convolution it is the 3x3 kernel that counts.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.Embedding):
            start(module, init, math.sqrt(2) if getattr(module, "kernel_size", None) == (3, 3) else 1.0)


def start(layer: nn.Conv2d | nn.Linear | nn.Embedding, init: Init, gain: float) -> None:
    """Draw the weights of one layer anew, and set its biases to 0."""
    draw = nn.init.xavier_uniform_ if init == "xavier" else nn.init.orthogonal_
    draw(layer.weight, gain)
    if getattr(layer, "bias", None) is not None:
        nn.init.zeros_(layer.bias)


def at_least(least: float, **options: float) -> None:
    """ValueError, which names the option, for one below `least`."""
    for name, value in options.items():
        if value < least:
            raise ValueError(f"{name}={value} must be at least {least}")
