"""Images of any size through a network that translates or enlarges: made-up sides, and tiles that are blended.

Instance and group norms look at the whole image: alone, each tile would be normalised by itself, and its neighbour's colours
would differ. All tiles are therefore normalised by the statistics of one reduced copy of the image, in every such layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from math import gcd
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganzoo.errors import UsageError
from ganzoo.plugin import DataSpec, Resolutions

WHOLE = 1024 * 1024  # pixels of the output, up to which an image is done whole: with 64 channels about a gigabyte
_MARGIN = 3 / 8  # of an overlap, on either side of the ramp: what a tile makes beside its border is not looked at

Window = tuple[int, int]  # [begin, end)
Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Cut:
    """How an image is cut: windows over its rows and over its columns, in pixels of the input.

    They may reach beyond the image, below and to the right, where it goes on by reflection.

    copy  height and width of the reduced copy that norms take their statistics of
    """

    rows: tuple[Window, ...]
    columns: tuple[Window, ...]
    copy: tuple[int, int]

    @property
    def tiles(self) -> int:
        return len(self.rows) * len(self.columns)


def scale_of(data: DataSpec) -> tuple[int, int]:
    """How many times higher and wider the images are than their sources. UsageError where that is no whole number."""
    source = data.source or data
    if any(side % small for side, small in zip(data.resolution, source.resolution, strict=True)):
        made, eaten = ("x".join(map(str, spec.resolution)) for spec in (data, source))
        raise UsageError(f"this generator makes images of {made} from {eaten}, no whole number of times as large")
    height, width = (side // small for side, small in zip(data.resolution, source.resolution, strict=True))
    return height, width


def cut(size: tuple[int, int], data: DataSpec, can: Resolutions, tile: int | None = None, overlap: int | None = None) -> Cut:
    """How a generator of `data`, which makes images with sides `can`, takes an image of this height and width.

    tile     side of the tiles, in pixels of the input; None: the whole image up to WHOLE pixels
    overlap  of neighbouring tiles, at least; None: a quarter of the tile
    Raises UsageError for a tile that the generator does not take, and an overlap as large as the tile.
    """
    scale = scale_of(data)
    side = _tile(tile, can, scale)
    most = side - max(_step(can, factor) for factor in scale)
    least = min(side // 4, most) if overlap is None else overlap
    if not 0 <= least <= most:
        raise UsageError(f"--overlap {least}: tiles of {side} pixels may overlap by 0 to {most}")
    whole = _made_up(size, can, scale)
    if whole is not None and (whole[0] * whole[1] * scale[0] * scale[1] <= WHOLE if tile is None else max(whole) <= tile):
        return Cut(((0, whole[0]),), ((0, whole[1]),), whole)
    sides = whole if whole is not None and can.step is not None else (max(side, size[0]), max(side, size[1]))
    trained = min((data.source or data).resolution)
    rows, columns = (_windows(length, side, least, can, trained, factor) for length, factor in zip(sides, scale, strict=True))
    share = min(1.0, side / (sides[0] * sides[1]) ** 0.5)
    copy = _made_up((max(1, int(sides[0] * share)), max(1, int(sides[1] * share))), can, scale)
    return Cut(rows, columns, copy or (side, side))


def through(
    forward: Forward,
    images: Tensor,
    plan: Cut,
    scale: tuple[int, int],
    network: nn.Module | None = None,
    tick: Callable[[], object] = lambda: None,
) -> Tensor:
    """Images [N, C, H, W] through `forward`, as `plan` says: [N, C', H scale, W scale] in [-1, 1] on the CPU.

    network  what `forward` calls, where norms that look at the whole image are to see more of it than a tile
    tick     called after each tile
    """
    out, down, across = torch.empty(0), _weights(plan.rows, scale[0]), _weights(plan.columns, scale[1])
    with _Statistics(network if plan.tiles > 1 else None) as statistics:
        if statistics.norms:
            forward(F.interpolate(images, size=plan.copy, mode="bilinear", antialias=True))
        for (i, row), (j, column) in product(enumerate(plan.rows), enumerate(plan.columns)):
            statistics.begin()
            made = forward(_window(images, row, column)).float().cpu()
            if not out.numel():
                out = torch.zeros(*made.shape[:2], plan.rows[-1][1] * scale[0], plan.columns[-1][1] * scale[1])
            place = out[:, :, row[0] * scale[0] : row[1] * scale[0], column[0] * scale[1] : column[1] * scale[1]]
            place += made * down[i][:, None] * across[j]
            tick()
    return out[:, :, : images.shape[2] * scale[0], : images.shape[3] * scale[1]].clamp(-1, 1)


# ---- sides and windows


def _made_up(size: tuple[int, int], can: Resolutions, scale: tuple[int, int]) -> tuple[int, int] | None:
    """The smallest sides from these on that the generator takes; None where all of those are smaller."""
    found = []
    for side, factor in zip(size, scale, strict=True):
        good = (s for s in range(side, 2 * side + 4096) if can.admits((s * factor,)))
        if (first := next(good, None)) is None:
            return None
        found.append(first)
    if can.admits(side * factor for side, factor in zip(found, scale, strict=True)):
        return found[0], found[1]
    largest = max(found)  # a square
    return (largest, largest) if can.admits((largest * scale[0], largest * scale[1])) else None


def _tile(tile: int | None, can: Resolutions, scale: tuple[int, int]) -> int:
    def good(side: int) -> bool:
        return can.admits((side * scale[0], side * scale[1]))

    if tile is not None:
        if not good(tile):
            near = min((s for s in range(1, 4 * tile + 4096) if good(s)), key=lambda s: abs(s - tile), default=None)
            raise UsageError(
                f"--tile {tile}: this generator makes images with sides {can.phrase}" + (f"; take {near}" if near else "")
            )
        return tile
    usual = int((WHOLE / (scale[0] * scale[1])) ** 0.5)
    return next(side for side in (*range(usual, 0, -1), *range(usual, 2**16)) if good(side))


def _step(can: Resolutions, factor: int) -> int:
    """What sides of the input are multiples of, where those of the output are."""
    step = can.step or 1
    return step // gcd(step, factor)


def _windows(length: int, tile: int, overlap: int, can: Resolutions, trained: int, factor: int) -> tuple[Window, ...]:
    """Windows over `length` pixels, neighbours with at least this overlap.

    They begin at multiples of a grid: a network that halves the image makes the same of a place only where it halves alike.
    """
    if length <= tile:
        return ((0, length),)
    step, grid = tile - overlap, _step(can, factor)
    if grid == 1:  # any side will do: the network makes them up itself, to multiples of a power of two that it keeps to itself
        grid = 1 << (min(step, trained).bit_length() - 1)
    step = max(grid, step // grid * grid)
    begins = [0]
    while begins[-1] + tile < length:
        begins.append(begins[-1] + step)
    last = length - begins[-1]
    if can.step is None or not can.admits((last * factor,)):
        begins[-1] = length - tile
    return tuple((begin, min(begin + tile, length)) for begin in begins)


def _weights(windows: tuple[Window, ...], factor: int) -> list[Tensor]:
    """Of each window's pixels in the output: a ramp in the middle of each overlap; together they are 1 everywhere."""
    total = torch.zeros(windows[-1][1] * factor)
    found = []
    for k, (begin, end) in enumerate(windows):
        place = torch.arange(begin * factor, end * factor) + 0.5
        weight = torch.ones(len(place))
        if k > 0 and (shared := (windows[k - 1][1] - begin) * factor) > 0:
            weight = torch.minimum(weight, _ramp((place - begin * factor) / shared))
        if k < len(windows) - 1 and (shared := (end - windows[k + 1][0]) * factor) > 0:
            weight = torch.minimum(weight, _ramp((end * factor - place) / shared))
        total[begin * factor : end * factor] += weight
        found.append(weight)
    return [weight / total[begin * factor : end * factor] for weight, (begin, end) in zip(found, windows, strict=True)]


def _ramp(share: Tensor) -> Tensor:
    """0 to 1 over the middle of an overlap."""
    return ((share - _MARGIN) / (1 - 2 * _MARGIN)).clamp(0, 1)


def _window(images: Tensor, row: Window, column: Window) -> Tensor:
    """A part of the images, which go on by reflection beyond their end."""
    rows, columns = (_reflected(window, side) for window, side in zip((row, column), images.shape[2:], strict=True))
    return images[:, :, rows][:, :, :, columns]


def _reflected(window: Window, side: int) -> Tensor:
    index, period = torch.arange(*window), max(1, 2 * (side - 1))
    index = index % period
    return torch.minimum(index, period - index).clamp(max=side - 1)


# ---- norms that look at the whole image


def image_wide_norms(network: nn.Module) -> list[nn.Module]:
    """The instance and group norms of a network in eval mode that take statistics of the image before them."""
    kinds = (nn.modules.instancenorm._InstanceNorm, nn.GroupNorm)
    return [
        module for module in network.modules() if isinstance(module, kinds) and getattr(module, "running_mean", None) is None
    ]


class _Statistics:
    """Mean and variance of each call of a network's image-wide norms: of the first pass, put in place of later ones' own.

    A norm that is called twice in a pass has two of them: they go by the order of the calls.
    """

    def __init__(self, network: nn.Module | None) -> None:
        self.norms = image_wide_norms(network) if network is not None else []
        self._handles: list[Any] = []
        self._found: list[tuple[Tensor, Tensor]] = []
        self._call: int | None = None  # None: in the first pass

    def __enter__(self) -> _Statistics:
        self._handles = [norm.register_forward_hook(self._replace) for norm in self.norms]
        return self

    def __exit__(self, *args: object) -> None:
        for handle in self._handles:
            handle.remove()

    def begin(self) -> None:
        """Before each later pass."""
        self._call = 0

    def _replace(self, norm: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
        groups = norm.num_groups if isinstance(norm, nn.GroupNorm) else out.shape[1]
        grouped = args[0].float().unflatten(1, (groups, -1))  # [N, groups, C / groups, h, w]
        if self._call is None:
            variance, mean = torch.var_mean(grouped, dim=(2, 3, 4), correction=0, keepdim=True)
            self._found.append((mean, variance))
            return out
        mean, variance = self._found[self._call]
        self._call += 1
        made = ((grouped - mean) * (variance + norm.eps).rsqrt()).flatten(1, 2)  # type: ignore[operator]
        if norm.weight is not None:
            made = made * norm.weight[:, None, None] + norm.bias[:, None, None]  # type: ignore[index]
        return made.to(out.dtype)
