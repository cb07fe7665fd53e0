"""One batch of fakes a round for both players: the same training where G neither draws nor counts, and a pass of G less."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ganzoo.errors import UsageError
from ganzoo.training.trainer import Trainer

from .small import images, same, trainer

SGD = {"lr": 1e-2, "optimizer": "sgd", "betas": "none"}  # Adam's steps are large where gradients are next to nothing
FIRM = {
    "gen": {"name": "dcgan", "channels": 4, "norm": "none"},
    "disc": {"name": "dcgan", "channels": 4, "norm": "none"},
    "G": SGD,
}


def played(path: str, **values: Any) -> tuple[Trainer, int]:
    """A trainer after three rounds, and how often G was called."""
    calls: list[int] = []
    with torch.random.fork_rng(devices=[]):
        playing = trainer(path, **values)
        playing.game.players["G"].register_forward_hook(lambda *given: calls.append(1))
        playing.train()
    return playing, len(calls)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return images(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize(
    "more", [{}, {"reg": [{"name": "r2", "gamma": 1.0}]}, {"precision": "bf16"}], ids=["plain", "r2", "bf16"]
)
def test_where_g_is_a_function_the_training_is_the_same(path: str, more: dict[str, Any]) -> None:
    own, calls = played(path, **FIRM, **more)
    shared, fewer = played(path, **FIRM, **more, shared_fakes=True)
    assert (calls, fewer) == (6, 3)
    same(own, shared, atol=1e-6)


def test_what_g_makes_after_its_step_is_new(path: str) -> None:
    steps = {**FIRM, "G": {**SGD, "steps": 2}, "D": {"steps": 3}}
    own, calls = played(path, **steps)
    shared, fewer = played(path, **steps, shared_fakes=True)
    assert (calls, fewer) == (15, 12)  # 3 + 2 a round; the first of each player together
    same(own, shared, atol=1e-6)


def test_power_iterations_and_batch_norm_run_beside_a_kept_graph(path: str) -> None:
    both = {name: {"name": "sagan", "channels": 4} for name in ("gen", "disc")}
    playing, calls = played(path, **both, reg=[{"name": "spectral-norm", "player": "both"}], D={"steps": 2}, shared_fakes=True)
    assert calls == 6  # D's second step asks G for others
    assert all(p.isfinite().all() for p in playing.game.parameters())


def test_micro_batches_would_keep_all_graphs(path: str) -> None:
    with pytest.raises(UsageError, match="shared_fakes keeps the graph"):
        played(path, **FIRM, micro_batch=2, shared_fakes=True)
