"""Compiled networks and recorded steps play the same training; what cannot be, stays as it is and is named."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ganzoo.interfaces import Batch, Game, Phase
from ganzoo.training import trainer as loop
from ganzoo.training.accelerate import Graph, Said
from ganzoo.training.display import Quiet
from ganzoo.training.launch import train
from ganzoo.training.optimizers import PlayerOptimizer
from ganzoo.training.trainer import Trainer

from .small import BATCH, GP, STYLE, images, same, trainer

GAMES = pytest.mark.parametrize("parts", [STYLE, GP], ids=["stylegan", "gp"])


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return images(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def _no_compiled_code_stays() -> Any:
    yield
    torch.compiler.reset()
    torch.compiler.set_stance("default")


class Words(Quiet):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, words: str) -> None:
        self.said.append(words)


def played(path: str, before: Callable[[Trainer], object] = lambda playing: None, **values: Any) -> Trainer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        playing = trainer(path, 4, **values)
        before(playing)
        torch.manual_seed(1)
        playing.train()
    return playing


def compile_with(monkeypatch: pytest.MonkeyPatch, backend: Any) -> None:
    plain = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda module: plain(module, backend=backend))


@GAMES
def test_traced_networks_play_the_same_training(path: str, parts: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    traced: list[bool] = []

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        def call(*given: Any) -> Any:
            traced.append(torch.is_grad_enabled())
            return graph(*given)

        return call

    compile_with(monkeypatch, backend)
    same(played(path, **parts), played(path, **parts, compile=True), rtol=1e-4, atol=1e-6)
    assert traced


@pytest.mark.slow
@GAMES
def test_compiled_networks_play_the_same_training(path: str, parts: dict[str, Any]) -> None:
    with torch._inductor.config.patch(fallback_random=True):  # else compiled networks draw numbers of their own
        same(played(path, **parts), played(path, **parts, compile=True), rtol=1e-3, atol=1e-5)


def test_phases_that_differentiate_twice_are_named_by_their_parts(path: str) -> None:
    def twice(**values: Any) -> list[str]:
        return [phase.name for phase in trainer(path, **values).phases if phase.twice]

    assert twice(**STYLE) == ["D/every2", "G/every2"]
    assert twice(**GP) == ["D/main"]
    assert twice(**{**GP, "reg": [{"name": "unrolled", "steps": 1}]}) == ["G/main"]


def test_what_cannot_be_compiled_is_said_and_trained(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("no such kernel")

    compile_with(monkeypatch, broken)
    words = Words()
    table = {**GP, "data": {"name": "array", "path": path}, "batch": BATCH, "kimg": 0.02, "device": "cpu", "compile": True}
    run = train(table, tmp_path / "run", words)
    assert run.config()["compile"] is True
    assert [said for said in words.said if "no such kernel" in said and "cannot be compiled" in said]
    assert (tmp_path / "run" / "checkpoints" / "000000.020").is_dir() or list((tmp_path / "run" / "checkpoints").iterdir())


def test_graphs_are_not_of_cpus(path: str, tmp_path: Path) -> None:
    words = Words()
    table = {**GP, "data": {"name": "array", "path": path}, "batch": BATCH, "kimg": 0.02, "device": "cpu", "graphs": True}
    train(table, tmp_path / "run", words)
    assert "not all steps are recorded as graphs: graphs are of CUDA devices, not of cpu" in words.said


def test_optimizers_that_cannot_be_recorded_say_so() -> None:
    from ganzoo.config import PlayerConfig

    def reason(**config: Any) -> str | None:
        network = nn.Linear(2, 2)
        return PlayerOptimizer("G", network, PlayerConfig(**config), [Phase("G/main", "G")], 10, graphs=True).why_not()

    refused = "G.optimizer = '{}' cannot be recorded; these can: adam, adamw, adamax, radam, rmsprop, adadelta"
    assert reason(optimizer="sgd", betas=None) == refused.format("sgd")
    assert reason(optimizer="nadam") == refused.format("nadam")  # its running product of betas begins at one
    assert reason(optimizer="rmsprop", betas=None) is None
    assert reason(betas=("linear(0, .5)", 0.9)) == "G.betas change with time"


@GAMES
def test_recorded_steps_leave_what_was_before_and_go_on_from_it(
    path: str, parts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it but the recording itself, which takes a GPU: here a step is replayed by taking it again, in fixed places."""

    def stand_in(step: Callable[[Batch], Said], game: Game, batch: Batch) -> Graph:
        fixed = {name: value.clone() for name, value in batch.items()}
        said = step(fixed)

        def replay() -> None:
            for (old, _), (new, _) in zip(said, step(fixed), strict=True):
                for name, value in old.items():
                    value.copy_(new[name])

        return Graph(fixed, said, replay)

    def recorded(playing: Trainer) -> None:
        for optimizer in playing.optimizers.values():
            optimizer.graphs = True
        assert playing.record() is None
        assert set(playing.graphs) == {phase.name for phase in playing.phases}

    monkeypatch.setattr(loop, "record", stand_in)
    monkeypatch.setattr(loop, "why_not", lambda settings, device, ranks: None)
    monkeypatch.setattr(PlayerOptimizer, "why_not", lambda self: None)
    plain, graphed = played(path, **parts), played(path, recorded, **parts, graphs=True)
    same(plain, graphed, rtol=0, atol=0)
    assert plain.fetch() == graphed.fetch()


def test_a_part_that_looks_at_the_clock_is_not_recorded(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def stand_in(step: Callable[[Batch], Said], game: Game, batch: Batch) -> Graph:
        return Graph(dict(batch), step(batch), lambda: None)

    monkeypatch.setattr(loop, "record", stand_in)
    monkeypatch.setattr(loop, "why_not", lambda settings, device, ranks: None)
    monkeypatch.setattr(PlayerOptimizer, "why_not", lambda self: None)
    playing = trainer(path, **{**GP, "reg": [{"name": "instance-noise"}]})
    assert playing.record() == "D/main: RuntimeError: it looks at the images seen, which a graph would keep as they are now"
    assert not playing.graphs


FAULTS = """
import resource, sys
import torch
from ganzoo.config import Settings
from ganzoo.training.accelerate import prepare

def faults():  # pages that the system hands out, for 160 MiB of buffers
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    buffers = [torch.ones(20 * 2**18) for _ in range(8)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults(), faults()
before = faults()
prepare(Settings(), torch.device("cpu"))
faults()
print(before, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator than glibc's")
@pytest.mark.parametrize("given", [{}, {"MALLOC_TRIM_THRESHOLD_": "131072"}], ids=["kept", "as the environment says"])
def test_freed_memory_is_kept_for_the_next_step(given: dict[str, str]) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    found = subprocess.run([sys.executable, "-c", FAULTS], env=env | given, capture_output=True, text=True, check=True)
    before, after = map(int, found.stdout.split())
    assert before > 4_000  # of 40,960: what is returned hangs on where the last buffer lies
    assert after > 4_000 if given else after < 1_000
