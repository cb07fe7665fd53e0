from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganzoo.data.cache import materialise
from ganzoo.data.points import Grid, Ring, Spiral, SwissRoll
from ganzoo.errors import UsageError


def test_ring_is_eight_gaussians_on_the_unit_circle() -> None:
    data = Ring(labels=True)
    assert data.spec.to_dict() == {"modality": "points", "shape": [2], "classes": [str(mode) for mode in range(8)]}
    store = materialise(data)
    points, modes = store.fields["real"].astype(np.float64), store.labels
    assert points.shape == (100_000, 2)
    assert modes is not None
    for mode in range(8):
        centre = [np.cos(mode * np.pi / 4), np.sin(mode * np.pi / 4)]
        offsets = points[modes == mode] - centre
        # 12,500 points of standard deviation .01 each: five standard errors
        assert abs(len(offsets) - 12_500) < 5 * np.sqrt(12_500 * 7 / 8)
        assert np.abs(offsets.mean(0)).max() < 5 * 0.01 / np.sqrt(len(offsets))
        assert np.abs(offsets.std(0) - 0.01).max() < 5 * 0.01 / np.sqrt(2 * len(offsets))


def test_grid_is_25_gaussians_and_three_sigma_hold_their_share() -> None:
    points = materialise(Grid()).fields["real"].astype(np.float64)
    nearest = np.clip(np.rint(points / 2), -2, 2)
    assert len(np.unique(nearest, axis=0)) == 25
    inside = np.linalg.norm(points - 2 * nearest, axis=1) < 3 * 0.05
    share = 1 - np.exp(-4.5)
    assert abs(inside.mean() - share) < 5 * np.sqrt(share * (1 - share) / 100_000)
    assert np.array_equal(Grid(n=10).centres, [[2 * x, 2 * y] for x in range(-2, 3) for y in range(-2, 3)])


def test_swissroll_and_spiral_lie_on_their_curves() -> None:
    x, y = materialise(SwissRoll(noise=0, n=1000)).fields["real"].astype(np.float64).T
    angle = np.hypot(x, y) / 2 * 4.5 * np.pi  # the radius tells the angle, whose direction is the point's
    assert np.allclose(np.cos(angle) * np.hypot(x, y), x, atol=1e-5)
    assert 2 / 3 - 1e-6 <= np.hypot(x, y).min() <= np.hypot(x, y).max() <= 2
    x, y = materialise(Spiral(noise=0, n=1000, arms=3, turns=1.5)).fields["real"].astype(np.float64).T
    angle = np.arctan2(y, x) - 2 * np.pi * 1.5 * np.hypot(x, y) / 2
    assert np.allclose(np.cos(3 * angle), 1, atol=1e-3)  # a multiple of a third of a turn away from the first arm


@pytest.mark.parametrize("kind", [Ring, Grid, SwissRoll, Spiral])
def test_the_seed_decides(kind: type[Ring | Grid | SwissRoll | Spiral]) -> None:
    one, same, other = kind(n=100), kind(n=100), kind(n=100, seed=1)
    assert np.array_equal(one.arrays()["real"], same.arrays()["real"])
    assert not np.array_equal(one.arrays()["real"], other.arrays()["real"])
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()
    assert one.labels is None
    assert one.spec.classes == ()
    assert len(kind(n=1)) == 1
    with pytest.raises(UsageError, match="n=0 must be at least 1"):
        kind(n=0)


def test_few_points_still_have_all_classes() -> None:
    data = Ring(n=8, labels=True)
    assert data.labels is not None
    assert sorted(data.labels.tolist()) == list(range(8))
    with pytest.raises(UsageError, match="at least"):
        Ring(sigma=-1.0)
    with pytest.raises(UsageError, match="at least"):
        Grid(side=0)


def test_draw(tmp_path: Path) -> None:
    Ring(n=1000, sigma=0).draw(np.zeros((5, 2), np.float32), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (512, 512)
        # The samples are at the centre; the eight modes are in grey at radius 1 of a plot that is 1.2 x 2 wide.
        pixels = np.asarray(image).astype(int)
    assert pixels[256, 256, 2] - pixels[256, 256, 0] > 60
    for mode in range(8):
        x, y = np.rint(256 + 512 / 2.4 * np.array([np.cos(mode * np.pi / 4), -np.sin(mode * np.pi / 4)])).astype(int)
        assert abs(pixels[y, x] - 200).max() < 15
