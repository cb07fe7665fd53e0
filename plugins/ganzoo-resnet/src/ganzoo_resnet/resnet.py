"""Residual GANs of WGAN-GP, SNGAN and the projection discriminator: blocks of two 3x3 convolutions beside a 1x1 shortcut.

The shape of the networks goes with the resolution. At 32x32 the papers keep one width: G doubles a 4x4 map three times, D
halves twice and has two more blocks at 8x8. At 128x128 the width doubles at each halving, up to 16 times, and D halves down to
4x4 and has one more block there. "auto" follows the first up to 32x32 and the second from 64x64 on (where Miyato and Koyama's
own D is smallest=2, flat=0).
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganzoo.interfaces import Condition, DataSpec, Score, in_full_precision
from ganzoo_resnet.layers import ClassNorm, DownConv, Init, Norm, UpConv, at_least, initialise, normalisation, start

BOTTOM = 4  # the shorter side of G's first map
LARGE = 64  # the shorter side from which "auto" follows the papers' networks for 128x128


def width_at(side: int, largest: int, channels: int, max_channels: int, doubling: bool) -> int:
    """Width of a map by its shorter side: `channels` at `largest`, then the same, or doubled at each halving up to a limit."""
    return min(channels * largest // side, max(channels, max_channels)) if doubling else channels


class UpBlock(nn.Module):
    """[N, I, H, W] -> [N, O, 2H, 2W]: norm, ReLU, doubling, 3x3, norm, ReLU, 3x3; beside it doubling and 1x1.

    Labels [N] choose gain and shift of the norms where there are `classes`. The 1x1 convolution of the shortcut comes
    before the doubling: the same, on a quarter of the places.
    """

    def __init__(self, inputs: int, outputs: int, norm: Norm, classes: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(
            ClassNorm(norm, width, classes) if classes else normalisation(norm, width) for width in (inputs, outputs)
        )
        self.up = UpConv(inputs, outputs)
        self.convolution = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, labels: Tensor | None) -> Tensor:
        beside = self.shortcut(x)
        with in_full_precision(x):  # CUDA's autocast widens what is enlarged, and with it the whole block
            beside = F.interpolate(beside, scale_factor=2.0, mode="nearest")
        for norm, convolution in zip(self.norms, (self.up, self.convolution), strict=True):
            x = convolution(F.relu(norm(x, labels) if isinstance(norm, ClassNorm) else norm(x)))
        return x + beside


class DownBlock(nn.Module):
    """[N, I, 2H, 2W] -> [N, O, H, W]: norm, ReLU, 3x3, norm, ReLU, 3x3, 2x2 mean; beside it 2x2 mean and 1x1.

    The first block of a network sees the image: no norm, and no ReLU before its first convolution ("optimised" in the papers).
    """

    def __init__(self, inputs: int, outputs: int, norm: Norm, first: bool) -> None:
        super().__init__()
        hidden = outputs if first else inputs
        self.before = nn.Identity() if first else nn.Sequential(normalisation(norm, inputs), nn.ReLU())
        self.convolution = nn.Conv2d(inputs, hidden, 3, padding=1)
        self.norm = normalisation("none" if first else norm, hidden)
        self.down = DownConv(hidden, outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        beside = self.shortcut(F.avg_pool2d(x, 2))
        return self.down(F.relu(self.norm(self.convolution(self.before(x))))) + beside


class FlatBlock(nn.Module):
    """[N, C, H, W] -> the same: x plus norm, ReLU, 3x3, norm, ReLU, 3x3 of it."""

    def __init__(self, width: int, norm: Norm) -> None:
        super().__init__()
        self.norms = nn.ModuleList(normalisation(norm, width) for _ in range(2))
        self.convolutions = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            y = convolution(F.relu(norm(y)))
        return x + y


class ResNetGenerator(nn.Module):
    """Noise [N, z_dim] to images [N, C, H, W] in [-1, 1], sides powers of two from 8, square or not.

    Gulrajani et al. 2017 (arXiv:1704.00028) and Miyato et al. 2018 (arXiv:1802.05957): a linear layer to a map with 4 on its
    shorter side, residual blocks that double it, norm, ReLU, 3x3 and tanh. Labels: gain and shift of the blocks' norms by
    class, from 1 and 0 (Miyato and Koyama 2018, arXiv:1802.05637); the last norm has one of each.

    Options:
        z_dim: width of the noise
        channels: width of the largest map; at 32x32 WGAN-GP has 128 and SNGAN 256, at 128x128 both papers of Miyato have 64
        doubling: each halving of the map doubles the width; auto: from 64x64 on, as the papers do
        max_channels: the width at which the doubling stops
        norm: before each ReLU; "batch" couples the samples of a batch in training; "none" leaves the classes' gains and shifts
        init: of the weights: "xavier" is published
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        z_dim: int = 128,
        channels: int = 64,
        doubling: bool | Literal["auto"] = "auto",
        max_channels: int = 1024,
        norm: Norm = "batch",
        init: Init = "xavier",
    ) -> None:
        super().__init__()
        at_least(1, z_dim=z_dim, channels=channels, max_channels=max_channels)
        self.z_dim, self.conditional = z_dim, bool(data.classes)
        if doubling == "auto":
            doubling = self.auto(data, 1)["doubling"]
        height, width = data.resolution
        largest = min(height, width)
        sides = [BOTTOM]
        while sides[-1] < largest:
            sides.append(2 * sides[-1])
        widths = [width_at(side, largest, channels, max_channels, doubling) for side in sides]
        factor = largest // BOTTOM
        self.small = (height // factor, width // factor, widths[0])
        # shorter side and width of what each block is given
        self.maps = [*zip(sides[:-1], widths[:-1], strict=True)]
        self.project = nn.Linear(z_dim, self.small[0] * self.small[1] * self.small[2])
        self.blocks = nn.ModuleList(UpBlock(i, o, norm, len(data.classes)) for i, o in pairwise(widths))
        self.norm = normalisation(norm, widths[-1])
        self.image = nn.Conv2d(widths[-1], data.channels, 3, padding=1)
        initialise(self, init)
        start(self.image, init, 1.0)

    @classmethod
    def auto(cls, data: DataSpec, batch: int) -> dict[str, Any]:
        """The shapes of the papers, by the shorter side: see the top of this module."""
        return {"doubling": min(data.resolution) >= LARGE}

    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        labels = condition["labels"] if self.conditional else None
        # channels behind: the layout of channels_last
        x = self.project(x).unflatten(1, self.small).permute(0, 3, 1, 2)
        for i, block in enumerate(self.blocks):
            x = block(self.look(x, i), labels)
        return self.image(F.relu(self.norm(x))).tanh()

    def look(self, x: Tensor, i: int) -> Tensor:
        """What block `i` is given: x itself. A subclass may look at the whole map here."""
        return x


class ResNetDiscriminator(nn.Module):
    """Images [N, C, H, W] to logits [N], sides powers of two from 8, square or not. Labels are ignored.

    Gulrajani et al. 2017 (arXiv:1704.00028) and Miyato et al. 2018 (arXiv:1802.05957): residual blocks that halve the map,
    blocks that do not, ReLU, the sum over places and a linear layer. Features: behind each block, and the sum.

    Options:
        channels: width of the first block's map, half as large as the image; at 32x32 the papers have 128, at 128x128 64
        doubling: each halving of the map doubles the width; auto: from 64x64 on, as the papers do
        max_channels: the width at which the doubling stops
        smallest: the shorter side of the smallest map; auto: 8 up to 32x32 (but at least one halving), 4 from 64x64
        flat: blocks that do not halve, behind the others; auto: 2 up to 32x32, 1 from 64x64
        norm: before each ReLU but the first block's; none is published, "layer" WGAN-GP's other one; "batch" couples the
            samples of a batch
        pool: of the places; the sum is SNGAN's, the mean WGAN-GP's
        init: of the weights; "xavier" is published
        head_gain: factor of the initial weights behind the pooling. The sum over 8x8 places and Xavier's weights are made for
            a spectral norm, which takes every layer's scale away; without one the first logits are tens, with 0.02 below one
    """

    projects = False  # the class enters by an inner product with the features

    def __init__(
        self,
        data: DataSpec,
        *,
        channels: int = 64,
        doubling: bool | Literal["auto"] = "auto",
        max_channels: int = 1024,
        smallest: int | Literal["auto"] = "auto",
        flat: int | Literal["auto"] = "auto",
        norm: Norm = "none",
        pool: Literal["sum", "mean"] = "sum",
        init: Init = "xavier",
        head_gain: float = 1.0,
    ) -> None:
        super().__init__()
        rule = self.auto(data, 1)
        given: dict[str, Any] = {"doubling": doubling, "smallest": smallest, "flat": flat}
        doubling, smallest, flat = (rule[name] if value == "auto" else value for name, value in given.items())
        largest = min(data.resolution) // 2
        at_least(1, channels=channels, max_channels=max_channels)
        at_least(0, flat=flat)
        if head_gain <= 0:
            raise ValueError(f"head_gain={head_gain} must be greater than 0")
        if smallest & (smallest - 1) or not 2 <= smallest <= largest:
            raise ValueError(f"smallest={smallest} must be a power of two from 2 to half of the shorter side, {largest} here")
        sides = [largest]
        while sides[-1] > smallest:
            sides.append(sides[-1] // 2)
        widths = [data.channels, *(width_at(side, largest, channels, max_channels, doubling) for side in sides)]
        last = widths[-1]
        # shorter side and width behind each block
        self.maps = [*zip(sides, widths[1:], strict=True), *[(smallest, last)] * flat]
        halving = [DownBlock(i, o, norm, first=n == 0) for n, (i, o) in enumerate(pairwise(widths))]
        self.blocks = nn.ModuleList([*halving, *(FlatBlock(last, norm) for _ in range(flat))])
        self.norm = normalisation(norm, last)
        self.pool = pool
        self.head = nn.Linear(last, 1)
        self.embedding = nn.Embedding(len(data.classes), last) if self.projects and data.classes else None
        initialise(self, init)
        with torch.no_grad():
            for layer in (self.head, self.embedding):
                if layer is not None:
                    layer.weight *= head_gain

    @classmethod
    def auto(cls, data: DataSpec, batch: int) -> dict[str, Any]:
        """The shapes of the papers, by the shorter side: see the top of this module."""
        side = min(data.resolution)
        if side >= LARGE:
            return {"doubling": True, "smallest": 4, "flat": 1}
        return {"doubling": False, "smallest": min(8, side // 2), "flat": 2}

    def forward(self, images: Tensor, condition: Condition) -> Score:
        x, features = images, []
        for i, block in enumerate(self.blocks):
            x = self.look(block(x), i)
            features.append(x)
        x = F.relu(self.norm(x))
        h = x.sum((2, 3)) if self.pool == "sum" else x.mean((2, 3))  # [N, F]
        logits = self.head(h).squeeze(1)
        if self.embedding is not None:
            logits = logits + (self.embedding(condition["labels"]) * h).sum(1)
        return Score(logits, (*features, h))

    def look(self, x: Tensor, i: int) -> Tensor:
        """What comes behind block `i`: itself. A subclass may look at the whole map here."""
        return x


class ProjectionDiscriminator(ResNetDiscriminator):
    """Images [N, C, H, W] and labels [N] to logits [N], sides powers of two from 8, square or not.

    Miyato and Koyama 2018 (arXiv:1802.05637): the residual discriminator, w.h + b + <e_c, h>, where h is the sum over places
    behind the last ReLU and e_c a learned embedding of the class. Without labels it is the residual discriminator.
    """

    projects = True
