"""Trainers of real parts on a few small images, without a run directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ganzoo.assembly import make_plan
from ganzoo.config import Layer, layer_from_dict
from ganzoo.data.cache import materialise
from ganzoo.data.sampling import Sampler
from ganzoo.interfaces import Batch, Game
from ganzoo.registry import get_registry
from ganzoo.training.trainer import Trainer

BATCH = 4
STYLE = {
    "gen": {"name": "stylegan", "channels": 64, "max_channels": 8, "z_dim": 8, "w_dim": 8, "noise": False},
    "disc": {"name": "stylegan", "channels": 64, "max_channels": 8},
    "reg": [{"name": "r1", "every": 2}, {"name": "path-length", "every": 2}],
}
GP = {
    "gen": {"name": "dcgan", "channels": 4},
    "disc": {"name": "dcgan", "channels": 4, "norm": "none"},
    "reg": [{"name": "gradient-penalty"}],
}


def images(folder: Path) -> str:
    path = folder / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8))
    return str(path)


class Exact:
    """Batches, and what a game draws, in float64."""

    def __init__(self, game: Game, sampler: Sampler) -> None:
        self.position, self.sampler, plain = 0, sampler, game.draw
        game.draw = lambda batch, noise: self.lift(plain(batch, noise))  # type: ignore[method-assign]

    def draw(self) -> Batch:
        return self.lift(self.sampler.draw())

    def lift(self, batch: Batch) -> Batch:
        return {name: value.double() if value.is_floating_point() else value for name, value in batch.items()}

    def state_dict(self) -> dict[str, int]:
        return self.sampler.state_dict()

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.sampler.load_state_dict(state)


def trainer(path: str, rounds: int = 3, exact: bool = False, channels_last: bool = False, **values: Any) -> Trainer:
    """Before its first round; `exact` in float64. Draws into torch's random state."""
    table = {
        "data": {"name": "array", "path": path},
        "reg": [],
        "aug": "none",
        "batch": BATCH,
        "kimg": BATCH * rounds / 1000,
        "device": "cpu",
        **values,
    }
    plan = make_plan(get_registry(), Layer("the command line"), layer_from_dict(table, "the test"))
    device = torch.device(plan.config.settings.device)
    game = plan.build().to(device)
    batches: Any = Sampler(materialise(plan.dataset), batch=BATCH, seed=0, device=device, channels_last=channels_last)
    if channels_last:
        game.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if exact:
        batches = Exact(game.double(), batches)
    return Trainer(game, batches, plan.config.settings, device)


def same(one: Trainer, two: Trainer, **tolerance: float) -> None:
    """Raises AssertionError that names the first parameter in which they differ."""
    for name, p in one.game.named_parameters():
        assert p.isfinite().all(), name
        assert torch.allclose(p, two.game.get_parameter(name), **tolerance), name
