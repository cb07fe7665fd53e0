from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganzoo.data.pictures import draw, save_animation, scatter, sheet, to_uint8, waveforms
from ganzoo.errors import GanzooError
from ganzoo.plugin import DataSpec


def test_to_uint8_undoes_the_scaling_and_rounds_to_nearest() -> None:
    values = np.arange(256, dtype=np.uint8)
    assert np.array_equal(to_uint8(values.astype(np.float32) / np.float32(127.5) - 1), values)
    between = (np.arange(255) + 0.49) / 127.5 - 1
    assert np.array_equal(to_uint8(between), np.arange(255))
    assert np.array_equal(to_uint8(between + 0.02 / 127.5), np.arange(1, 256))
    assert to_uint8(np.array([-7.0, 7.0, np.nan, np.inf, -np.inf, 0.0])).tolist() == [0, 255, 0, 255, 0, 128]


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_a_sheet_has_each_image_in_its_place(channels: int, mode: str, random: np.random.Generator) -> None:
    images = random.integers(0, 256, (7, channels, 5, 4), dtype=np.uint8)
    picture = sheet(images, columns=3)
    assert (picture.mode, picture.size) == (mode, (12, 15))
    pixels = np.asarray(picture).reshape(15, 12, channels)
    for index in range(7):
        row, column = divmod(index, 3)
        place = pixels[row * 5 : row * 5 + 5, column * 4 : column * 4 + 4]
        assert np.array_equal(place, images[index].transpose(1, 2, 0))
    assert (pixels[10:, 4:] == 255).all()


def test_fewer_images_than_columns_and_odd_channels() -> None:
    assert sheet(np.zeros((2, 3, 5, 4), np.uint8), 8).size == (8, 5)
    assert sheet(np.zeros((2, 6, 5, 4), np.uint8), 8).size == (8, 30)


def test_draw_writes_a_png_and_leaves_nothing_else(tmp_path: Path, random: np.random.Generator) -> None:
    images = random.uniform(-1.2, 1.2, (4, 3, 8, 8)).astype(np.float32)
    path = tmp_path / "samples" / "000200.png"
    for _ in range(2):
        draw(images, DataSpec("image", (3, 8, 8)), path, columns=2)
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert np.array_equal(np.asarray(image)[:8, 8:], to_uint8(images[1]).transpose(1, 2, 0))
    assert [found.name for found in path.parent.iterdir()] == [path.name]
    draw(to_uint8(images), DataSpec("image", (3, 8, 8)), tmp_path / "b.png", columns=2)
    assert (tmp_path / "b.png").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(("mode", "colour"), [("RGBA", (200, 0, 0, 0)), ("RGB", (255, 255, 255)), ("L", 255)])
def test_what_is_transparent_is_white_in_an_animation(tmp_path: Path, mode: str, colour: Any) -> None:
    first = Image.new(mode, (8, 4), colour)
    second = first.copy()
    second.paste(0 if mode == "L" else (0, 0, 0, 255)[: len(mode)], (0, 0, 4, 4))
    save_animation([first, second], tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as image:
        assert image.size == (256, 128)
        assert (np.asarray(image.convert("RGB")) == 255).all()
        image.seek(1)
        shown = np.asarray(image.convert("RGB"))
        assert (shown[:, :128] == 0).all()
        assert (shown[:, 128:] == 255).all()


def test_a_name_as_long_as_names_can_be(tmp_path: Path) -> None:
    path = tmp_path / f"{'x' * 251}.png"
    draw(np.zeros((1, 3, 4, 4), np.float32), DataSpec("image", (3, 4, 4)), path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_picture_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(GanzooError, match="cannot write"):
        draw(np.zeros((1, 3, 4, 4), np.float32), DataSpec("image", (3, 4, 4)), tmp_path / "file" / "a.png")


def coloured(picture: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """x and y of the bluish pixels."""
    pixels = np.asarray(picture).astype(int)
    y, x = np.nonzero(pixels[..., 2] - pixels[..., 0] > 60)
    return x, y


def test_a_scatter_plot_has_equal_scales_and_y_upwards() -> None:
    points = np.array([[0.0, 0.0], [2.0, 1.0]])
    x, y = coloured(scatter(points))
    assert x.max() - x.min() == pytest.approx(2 * (y.max() - y.min()), abs=4)  # the dots have a size
    assert y[x.argmin()] > y[x.argmax()]
    assert x.max() - x.min() == pytest.approx(512 / 1.2, abs=6)


def test_reals_decide_the_range() -> None:
    real = np.array([[-1.0, -1.0], [1.0, 1.0]])
    x, y = coloured(scatter(np.array([[1.0, -1.0], [1e30, 0], [np.nan, 0]]), real))
    assert x.mean() == pytest.approx(256 + 512 / 2.4, abs=2)
    assert y.mean() == pytest.approx(256 + 512 / 2.4, abs=2)


@pytest.mark.parametrize(
    "points",
    [np.zeros((3, 2)), np.full((3, 2), np.nan), np.zeros((0, 2)), np.ones((4, 1)), np.ones((4, 5)), np.full((2, 2), 1e6)],
)
def test_any_points_can_be_drawn(points: np.ndarray, tmp_path: Path) -> None:
    draw(points, DataSpec("points", points.shape[1:]), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (512, 512)


def test_waveforms(tmp_path: Path) -> None:
    signals = np.zeros((5, 1, 100), np.float32)
    signals[1, 0] = np.sin(np.linspace(0, 2 * np.pi, 100))
    picture = waveforms(signals, columns=2)
    assert picture.size == (320, 192)
    x, y = coloured(picture)
    first, second = y[(x < 160) & (y < 64)], y[(x >= 160) & (y < 64)]
    assert np.ptp(first) <= 3
    assert np.ptp(second) == pytest.approx(0.92 * 64, abs=4)
    signals[2] = np.nan
    draw(signals, DataSpec("signal", (1, 100)), tmp_path / "a.png")
    assert waveforms(np.zeros((2, 3, 50))).size == (320, 64)
