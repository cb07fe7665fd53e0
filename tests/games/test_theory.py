"""The trainer's update on games that can be solved by hand: signs, halves, lazy scaling and look-aheads at once.

Mescheder et al. 2018: unregularised GANs circle round their equilibrium; R1, R2 and instance noise make them converge.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from ganzoo.registry import get_registry

_SPEC = importlib.util.spec_from_file_location("dirac", Path(__file__).parents[2] / "docs" / "experiments" / "dirac.py")
assert _SPEC is not None
assert _SPEC.loader is not None
theory = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = theory
_SPEC.loader.exec_module(theory)

LR = 0.2
COMBINATIONS = [(loss, reg) for loss in theory.LOSSES for reg in theory.REGS if theory.admits(loss, reg)]


def by_size(values: np.ndarray) -> np.ndarray:
    return values[np.lexsort((values.imag.round(6), values.real.round(6)))]


def trainer(game: str, loss: str, reg: str):
    return theory.make_trainer(game, loss, theory.REGS[reg], LR)


@pytest.mark.parametrize(("loss", "reg"), COMBINATIONS)
def test_dirac_gan(loss: str, reg: str) -> None:
    seen = theory.eigenvalues(trainer("dirac", loss, reg), theory.equilibrium("dirac", loss, reg))
    np.testing.assert_allclose(by_size(seen), by_size(theory.dirac(loss, reg, LR)), atol=1e-7)


def test_which_converge() -> None:
    """The verdict of the theory, on the closed form that the test above holds the trainer to."""
    for loss, reg in COMBINATIONS:
        largest = abs(theory.dirac(loss, reg, LR)[-2:]).max()
        damped = reg in ("r1", "r2", "r1+r2", "unrolled", "unrolled, first order")
        damped |= reg == "instance-noise" and loss not in ("hinge", "wasserstein")  # they are piecewise linear
        assert largest < 0.999 if damped else largest > 1 - 1e-9, (loss, reg, largest)


@pytest.mark.parametrize("reg", ["none", "r1", "r2", "r1+r2"])
@pytest.mark.parametrize("loss", theory.LOSSES)
def test_linear_quadratic_game(loss: str, reg: str) -> None:
    seen = theory.eigenvalues(trainer("quadratic", loss, reg), theory.equilibrium("quadratic", loss))
    np.testing.assert_allclose(by_size(seen), by_size(theory.quadratic(loss, reg, LR)), atol=1e-6)


@pytest.mark.parametrize("loss", ["non-saturating", "relativistic"])
def test_lazy_r1(loss: str) -> None:
    lazy = theory.make_trainer("dirac", loss, [("r1", {"gamma": theory.GAMMA, "every": 3})], LR)
    seen = theory.eigenvalues(lazy, theory.equilibrium("dirac", loss), rounds=3)
    np.testing.assert_allclose(by_size(seen), by_size(theory.lazy_dirac(loss, 3, LR)), atol=1e-7)


@pytest.mark.parametrize("reg", theory.PUSHED_OFF)
@pytest.mark.parametrize("loss", ["non-saturating", "wasserstein"])
def test_a_slope_of_one_does_not_converge(loss: str, reg: str) -> None:
    """Mescheder et al. 2018, section 4.1: psi is driven off the equilibrium's 0; theta circles, or rests beside the data."""
    playing = theory.make_trainer("dirac", loss, [(reg, {"weight": 1.0})], LR)
    state, late = np.array([0.1, 0.0, 0.1]), []
    for rounds in range(160):
        state = theory.advance(playing, state, 1)
        late += [abs(state[2])] * (rounds >= 100)
    assert max(late) > 1


def test_wasserstein_with_clipping_circles() -> None:
    playing = theory.make_trainer("dirac", "wasserstein", [("weight-clip", {"c": 0.5})], LR)
    state, late = np.array([0.0, 0.0, 0.4]), []
    for rounds in range(200):
        state = theory.advance(playing, state, 1)
        late += [np.hypot(state[0], state[2])] * (rounds >= 150)
    assert min(late) > 0.3


def test_every_loss_and_regularizer_has_its_place() -> None:
    ours = {name for name, *_ in (entry for regs in theory.REGS.values() for entry in regs)}
    assert {entry.name for entry in get_registry().select("loss")} == set(theory.LOSSES)
    known = ours | set(theory.PUSHED_OFF) | set(theory.NOT_ADMITTED)
    assert {entry.name for entry in get_registry().select("regularizer")} == known
