from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ganzoo.plugin import DataSpec
from ganzoo_objectives.diffaugment import DiffAugment

DATA = DataSpec("image", (3, 8, 8))
OFF = {"color": 0.0, "translation": 0.0, "cutout": 0.0}


def only(**options: float) -> DiffAugment:
    return DiffAugment(DATA, **{**OFF, **options})


def shifted_slowly(image: Tensor, down: int, right: int, fill: float) -> Tensor:
    """image [C, H, W], a pixel at a time."""
    channels, height, width = image.shape
    pixels = image.tolist()
    out = [[[fill] * width for _ in range(height)] for _ in range(channels)]
    for c in range(channels):
        for i in range(height):
            for j in range(width):
                if 0 <= i - down < height and 0 <= j - right < width:
                    out[c][i][j] = pixels[c][i - down][j - right]
    return torch.tensor(out)


def uniform(values: Tensor, low: float, high: float) -> None:
    """Kolmogorov-Smirnov at about p = 1e-6."""
    share = ((values.sort().values - low) / (high - low)).double()
    assert share.min() >= -1e-4
    assert share.max() <= 1 + 1e-4
    expected = (torch.arange(len(values)) + 0.5) / len(values)
    assert (share - expected).abs().max() < 2.7 / len(values) ** 0.5


def test_nothing_at_zero_strength():
    images = torch.randn(4, 3, 8, 8)
    assert torch.equal(only()(images), images)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(8, 8), (32, 16), (7, 28)])
def test_shape_type_and_gradient_for_any_image(channels, size):
    images = torch.randn(5, channels, *size, requires_grad=True)
    out = DiffAugment(DATA)(images)
    assert out.shape == images.shape
    assert out.dtype == images.dtype
    out.sum().backward()
    assert images.grad.isfinite().all()
    assert images.grad.any()


def test_every_image_and_every_pass_draws_anew():
    images = torch.randn(1, 3, 16, 16).expand(32, -1, -1, -1)
    for augment in (only(color=1.0), only(translation=0.5), only(cutout=0.5)):
        first, second = augment(images), augment(images)
        assert len(first.flatten(1).unique(dim=0)) > 16
        assert not torch.equal(first, second)


@pytest.mark.parametrize("size", [(8, 8), (8, 24)])
@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_translation_against_a_slow_reference(size, fill):
    height, width = size
    n, reach_y, reach_x = 300, height // 4, width // 4
    images = torch.randn(n, 2, *size)  # values that occur once: the middle tells the shift
    out = only(translation=0.25, fill=fill)(images)
    seen = []
    for image, moved in zip(images, out, strict=True):
        ((i, j),) = (image[0] == moved[0, height // 2, width // 2]).nonzero().tolist()
        seen.append((height // 2 - i, width // 2 - j))
        assert torch.equal(moved, shifted_slowly(image, *seen[-1], fill))
    assert {abs(shift[0]) for shift in seen} == set(range(reach_y + 1))
    assert {abs(shift[1]) for shift in seen} == set(range(reach_x + 1))
    for axis, reach in ((0, reach_y), (1, reach_x)):
        counts = torch.tensor([sum(shift[axis] == s for shift in seen) for s in range(-reach, reach + 1)], dtype=torch.float64)
        expected = n / (2 * reach + 1)
        assert ((counts - expected) ** 2 / expected).sum() < 45  # chi square, at most 12 degrees: p = 1e-5
    assert len(set(seen)) > 20  # rows and columns move independently


@pytest.mark.parametrize(("side", "reach"), [(32, 4), (28, 4), (20, 3), (64, 8)])
def test_an_eighth_of_the_side_is_rounded_to_the_nearest(side, reach):
    # a single bright pixel in the middle tells the shift
    images = torch.zeros(2000, 1, side, side)
    images[:, :, side // 2, side // 2] = 1
    places = only(translation=0.125)(images).flatten(1).argmax(1)
    shifts = torch.stack([places // side, places % side]) - side // 2
    assert shifts.min() == -reach
    assert shifts.max() == reach


@pytest.mark.parametrize("length", [4, 3])
def test_cutout_blanks_a_square_anywhere(length):
    n, side = 40_000, 8
    out = only(cutout=length / side, fill=-2.0)(torch.ones(n, 1, side, side))
    blank = out[:, 0] == -2
    assert (blank | (out[:, 0] == 1)).all()
    rows, columns = blank.any(2), blank.any(1)
    assert torch.equal(blank, rows[:, :, None] & columns[:, None, :])  # a rectangle
    starts = range(-(length // 2), side + (1 - length % 2) - (length // 2))
    for band in (rows, columns):
        assert ((band.int().diff(dim=1) == 1).sum(1) + band[:, 0] == 1).all()  # one run
        share = torch.tensor([sum(start <= i < start + length for start in starts) / len(starts) for i in range(side)])
        assert (band.float().mean(0) - share).abs().max() < 5 * 0.5 / n**0.5


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_colour_is_brightness_then_saturation_then_contrast(channels):
    n = 3000
    images = torch.randn(n, channels, 6, 6, dtype=torch.float64)
    out = only(color=1.0)(images)

    # read the three numbers of each image off the result...
    grey, mean = images.mean(1, keepdim=True), images.mean((1, 2, 3), keepdim=True)
    grey_out, mean_out = out.mean(1, keepdim=True), out.mean((1, 2, 3), keepdim=True)
    brightness = mean_out - mean

    def slope(a: Tensor, b: Tensor) -> Tensor:
        return ((a * b).sum((1, 2, 3)) / (a * a).sum((1, 2, 3))).view(n, 1, 1, 1)

    contrast = slope(grey - mean, grey_out - mean_out)
    saturation = slope(images - grey, out - grey_out) / contrast if channels > 1 else torch.ones_like(contrast)

    # ...and apply them one after another
    slow = images + brightness
    slow = (slow - slow.mean(1, keepdim=True)) * saturation + slow.mean(1, keepdim=True)
    slow = (slow - slow.mean((1, 2, 3), keepdim=True)) * contrast + slow.mean((1, 2, 3), keepdim=True)
    torch.testing.assert_close(out, slow)

    uniform(brightness.flatten(), -0.5, 0.5)
    uniform(contrast.flatten(), 0.5, 1.5)
    if channels > 1:
        uniform(saturation.flatten(), 0.0, 2.0)
    drawn = torch.stack([t.flatten() for t in (brightness, contrast, saturation)][: 3 if channels > 1 else 2])
    assert (torch.corrcoef(drawn) - torch.eye(len(drawn))).abs().max() < 0.1


def test_colour_strength_scales_the_ranges():
    plain = torch.full((2000, 3, 4, 4), 0.3)
    brightness = (only(color=0.4)(plain) - plain)[:, 0, 0, 0]
    uniform(brightness, -0.2, 0.2)


def test_derivatives_by_finite_differences():
    images = torch.randn(2, 2, 4, 3, dtype=torch.float64, requires_grad=True)
    augment = DiffAugment(DATA, translation=0.5, cutout=0.4)

    def fixed(x: Tensor) -> Tensor:
        torch.manual_seed(3)
        return augment(x).pow(2)

    assert torch.autograd.gradcheck(fixed, images)
    assert torch.autograd.gradgradcheck(fixed, images)


def test_memory_format_does_not_matter():
    images, augment = torch.randn(6, 3, 8, 8), DiffAugment(DATA)
    torch.manual_seed(5)
    expected = augment(images)
    torch.manual_seed(5)
    torch.testing.assert_close(augment(images.contiguous(memory_format=torch.channels_last)), expected)


@pytest.mark.parametrize("option", ["color", "translation", "cutout"])
@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_options_out_of_range_are_refused(option, value):
    with pytest.raises(ValueError, match=f"{option}={value}"):
        DiffAugment(DATA, **{option: value})
