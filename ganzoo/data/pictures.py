"""Samples as PNG files: sheets of images, scatter plots, waveforms. numpy and Pillow only."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ganzoo.errors import GanzooError
from ganzoo.plugin import DataSpec

Array = np.ndarray[Any, Any]

_SIDE = 512  # pixels of a scatter plot
_FINE = 4  # drawn this much larger, then reduced: Pillow's own lines and dots have stairs
_MOST = 20_000  # points drawn
_WAVE = (160, 64)  # width and height of a waveform
_REAL, _FAKE, _AXIS, _TEXT = "#c8c8c8", "#1f5fbf", "#e6e6e6", "#808080"
_TRACES = ("#1f5fbf", "#c0392b", "#2e8b57", "#b8860b")


def draw(samples: Array, spec: DataSpec, path: Path, columns: int = 8, real: Array | None = None) -> None:
    """Write a PNG of samples [N, *spec.shape]: images (floats in [-1, 1], or uint8), points, or signals [N, C, L].

    `real` are points drawn underneath, in grey, from which the plot takes its range.
    """
    if spec.modality == "image":
        picture = sheet(samples if samples.dtype == np.uint8 else to_uint8(samples), columns)
    elif len(spec.shape) == 1:
        picture = scatter(samples, real)
    else:
        picture = waveforms(samples, columns)
    save(picture, path)


def save(picture: Image.Image, path: Path, form: str = "PNG", **options: Any) -> None:
    """Write a picture beside `path` and rename it there, so that nobody sees half of it. GanzooError where that fails."""
    temporary = path.with_name(f".{uuid.uuid4().hex}")  # not the name and more: that may be as long as names can be
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(temporary, form, **options)
        temporary.replace(path)
    except BaseException as error:  # Ctrl-C too
        with suppress(OSError):
            temporary.unlink()
        if not isinstance(error, OSError):
            raise
        raise GanzooError(f"cannot write {path}: {error.strerror or error}; free some space or write elsewhere") from error


def save_animation(frames: Sequence[Image.Image], path: Path, seconds: float = 0.06) -> None:
    """Write an endless GIF, `seconds` a frame, on white, as `save` does. Small pictures are enlarged: viewers do not."""
    factor = max(1, 256 // max(frames[0].size))
    white = Image.new("RGBA", frames[0].size, "white")
    opaque = [Image.alpha_composite(white, f.convert("RGBA")).convert("RGB") for f in frames]
    large = [f.resize((f.width * factor, f.height * factor), Image.Resampling.NEAREST) for f in opaque]
    save(large[0], path, "GIF", save_all=True, append_images=large[1:], duration=round(1000 * seconds), loop=0)


def to_uint8(images: Array) -> Array:
    """Floats in [-1, 1] as 0..255, rounded to nearest (halves up), clipped; NaN is black. Undoes x / 127.5 - 1 exactly."""
    inside = np.clip(np.nan_to_num(np.asarray(images, np.float32), nan=-1.0), -1, 1)
    pixels: Array = (inside * np.float32(127.5) + np.float32(128)).astype(np.uint8)
    return pixels


def sheet(images: Array, columns: int = 8) -> Image.Image:
    """uint8 [N, C, H, W] in rows of `columns`; C is 1, 3 or 4, any other number shows each channel in grey, below one another.

    Places left over in the last row are white.
    """
    if images.shape[1] not in (1, 3, 4):
        images = images.reshape(len(images), 1, -1, images.shape[3])
    count, channels, height, width = images.shape
    columns = max(1, min(columns, count))
    rows = -(-count // columns)
    places = np.full((rows * columns, channels, height, width), 255, np.uint8)
    places[:count] = images
    grid = places.reshape(rows, columns, channels, height, width).transpose(0, 3, 1, 4, 2)
    pixels = np.ascontiguousarray(grid.reshape(rows * height, columns * width, channels))
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)


def scatter(points: Array, real: Array | None = None) -> Image.Image:
    """Points [N, D] in the plane of their first two coordinates (D 1: on a line), equal scales on both axes."""
    fake, below = _plane(points), _plane(real) if real is not None else np.empty((0, 2))
    shown = below if len(below) else fake
    low, high = (shown.min(0), shown.max(0)) if len(shown) else (np.full(2, -1.0), np.full(2, 1.0))
    centre, span = (low + high) / 2, max(float((high - low).max()) * 1.2, 1e-6)
    size = _SIDE * _FINE
    picture = Image.new("RGB", (size, size), "white")
    pen = ImageDraw.Draw(picture)

    def place(xy: Array) -> Array:
        placed: Array = ((xy - centre) / span * [1, -1] + 0.5) * size
        return placed

    ticks = [(value, place(np.array([value, value]))) for value in _ticks(centre, span)]
    for _, (x, y) in ticks:
        pen.line([(x, 0), (x, size)], _AXIS, _FINE)
        pen.line([(0, y), (size, y)], _AXIS, _FINE)
    for xy, colour, radius in ((below, _REAL, 2.0 * _FINE), (fake, _FAKE, 1.5 * _FINE)):
        for x, y in place(xy):
            if -size < x < 2 * size and -size < y < 2 * size:  # far outside, Pillow's integers overflow
                pen.ellipse([x - radius, y - radius, x + radius, y + radius], colour)
    picture = picture.resize((_SIDE, _SIDE), Image.Resampling.BOX)
    pen = ImageDraw.Draw(picture)
    for value, (x, y) in ticks:
        pen.text((x / _FINE + 2, _SIDE - 12), f"{value:g}", _TEXT)
        pen.text((2, y / _FINE - 12), f"{value:g}", _TEXT)
    return picture


def waveforms(signals: Array, columns: int = 8) -> Image.Image:
    """Signals [N, C, L], a curve a channel, all on one scale: the largest absolute value reaches the edge of its place."""
    count, channels, _ = signals.shape
    values = np.nan_to_num(np.asarray(signals, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    columns = max(1, min(columns, count))
    width, height = (side * _FINE for side in _WAVE)
    picture = Image.new("RGB", (columns * width, -(-count // columns) * height), "white")
    pen = ImageDraw.Draw(picture)
    scale = 0.46 * height / max(float(np.abs(values).max(initial=0)), 1e-12)
    across = np.linspace(0.02 * width, 0.98 * width, signals.shape[2])
    for index in range(count):
        left, middle = index % columns * width, (index // columns + 0.5) * height
        pen.line([(left, middle), (left + width, middle)], _AXIS, _FINE)
        for channel in range(channels):
            curve = np.stack([left + across, middle - scale * values[index, channel]], 1)
            pen.line([tuple(point) for point in curve.tolist()], _TRACES[channel % len(_TRACES)], _FINE)
    return picture.resize((picture.width // _FINE, picture.height // _FINE), Image.Resampling.BOX)


def _plane(points: Array) -> Array:
    """Finite points as float64 [N, 2], at most as many as are drawn."""
    flat: Array = np.asarray(points, np.float64)[:_MOST]
    flat = np.pad(flat, ((0, 0), (0, 1))) if flat.shape[1] == 1 else flat[:, :2]
    finite: Array = flat[np.isfinite(flat).all(1)]
    return finite


def _ticks(centre: Array, span: float) -> Iterator[float]:
    """Round values, about six over the span, over both axes' ranges."""
    step = 10.0 ** np.floor(np.log10(span / 6))
    step *= min((1, 2, 5, 10), key=lambda factor: abs(span / (factor * step) - 6))
    first, last = np.ceil((centre.min() - span / 2) / step), np.floor((centre.max() + span / 2) / step)
    for number in np.arange(first, last + 1)[:100]:
        yield float(number * step)
