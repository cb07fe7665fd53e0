"""SAGAN (Zhang et al. 2019): the residual networks with self-attention at one resolution of G and of D.

The paper's networks are those for 128x128, with 64 channels, and attention at 32x32 was best for its FID. Both players have a
spectral norm there, a regularizer here: `spectral-norm:player=both`; the gate is a bare parameter, which it leaves alone.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from ganzoo.interfaces import DataSpec
from ganzoo_resnet.layers import Init, SelfAttention, initialise
from ganzoo_resnet.resnet import ProjectionDiscriminator, ResNetGenerator


def auto_attention(data: DataSpec) -> int:
    """32 as in the paper, or half of a smaller image's shorter side."""
    return min(32, min(data.resolution) // 2)


def place(maps: list[tuple[int, int]], attention: int) -> tuple[int, int]:
    """Which block's map has this shorter side, and its width; ValueError where none has."""
    for i, (side, width) in enumerate(maps):
        if side == attention:
            return i, width
    sides = ", ".join(str(side) for side in sorted({side for side, _ in maps}))
    raise ValueError(f"attention={attention} is no side of a map; at this resolution there are {sides}")


class SAGANGenerator(ResNetGenerator):
    """Noise [N, z_dim] to images [N, C, H, W] in [-1, 1], sides powers of two from 8, square or not.

    Zhang et al. 2019 (arXiv:1805.08318): the residual generator, with self-attention before the block that doubles a map of one
    resolution. Its gate starts at 0, so at first it is the residual generator.

    Options:
        attention: the shorter side of the map that attends to itself; auto: 32, but at most half of the image's
    """

    def __init__(
        self, data: DataSpec, *, attention: int | Literal["auto"] = "auto", init: Init = "xavier", **options: Any
    ) -> None:
        super().__init__(data, init=init, **options)
        self.place, width = place(self.maps, auto_attention(data) if attention == "auto" else attention)
        self.attention = attend(width, init)

    @classmethod
    def auto(cls, data: DataSpec, batch: int) -> dict[str, Any]:
        return {**super().auto(data, batch), "attention": auto_attention(data)}

    def look(self, x: Tensor, i: int) -> Tensor:
        return self.attention(x) if i == self.place else x


class SAGANDiscriminator(ProjectionDiscriminator):
    """Images [N, C, H, W] to logits [N], sides powers of two from 8, square or not.

    Zhang et al. 2019 (arXiv:1805.08318): the residual discriminator, with self-attention behind the block that makes a map of
    one resolution. Labels: the inner product of the features and a class embedding, as of the projection discriminator.

    Options:
        attention: the shorter side of the map that attends to itself; auto: 32, but at most half of the image's
    """

    def __init__(
        self, data: DataSpec, *, attention: int | Literal["auto"] = "auto", init: Init = "xavier", **options: Any
    ) -> None:
        super().__init__(data, init=init, **options)
        self.place, width = place(self.maps, auto_attention(data) if attention == "auto" else attention)
        self.attention = attend(width, init)

    @classmethod
    def auto(cls, data: DataSpec, batch: int) -> dict[str, Any]:
        return {**super().auto(data, batch), "attention": auto_attention(data)}

    def look(self, x: Tensor, i: int) -> Tensor:
        return self.attention(x) if i == self.place else x


def attend(width: int, init: Init) -> nn.Module:
    attention = SelfAttention(width)
    initialise(attention, init)
    return attention
