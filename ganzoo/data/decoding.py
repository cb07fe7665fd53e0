"""One image: its header, and its pixels at the size and in the channels that a data set has. Pillow does the reading."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import IO, Any, Literal

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from ganzoo.errors import UsageError

Array = np.ndarray[Any, Any]
Fit = Literal["cover", "contain", "stretch"]

# EPS would start Ghostscript; the others are recognised by Pillow but not read without further software.
_NOT_READ = frozenset({"EPS", "MPEG", "WMF", "BUFR", "GRIB", "HDF5"})
_MODES: dict[int, Literal["L", "RGB", "RGBA"]] = {1: "L", 3: "RGB", 4: "RGBA"}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

DEEP = "images of more than 8 bits a channel are reduced to 8"
COLOUR_LOST = "some images have colours although those looked at first are grey: reduced to grey (channels=rgb keeps colours)"


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of an image without its pixels: (height, width) the way it is shown; grey; more than 8 bits; alpha."""

    size: tuple[int, int]
    grey: bool
    deep: bool
    alpha: bool


def check_res(res: tuple[int, int] | None) -> None:
    """UsageError unless both sides are there."""
    if res is not None and min(res) < 1:
        raise UsageError(f"res={list(res)} must be a height and a width of at least 1")


@cache
def formats() -> tuple[str, ...]:
    """The formats that are read: all of Pillow's but those that need other programs."""
    Image.init()
    return tuple(sorted(set(Image.OPEN) - _NOT_READ))


@cache
def extensions() -> frozenset[str]:
    """The file name endings of those formats, lower case, with the dot."""
    return frozenset(ending for ending, name in Image.registered_extensions().items() if name in formats())


def read_header(stream: IO[bytes]) -> Header:
    """Raises whatever Pillow raises for something that is no image."""
    with _quiet(), _open(stream) as image:
        width, height = image.size
        if _orientation(image) >= 5:
            width, height = height, width
        return Header((height, width), _is_grey(image), _is_deep(image), image.has_transparency_data)


def decode_image(stream: IO[bytes], shape: tuple[int, ...], fit: Fit) -> tuple[Array, list[str]]:
    """Pixels as uint8 [C, H, W] of `shape`, and what was lost on the way (DEEP, COLOUR_LOST).

    The first frame of an animation; upright by EXIF; what is transparent on white, unless C is 4. Integers of 16 bits are
    scaled from 0..65535, floats from 0..1 (0..255 where one is above 1). Where the size differs the filter is Lanczos: `cover`
    cuts what sticks out, `contain` fills up with white (C 4: transparent), `stretch` changes the aspect. Raises ValueError or
    what Pillow raises.
    """
    channels, height, width = shape
    with _quiet(), _open(stream) as image:
        remarks = [DEEP] if _is_deep(image) else []
        if channels == 1 and not _is_grey(image):
            remarks.append(COLOUR_LOST)
        side = 2 * max(height, width)  # a JPEG is decoded at 1/2, 1/4 or 1/8 where that still is twice the size asked for
        image.draft(None, (side, side))
        pixels = np.asarray(_fitted(_in_mode(_upright(image), _MODES[channels]), (width, height), fit))
    return _planes(pixels), remarks


def decode_whole(stream: IO[bytes], channels: int) -> tuple[Array, Array | None, list[str]]:
    """Pixels as uint8 [C, H, W] at the image's own size, its alpha uint8 [H, W] where it has any, and remarks (DEEP).

    All else is as in `decode_image`: what is transparent is on white unless C is 4.
    """
    with _quiet(), _open(stream) as image:
        remarks = [DEEP] if _is_deep(image) else []
        upright = _upright(image)
        pixels = np.asarray(_in_mode(upright, _MODES[channels]))
        alpha = np.asarray(_in_mode(upright, "RGBA"))[..., 3] if upright.has_transparency_data else None
    return _planes(pixels), alpha, remarks


def fit_array(pixels: Array, size: tuple[int, int], fit: Fit) -> Array:
    """uint8 [C, H, W] at another (height, width); C is 1, 3 or 4."""
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    return _planes(np.asarray(_fitted(image, (size[1], size[0]), fit)))


def _planes(pixels: Array) -> Array:
    """[H, W] or [H, W, C] as [C, H, W]."""
    return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))


def outlines(pixels: Array) -> Array:
    """Uint8 [1, H, W]: dark lines on white where an image, uint8 [C, H, W], changes most."""
    padded = np.pad(pixels.astype(np.float32), ((0, 0), (1, 1), (1, 1)), "edge")
    across = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    down = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    strength = np.sqrt(across**2 + down**2).max(0)  # of the colour that changes most
    lines: Array = (255 - strength.clip(0, 255)).astype(np.uint8)[None]
    return lines


def _open(stream: IO[bytes]) -> ImageFile.ImageFile:
    try:
        return Image.open(stream, formats=formats())
    except UnidentifiedImageError:
        raise ValueError("not an image that can be read") from None  # Pillow's message holds the address of a stream


def _upright(image: ImageFile.ImageFile) -> Image.Image:
    image.load()
    return image.transpose(_TURNS[turn]) if (turn := _orientation(image)) in _TURNS else image


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8, as far as it can be known without pixels."""
    if image.format == "TIFF":
        return 1  # Pillow turns a TIFF by itself
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # getexif would decode the picture to look behind it
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:
        return 1  # a damaged EXIF block (any of a dozen exceptions) does not spoil the picture


def _is_grey(image: Image.Image) -> bool:
    if image.mode not in ("P", "PA"):
        return image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I")
    if image.palette is None:
        return False
    raw, data = image.palette.getdata()
    colours = np.frombuffer(bytes(data), np.uint8)
    if ";" in raw or len(raw) not in (3, 4) or len(colours) % len(raw):
        return False  # a planar palette: rare, and colour is the safe answer
    colours = colours.reshape(-1, len(raw))
    return bool((colours[:, :3] == colours[:, :1]).all())


def _is_deep(image: ImageFile.ImageFile) -> bool:
    if image.mode == "F" or image.mode.startswith("I"):
        return True
    # 16-bit colour is opened as 8-bit "RGB"; only the raw mode ("RGB;16B") or a PPM's largest value tells.
    for tile in image.tile:
        arguments = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        if any(isinstance(a, str) and ";16" in a for a in arguments):
            return True
        if tile.codec_name.startswith("ppm") and any(isinstance(a, int) and a > 255 for a in arguments):
            return True
    return False


def _in_mode(image: Image.Image, mode: Literal["L", "RGB", "RGBA"]) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        image = _in_8_bits(image)
    elif image.mode == "LAB":
        image = _lab_to_rgb(image)
    elif image.mode == "La":
        image = image.convert("LA")
    if mode != "RGBA" and image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
        if mode == "L":
            image = image.convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _in_8_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    if not np.isfinite(values).all():
        raise ValueError("pixels that are not finite")
    low, high = float(values.min()), float(values.max())
    limit = 255 if image.mode == "F" else 65535
    if low < 0 or high > limit:
        raise ValueError(f"pixels from {low:g} to {high:g}, outside 0..{limit}")
    scale = 255 / 65535 if limit == 65535 else 255.0 if high <= 1 else 1.0
    return Image.fromarray((values * scale + 0.5).astype(np.uint8))


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    assert converted is not None  # None only with inPlace
    return converted


def _fitted(image: Image.Image, size: tuple[int, int], fit: Fit) -> Image.Image:
    """At (width, height)."""
    if image.size == size:
        return image
    width, height = size
    across, down = width / image.width, height / image.height
    if fit == "stretch" or across == down:
        return image.resize(size, Image.Resampling.LANCZOS)
    if fit == "cover":
        scale = max(across, down)
        left = max((image.width - width / scale) / 2, 0)  # one of the two is 0, or a rounding error from it
        top = max((image.height - height / scale) / 2, 0)
        box = (left, top, image.width - left, image.height - top)
        return image.resize(size, Image.Resampling.LANCZOS, box=box)
    scale = min(across, down)
    inner = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.LANCZOS)
    canvas = Image.new(image.mode, size, (255, 255, 255, 0) if image.mode == "RGBA" else "white")
    canvas.paste(inner, ((width - inner.width) // 2, (height - inner.height) // 2))
    return canvas


_silence = threading.Lock()
_silent = 0
_restore: list[warnings.catch_warnings[None]] = []


@contextmanager
def _quiet() -> Iterator[None]:
    """Drop Pillow's warnings. `catch_warnings` alone is not safe in threads: the first in saves, the last out restores."""
    global _silent
    with _silence:
        if _silent == 0:
            _restore.append(saved := warnings.catch_warnings())
            saved.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL(\.|$)")
        _silent += 1
    try:
        yield
    finally:
        with _silence:
            _silent -= 1
            if _silent == 0:
                _restore.pop().__exit__(None, None, None)
