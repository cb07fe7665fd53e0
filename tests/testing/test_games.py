"""The game checks: installed games pass, and each check catches one that breaks its contract."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from ganzoo.games.adversarial import Adversarial
from ganzoo.games.match import Parts
from ganzoo.interfaces import Batch, Phase
from ganzoo.plugin import DataSpec
from ganzoo.testing import Check, games
from ganzoo.testing.games import CHECKS

from .conftest import IMAGES, LABELLED, POINTS, Fault, covered, name_of, tried

DATA = [IMAGES, LABELLED, POINTS, IMAGES.replace(source=IMAGES)]


class SameNames(Adversarial):
    def phases(self) -> list[Phase]:
        return [replace(phase, name="main") for phase in super().phases()]


class OnlyD(Adversarial):
    def phases(self) -> list[Phase]:
        return [phase for phase in super().phases() if phase.player == "D"]


class ForgetsLazyPhases(Adversarial):
    def phases(self) -> list[Phase]:
        return [Phase("D/main", "D", twice=True), Phase("G/main", "G", twice=True)]


class ForgetsTwice(Adversarial):
    def phases(self) -> list[Phase]:
        return [replace(phase, twice=False) for phase in super().phases()]


class DrawsGlobally(Adversarial):
    def draw(self, batch: Batch, generator: torch.Generator) -> Batch:
        return {**batch, "x": torch.randn(len(batch["real"]), self.z_dim)}


class ScalesItsRecords(Adversarial):
    def draw(self, batch: Batch, generator: torch.Generator) -> Batch:
        batch["real"].mul_(0.5)
        return super().draw(batch, generator)


class LooksAtImages(Adversarial):
    def draw(self, batch: Batch, generator: torch.Generator) -> Batch:
        drawn = super().draw(batch, generator)
        return {**drawn, "x": drawn["x"] + batch["real"].mean()}


class DecaysG(Adversarial):
    def after_step(self, player: str) -> None:
        super().after_step(player)
        with torch.no_grad():
            for p in self.players["G"].parameters():
                p.mul_(0.999)


class ForgetsToLearn(Adversarial):
    def losses(self, phase: Phase, batch: Batch, nimg: int) -> Iterator[tuple[str, Tensor]]:
        for name, term in super().losses(phase, batch, nimg):
            yield name, term.detach() if phase.player == "G" else term


class Explodes(Adversarial):
    def losses(self, phase: Phase, batch: Batch, nimg: int) -> Iterator[tuple[str, Tensor]]:
        for name, term in super().losses(phase, batch, nimg):
            yield name, term / (nimg == 0)


class SumsTheBatch(Adversarial):
    def losses(self, phase: Phase, batch: Batch, nimg: int) -> Iterator[tuple[str, Tensor]]:
        for name, term in super().losses(phase, batch, nimg):
            yield name, term * len(batch["real"])


class ItsOwnG(Adversarial):
    def generate(self, generator: nn.Module, batch: Batch) -> Tensor:
        return super().generate(self.players["G"], batch)


class MakesAnything(Adversarial):
    def made_by(self, generator: nn.Module, to: str | None = None) -> tuple[nn.Module, DataSpec]:
        return generator, self.data


class MakesItsOwn(Adversarial):
    def made_by(self, generator: nn.Module, to: str | None = None) -> tuple[nn.Module, DataSpec]:
        return super().made_by(self.players["G"], to)


class SettlesNothing(Adversarial):
    def settle(self, generator: nn.Module, batch: Batch) -> None:
        pass


class ForgetsTheSource(Adversarial):
    def made_by(self, generator: nn.Module, to: str | None = None) -> tuple[nn.Module, DataSpec]:
        network, data = super().made_by(generator, to)
        return network, data.replace(source=None)


class CountsRounds(Adversarial):
    def __init__(self, data: DataSpec, parts: Parts) -> None:
        super().__init__(data, parts)
        self.steps = 0

    def losses(self, phase: Phase, batch: Batch, nimg: int) -> Iterator[tuple[str, Tensor]]:
        self.steps += 1
        for name, term in super().losses(phase, batch, nimg):
            yield name, term * (1 + 0.1 * self.steps)


FAULTS = [
    Fault(games.check_game_phases, SameNames, "one name a phase"),
    Fault(games.check_game_phases, OnlyD, "for each player; seen: for D"),
    Fault(games.check_game_draw, DrawsGlobally, "torch's global random state moved"),
    Fault(games.check_game_draw, ScalesItsRecords, "real changed"),
    Fault(games.check_game_draw, LooksAtImages, "nothing computed of images, only passed on; seen: x is"),
    Fault(games.check_game_moves_own_player, DecaysG, "phase D/main to move D alone; seen: it moved D, G"),
    Fault(games.check_game_moves_own_player, ForgetsToLearn, "phase G/main to move G alone; seen: it moved nobody"),
    Fault(games.check_game_moves_own_player, Explodes, "ZeroDivisionError|finite terms in phase D/main"),
    Fault(games.check_game_regularizers, ForgetsLazyPhases, "a phase of D with every=2 .* seen: they are played in none"),
    Fault(games.check_game_regularizers, ForgetsTwice, "twice=True in phase D/main"),
    Fault(games.check_game_micro_batches, SumsTheBatch, "from two micro-batches"),
    Fault(games.check_game_generate, ItsOwnG, "samples of the network that it is given"),
    Fault(games.check_game_made_by, MakesAnything, "ValueError for 'no such thing'"),
    Fault(games.check_game_made_by, MakesItsOwn, "a network of the player that it is given"),
    Fault(
        games.check_game_made_by,
        ForgetsTheSource,
        "size mismatch",
        IMAGES.replace(source=IMAGES),
        {"needs": frozenset({"translate"})},
    ),
    Fault(games.check_game_settles, SettlesNothing, "0 passes"),
    Fault(games.check_game_state_dict, CountsRounds, "the same terms in phase D/main"),
]


@pytest.mark.parametrize("data", DATA, ids=["images", "classes", "points", "pairs"])
@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_adversarial_passes_on_whatever_there_is(check: Check, data: DataSpec) -> None:
    check(tried("game", Adversarial), data)


@pytest.mark.parametrize("options", [{"prior": "uniform"}, {"d_warmup": 2}], ids=str)
@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_so_does_adversarial_with_options(check: Check, options: dict[str, object]) -> None:
    check(tried("game", Adversarial), IMAGES, options)


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_faults_are_caught(fault: Fault) -> None:
    fault.is_caught("game")


def test_each_check_catches_something() -> None:
    covered(FAULTS, CHECKS)
