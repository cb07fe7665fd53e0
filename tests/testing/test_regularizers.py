"""The regularizer checks: installed regularizers pass, and each check catches one that breaks its contract."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import grad
from torch.nn.utils import parametrize

from ganzoo.interfaces import DataSpec, Match, Play, Regularizer
from ganzoo.testing import Check, regularizers
from ganzoo.testing.regularizers import CHECKS

from .conftest import LABELLED, Fault, covered, installed, name_of, on_suitable_data, tried


class Sound(Regularizer):
    """A drift penalty around a running mean, which is state; breaks no contract."""

    def __init__(self, data: DataSpec) -> None:
        super().__init__(data)
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, play: Play) -> Tensor | None:
        self.mean.lerp_(play.real_score.per_sample().detach().mean(), 0.1)
        return play.real_score.per_sample().square() + self.mean.detach() * play.fake_score.per_sample()


class DoesNothing(Regularizer):
    pass


class NobodysPhases(Sound):
    players = frozenset({"both"})


class TrainsG(Sound):
    """D's phase, and a pass through G with a graph."""

    def forward(self, play: Play) -> Tensor:
        return play.critic(play.gen(play.x, play.condition), play.condition).per_sample()


class ShrinksG(Sound):
    def after_step(self, player: str, match: Match) -> None:
        for p in match.gen.parameters():
            p.mul_(0.99)


class Detached(Sound):
    def forward(self, play: Play) -> Tensor:
        return play.real_score.per_sample().detach().square()


class Map(Sound):
    def forward(self, play: Play) -> Tensor:
        return play.real_score.features[0].square()


class LooksAtFeatures(Sound):
    """Without saying so: of a D that has none it makes nothing."""

    def forward(self, play: Play) -> Tensor:
        return sum((f.square().flatten(1).mean(1) for f in play.real_score.features), torch.zeros(len(play.real)))


class LooksAtClasses(Sound):
    def forward(self, play: Play) -> Tensor:
        return play.real_score.classes.square().mean(1)


class LooksAtTheHead(Sound):
    def forward(self, play: Play) -> Tensor:
        return play.disc.head.weight.square().sum()


class RootAtZero(Sound):
    """Its derivative at 0 is infinite, so that D's weights are lost with the first step."""

    def forward(self, play: Play) -> Tensor:
        return (0 * play.real_score.per_sample()).square().sqrt()


class Undeclared(Sound):
    """A gradient penalty that does not say so."""

    input_grad = frozenset({"real"})

    def forward(self, play: Play) -> Tensor:
        return grad(play.real_score.per_sample().sum(), play.real, create_graph=True)[0].square().flatten(1).sum(1)


class AttachesLate(Sound):
    def forward(self, play: Play) -> Tensor | None:
        if not parametrize.is_parametrized(play.disc.head):
            parametrize.register_parametrization(play.disc.head, "bias", nn.Identity())
        return super().forward(play)


class Forgets(Sound):
    """The running mean as a Python number."""

    def __init__(self, data: DataSpec) -> None:
        super().__init__(data)
        self.anchor = 0.0

    def forward(self, play: Play) -> Tensor:
        scores = play.real_score.per_sample()
        self.anchor += 0.1 * (float(scores.detach().mean()) - self.anchor)
        return (scores - self.anchor).square()


class ForgetsATensor(Sound):
    """The running mean as a tensor that is no buffer."""

    def __init__(self, data: DataSpec) -> None:
        super().__init__(data)
        self.anchor = torch.zeros(())

    def forward(self, play: Play) -> Tensor:
        scores = play.real_score.per_sample()
        self.anchor = self.anchor + 0.1 * (scores.detach().mean() - self.anchor)
        return (scores - self.anchor).square()


class WeighsOnTheCPU(Sound):
    """Weights of a batch, made without saying where."""

    def forward(self, play: Play) -> Tensor:
        return super().forward(play) * torch.ones(len(play.real))


class GrowsItsPool(Sound):
    """A buffer that has not its final shape from construction on."""

    def __init__(self, data: DataSpec) -> None:
        super().__init__(data)
        self.register_buffer("pool", torch.empty(0, *data.shape))

    def show(self, images: Tensor, play: Play, real: bool | None) -> Tensor:
        if real:
            self.pool = torch.cat([self.pool, images.detach()])[-16:]
        return images


class KeepsTheGraph(Sound):
    def forward(self, play: Play) -> Tensor:
        self.last: Any = play.real_score.per_sample().square()
        return self.last


class SharesItsMean(Sound):
    """A list that all instances share."""

    seen: list[float] = []  # noqa: RUF012 - that is the fault

    def forward(self, play: Play) -> Tensor:
        scores = play.real_score.per_sample()
        self.seen.append(float(scores.detach().mean()))
        return scores.square() * len(self.seen)


class SpreadOfTheBatch(Sound):
    def forward(self, play: Play) -> Tensor:
        return play.real_score.per_sample().var()


class OnTheCPU(Sound):
    def __init__(self, data: DataSpec) -> None:
        super().__init__(data)
        self.register_buffer("pool", torch.zeros(4, device="cpu"))


FAULTS = [
    Fault(regularizers.check_regularizer_declared, DoesNothing, "it does nothing"),
    Fault(regularizers.check_regularizer_declared, NobodysPhases, "players of G and D"),
    Fault(regularizers.check_regularizer_own_player, TrainsG, "no gradient for G in phase D/main; seen: at "),
    Fault(regularizers.check_regularizer_own_player, ShrinksG, "phase D/main to move D alone; seen: it moved D, G"),
    Fault(regularizers.check_regularizer_penalty, Detached, "a gradient for D; seen: none"),
    Fault(regularizers.check_regularizer_penalty, Map, r"a scalar or \[N\]; seen: \[4, 8\]", declared={"needs": {"features"}}),
    Fault(regularizers.check_regularizer_penalty, LooksAtFeatures, "a gradient for D; seen: none"),
    Fault(regularizers.check_regularizer_penalty, LooksAtClasses, "'NoneType' object has no attribute", LABELLED),
    Fault(regularizers.check_regularizer_penalty, LooksAtTheHead, "object has no attribute 'head'"),
    Fault(regularizers.check_regularizer_penalty, RootAtZero, "a finite penalty; seen"),
    Fault(regularizers.check_regularizer_penalty, Undeclared, "double_backward = True .*; seen: double_backward = False"),
    Fault(regularizers.check_regularizer_attaches_once, AttachesLate, "others under D.head", declared={"needs": {"head"}}),
    Fault(regularizers.check_regularizer_state_dict, Forgets, "no Python value that changes .* seen: changes of anchor"),
    Fault(regularizers.check_regularizer_state_dict, ForgetsATensor, "the same terms in phase D/main"),
    Fault(regularizers.check_regularizer_meta, WeighsOnTheCPU, "every tensor on its input's device"),
    Fault(regularizers.check_regularizer_state_dict, GrowsItsPool, "another game than run.toml describes"),
    Fault(regularizers.check_regularizer_deepcopy, KeepsTheGraph, "Only Tensors created explicitly"),
    Fault(regularizers.check_regularizer_deepcopy, SharesItsMean, "the same terms in phase D/main"),
    Fault(regularizers.check_regularizer_couples, SpreadOfTheBatch, "from two micro-batches"),
    Fault(regularizers.check_regularizer_meta, OnTheCPU, "pool elsewhere"),
]


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
@pytest.mark.parametrize("options", [{"every": 4}, {"player": "both"}, {"second_order": False}, {"until": None}], ids=str)
def test_so_do_those_with_options(check: Check, options: dict[str, Any]) -> None:
    """Lazy penalties, both players' weights, first-order look-ahead, noise without an end."""
    from ganzoo.options import options_of
    from ganzoo.registry import get_registry

    takers = [entry for entry in installed("regularizer") if options.keys() <= options_of(get_registry().load(entry)).keys()]
    assert takers
    for entry in takers:
        on_suitable_data(check, entry, options, most=1)


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_a_sound_regularizer_passes(check: Check) -> None:
    on_suitable_data(check, tried("regularizer", Sound, couples="the running mean"), most=1)


class Declared(Undeclared):
    double_backward = True


class FirstOrder(Sound):
    """Weighs its penalty by the size of a gradient, which it does not differentiate."""

    input_grad = frozenset({"real"})

    def forward(self, play: Play) -> Tensor:
        (gradient,) = grad(play.real_score.per_sample().sum(), play.real, retain_graph=True)
        return play.real_score.per_sample().square() * gradient.norm()


@pytest.mark.parametrize("target", [Declared, FirstOrder])
def test_a_gradient_may_be_taken(target: type[Regularizer]) -> None:
    on_suitable_data(regularizers.check_regularizer_penalty, tried("regularizer", target), most=1)


@pytest.mark.parametrize(
    ("target", "needs"), [(LooksAtFeatures, "features"), (LooksAtClasses, "classes"), (LooksAtTheHead, "head")]
)
def test_what_is_needed_is_there(target: type[Regularizer], needs: str) -> None:
    on_suitable_data(regularizers.check_regularizer_penalty, tried("regularizer", target, needs={needs}), most=1)


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_faults_are_caught(fault: Fault) -> None:
    fault.is_caught("regularizer")


def test_each_check_catches_something() -> None:
    covered(FAULTS, CHECKS)
