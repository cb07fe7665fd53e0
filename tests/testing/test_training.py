"""The training checks: every installed part that plays passes, and each check catches one that breaks its contract."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ganzoo.interfaces import Condition, DataSpec, Play, Regularizer
from ganzoo.testing import training
from ganzoo.testing.partners import PartnerGenerator

from .conftest import LABELLED, Fault, covered


class Frozen(PartnerGenerator):
    """Nothing of it can be trained but what does not count."""

    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        return super().forward(x, condition).detach()


class GrowsOutOfBounds(PartnerGenerator):
    """Fine at first; after two passes it is not."""

    def __init__(self, data: DataSpec) -> None:
        super().__init__(data)
        self.register_buffer("scale", torch.ones(()))

    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        self.scale *= 1e15
        return super().forward(x, condition) * self.scale


class Forgets(Regularizer):
    """A running mean that is in no state_dict."""

    def __init__(self, data: DataSpec) -> None:
        super().__init__(data)
        self.anchor = 0.0

    def forward(self, play: Play) -> Tensor:
        scores = play.real_score.per_sample()
        self.anchor += 0.1 * (float(scores.detach().mean()) - self.anchor)
        return (scores - self.anchor).square()


class Circles(Regularizer):
    """Leaves its samples to the garbage collector."""

    def forward(self, play: Play) -> Tensor:
        play.mine = play  # type: ignore[attr-defined]
        return play.real_score.per_sample().square()


FAULTS = [
    ("generator", Fault(training.check_training_rounds, Frozen, "RuntimeError|both players moved")),
    ("generator", Fault(training.check_training_rounds, GrowsOutOfBounds, "NonFiniteError: .* became NaN or infinite")),
    ("regularizer", Fault(training.check_training_resume, Forgets, "the state of an undisturbed training; seen: another at ")),
    (
        "regularizer",
        Fault(training.check_training_run, Forgets, "the state of an undisturbed training; seen: another at ", LABELLED),
    ),
    (
        "regularizer",
        Fault(training.check_training_frees, Circles, r"no tensor in a circle of references; seen: \d+, such as \["),
    ),
]


@pytest.mark.parametrize(("kind", "fault"), FAULTS, ids=lambda value: str(value))
def test_faults_are_caught(kind: str, fault: Fault) -> None:
    fault.is_caught(kind)


def test_each_check_catches_something() -> None:
    covered((fault for _, fault in FAULTS), training.CHECKS)
