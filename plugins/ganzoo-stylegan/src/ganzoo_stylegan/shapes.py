"""Sizes and widths of the maps, which generator and discriminator share."""

from __future__ import annotations

from typing import Literal

from ganzoo.interfaces import DataSpec

Width = int | Literal["auto"]


def auto_widths(data: DataSpec) -> dict[str, object]:
    """`channels` and `max_channels` by the shorter side: as published from 256 pixels, narrower in proportion below.

    Published: 16384 / side channels at full resolution, 32768 / side from 512 pixels on, 512 at most.
    """
    side = min(data.resolution)
    return {"channels": max(1, min(64, 32768 // side)), "max_channels": clipped(2 * side, 64)}


def clipped(value: int, low: int) -> int:
    return min(max(value, low), 512)


def sizes(data: DataSpec) -> list[tuple[int, int]]:
    """(H, W) of the maps, from the one with 4 on its shorter side to the image's."""
    height, width = data.resolution
    return [(height >> i, width >> i) for i in reversed(range(min(height, width).bit_length() - 2))]


def widths(data: DataSpec, channels: Width, max_channels: Width) -> list[int]:
    """Channels of each of `sizes`. Raises ValueError."""
    channels, limit = number(1, channels=channels), number(1, max_channels=max_channels)
    return [min(channels << i, limit) for i in reversed(range(len(sizes(data))))]


def number(low: int, **option: Width) -> int:
    """The value of one option. Raises ValueError where it is below `low`, or still "auto"."""
    ((name, value),) = option.items()
    if value == "auto":
        raise ValueError(f"{name}='auto' depends on the resolution: take the class's auto(data, batch), or give a number")
    if value < low:
        raise ValueError(f"{name}={value} must be at least {low}")
    return value
