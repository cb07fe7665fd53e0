"""The transforms of ada: what is drawn for each image, one affine map for blits and geometry, one colour matrix.

Places are in pixels from the middle of the image, x to the right and y down. A map [N, 2, 3] leads from a place in the result
to the place in the image that it shows: the inverse of what is done to the image. Maps compose without matmul, which may run
in TF32 and would move pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

# In the order in which they are applied.
BLITS = ("flip", "turn", "shift")
GEOMETRY = ("scale", "before", "stretch", "after", "move")
COLOUR = ("brightness", "contrast", "luma", "hue", "saturation")
TRANSFORMS = BLITS + GEOMETRY + COLOUR

# The low-pass filter of the wavelet sym6 (Daubechies 1992): orthonormal to its own shifts by two, six vanishing moments.
SYM6 = (
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
)
_DELAY = sum(n * tap for n, tap in enumerate(SYM6)) / sum(SYM6)  # 5.9 fine samples: by as much the filter moves an image
_LEAD = math.floor(_DELAY)


@dataclass(frozen=True, slots=True)
class Draws:
    """What one pass does to each of N images; zeros do nothing. Each [N]; shift and move [2, N], x and y.

    flip, turn, shift            0 or 1 (x mirrored); quarter turns, 0 to 3; whole pixels
    scale, stretch               log2 of the size; log2 of the width and of 1 / height
    before, after                angles, before and after the stretch
    move                         pixels
    brightness, luma, hue        added; 0 or 1 (flipped); angle about the grey axis
    contrast, saturation         log2 of the factor
    """

    flip: Tensor
    turn: Tensor
    shift: Tensor
    scale: Tensor
    before: Tensor
    stretch: Tensor
    after: Tensor
    move: Tensor
    brightness: Tensor
    contrast: Tensor
    luma: Tensor
    hue: Tensor
    saturation: Tensor


def draw(n: int, chance: Tensor, sides: Tensor) -> tuple[Draws, Tensor]:
    """Draws for n images, and [N] bool: which have any geometry.

    chance [13, 1], in the order of TRANSFORMS; sides [2, 1], W and H.
    """
    like: dict[str, Any] = {"device": chance.device, "dtype": chance.dtype}
    on = torch.rand(len(TRANSFORMS), n, **like) < chance
    u, normal = torch.rand(8, n, **like), torch.randn(7, n, **like)
    angle = math.pi * (2 * u - 1)
    flip, turn, shift, scale, before, stretch, after, move, brightness, contrast, luma, hue, saturation = on.to(chance.dtype)
    draws = Draws(
        flip=flip * (u[0] < 0.5),
        turn=turn * (4 * u[1]).floor(),
        shift=shift * ((2 * u[2:4] - 1) * sides / 8).round(),
        scale=scale * 0.2 * normal[0],
        before=before * angle[4],
        stretch=stretch * 0.2 * normal[1],
        after=after * angle[5],
        move=move * normal[2:4] * sides / 8,
        brightness=brightness * 0.2 * normal[4],
        contrast=contrast * 0.5 * normal[5],
        luma=luma * (u[6] < 0.5),
        hue=hue * angle[7],
        saturation=saturation * normal[6],
    )
    return draws, on[len(BLITS) : len(BLITS) + len(GEOMETRY)].any(0)


# ---- places


def blit_map(draws: Draws) -> Tensor:
    """Flip, quarter turns, then the shift, undone: whole numbers, exactly."""
    turn, mirror = draws.turn, 1 - 2 * draws.flip
    cos, sin = (turn == 0).to(turn) - (turn == 2).to(turn), (turn == 1).to(turn) - (turn == 3).to(turn)
    return _undo(_matrix(mirror * cos, mirror * sin, -sin, cos), draws.shift)


def warp_map(draws: Draws) -> Tensor:
    """Scale, turn, stretch, turn, then the move, undone."""
    linear = _product(_unturn(draws.before), _unturn(draws.after, draws.stretch))
    return _undo(linear * torch.exp2(-draws.scale)[:, None, None], draws.move)


def compose(first: Tensor, then: Tensor) -> Tensor:
    """The map of an image to which `first` was done and afterwards `then`."""
    out = _product(first[:, :, :2], then)
    return torch.cat([out[:, :, :2], out[:, :, 2:] + first[:, :, 2:]], 2)


def _unturn(angle: Tensor, stretch: Tensor | None = None) -> Tensor:
    """[N, 2, 2]: a stretch, then a turn, undone."""
    cos, sin = angle.cos(), angle.sin()
    if stretch is None:
        return _matrix(cos, sin, -sin, cos)
    narrow, widen = torch.exp2(-stretch), torch.exp2(stretch)
    return _matrix(narrow * cos, narrow * sin, -widen * sin, widen * cos)


def _undo(linear: Tensor, move: Tensor) -> Tensor:
    return torch.cat([linear, -_product(linear, move.T[:, :, None])], 2)


def _matrix(xx: Tensor, xy: Tensor, yx: Tensor, yy: Tensor) -> Tensor:
    return torch.stack([xx, xy, yx, yy], 1).view(-1, 2, 2)


def _product(a: Tensor, b: Tensor) -> Tensor:
    return (a[:, :, :, None] * b[:, None]).sum(2)


def _pixels(maps: Tensor, x: Tensor, y: Tensor, resolution: tuple[int, int]) -> Tensor:
    """[N, 2, len(y), len(x)]: the column and row, from 0, that the places x [.] and y [.] of the result show; maybe outside."""
    across, down, offset = maps[:, :, 0:1] * x, maps[:, :, 1:2] * y, maps[:, :, 2:]
    height, width = resolution
    middle = torch.stack([offset[:, 0] + (width - 1) / 2, offset[:, 1] + (height - 1) / 2], 1)
    return (across + middle)[:, :, None, :] + down[:, :, :, None]


def _reflect(places: Tensor, last: int) -> Tensor:
    """Places in 0..last, mirrored at both ends as often as needed; the end itself is not repeated."""
    return places.sub((places / (2 * last)).round_(), alpha=2 * last).abs_()


def _middle(side: int) -> Tensor:
    return torch.arange(side, dtype=torch.float64) - (side - 1) / 2


# ---- pixels


class Blit(nn.Module):
    """Copies whole pixels along a map of whole numbers; what lies outside is the image reflected.

    A quarter turn about a middle that is between two pixels one way and on a pixel the other (H - W odd) is rounded down.
    """

    def __init__(self, resolution: tuple[int, int]) -> None:
        super().__init__()
        height, width = self.resolution = resolution
        self.register_buffer("x", _middle(width).float(), persistent=False)
        self.register_buffer("y", _middle(height).float(), persistent=False)

    def forward(self, images: Tensor, maps: Tensor) -> Tensor:
        n, channels, height, width = images.shape
        column, row = (_pixels(maps, self.x.to(maps), self.y.to(maps), self.resolution) + 0.5).floor_().unbind(1)
        column, row = _reflect(column, width - 1).long(), _reflect(row, height - 1).long()
        places = torch.add(column, row, alpha=width).view(n, 1, -1)
        return images.flatten(2).gather(2, places.expand(n, channels, -1)).view(images.shape)


class Warp(nn.Module):
    """Samples images [N, C, H, W] along any affine map, without aliasing; what lies outside is the image reflected.

    As in the paper: up to twice the resolution by the low-pass filter of sym6, bilinear sampling there, down again by the
    filter reversed. The filter is orthonormal, so that up and down alone change nothing, but for the last three pixels:
    reflected is the fine image, and the filter is not quite symmetric. Up and down are products with a dense matrix a side: at
    32 and 64 pixels a quarter of the time of strided depthwise convolutions on a CPU, at 256 still a third.
    """

    def __init__(self, resolution: tuple[int, int]) -> None:
        super().__init__()
        self.resolution = resolution
        for name, side in zip(("rows", "columns"), resolution, strict=True):
            # Fine sample m lies at pixel (m - _DELAY) / 2. Going down needs m = 0 .. 2 side + 9.
            fine = torch.arange(2 * side + len(SYM6) - 2, dtype=torch.float64)
            tensors = {"up": _up(side), "down": _down(side), "fine": (fine - _DELAY) / 2 - (side - 1) / 2}
            for kind, tensor in tensors.items():
                self.register_buffer(f"{kind}_{name}", tensor.float(), persistent=False)

    def forward(self, images: Tensor, maps: Tensor) -> Tensor:
        column, row = _pixels(maps, self.fine_columns.to(maps), self.fine_rows.to(maps), self.resolution).unbind(1)
        height, width = self.resolution
        grid = torch.stack([_on_grid(column, width), _on_grid(row, height)], 3)  # [N, 2 H + 10, 2 W + 10, 2]
        fine = self.up_rows.to(images) @ (images @ self.up_columns.to(images).T)  # [N, C, 2 H, 2 W]
        return self.down_rows.to(images) @ (_Sample.apply(fine, grid) @ self.down_columns.to(images).T)


def _on_grid(pixels: Tensor, side: int) -> Tensor:
    """Columns or rows as grid_sample wants them: from -1 to 1 between the first and the last of the 2 side fine samples."""
    unit = 2 / (2 * side - 1)  # pixel k is fine sample 2 k + _DELAY - _LEAD
    return _reflect(pixels, side - 1).mul_(2 * unit).add_((_DELAY - _LEAD) * unit - 1)


def _up(side: int) -> Tensor:
    """[2 side, side]: fine samples _LEAD .. _LEAD + 2 side - 1 of a row of pixels that is reflected at both ends."""
    m, k = _LEAD + torch.arange(2 * side), torch.arange(-3, side + 3)
    pixel = _reflect(k.double(), side - 1)[:, None] == torch.arange(side)
    return 2**0.5 * _taps(m[:, None] - 2 * k) @ pixel.double()


def _down(side: int) -> Tensor:
    """[side, 2 side + 10]: pixels from fine samples 0 .. 2 side + 9."""
    return _taps(torch.arange(2 * side + len(SYM6) - 2) - 2 * torch.arange(side)[:, None]) / 2**0.5


def _taps(n: Tensor) -> Tensor:
    """SYM6[n], 0 outside."""
    inside = (n >= 0) & (n < len(SYM6))
    return torch.tensor(SYM6, dtype=torch.float64)[n.clamp(0, len(SYM6) - 1)] * inside


class _Sample(torch.autograd.Function):
    """grid_sample as a linear map of the images: it and its adjoint are each other's derivative, to any order.

    Not every torch that ganzoo admits can differentiate grid_sample twice. The grid gets no gradient.
    """

    @staticmethod
    def forward(images: Tensor, grid: Tensor) -> Tensor:
        return nn.functional.grid_sample(images, grid, align_corners=True)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])
        ctx.size = inputs[0].shape

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Spread.apply(gradient, *ctx.saved_tensors, ctx.size), None


class _Spread(torch.autograd.Function):
    """The adjoint of _Sample: each value goes to the four places that it was mixed from. size: of the images."""

    @staticmethod
    def forward(values: Tensor, grid: Tensor, size: torch.Size) -> Tensor:
        images = values.new_zeros(1).expand(size)  # only its shape counts
        return torch.ops.aten.grid_sampler_2d_backward(values, images, grid, 0, 0, True, [True, False])[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, torch.Size], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _Sample.apply(gradient, *ctx.saved_tensors), None, None


class Recolour(nn.Module):
    """One matrix an image on its C channels: brightness, contrast, luma flip, hue, saturation.

    With g the direction of the greys, all of these keep g and the plane across it apart, so they commute but for brightness.
    Hue turns the plane and is left out unless C is 3.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        grey = torch.full((channels, channels), 1 / channels)  # g g^T
        turn = torch.zeros_like(grey)  # v -> g x v
        if channels == 3:
            turn = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / 3**0.5
        self.register_buffer("basis", torch.stack([torch.eye(channels), grey, turn]), persistent=False)

    def forward(self, images: Tensor, draws: Draws) -> Tensor:
        change, added = self.change(draws)
        flat = images.flatten(2)
        return torch.baddbmm(flat + added[:, None, None], change, flat).view(images.shape)

    def change(self, draws: Draws) -> tuple[Tensor, Tensor]:
        """The matrix less the identity [N, C, C], which is exactly 0 where nothing was drawn, and what is added [N]."""
        gain = torch.exp2(draws.contrast)
        along, across = gain * (1 - 2 * draws.luma), gain * torch.exp2(draws.saturation)
        same, turn = across * draws.hue.cos(), across * draws.hue.sin()
        weights = torch.stack([same - 1, along - same, turn])
        return (weights[:, :, None, None] * self.basis.to(weights)[:, None]).sum(0), along * draws.brightness
