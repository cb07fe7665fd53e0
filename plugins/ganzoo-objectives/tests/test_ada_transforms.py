"""What ada draws, and what each transform does to places and colours."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ganzoo.plugin import DataSpec
from ganzoo_objectives.ada import Ada
from ganzoo_objectives.ada_transforms import SYM6, TRANSFORMS, Blit, Draws, Recolour, Warp, blit_map, compose, draw, warp_map

DATA = DataSpec("image", (3, 8, 8))
F64 = torch.float64


def draws(n: int = 1, **values: Any) -> Draws:
    """Nothing, but for these."""
    zero = torch.zeros(n, dtype=F64)
    none = Draws(**{name: zero.new_zeros(2, n) if name in ("shift", "move") else zero for name in TRANSFORMS})
    shaped = {name: torch.as_tensor(value, dtype=F64) for name, value in values.items()}
    return replace(none, **{name: v.view(*v.shape, 1).expand(*v.shape, n) for name, v in shaped.items()})


def images_of(n: int, *shape: int) -> Tensor:
    return torch.randn(n, *shape, dtype=F64)


# ---- what is drawn


def drawn(p: float, n: int = 100_000, sides: tuple[float, float] = (32.0, 64.0), **options: Any) -> tuple[Draws, Tensor]:
    augment = Ada(DATA, p=p, **options).double()
    return draw(n, augment.chance(), torch.tensor(sides, dtype=F64)[:, None])


def near(value: Tensor | float, expected: float, n: int) -> None:
    assert abs(float(value) - expected) < 5 * math.sqrt(expected * (1 - expected) / n) + 1e-9


@pytest.mark.parametrize("p", [0.3, 0.8])
def test_each_transform_has_its_own_probability(p):
    n = 100_000
    d, warped = drawn(p, n)
    near((d.flip != 0).double().mean(), p / 2, n)
    near((d.luma != 0).double().mean(), p / 2, n)
    for k in (1, 2, 3):
        near((d.turn == k).double().mean(), p / 4, n)
    for values in (d.scale, d.stretch, d.move[0], d.brightness, d.contrast, d.hue, d.saturation):
        near((values != 0).double().mean(), p, n)
    near(((d.before != 0) | (d.after != 0)).double().mean(), p, n)  # 1 - (1 - q)^2 = p
    near((d.before != 0).double().mean(), 1 - math.sqrt(1 - p), n)
    near(warped.double().mean(), 1 - (1 - p) ** 4, n)  # scale, the turns, stretch, move: independent
    moves = (d.scale, d.before, d.stretch, d.after, d.move[0])
    assert torch.equal(warped, torch.stack(moves).ne(0).any(0))
    on = torch.stack([getattr(d, name).reshape(-1, n)[0] != 0 for name in TRANSFORMS]).double()
    assert (torch.corrcoef(on) - torch.eye(len(on))).abs().max() < 5 / n**0.5


def test_sizes_of_what_is_drawn():
    n = 100_000
    d, _ = drawn(1.0, n)
    normal = {"scale": 0.2, "stretch": 0.2, "brightness": 0.2, "contrast": 0.5, "saturation": 1.0}
    spread = {name: getattr(d, name) for name in normal} | {"x": d.move[0], "y": d.move[1]}
    for name, sigma in (normal | {"x": 4.0, "y": 8.0}).items():
        assert abs(spread[name].mean()) < 5 * sigma / n**0.5
        near((spread[name].abs() < sigma).double().mean(), math.erf(0.5**0.5), n)
        near((spread[name].abs() < 2 * sigma).double().mean(), math.erf(2**0.5), n)
    for name in ("before", "after", "hue"):
        share = (getattr(d, name) / (2 * math.pi) + 0.5).sort().values
        assert (share - torch.arange(n) / n).abs().max() < 2.7 / n**0.5  # Kolmogorov-Smirnov
    for axis, reach in ((0, 4), (1, 8)):
        for shift in range(-reach, reach + 1):  # rounded from U(-reach, reach): half as often at the ends
            near((d.shift[axis] == shift).double().mean(), (0.5 if abs(shift) == reach else 1) / (2 * reach), n)
    together = torch.stack([d.shift[0], d.shift[1], d.move[0], d.move[1], d.scale, d.stretch, d.contrast, d.saturation])
    assert (torch.corrcoef(together) - torch.eye(8)).abs().max() < 5 / n**0.5


@pytest.mark.parametrize(
    ("options", "off"),
    [
        ({"flip": False}, {"flip"}),
        ({"rotate": False}, {"turn", "before", "after"}),
        ({"luma_flip": False}, {"luma"}),
        ({"hue": False}, {"hue"}),
        ({"transforms": "gc"}, {"flip", "turn", "shift"}),
        ({"transforms": "b"}, set(TRANSFORMS) - {"flip", "turn", "shift"}),
    ],
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value),
)
def test_what_is_switched_off_is_never_drawn(options, off):
    d, _ = drawn(0.8, 1000, **options)
    assert {name for name in TRANSFORMS if not getattr(d, name).any()} == off


@pytest.mark.parametrize("p", [0.25, 0.6, 0.8, 1.0])
def test_blits_can_be_undone_below_1(p):
    """What happens to the eight orientations of an image, by counts: a matrix with eigenvalues above 0, until p = 1."""
    n, corner = 40_000, torch.zeros(1, 1, 8, 8)
    corner[..., 0, 1] = 1  # off every axis of symmetry: each orientation has its own place
    augment = Ada(DataSpec("image", (1, 8, 8)), transforms="b", p=p)
    augment._used[TRANSFORMS.index("shift")] = False
    counts: Counter[int] = Counter(augment(corner.expand(n, -1, -1, -1)).flatten(1).argmax(1).tolist())
    places = [int(torch.rot90(image, k, (2, 3)).argmax()) for image in (corner, corner.flip(3)) for k in range(4)]
    assert set(counts) <= set(places)
    near(counts[places[0]] / n, (1 - p / 2) * (1 - 3 * p / 4), n)  # the identity
    share = torch.tensor([counts[place] / n for place in places], dtype=F64).view(2, 4)  # [flipped, turned]
    turns = share.sum(0)
    orientations = torch.stack([turns.roll(k) for k in range(4)])  # the map on the distribution over four orientations
    eigenvalues = torch.linalg.eigvals(orientations).real.sort().values
    torch.testing.assert_close(eigenvalues, torch.tensor([1 - p] * 3 + [1.0], dtype=F64), atol=0.03, rtol=0)
    flips = share.sum(1)
    near(flips[1], p / 2, n)  # eigenvalues 1 and 1 - p


def test_share_of_images_that_blits_leave_alone():
    p, n = 0.4, 20_000
    image = torch.randn(1, 3, 8, 16)
    out = Ada(DataSpec("image", (3, 8, 16)), transforms="b", p=p)(image.expand(n, -1, -1, -1))
    still = (1 / 2) * (1 / 4)  # of a shift rounded from U(-1, 1) and from U(-2, 2)
    near((out == image).flatten(1).all(1).double().mean(), (1 - p / 2) * (1 - 3 * p / 4) * (1 - p * (1 - still)), n)


def test_every_image_and_every_pass_draws_anew():
    images, augment = torch.randn(1, 3, 8, 8).expand(32, -1, -1, -1), Ada(DATA, p=0.9)
    first, second = augment(images), augment(images)
    assert len(first.flatten(1).unique(dim=0)) == 32
    assert not torch.equal(first, second)


# ---- places


def homogeneous(d: Draws) -> Tensor:
    """What the draws of one image do to a place, in this order, as 3 x 3 matrices one after another."""

    def linear(a: float, b: float, c: float, e: float) -> Tensor:
        return torch.tensor([[a, b, 0], [c, e, 0], [0, 0, 1]], dtype=F64)

    def turn(angle: float) -> Tensor:
        return linear(math.cos(angle), -math.sin(angle), math.sin(angle), math.cos(angle))

    def move(x: float, y: float) -> Tensor:
        return torch.tensor([[1, 0, x], [0, 1, y], [0, 0, 1]], dtype=F64)

    size, wide = 2 ** float(d.scale), 2 ** float(d.stretch)
    out = torch.eye(3, dtype=F64)
    for step in (
        linear(1 - 2 * float(d.flip), 0, 0, 1),
        turn(float(d.turn) * math.pi / 2),
        move(*d.shift[:, 0].tolist()),
        linear(size, 0, 0, size),
        turn(float(d.before)),
        linear(wide, 0, 0, 1 / wide),
        turn(float(d.after)),
        move(*d.move[:, 0].tolist()),
    ):
        out = step @ out
    return out


def test_the_map_is_the_inverse_of_the_transforms_in_order():
    for seed in range(20):
        torch.manual_seed(seed)
        d, _ = drawn(0.9, 1)
        map_ = compose(blit_map(d), warp_map(d))[0]
        torch.testing.assert_close(map_, torch.linalg.inv(homogeneous(d))[:2])


def reflected(place: int, side: int) -> int:
    return list(np.pad(np.arange(side), 50, mode="reflect"))[place + 50]


@pytest.mark.parametrize("size", [(6, 6), (6, 10), (5, 9)])
@pytest.mark.parametrize("flip", [0, 1])
@pytest.mark.parametrize("turn", [0, 1, 2, 3])
@pytest.mark.parametrize("shift", [(0, 0), (1, 0), (-2, 3), (30, -17)])
def test_blits_copy_pixels(size, flip, turn, shift):
    height, width = size
    images = images_of(2, 2, *size)
    d = draws(2, flip=flip, turn=turn, shift=shift)
    back = torch.linalg.inv(homogeneous(draws(flip=flip, turn=turn, shift=shift)))
    expected = torch.empty_like(images)
    for i in range(height):
        for j in range(width):
            x, y, _ = back @ torch.tensor([j - (width - 1) / 2, i - (height - 1) / 2, 1], dtype=F64)
            row, column = round(float(y) + (height - 1) / 2), round(float(x) + (width - 1) / 2)
            expected[:, :, i, j] = images[:, :, reflected(row, height), reflected(column, width)]
    assert torch.equal(Blit(size)(images, blit_map(d)), expected)


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_quarter_turns_and_flips_as_torch_does_them(turn):
    images = images_of(2, 3, 7, 7)
    assert torch.equal(Blit((7, 7))(images, blit_map(draws(2, turn=turn))), images.rot90(-turn, (2, 3)))
    assert torch.equal(Blit((7, 7))(images, blit_map(draws(2, flip=1))), images.flip(3))


# ---- the wavelet and the warp


def grid(height: int, width: int) -> tuple[Tensor, Tensor]:
    """x and y of each pixel from the middle."""
    y, x = torch.meshgrid(torch.arange(height) - (height - 1) / 2, torch.arange(width) - (width - 1) / 2, indexing="ij")
    return x.double(), y.double()


def wave(x: Tensor, y: Tensor, height: int, width: int) -> Tensor:
    """Cosines with a crest or a trough on the first and the last pixel are their own reflections: known everywhere."""
    return torch.cos(math.pi * (x / (width - 1) + 0.5)) + torch.cos(2 * math.pi * (y / (height - 1) + 0.5))


def source(d: Draws, x: Tensor, y: Tensor) -> Tensor:
    """Where each place comes from: x and y, [2, H, W]."""
    places = torch.stack([x, y, torch.ones_like(x)]).flatten(1)
    return (torch.linalg.inv(homogeneous(d)) @ places)[:2].view(2, *x.shape)


def test_sym6_is_the_most_symmetric_of_its_family():
    """All orthonormal filters with 12 taps and six vanishing moments, from the roots of Daubechies' polynomial."""
    half_band = np.roots([math.comb(5 + k, k) for k in range(5, -1, -1)])
    pairs = [np.roots([1, 4 * y - 2, 1]) for y in half_band if y.imag >= 0]  # z + 1 / z = 2 - 4 y
    family = []
    for choice in range(2 ** len(pairs)):
        taps = np.array([1.0])
        for i, pair in enumerate(pairs):
            z = pair[choice >> i & 1]
            taps = np.convolve(taps, [1, -z.real] if abs(z.imag) < 1e-9 else [1, -2 * z.real, abs(z) ** 2])
        for _ in range(6):
            taps = np.convolve(taps, [1, 1])
        family.append(taps * math.sqrt(2) / taps.sum())
    mirrored = [np.convolve(taps, taps).max() for taps in family]  # 1 for a filter that is its own mirror image
    distance = [min(abs(taps - SYM6).max(), abs(taps[::-1] - SYM6).max()) for taps in family]
    assert min(distance) < 1e-9
    assert max(mirrored) - mirrored[int(np.argmin(distance))] < 1e-9
    assert sorted(mirrored)[-3] < max(mirrored) - 0.005  # it and its mirror image: no other


def test_up_and_down_alone_change_nothing():
    images = images_of(2, 2, 24, 20)
    out = Warp((24, 20))(images, warp_map(draws(2)))
    torch.testing.assert_close(out[..., 3:-3, 3:-3], images[..., 3:-3, 3:-3], atol=1e-6, rtol=0)


def test_constant_images_stay():
    d, _ = drawn(1.0, 64, sides=(24.0, 16.0))
    images = torch.linspace(-1, 1, 64, dtype=F64)[:, None, None, None].expand(-1, 2, 16, 24)
    torch.testing.assert_close(Warp((16, 24))(images, compose(blit_map(d), warp_map(d))), images, atol=1e-6, rtol=0)


WARPS = [
    {"scale": 0.4},
    {"scale": -0.9},
    {"before": 0.5},
    {"after": -2.5},
    {"stretch": 0.5, "after": 0.3},
    {"before": 0.8, "stretch": -0.4},
    {"move": (3.3, -5.7)},
    {"scale": 0.2, "before": 1.0, "stretch": 0.3, "after": -0.4, "move": (2.5, 1.25)},
]


@pytest.mark.parametrize("values", WARPS, ids=str)
def test_a_ramp_shows_each_place_to_where_the_matrices_lead(values):
    """The filter keeps straight lines straight, so that places are right to 1e-5 of a pixel wherever no border is near."""
    height, width = 40, 48
    x, y = grid(height, width)
    d = draws(**values)
    out = Warp((height, width))(torch.stack([x, y])[None], warp_map(d))[0]
    expected = source(d, x, y)
    margin = 5 * 2.0 ** -min(0.0, values.get("scale", 0.0)) * 2 ** abs(values.get("stretch", 0.0)) + 3
    inside = (expected[0].abs() < width / 2 - margin) & (expected[1].abs() < height / 2 - margin)
    assert inside.sum() > 90
    torch.testing.assert_close(out[:, inside], expected[:, inside], atol=1e-4, rtol=0)


@pytest.mark.parametrize("values", WARPS, ids=str)
def test_waves_go_on_beyond_the_border(values):
    x, y = grid(64, 48)
    d = draws(**values)
    out = Warp((64, 48))(wave(x, y, 64, 48)[None, None], warp_map(d))[0, 0]
    torch.testing.assert_close(out, wave(*source(d, x, y), 64, 48), atol=0.01, rtol=0)


def test_blits_and_geometry_are_one_map():
    x, y = grid(64, 48)
    n, augment = 40, Ada(DataSpec("image", (1, 64, 48)), transforms="bg", p=0.6).double()
    images = wave(x, y, 64, 48).expand(n, 1, -1, -1)
    torch.manual_seed(7)
    d, warped = draw(n, augment.chance(), augment._sides)
    torch.manual_seed(7)
    out = augment(images)
    for i in range(n):
        one = Draws(**{name: getattr(d, name)[..., i : i + 1] for name in TRANSFORMS})
        torch.testing.assert_close(out[i, 0], wave(*source(one, x, y), 64, 48), atol=0.015, rtol=0)
    assert 20 < warped.sum() < 40


@pytest.mark.parametrize("values", WARPS, ids=str)
def test_a_blob_moves_as_the_matrices_say(values):
    side, at = 64, torch.tensor([9.0, -5.0], dtype=F64)
    x, y = grid(side, side)
    blob = torch.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / 8)
    d = draws(**values)
    done = homogeneous(d)
    to = (done @ torch.cat([at, at.new_ones(1)]))[:2]
    out = Warp((side, side))(blob[None, None], warp_map(d))[0, 0]
    out = torch.where((x - to[0]) ** 2 + (y - to[1]) ** 2 < 12**2, out, 0)  # its reflections are further off
    mass = out.sum()
    centre = torch.stack([(out * x).sum(), (out * y).sum()]) / mass
    torch.testing.assert_close(centre, to, atol=5e-3, rtol=0)
    torch.testing.assert_close(mass / blob.sum(), done[:2, :2].det(), atol=1e-3, rtol=0)


def test_what_is_finer_than_a_pixel_becomes_grey():
    stripes = (torch.arange(64) % 2 * 2.0 - 1).expand(1, 1, 64, 64).double()
    small = Warp((64, 64))(stripes, warp_map(draws(scale=-1.0)))  # half the size: twice the Nyquist frequency
    assert small[..., 22:-22, 22:-22].abs().max() < 0.01
    every_second = Warp((64, 64))(stripes, warp_map(draws()))[..., 8:-8, 8:-8]
    assert every_second.abs().min() > 0.95


# ---- colour


def colour_matrices(d: Draws) -> Tensor:
    """4 x 4, one after another, as the paper gives them."""
    v = torch.full((3, 1), 3**-0.5, dtype=F64)
    k = torch.tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], dtype=F64) / 3**0.5
    hue = float(d.hue)
    eye = torch.eye(3, dtype=F64)
    out = torch.eye(4, dtype=F64)
    steps = [
        eye,
        eye * 2 ** float(d.contrast),
        eye - 2 * float(d.luma) * v @ v.T,  # Householder
        eye * math.cos(hue) + math.sin(hue) * k + (1 - math.cos(hue)) * v @ v.T,  # Rodrigues
        v @ v.T + (eye - v @ v.T) * 2 ** float(d.saturation),
    ]
    for i, step in enumerate(steps):
        matrix = torch.eye(4, dtype=F64)
        matrix[:3, :3] = step
        if i == 0:
            matrix[:3, 3] = float(d.brightness)
        out = matrix @ out
    return out


def test_colour_is_the_product_of_the_matrices():
    recolour, images = Recolour(3).double(), images_of(1, 3, 4, 4)
    recolour.basis.copy_(torch.stack([torch.eye(3), torch.full((3, 3), 1 / 3, dtype=F64), recolour.basis[2]]))
    for seed in range(20):
        torch.manual_seed(seed)
        d, _ = drawn(0.7, 1)
        matrix = colour_matrices(d)
        expected = torch.einsum("ij,njhw->nihw", matrix[:3, :3], images) + matrix[:3, 3].view(3, 1, 1)
        torch.testing.assert_close(recolour(images, d), expected, atol=1e-6, rtol=1e-6)


def test_each_colour_transform_does_what_its_name_says():
    images = images_of(2, 3, 4, 4)
    grey = images.mean(1, keepdim=True)

    def recoloured(**values: float) -> Tensor:
        return Recolour(3).double()(images, draws(2, **values))

    torch.testing.assert_close(recoloured(brightness=0.3), images + 0.3)
    torch.testing.assert_close(recoloured(contrast=1.5), images * 2**1.5)
    torch.testing.assert_close(recoloured(luma=1), images - 2 * grey)  # luma turned over, chroma kept
    torch.testing.assert_close(recoloured(saturation=-1.0), grey + (images - grey) / 2)
    third = recoloured(hue=2 * math.pi / 3)  # red to green to blue, the greys kept
    torch.testing.assert_close(third, images.roll(1, 1), atol=1e-6, rtol=0)
    torch.testing.assert_close(recoloured(hue=1.0).mean(1, keepdim=True), grey)
    turned, chroma = recoloured(hue=1.0) - grey, images - grey
    torch.testing.assert_close(turned.square().sum(1), chroma.square().sum(1))
    torch.testing.assert_close((turned * chroma).sum(1), math.cos(1.0) * chroma.square().sum(1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_other_channels_have_no_hue_and_grey_no_saturation(channels):
    images = images_of(2, channels, 4, 4)
    d = draws(2, brightness=0.1, contrast=0.5, luma=1, saturation=1.0)
    grey = (images + 0.1).mean(1, keepdim=True)
    expected = 2**0.5 * (-grey + 2 * (images + 0.1 - grey))
    torch.testing.assert_close(Recolour(channels).double()(images, d), expected, atol=1e-6, rtol=1e-6)
    augment = Ada(DataSpec("image", (channels, 8, 8)), p=0.9)
    assert augment.chance()[TRANSFORMS.index("hue")] == 0
