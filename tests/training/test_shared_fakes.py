"""One batch of fakes a round for both players: the same training where G neither draws nor counts, and a pass of G less."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ganzoo.assembly import make_plan
from ganzoo.config import Layer, layer_from_dict
from ganzoo.data.cache import materialise
from ganzoo.data.sampling import Sampler
from ganzoo.errors import UsageError
from ganzoo.registry import get_registry
from ganzoo.training.trainer import Trainer

FIRM = {"gen": {"name": "dcgan", "channels": 4, "norm": "none"}, "disc": {"name": "dcgan", "channels": 4, "norm": "none"}}
SPECTRAL = {
    "gen": {"name": "sagan", "channels": 4},
    "disc": {"name": "sagan", "channels": 4},
    "reg": [{"name": "spectral-norm", "player": "both"}],
    "D": {"steps": 2},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("data") / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8))
    return str(path)


def played(folder: str, rounds: int = 3, **values: Any) -> tuple[Trainer, int]:
    """A trainer after some rounds, and how often G was called."""
    table = {
        "data": {"name": "array", "path": folder},
        "reg": [],
        "aug": "none",
        "batch": 4,
        "kimg": 0.004 * rounds,
        "device": "cpu",
        "G": {"lr": 1e-2, "optimizer": "sgd", "betas": "none"},
        **values,
    }
    plan = make_plan(get_registry(), Layer("the command line"), layer_from_dict(table, "the test"))
    settings = plan.config.settings
    with torch.random.fork_rng(devices=[]):
        trainer = Trainer(plan.build(), Sampler(materialise(plan.dataset), batch=4, seed=0), settings, torch.device("cpu"))
        calls: list[int] = []
        trainer.game.players["G"].register_forward_hook(lambda *given: calls.append(1))
        trainer.train()
    assert all(p.isfinite().all() for p in trainer.game.parameters())
    return trainer, len(calls)


@pytest.mark.parametrize(
    "more", [{}, {"reg": [{"name": "r2", "gamma": 1.0}]}, {"precision": "bf16"}], ids=["plain", "r2", "bf16"]
)
def test_where_g_is_a_function_the_training_is_the_same(folder: str, more: dict[str, Any]) -> None:
    own, calls = played(folder, **FIRM, **more)
    shared, fewer = played(folder, **FIRM, **more, shared_fakes=True)
    assert (calls, fewer) == (6, 3)
    for name, p in own.game.named_parameters():
        assert torch.allclose(p, shared.game.get_parameter(name), atol=1e-6), name


def test_what_g_makes_after_its_step_is_new(folder: str) -> None:
    steps = {**FIRM, "G": {"lr": 1e-2, "optimizer": "sgd", "betas": "none", "steps": 2}, "D": {"steps": 3}}
    own, calls = played(folder, **steps)
    shared, fewer = played(folder, **steps, shared_fakes=True)
    assert (calls, fewer) == (15, 12)  # 3 + 2 a round; the first of each player together
    for name, p in own.game.named_parameters():
        assert torch.allclose(p, shared.game.get_parameter(name), atol=1e-6), name


def test_power_iterations_and_batch_norm_run_beside_a_kept_graph(folder: str) -> None:
    assert played(folder, **SPECTRAL, shared_fakes=True)[1] == 6  # D's second step asks G for others


def test_micro_batches_would_keep_all_graphs(folder: str) -> None:
    with pytest.raises(UsageError, match="shared_fakes keeps the graph"):
        played(folder, **FIRM, micro_batch=2, shared_fakes=True)
