"""Projected GAN's discriminator (Sauer et al. 2021): frozen features, mixed at random, and a small head for each scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from ganzoo.interfaces import Condition, DataSpec, Features, Score
from ganzoo.plugin import Part

Size = tuple[int, int]
CLASS_MAP = 64  # width of the inner product with the class, as in the authors' code


class Mixing(nn.Module):
    """Random fixed projections of a pyramid of maps, from shallow to deep (section 3.2).

    Across channels, a 1x1 convolution of each map to `widths[i]` channels. Across scales, from deep to shallow: add what comes
    from below, a 3x3 convolution to the width of the next map, and doubling to its size; the shallowest leaves at twice its
    own. Nothing here asks for gradients.

    outputs  widths of the maps that leave
    """

    def __init__(self, channels: Sequence[int], widths: Sequence[int]) -> None:
        super().__init__()
        self.outputs = [widths[max(i - 1, 0)] for i in range(len(widths))]
        self.across_channels = nn.ModuleList(nn.Conv2d(c, w, 1, bias=False) for c, w in zip(channels, widths, strict=True))
        self.across_scales = nn.ModuleList(
            nn.Conv2d(w, o, 3, padding=1, bias=False) for w, o in zip(widths, self.outputs, strict=True)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
        self.requires_grad_(False)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        out: list[Tensor] = []
        for i in reversed(range(len(maps))):
            x = self.across_channels[i](maps[i])
            x = self.across_scales[i](x + out[-1] if out else x)
            size = maps[i - 1].shape[2:] if i else [2 * side for side in x.shape[2:]]
            out.append(F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False))
        return out[::-1]


class Head(nn.Module):
    """A small discriminator of one mixed map: halvings to about 7 on the shorter side, then logits [N, h, w], about 4x4.

    With `classes` a logit is the inner product of 64 channels and the class, over 8: without it, one channel.
    """

    def __init__(self, widths: Sequence[int], side: int, *, separable: bool, norm: bool, classes: int, embedding: int) -> None:
        super().__init__()
        bias = not norm  # a norm would take it away again
        self.downs = nn.Sequential()
        for before, width in pairwise(widths):
            if separable:
                self.downs.append(nn.Conv2d(before, before, 3, padding=1, groups=before, bias=False))
                self.downs.append(nn.Conv2d(before, width, 1, bias=bias))
            else:
                self.downs.append(nn.Conv2d(before, width, 4, 2, 1, bias=bias))
            self.downs.append(nn.BatchNorm2d(width) if norm else nn.Identity())
            self.downs.append(nn.LeakyReLU(0.2))
            if separable:
                self.downs.append(nn.AvgPool2d(2))
            side //= 2
        kernel, padding = (4, 0) if side >= 6 else (3, 1)
        self.logits = nn.Conv2d(widths[-1], CLASS_MAP if classes else 1, kernel, padding=padding, bias=False)
        self.embedding = nn.Embedding(classes, embedding) if classes else None
        self.project = nn.Linear(embedding, CLASS_MAP) if classes else None

    def forward(self, x: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        """Logits, and the features that they are made of."""
        h = self.downs(x)
        logits = self.logits(h)
        if self.embedding is None or self.project is None:
            return logits.squeeze(1), h
        wanted = F.leaky_relu(self.project(self.embedding(condition["labels"])), 0.2)  # [N, 64]
        return (logits * wanted[:, :, None, None]).sum(1) / math.sqrt(CLASS_MAP), h


class ProjectedDiscriminator(nn.Module):
    """Images [N, C, H, W], sides from 8, to one map of logits a scale of a pretrained network's features.

    Sauer et al. 2021 (arXiv:2111.01007), section 3: images are enlarged to `size`, go through frozen features, then random
    fixed mixing across channels and scales, and one head a scale judges what comes out; only the heads learn. G's gradient
    passes through all of it. The paper normalises the heads' weights too: add the regularizer spectral-norm. Labels: an inner
    product with a class embedding in each head, as in the authors' code.

    Options:
        features: the frozen network, a component of kind features
        size: smaller images are enlarged (bilinear) until their shorter side has it, larger ones pass as they are; the paper:
            224; auto: twice the resolution in multiples of 32, from 64 to 224
        scales: how many of the network's maps are judged, counted from the shallowest (the paper: 4)
        channels: width of the shallowest map after the mixing across channels; each deeper one has twice as much
        max_channels: the width at which the doubling stops
        norm: batch norm in the heads (it couples the samples of a batch in training), or none
        separable: the heads' convolutions are depthwise and pointwise ones, with pooling: the authors' choice beside StyleGAN2
        embedding: width of the class embedding in each head
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        features: Annotated[Part, "features"] = Part("lite0"),
        size: int | Literal["auto"] = "auto",
        scales: int = 4,
        channels: int = 64,
        max_channels: int = 512,
        norm: Literal["batch", "none"] = "batch",
        separable: bool = False,
        embedding: int = 128,
    ) -> None:
        super().__init__()
        if size == "auto":
            raise ValueError(
                "size='auto' depends on the images: take ProjectedDiscriminator.auto(data, batch), or give a number"
            )
        for name, value in (("size", size), ("scales", scales), ("channels", channels), ("max_channels", max_channels)):
            if value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        self.size = enlarged(data.resolution, size)
        self.features: Features = features.build(data.replace(shape=(data.channels, *self.size))).requires_grad_(False).eval()
        depth = len(self.features.channels)
        if scales > depth:
            raise ValueError(f"scales={scales}: the features '{features.name}' have {depth} maps")
        self.scales = scales
        widths = [min(channels << i, max_channels) for i in range(scales)]
        self.mixing = Mixing(self.features.channels[:scales], widths)
        shorter = [math.ceil(min(self.size) / stride) for stride in self.features.strides[:scales]]
        self.heads = nn.ModuleList()
        for i, width in enumerate(self.mixing.outputs):
            side = shorter[i - 1] if i else 2 * shorter[0]
            halvings = max(1, round(math.log2(side / 8)))
            later = [min(channels << (i + j), max_channels) for j in range(halvings)]
            self.heads.append(
                Head(
                    [width, *later],
                    side,
                    separable=separable,
                    norm=norm == "batch",
                    classes=len(data.classes),
                    embedding=embedding,
                )
            )

    @classmethod
    def auto(cls, data: DataSpec, batch: int) -> dict[str, object]:
        """size = twice the shorter side, rounded up to a multiple of 32, from 64 to 224."""
        return {"size": min(224, max(64, math.ceil(min(data.resolution) / 16) * 32))}

    def forward(self, images: Tensor, condition: Condition) -> Score:
        if tuple(images.shape[2:]) != self.size:
            images = F.interpolate(images, size=self.size, mode="bilinear", align_corners=False)
        maps = self.mixing(self.features.maps(images)[: self.scales])
        said = [head(x, condition) for head, x in zip(self.heads, maps, strict=True)]
        return Score(tuple(logits for logits, _ in said), tuple(h for _, h in said))


def enlarged(resolution: Sequence[int], size: int) -> Size:
    """The sides of images enlarged, in proportion, until the shorter one is `size`; larger ones stay."""
    height, width = resolution
    factor = max(1.0, size / min(resolution))
    return round(height * factor), round(width * factor)
