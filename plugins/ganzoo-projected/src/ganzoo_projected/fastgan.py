"""FastGAN's generator (Liu et al. 2021): few convolutions, and small maps that gate the channels of large ones."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganzoo.interfaces import Condition, DataSpec

# Width of a map by its shorter side, in `channels`; half of the width before it from 128 on (the authors' table).
WIDTHS = {4: 16, 8: 8, 16: 4, 32: 2, 64: 2}
INIT = 0.02  # standard deviation of the weights at the start


def width_at(side: int, channels: int, max_channels: int) -> int:
    """Channels of the map whose shorter side is `side`."""
    width = channels * WIDTHS[side] if side in WIDTHS else channels * 128 // side
    return max(1, min(width, max_channels))


def on_sphere(x: Tensor) -> Tensor:
    """Each vector of [N, C] with a mean square of 1."""
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class UpConv(nn.Conv2d):
    """Nearest-neighbour doubling and a 3x3 convolution, [N, C, H, W] -> [N, O, 2H, 2W], as one transposed convolution.

    A 3x3 kernel at four offsets sums to a 4x4 kernel of stride 2: exact, with 2.25 times fewer multiplications. `weight` is the
    convolution's, [O, C, 3, 3].
    """

    offsets: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1, bias=False)
        line = torch.eye(4, 3) + torch.eye(4, 3).roll(1, 0)  # tap i of 3 falls on taps i and i + 1 of 4
        # Rows in reverse: a transposed convolution's kernel is a convolution's turned by half a turn.
        self.register_buffer("offsets", torch.kron(line, line).T.flip(0).contiguous(), persistent=False)  # [9, 16]

    def forward(self, x: Tensor) -> Tensor:
        kernel = (self.weight.flatten(2) @ self.offsets).unflatten(2, (4, 4)).transpose(0, 1)
        return F.conv_transpose2d(x, kernel, None, 2, 1)


class Noise(nn.Module):
    """x + strength * noise of one channel: fresh in training, constant in eval mode; the strength is learned from 0."""

    constant: Tensor

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.zeros(1))
        self.register_buffer("constant", torch.randn(1, 1, height, width))

    def forward(self, x: Tensor) -> Tensor:
        noise = torch.randn_like(x[:, :1]) if self.training else self.constant
        return x + self.strength.to(x.dtype) * noise.to(x.dtype)


class Unit(nn.Module):
    """Convolution, noise where wanted, batch norm, and a gated linear unit that halves the channels."""

    def __init__(self, convolution: nn.Module, outputs: int, noise: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.convolution = convolution
        self.noise = nn.Identity() if noise is None else Noise(*noise)
        self.norm = nn.BatchNorm2d(2 * outputs)

    def forward(self, x: Tensor) -> Tensor:
        # F.glu's gradient comes back in another memory layout: with it batch norm's took ten times as long on the CPU
        values, gates = self.norm(self.noise(self.convolution(x))).chunk(2, 1)
        return values * gates.sigmoid()


class Excitation(nn.Module):
    """Gates in (0, 1) for the channels of a large map, computed from a small one: [N, C, h, w] -> [N, O, 1, 1]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, outputs, 4, bias=False)
        self.excite = nn.Conv2d(outputs, outputs, 1, bias=False)

    def forward(self, small: Tensor) -> Tensor:
        return self.excite(F.silu(self.squeeze(F.adaptive_avg_pool2d(small, 4)))).sigmoid()


def doubling(inputs: int, outputs: int, size: tuple[int, int] | None) -> nn.Module:
    """From one map to the next: one unit, or two with noise of the new `size`."""
    if size is None:
        return Unit(UpConv(inputs, outputs * 2), outputs)
    second = nn.Conv2d(outputs, outputs * 2, 3, padding=1, bias=False)
    return nn.Sequential(Unit(UpConv(inputs, outputs * 2), outputs, size), Unit(second, outputs, size))


def initialise(net: nn.Module) -> None:
    """N(0, 0.02^2) for convolutions, N(1, 0.02^2) for batch norm's gains."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, INIT)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, INIT)


class FastGANGenerator(nn.Module):
    """Noise [N, z_dim] to images [N, C, H, W], sides powers of two from 8, square or not.

    Liu et al. 2021 (arXiv:2101.04775), section 3.1: from a map with 4 on its shorter side, each doubling is a nearest-neighbour
    one with a convolution, batch norm and GLU; skip-layer excitation: the channels of a large map are multiplied by gates
    computed from a map `skip` times smaller. Labels: a learned embedding beside z, both of mean square 1.

    Options:
        z_dim: width of the noise
        channels: width of the map with 128 on its shorter side; 2, 2, 4, 8 and 16 times as much at 64, 32, 16, 8 and 4, half
            as much at each doubling beyond (the paper's authors: 64; Projected GAN: 128); auto: 64 from 256 pixels on, below a
            quarter of the shorter side, at least 16
        max_channels: no map is wider
        blocks: small: one convolution a doubling; big: a second one at the new size and noise after both; alternate: big at
            8, 32, 128, 512 and small between (the paper)
        skip: a map is excited by the one whose sides are so many times smaller, where there is one, a power of two; auto: 16,
            at small sizes less, so that the two largest maps are excited
        embedding: width of the class embedding beside z
        tanh: the image is bounded by tanh, as in the paper; Projected GAN leaves it unbounded
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        z_dim: int = 256,
        channels: int | Literal["auto"] = "auto",
        max_channels: int = 2048,
        blocks: Literal["small", "big", "alternate"] = "alternate",
        skip: int | Literal["auto"] = "auto",
        embedding: int = 64,
        tanh: bool = True,
    ) -> None:
        super().__init__()
        if channels == "auto" or skip == "auto":
            raise ValueError("'auto' depends on the images: take channels and skip from FastGANGenerator.auto(data, batch)")
        for name, value in (("z_dim", z_dim), ("channels", channels), ("max_channels", max_channels), ("embedding", embedding)):
            if value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        if skip < 2 or skip & (skip - 1):
            raise ValueError(f"skip={skip} must be a power of two from 2")
        self.z_dim = z_dim
        shorter, classes = min(data.resolution), len(data.classes)
        sides = [4 << i for i in range(int(math.log2(shorter)) - 1)]  # the shorter one of each map
        sizes = [(data.resolution[0] * side // shorter, data.resolution[1] * side // shorter) for side in sides]
        widths = [width_at(side, channels, max_channels) for side in sides]
        self.hop = int(math.log2(skip))  # map i excites map i + hop

        self.embedding = nn.Embedding(classes, embedding) if classes else None
        inputs = z_dim + (embedding if classes else 0)
        self.first = Unit(nn.ConvTranspose2d(inputs, 2 * widths[0], sizes[0], bias=False), widths[0])
        self.ups = nn.ModuleList()
        for i in range(1, len(sides)):
            big = blocks == "big" or (blocks == "alternate" and i % 2 == 1)
            self.ups.append(doubling(widths[i - 1], widths[i], sizes[i] if big else None))
        self.gates = nn.ModuleList(Excitation(widths[i], widths[i + self.hop]) for i in range(len(sides) - self.hop))
        self.last = nn.Conv2d(widths[-1], data.channels, 3, padding=1)
        self.tanh = tanh
        initialise(self)

    @classmethod
    def auto(cls, data: DataSpec, batch: int) -> dict[str, object]:
        """By the shorter side: skip = 16 from 128 on and side / 8 below, channels = 64 from 256 on and side / 4 below."""
        side = min(data.resolution)
        return {"skip": min(16, max(2, side // 8)), "channels": min(64, max(16, side // 4))}

    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        x = on_sphere(x)
        if self.embedding is not None:
            x = torch.cat([x, on_sphere(self.embedding(condition["labels"]))], 1)
        maps = [self.first(x[:, :, None, None])]
        for i, up in enumerate(self.ups, 1):
            x = up(maps[-1])
            maps.append(x * self.gates[i - self.hop](maps[i - self.hop]) if i >= self.hop else x)
        x = self.last(maps[-1])
        return x.tanh() if self.tanh else x
