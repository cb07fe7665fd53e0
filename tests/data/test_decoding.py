from __future__ import annotations

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from ganzoo.data.decoding import COLOUR_LOST, DEEP, decode_image, extensions, read_header

Array = np.ndarray[Any, Any]


def stored(image: Image.Image, kind: str, **options: Any) -> BytesIO:
    stream = BytesIO()
    image.save(stream, kind, **options)
    stream.seek(0)
    return stream


def decoded(stream: BytesIO, channels: int, size: tuple[int, int], fit: Any = "cover") -> Array:
    stream.seek(0)
    pixels, _ = decode_image(stream, (channels, *size), fit)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (channels, *size)
    return pixels


@pytest.fixture
def rgb(random: np.random.Generator) -> Array:
    return random.integers(0, 256, (6, 9, 3), dtype=np.uint8)


@pytest.fixture
def grey(random: np.random.Generator) -> Array:
    return random.integers(0, 256, (6, 9), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "TGA", "SGI"])
def test_lossless_colour_comes_through_exactly(kind: str, rgb: Array) -> None:
    stream = stored(Image.fromarray(rgb), kind)
    header = read_header(stream)
    assert (header.size, header.grey, header.deep) == ((6, 9), False, False)
    assert np.array_equal(decoded(stream, 3, (6, 9)), rgb.transpose(2, 0, 1))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "GIF"])
def test_grey_stays_grey(kind: str, grey: Array) -> None:
    stream = stored(Image.fromarray(grey), kind)
    assert read_header(stream).grey
    assert np.array_equal(decoded(stream, 1, (6, 9))[0], grey)


def test_one_bit_is_black_and_white(grey: Array) -> None:
    stream = stored(Image.fromarray(grey > 128), "PNG")
    assert read_header(stream).grey
    assert np.array_equal(decoded(stream, 1, (6, 9))[0], (grey > 128) * 255)


def test_palettes_give_their_colours_and_a_grey_palette_is_grey(random: np.random.Generator) -> None:
    indices = random.integers(0, 4, (6, 9), dtype=np.uint8)
    for table, is_grey in [
        ([[255, 0, 0], [0, 255, 0], [9, 9, 9], [1, 2, 3]], False),
        ([[v, v, v] for v in (0, 90, 17, 255)], True),
    ]:
        image = Image.frombytes("P", (9, 6), indices.tobytes())
        image.putpalette([value for colour in table for value in colour])
        for kind in ("PNG", "GIF"):
            stream = stored(image, kind)
            assert read_header(stream).grey == is_grey
            assert np.array_equal(decoded(stream, 3, (6, 9)), np.array(table, np.uint8)[indices].transpose(2, 0, 1))


def over_white(colour: Array, alpha: Array) -> Array:
    alpha = alpha.astype(np.float64)[..., None] / 255
    return colour * alpha + 255 * (1 - alpha)


def test_what_is_transparent_lies_on_white(rgb: Array, grey: Array) -> None:
    expected = over_white(rgb, grey).transpose(2, 0, 1)
    stream = stored(Image.fromarray(np.dstack([rgb, grey])), "PNG")
    assert np.abs(decoded(stream, 3, (6, 9)) - expected).max() <= 1
    assert np.array_equal(decoded(stream, 4, (6, 9)), np.dstack([rgb, grey]).transpose(2, 0, 1))

    stream = stored(Image.merge("LA", [Image.fromarray(rgb[..., 0]), Image.fromarray(grey)]), "PNG")
    assert read_header(stream).grey
    assert np.abs(decoded(stream, 1, (6, 9))[0] - over_white(rgb[..., :1], grey)[..., 0]).max() <= 1


def test_transparency_by_palette_and_by_colour_key(rgb: Array) -> None:
    image = Image.frombytes("P", (2, 1), bytes([0, 1]))
    image.putpalette([255, 0, 0, 0, 0, 255])
    assert decoded(stored(image, "PNG", transparency=0), 3, (1, 2)).tolist() == [[[255, 0]], [[255, 0]], [[255, 255]]]
    keyed = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    stream = stored(Image.fromarray(keyed), "PNG", transparency=(1, 2, 3))
    assert decoded(stream, 3, (1, 2)).tolist() == [[[255, 4]], [[255, 5]], [[255, 6]]]


def test_sixteen_bits_are_scaled_and_it_is_said(random: np.random.Generator, deep_png: Callable[[Array], bytes]) -> None:
    values = random.integers(0, 65536, (6, 9), dtype=np.uint16)
    values[0, :4] = [0, 65535, 128, 129]  # 128 / 257 is just below a half, 129 above
    expected = np.rint(values / 257)
    for stream in (
        BytesIO(deep_png(values)),
        stored(Image.fromarray(values), "TIFF"),
        stored(Image.fromarray(values.astype(np.int32)), "TIFF"),
    ):
        header = read_header(stream)
        assert (header.grey, header.deep) == (True, True)
        assert np.array_equal(decoded(stream, 1, (6, 9))[0], expected)
        stream.seek(0)
        assert decode_image(stream, (1, 6, 9), "cover")[1] == [DEEP]


def test_sixteen_bit_colour_is_noticed(random: np.random.Generator, deep_png: Callable[[Array], bytes]) -> None:
    values = random.integers(0, 65536, (6, 9, 3), dtype=np.uint16)
    ppm = b"P6 9 6 65535\n" + values.astype(">u2").tobytes()
    for stream in (BytesIO(deep_png(values)), BytesIO(ppm)):
        header = read_header(stream)
        assert (header.grey, header.deep) == (False, True)
        assert np.abs(decoded(stream, 3, (6, 9)) - values.transpose(2, 0, 1) / 257).max() <= 1


def test_floats_are_scaled_by_their_range(random: np.random.Generator) -> None:
    values = random.random((6, 9)).astype(np.float32)
    assert np.abs(decoded(stored(Image.fromarray(values), "TIFF"), 1, (6, 9))[0] - values * 255).max() <= 0.5001
    assert np.abs(decoded(stored(Image.fromarray(values * 255), "TIFF"), 1, (6, 9))[0] - values * 255).max() <= 0.5001
    for bad in (values - 0.5, values * 70000, np.full_like(values, np.nan)):
        with pytest.raises(ValueError, match=r"outside 0\.\.255|not finite"):
            decoded(stored(Image.fromarray(bad), "TIFF"), 1, (6, 9))


def test_cmyk_and_lab_become_rgb() -> None:
    cyan = Image.new("CMYK", (4, 4), (255, 0, 0, 0))
    assert decoded(stored(cyan, "TIFF"), 3, (4, 4))[:, 0, 0].tolist() == [0, 255, 255]
    red = Image.new("RGB", (4, 4), (200, 30, 40))
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    lab = ImageCms.profileToProfile(red, *profiles, outputMode="LAB")
    assert lab is not None
    assert np.abs(decoded(stored(lab, "TIFF"), 3, (4, 4))[:, 0, 0].astype(int) - [200, 30, 40]).max() <= 3


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(kind: str, orientation: int, rgb: Array) -> None:
    upright = {
        1: rgb,
        2: rgb[:, ::-1],
        3: rgb[::-1, ::-1],
        4: rgb[::-1],
        5: rgb.transpose(1, 0, 2),
        6: np.rot90(rgb, -1),
        7: rgb[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(rgb),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    stream = stored(Image.fromarray(rgb), kind, exif=exif, **options)
    size = upright.shape[:2]
    assert read_header(stream).size == size
    assert np.array_equal(decoded(stream, 3, size), upright.transpose(2, 0, 1))


def test_a_damaged_exif_block_is_ignored(rgb: Array) -> None:
    stream = stored(Image.fromarray(rgb), "WEBP", exif=b"Exif\0\0MM\0\x2a\xff\xff\xff\xff", lossless=True)
    assert read_header(stream).size == (6, 9)
    assert np.array_equal(decoded(stream, 3, (6, 9)), rgb.transpose(2, 0, 1))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_first_frame_of_an_animation(kind: str) -> None:
    frames = [Image.new("RGB", (5, 4), colour) for colour in ("red", "blue")]
    stream = stored(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
    assert np.abs(decoded(stream, 3, (4, 5))[:, 0, 0].astype(int) - [255, 0, 0]).max() <= 1


def test_fits(rgb: Array) -> None:
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 200  # the middle third: all that cover keeps
    stream = stored(Image.fromarray(wide), "PNG")
    assert (decoded(stream, 3, (10, 10), "cover") == 200).all()
    contained = decoded(stream, 3, (30, 30), "contain")
    assert (contained[:, :10] == 255).all()
    assert (contained[:, 20:] == 255).all()
    assert np.array_equal(contained[:, 10:20], wide.transpose(2, 0, 1))
    stretched = decoded(stream, 3, (10, 90), "stretch")
    assert (stretched[:, :, 40:50] == 200).all()
    assert (stretched[:, :, :20] == 0).all()
    assert decoded(stream, 4, (30, 30), "contain")[3, 0, 0] == 0  # transparent, not white, where there is alpha


@pytest.mark.parametrize("fit", ["cover", "contain", "stretch"])
@pytest.mark.parametrize("size", [(1, 1), (1, 700), (700, 1), (7, 64), (64, 64)])
def test_any_size_and_aspect(fit: str, size: tuple[int, int]) -> None:
    image = Image.new("L", (size[1], size[0]), 77)
    assert (decoded(stored(image, "PNG"), 1, (16, 8), fit) == 77).any()


def test_a_jpeg_reduced_while_decoding_looks_like_one_reduced_after() -> None:
    ramp = np.add.outer(np.arange(800), np.arange(1000)) * 255 / 1798
    stream = stored(Image.fromarray(ramp.astype(np.uint8)), "JPEG", quality=95)
    expected = ramp.reshape(8, 100, 10, 100).mean((1, 3))
    assert np.abs(decoded(stream, 1, (8, 10))[0] - expected).max() <= 2


def test_colour_lost_is_said(rgb: Array) -> None:
    assert decode_image(stored(Image.fromarray(rgb), "PNG"), (1, 6, 9), "cover")[1] == [COLOUR_LOST]


def test_no_image_says_so() -> None:
    for junk in (b"", b"hello", b"\x89PNG\r\n\x1a\n", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"):
        with pytest.raises(Exception, match="not an image"):
            read_header(BytesIO(junk))
    assert ".eps" not in extensions()
    assert {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"} <= extensions()


def test_a_decompression_bomb_is_an_error_of_that_image_alone(monkeypatch: pytest.MonkeyPatch, grey: Array) -> None:
    stream = stored(Image.fromarray(grey), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)  # 54 pixels: only a warning, and none may come out
    assert np.array_equal(decoded(stream, 1, (6, 9))[0], grey)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(Image.DecompressionBombError):
        decoded(stream, 1, (6, 9))


def test_warnings_stay_inside_in_threads_too(monkeypatch: pytest.MonkeyPatch, grey: Array) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    data = stored(Image.fromarray(grey), "PNG").getvalue()
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: decode_image(BytesIO(data), (1, 6, 9), "cover")[0], range(300)))
    assert all(np.array_equal(result[0], grey) for result in results)
    assert warnings.filters == before
