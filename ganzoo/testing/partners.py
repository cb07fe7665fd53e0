"""Partners for a part under test: tiny networks and a loss that provide what it needs, and games made with them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, softplus

from ganzoo.config import PlayerConfig, Settings
from ganzoo.games.adversarial import Adversarial
from ganzoo.games.match import Parts
from ganzoo.interfaces import Batch, Condition, Game, Loss, Regularizer, Score
from ganzoo.plugin import DataSpec
from ganzoo.registry import Entry, get_registry
from ganzoo.testing.cases import NO_OPTIONS, Options, build, group_of, make_batch, resolved
from ganzoo.training.trainer import Trainer

_WIDTH = 8
_Z_DIM = 4
_STYLES = 2
_BUDGET = 1000.0  # kimg: what fades over a training is still there after a few rounds


class PartnerGenerator(nn.Module):
    """Noise [N, z_dim], or an image where the data translate, to samples; with the contract of 'style'."""

    mean_w: Tensor

    def __init__(self, data: DataSpec) -> None:
        super().__init__()
        self.z_dim, self.data, self.shape = _Z_DIM, data, data.shape
        image = data.source or (data if data.domains else None)
        eats = math.prod(image.shape) if image is not None else _Z_DIM
        self.first = nn.Linear(eats + len(data.classes) + data.text, _STYLES * _WIDTH)
        self.out = nn.Linear(_STYLES * _WIDTH, math.prod(data.shape))
        self.bounded = data.modality == "image"
        self.register_buffer("mean_w", torch.zeros(_WIDTH))

    def mapping(self, x: Tensor, condition: Condition) -> Tensor:
        return self.first(_beside(x.flatten(1), condition, self.data)).tanh().unflatten(1, (_STYLES, _WIDTH))

    def synthesis(self, w: Tensor) -> Tensor:
        out = self.out(w.flatten(1)).unflatten(1, self.shape)
        return out.tanh() if self.bounded else out

    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        return self.synthesis(self.mapping(x, condition))


class PartnerDiscriminator(nn.Module):
    """Samples to logits [N], smooth, without anything that couples a batch; of "head", "features" and "classes" what is asked.

    The others it lacks, as many a real one does: who looks at them must say so in `needs`.
    """

    def __init__(self, data: DataSpec, asked: frozenset[str]) -> None:
        super().__init__()
        self.data, self.asked = data, asked
        self.first = nn.Linear(math.prod(data.shape) + len(data.classes) + data.text, _WIDTH)
        self.last = "head" if "head" in asked else "judge"
        self.add_module(self.last, nn.Linear(_WIDTH, 1))
        self.sort = nn.Linear(math.prod(data.shape), len(data.classes)) if data.classes and "classes" in asked else None

    def forward(self, images: Tensor, condition: Condition) -> Score:
        flat = images.flatten(1)
        features = self.first(_beside(flat, condition, self.data)).tanh()
        classes = self.sort(flat) if self.sort is not None else None
        logits = getattr(self, self.last)(features).squeeze(1)
        return Score(logits, (features,) if "features" in self.asked else (), classes)


class PartnerLoss(Loss):
    """The logistic loss."""

    def d(self, real: Score, fake: Score) -> Tensor:
        return softplus(-real.logits) + softplus(fake.logits)

    def g(self, fake: Score, real: Callable[[], Score]) -> Tensor:
        return softplus(-fake.logits)


def _beside(x: Tensor, condition: Condition, data: DataSpec) -> Tensor:
    """x [N, F] with what the condition says of the data."""
    beside = [one_hot(condition["labels"], len(data.classes)).to(x.dtype)] if data.classes else []
    beside += [condition["text"].to(x.dtype)] if data.text else []
    return torch.cat([x, *beside], 1) if beside else x


def make_game(
    entry: Entry,
    data: DataSpec,
    options: Options = NO_OPTIONS,
    seed: int = 0,
    regs: Sequence[tuple[str, Callable[[DataSpec], Regularizer]]] = (),
) -> Game:
    """A game in which the part plays among partners, with `regs` beside it; weights are a function of the seed."""
    torch.manual_seed(seed)
    kind = entry.kind

    def mine(spec: DataSpec) -> Any:
        return build(entry, spec, options)

    parts = Parts(
        make_gen=mine if kind == "generator" else PartnerGenerator,
        make_disc=mine if kind == "discriminator" else partial(PartnerDiscriminator, asked=entry.component.needs),
        make_loss=mine if kind == "loss" else PartnerLoss,
        make_regs=[(entry.name, mine)] if kind == "regularizer" else regs,
        make_augment=mine if kind == "augmentation" else None,
    )
    if kind == "game":
        game: Game = get_registry().load(entry)(data, parts, **resolved(entry, data, options))
        return game
    built: Game = _game_for(entry)(data, parts)
    return built


def _game_for(entry: Entry) -> Any:
    """A game that provides what the part needs of one; else that of one against one."""
    registry = get_registry()
    offered = frozenset().union(*(game.component.provides for game in registry.select("game")))
    asked = entry.component.needs & offered
    for game in registry.select("game") if asked else ():
        if asked <= game.component.provides:
            return registry.load(game)
    return Adversarial


class Batches:
    """Endless random batches of `data`, each a function of its position alone."""

    def __init__(self, data: DataSpec, batch: int) -> None:
        self.data, self.batch, self.position = data, batch, 0

    def draw(self) -> Batch:
        self.position += self.batch
        return make_batch(self.data, self.batch, seed=self.position)

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.position = state["position"]


def make_trainer(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS, seed: int = 0) -> Trainer:
    """A trainer on the CPU of a game with the part. Weights follow `seed`; a round's data and noise are always the same."""
    batch = 4 * group_of(entry, options)
    player = PlayerConfig(lr=1e-3, betas=(0.0, 0.99))
    settings = Settings(batch=batch, kimg=_BUDGET, G=player, D=player)
    return Trainer(make_game(entry, data, options, seed), Batches(data, batch), settings, torch.device("cpu"))


def play(trainer: Trainer, rounds: int) -> None:
    """So many rounds more."""
    trainer.total = trainer.nimg + rounds * trainer.batch
    trainer.train()


def opened(trainer: Trainer) -> Game:
    """Its game, with the parameters that it trains asking for gradients, to be played by hand."""
    for player, optimizer in trainer.optimizers.items():
        for name, p in trainer.game.players[player].named_parameters():
            p.requires_grad_(name in optimizer.parameters)
            p.grad = None
    return trainer.game
