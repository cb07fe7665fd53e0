"""Counting modes, against samples made by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ganzoo.data.points import Grid, Ring
from ganzoo.interfaces import Modes, Sampled
from ganzoo.metrics.modes import ModesHeld, count_modes
from ganzoo.plugin import DataSpec


def of(index: list[int], inside: list[bool] | None = None, count: int = 4) -> Modes:
    return Modes(count, np.array(index), np.array(inside if inside is not None else [True] * len(index)))


def test_points_are_counted_where_they_lie() -> None:
    """Ring: centres at 0 and at 90 degrees; .029 away is within 3 sigma, .031 is not."""
    samples = np.array([[1.0, 0.0], [1.029, 0.0], [1.031, 0.0], [0.0, 1.0], [-0.5, 0.0]], np.float32)
    modes = Ring().modes(samples)
    assert modes.index.tolist() == [0, 0, 0, 2, 4]
    assert modes.inside.tolist() == [True, True, False, True, False]
    counted = count_modes(modes)
    assert (counted.modes, counted.quality) == (2, 0.6)
    expected = 0.6 * math.log(0.6 * 8) + 2 * 0.2 * math.log(0.2 * 8)
    assert counted.kl == pytest.approx(expected)
    assert counted.floor == pytest.approx(7 / 10)


def test_a_mode_needs_its_share() -> None:
    index = [0] * 97 + [1] * 2 + [2]
    assert [count_modes(of(index), held).modes for held in (0.0, 0.01, 0.02, 0.021)] == [3, 3, 2, 1]
    outside = [True] * 97 + [False] * 3
    assert count_modes(of(index, outside)).modes == 1


def test_kl_is_nothing_for_even_samples_and_all_for_one_mode() -> None:
    assert count_modes(of([0, 1, 2, 3] * 5)).kl == pytest.approx(0, abs=1e-12)
    assert count_modes(of([2] * 9)).kl == pytest.approx(math.log(4))


def test_what_is_not_finite_is_in_no_mode() -> None:
    counted = count_modes(Ring().modes(np.full((50, 2), np.nan, np.float32)))
    assert (counted.modes, counted.quality) == (0, 0)
    assert counted.kl == pytest.approx(math.log(8))


def test_nothing_cannot_be_counted() -> None:
    with pytest.raises(ValueError, match="no samples"):
        count_modes(of([]))


@pytest.mark.parametrize(("data", "count"), [(Ring(n=10), 8), (Grid(n=25), 25)])
def test_perfect_samplers_reach_ceiling_and_floor(data: Ring | Grid, count: int) -> None:
    """Over 200 draws of 1,000 points the mean KL is the floor (to second order), and 1 - exp(-4.5) are within 3 sigma."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(200):
        at = random.integers(count, size=1000)
        found.append(count_modes(data.modes(data.centres[at] + data.sigma * random.standard_normal((1000, 2)))))
    kl = np.array([counted.kl for counted in found])
    assert kl.mean() == pytest.approx((count - 1) / 2000, rel=0.1)
    assert found[0].floor == (count - 1) / 2000
    assert np.mean([counted.quality for counted in found]) == pytest.approx(1 - math.exp(-4.5), abs=0.001)
    assert all(counted.modes == count for counted in found)


def test_the_metric_holds_fakes_against_reals() -> None:
    nothing = torch.empty(0)
    real = Sampled(nothing, modes=of([0, 1, 2, 3] * 25, [True] * 96 + [False] * 4))
    fake = Sampled(nothing, modes=of([0] * 60 + [1] * 20, [True] * 40 + [False] * 40))
    said = ModesHeld(DataSpec("points", (2,)))(real, fake)
    assert said.value == 1
    assert said.details == pytest.approx(
        {
            "modes of the data": 4,
            "modes of the reals": 4,
            "quality": 0.5,
            "quality of the reals": 0.96,
            "reverse KL": 0.75 * math.log(3),
            "reverse KL of perfect samples": 3 / 160,
        }
    )
    assert said.notes == ()
    assert "few" in ModesHeld(DataSpec("points", (2,)))(real, Sampled(nothing, modes=of([0, 1]))).notes[0]
    with pytest.raises(ValueError, match="ring, grid or stacked"):
        ModesHeld(DataSpec("points", (2,)))(real, Sampled(nothing))
    with pytest.raises(ValueError, match="held=1"):
        ModesHeld(DataSpec("points", (2,)), held=1)
