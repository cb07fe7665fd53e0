"""The loss checks: installed losses pass, and each check catches a loss that breaks its contract."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

from ganzoo.interfaces import DataSpec, Loss, Score
from ganzoo.testing import Check, losses
from ganzoo.testing.losses import CHECKS

from .conftest import Fault, covered, installed, name_of, on_suitable_data, tried

Real = Callable[[], Score]
LEVEL = {"provides": {"level"}}


class Sound(Loss):
    """Breaks no contract; each loss below breaks one."""

    def d(self, real: Score, fake: Score) -> Tensor:
        return softplus(-real.logits) + softplus(fake.logits)

    def g(self, fake: Score, real: Real) -> Tensor:
        return softplus(-fake.logits)


class TwoForEach(Sound):
    def d(self, real: Score, fake: Score) -> Tensor:
        return torch.stack([softplus(-real.logits), softplus(fake.logits)])


class Tires(Sound):
    """Its own strength is state."""

    def __init__(self, data: DataSpec) -> None:
        super().__init__(data)
        self.strength = 1.0

    def d(self, real: Score, fake: Score) -> Tensor:
        self.strength *= 0.9
        return self.strength * super().d(real, fake)


class SmoothsAtRandom(Sound):
    def d(self, real: Score, fake: Score) -> Tensor:
        return super().d(real, fake) * (1 - 0.1 * torch.rand_like(real.logits)).detach().clamp(min=1)


class ScalesInPlace(Sound):
    def g(self, fake: Score, real: Real) -> Tensor:
        with torch.no_grad():
            fake.logits.mul_(1.0).add_(1e-3)
        return super().g(fake, real)


class Overflows(Sound):
    def d(self, real: Score, fake: Score) -> Tensor:
        return -real.logits.sigmoid().log() - (1 - fake.logits.sigmoid()).log()


class LovesFakes(Sound):
    def d(self, real: Score, fake: Score) -> Tensor:
        return super().d(fake, real)


class IgnoresReals(Sound):
    def d(self, real: Score, fake: Score) -> Tensor:
        return softplus(fake.logits) + 0 * real.logits


class GivesUp(Sound):
    def g(self, fake: Score, real: Real) -> Tensor:
        return softplus(fake.logits)


class NeverContent(Sound):
    """For which reals count five times as much as fakes, however sure D is of both."""

    def d(self, real: Score, fake: Score) -> Tensor:
        return -5 * real.logits + softplus(fake.logits)


class Sums(Sound):
    def d(self, real: Score, fake: Score) -> Tensor:
        return super().d(real, fake).sum()


class SumsPatches(Sound):
    def d(self, real: Score, fake: Score) -> Tensor:
        return super().d(real, fake).flatten(1).sum(1) if real.logits.dim() > 1 else super().d(real, fake)


class SmoothsOnTheCPU(Sound):
    def g(self, fake: Score, real: Real) -> Tensor:
        return super().g(fake, real) * torch.ones(fake.logits.shape)


class AgainstTheMean(Sound):
    """Relativistic-average, which couples the batch."""

    def d(self, real: Score, fake: Score) -> Tensor:
        return softplus(fake.logits.mean() - real.logits) + softplus(fake.logits - real.logits.mean())


class AsksInVain(Sound):
    def g(self, fake: Score, real: Real) -> Tensor:
        return super().g(fake, real) + 0 * real().logits


class OnlyDifferences(Sound):
    def d(self, real: Score, fake: Score) -> Tensor:
        return softplus(fake.logits - real.logits)


FAULTS = [
    Fault(losses.check_loss_shape, TwoForEach, r"a scalar or \[8, ...\] from d for logits \[8\]; seen: \[2, 8\]"),
    Fault(losses.check_loss_pure, Tires, "the same d for the same scores"),
    Fault(losses.check_loss_pure, SmoothsAtRandom, "no random draw"),
    Fault(losses.check_loss_pure, ScalesInPlace, "changed in place"),
    Fault(losses.check_loss_finite, Overflows, "a finite d and gradient at real -10000"),
    Fault(losses.check_loss_d_direction, LovesFakes, r"dL_D/d\(real\) < 0"),
    Fault(losses.check_loss_d_direction, IgnoresReals, r"dL_D/d\(real\) < 0 .* seen: 0 to 0"),
    Fault(losses.check_loss_g_direction, GivesUp, r"dL_G/d\(fake\) < 0"),
    Fault(losses.check_loss_optimum, NeverContent, "to rise through 0 between levels of -3 and 3"),
    Fault(losses.check_loss_mean, Sums, "for the batch twice over too"),
    Fault(losses.check_loss_map, SumsPatches, "for a map of the same logits too"),
    Fault(losses.check_loss_device, SmoothsOnTheCPU, "every tensor on its input's device"),
    Fault(losses.check_loss_couples, AgainstTheMean, "the mean of d over two halves"),
    Fault(losses.check_loss_asks_in_need, AsksInVain, "g does not depend on it"),
    Fault(losses.check_loss_level, OnlyDifferences, "it does not change, and is declared", declared=LEVEL),
    Fault(losses.check_loss_level, Sound, "it changes, and is not declared"),
]


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_a_sound_loss_passes(check: Check) -> None:
    on_suitable_data(check, tried("loss", Sound, **LEVEL), most=1)


def test_a_loss_that_says_what_couples_it_may_couple() -> None:
    with pytest.raises(pytest.skip.Exception, match="batch means"):
        on_suitable_data(losses.check_loss_couples, tried("loss", AgainstTheMean, couples="batch means"), most=1)


@pytest.mark.parametrize("coding", [{"real": 1.0, "fake": -1.0, "goal": 0.0}, {"real": 1.0, "fake": -1.0, "goal": 1.0}])
def test_other_codings_of_least_squares_push_the_same_way(coding: dict[str, float]) -> None:
    (entry,) = (entry for entry in installed("loss") if entry.name == "lsgan")
    for check in (losses.check_loss_d_direction, losses.check_loss_g_direction):
        on_suitable_data(check, entry, coding, most=1)


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_faults_are_caught(fault: Fault) -> None:
    fault.is_caught("loss")


def test_each_check_catches_something() -> None:
    covered(FAULTS, CHECKS)
