"""What is chosen for speed alone against its plain form: memory layout, fused and grouped updates, the average, bf16."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ganzoo.config import EmaConfig
from ganzoo.training.ema import Ema
from ganzoo.training.trainer import Trainer

from .small import GP, STYLE, images, same, trainer

SGD = {"optimizer": "sgd", "lr": 1e-2, "betas": "none"}  # Adam makes large steps of gradients next to nothing
SPECTRAL = {
    "gen": {"name": "resnet", "channels": 8},
    "disc": {"name": "resnet", "channels": 8},
    "loss": {"name": "hinge"},
    "reg": [{"name": "spectral-norm"}],
}
GAMES = pytest.mark.parametrize("parts", [STYLE, GP, SPECTRAL], ids=["stylegan", "gp", "spectral"])


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return images(tmp_path_factory.mktemp("data"))


def played(path: str, **values: Any) -> Trainer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        playing = trainer(path, 4, exact=True, **values)
        torch.manual_seed(1)
        playing.train()
    return playing


@GAMES
def test_channels_last(path: str, parts: dict[str, Any]) -> None:
    table = {**parts, "G": SGD, "D": SGD}
    if parts is STYLE:
        table["reg"] = [{"name": "r1", "every": 2}]  # path length draws an image's noise in the order of its memory
    plain, last = played(path, **table), played(path, channels_last=True, **table)
    assert any(p.is_contiguous(memory_format=torch.channels_last) and p.dim() == 4 for p in last.game.parameters())
    same(plain, last, rtol=1e-9, atol=1e-12)


@GAMES
@pytest.mark.parametrize("how", ["fused=true", "fused=false,foreach=true"])
def test_updates_of_all_weights_at_once(path: str, parts: dict[str, Any], how: str) -> None:
    def table(how: str) -> dict[str, Any]:
        player = {"optimizer": f"adam:{how}", "lr": 1e-3, "betas": [0.0, 0.99]}
        return {**parts, "G": player, "D": player}

    same(played(path, **table("fused=false,foreach=false")), played(path, **table(how)), rtol=1e-7, atol=1e-9)


def test_the_average_of_all_weights_at_once() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).double()
    ema = Ema(network, EmaConfig(half_life=0.01, ramp=None), 1.0)
    expected = {name: p.detach().clone() for name, p in network.named_parameters()}
    for step in range(3):
        for p in network.parameters():
            p.data.normal_()
        ema.update(network, 4, 4 * (step + 1))
        beta = 0.5 ** (4 / 10)
        expected = {name: beta * value + (1 - beta) * network.get_parameter(name) for name, value in expected.items()}
    for name, value in expected.items():
        torch.testing.assert_close(ema.network.get_parameter(name), value)


@pytest.mark.slow
def test_bf16_learns_the_same_modes() -> None:
    """On the ring, three seeds each: the share of samples near a mode differs by no more than seeds do."""
    from ganzoo.bench.playing import play
    from ganzoo.bench.protocols import Training, find_suites

    def shares(precision: str) -> torch.Tensor:
        suite = find_suites("ganzoo", ["ring"], ["gan"], steps=2000)[0]
        found = []
        for seed in range(3):
            training: Training = suite.training("gan", seed=seed)
            training.table["precision"] = precision
            found.append(play(training)["looks"][-1]["quality"])
        return torch.tensor(found)

    full, low = shares("fp32"), shares("bf16")
    spread = (full.var() / 3 + low.var() / 3).sqrt()
    assert abs(full.mean() - low.mean()) < max(3 * spread, 0.1), (full, low)
