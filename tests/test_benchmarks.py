from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganzoo.bench.training import make_trainer

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
PLAIN = ("dcgan", "sngan", "wgan-gp", "stylegan2-32", "stylegan2-64", "stylegan2-32-path")


def test_what_plugins_cost_at_start_up() -> None:
    program = [sys.executable, str(BENCHMARKS / "plugins.py"), "--plugins", "3", "--runs", "1"]
    figures = json.loads(subprocess.run([*program, "--json"], capture_output=True, text=True, check=True).stdout)
    assert set(figures) == {"list", "help", "list without", "help without"}
    assert all(seconds > 0 for seconds in figures.values())
    assert "3 plugins" in subprocess.run(program, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/training.py, as it runs under --smoke: narrow networks."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.delitem(sys.modules, "training", raising=False)
    module = importlib.import_module("training")
    module.smoke()
    monkeypatch.delitem(sys.modules, "training")
    return module


def trained(bench: ModuleType, name: str) -> Any:
    module, options = bench.ROWS[name].plain
    return importlib.import_module(f"baselines.{module}").Training(**options)


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_step_trains_networks_of_the_same_size(bench: ModuleType, name: str) -> None:
    training, plan = trained(bench, name), bench.ROWS[name].plan()
    game = plan.build()
    for mine, other in ((training.gen, game.players["G"]), (training.disc, game.players["D"])):
        assert size(mine) == size(other)
    learns(training, bench.Batches(plan).draw, training.gen, training.disc)


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_network_is_the_same_function(bench: ModuleType, name: str) -> None:
    """Folded, scaled and merged or not: with the same weights the same images and logits."""
    torch.manual_seed(0)
    training, game = trained(bench, name), bench.ROWS[name].plan().build().eval()
    gen, disc = game.players["G"], game.players["D"]
    weights = {"dcgan": tutorial_weights, "sngan": unnormalised}.get(name, lambda net: net.state_dict())
    plain_disc = training.disc
    if name == "sngan":
        plain_disc = importlib.import_module("baselines.sngan").Discriminator(channels=16)
    for mine, other in ((training.gen, gen), (plain_disc, disc)):
        left = mine.load_state_dict(weights(other), strict=False)
        assert not left.missing_keys
        mine.eval()
    z = torch.randn(8, training.z_dim)
    images = gen(z, {})
    torch.testing.assert_close(training.gen(z), images, atol=1e-5, rtol=1e-5)
    logits = disc(images, {}).logits
    expected = logits.sigmoid() if name == "dcgan" else logits
    torch.testing.assert_close(plain_disc(images), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", PLAIN)
def test_the_bare_loop_trains_what_the_trainer_trains(bench: ModuleType, name: str) -> None:
    plan = bench.ROWS[name].plan()
    bare = importlib.import_module("baselines.bare").Training(plan)
    trainer = make_trainer(plan, torch.device("cpu"))
    for mine, other in zip(bare.match.parameters(), trainer.game.matches[0].parameters(), strict=True):
        assert torch.equal(mine, other)
    for mine, player in ((bare.gen_optimizer, "G"), (bare.disc_optimizer, "D")):
        trainer.optimizers[player].begin(0.0)
        other = trainer.optimizers[player].torch
        for key in ("lr", "fused"):
            assert mine.param_groups[0][key] == other.param_groups[0][key]
        assert tuple(mine.param_groups[0]["betas"]) == tuple(other.param_groups[0]["betas"])
    learns(bare, bench.Batches(plan, torch.channels_last).draw, bare.gen, bare.disc)
    said = bare.fetch()
    wanted = {"disc", "gen", "real", "fake"} | {{"r1": "r1", "gradient-penalty": "penalty", "path-length": "path"}[n] for n in
        bare.match.names if n != "spectral-norm"}  # fmt: skip
    assert set(said) == wanted
    assert all(abs(value) < float("inf") for value in said.values())


def test_torchgan_trains(bench: ModuleType) -> None:
    pytest.importorskip("torchgan", reason="torchgan is not installed: pip install torchgan")
    training = importlib.import_module("baselines.torchgan").Training(channels=16)
    learns(training, bench.Batches(bench.ROWS["dcgan"].plan()).draw, training.gen, training.disc)


def test_the_benchmark_runs_and_writes_its_figures(tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    tables = ("sngan", "memory", "startup")
    program = [sys.executable, str(BENCHMARKS / "training.py"), "--smoke", "--json", str(told)]
    shown = subprocess.run([*program, *(word for name in tables for word in ("--only", name))], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    found = json.loads(told.read_text())
    assert set(found["tables"]) == set(tables)
    assert found["machine"]["torch"] == torch.__version__
    rows = found["tables"]["sngan"]["rows"]
    assert set(rows) == {"tutorial step", "plain step", "ganzoo fp32", "ganzoo bf16"}
    assert rows["ganzoo fp32"]["over plain step"]["median"] > 0
    assert "| ganzoo fp32 |" in shown.stdout
    assert found["tables"]["memory"]["ratio"] > 0
    assert set(found["tables"]["startup"]) == {"cold", "warm"}


def learns(training: Any, draw: Any, *networks: nn.Module) -> None:
    """Three steps: every weight finite, every network moved."""
    before = [[p.detach().clone() for p in net.parameters()] for net in networks]
    for _ in range(3):
        training.step(draw())
    for net, then in zip(networks, before, strict=True):
        assert all(p.isfinite().all() for p in net.parameters())
        moved = [not torch.equal(p, was) for p, was in zip(net.parameters(), then, strict=True)]
        assert sum(moved) >= len(moved) - 1  # a gate may rest


def size(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def unnormalised(net: nn.Module) -> dict[str, Tensor]:
    """Weights as they are used, behind spectral norm."""
    named = dict(net.named_modules())
    out = {}
    for name, value in net.state_dict().items():
        if ".parametrizations.weight.original" in name:
            layer = name.partition(".parametrizations")[0]
            out[f"{layer}.weight"] = named[layer].weight.detach()
        elif ".parametrizations." not in name:
            out[name] = value
    return out


def tutorial_weights(net: nn.Module) -> dict[str, Tensor]:
    """ganzoo's DCGAN as the tutorial names it: its linear layers are convolutions of a 4x4 map."""
    state = dict(net.state_dict())
    if "project.weight" in state:
        first = state.pop("project.weight")  # [4 * 4 * C, z], places before channels
        out = {"main.0.weight": first.view(4, 4, -1, first.shape[1]).permute(3, 2, 0, 1)}
        layers, norms = {"ups.0": 3, "ups.1": 6, "ups.2": 9}, {"norms.0": 1, "norms.1": 4, "norms.2": 7}
    else:
        head = state.pop("head.weight")  # [1, C * 4 * 4]
        out = {"main.8.weight": head.view(1, -1, 4, 4)}
        layers = {"convolutions.0": 0, "convolutions.1": 2, "convolutions.2": 5, "head": 8}
        norms = {"norms.1": 3, "norms.2": 6}
    for name, value in state.items():
        layer, _, part = name.rpartition(".")
        out[f"main.{(layers | norms)[layer]}.{part}"] = value
    return out
