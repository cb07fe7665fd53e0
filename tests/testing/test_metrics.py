"""The metric checks: a sound metric passes, and each check catches one that breaks its contract."""

from __future__ import annotations

import math

import pytest
import torch

from ganzoo.interfaces import DataSpec, Measured, Metric, Sampled
from ganzoo.testing import Check, metrics
from ganzoo.testing.metrics import CHECKS

from .conftest import LABELLED, Fault, covered, name_of, on_suitable_data, tried


class Sound(Metric):
    """The distance between the means; breaks no contract."""

    better = "lower"
    same = 0.0

    def __call__(self, real: Sampled, fake: Sampled) -> Measured:
        apart = real.features.double().mean(0) - fake.features.double().mean(0)
        return Measured(float(apart.norm()), float(fake.features.std()) / math.sqrt(len(fake.features)))


class Tensors(Sound):
    def __call__(self, real: Sampled, fake: Sampled) -> Measured:
        return Measured(torch.tensor(super().__call__(real, fake).value))  # type: ignore[arg-type]


class Undecided(Sound):
    better = "closer"  # type: ignore[assignment]


class Offset(Sound):
    def __call__(self, real: Sampled, fake: Sampled) -> Measured:
        return Measured(super().__call__(real, fake).value + 1)


class Backwards(Sound):
    better = "higher"


class FirstHalf(Sound):
    def __call__(self, real: Sampled, fake: Sampled) -> Measured:
        half = len(fake.features) // 2
        return super().__call__(Sampled(real.features[:half]), Sampled(fake.features[:half]))


class Centres(Sound):
    """In place."""

    def __call__(self, real: Sampled, fake: Sampled) -> Measured:
        value = super().__call__(real, fake)
        fake.features.sub_(fake.features.mean(0))
        return value


class Draws(Sound):
    same = None

    def __call__(self, real: Sampled, fake: Sampled) -> Measured:
        chosen = torch.randint(len(fake.features), (100,))
        return super().__call__(real, Sampled(fake.features[chosen]))


class Counts(Sound):
    """Each call is another number."""

    def __init__(self, data: DataSpec) -> None:
        super().__init__(data)
        self.calls = 0

    def __call__(self, real: Sampled, fake: Sampled) -> Measured:
        self.calls += 1
        return Measured(super().__call__(real, fake).value, float(self.calls))


FAULTS = [
    Fault(metrics.check_metric_value, Tensors, "a finite float"),
    Fault(metrics.check_metric_value, Undecided, "'lower', 'higher' or None; seen: closer"),
    Fault(metrics.check_metric_same, Offset, "expected 0; seen: 1"),
    Fault(metrics.check_metric_direction, Backwards, "a higher value for fakes drawn like the reals"),
    Fault(metrics.check_metric_order, FirstHalf, "with the reals in another order too"),
    Fault(metrics.check_metric_pure, Centres, "the vectors unchanged"),
    Fault(metrics.check_metric_pure, Draws, "torch's global random state; seen: it moved"),
    Fault(metrics.check_metric_pure, Counts, "again; seen: Measured"),
]


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_a_sound_metric_passes(check: Check) -> None:
    on_suitable_data(check, tried("metric", Sound))
    check(tried("metric", Sound), LABELLED)


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_faults_are_caught(fault: Fault) -> None:
    fault.is_caught("metric")


def test_each_check_catches_something() -> None:
    covered(FAULTS, CHECKS)
