"""One seed, one result: run twice, stopped and resumed, or killed at random moments and resumed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from .conftest import command, log, run, weights


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing disturbed."""
    from ganzoo.config import dump_toml

    from .conftest import HARD

    root = tmp_path_factory.mktemp("straight")
    (root / "hard.toml").write_text(dump_toml(HARD))
    run("train", "--config", root / "hard.toml", "--out", root / "run")
    return root / "run"


def test_two_runs_are_byte_equal(straight: Path, hard: Path, tmp_path: Path) -> None:
    run("train", "--config", hard, "--out", tmp_path / "again")
    assert weights(tmp_path / "again") == weights(straight)


def test_the_seed_matters(straight: Path, hard: Path, tmp_path: Path) -> None:
    run("train", "--config", hard, "--out", tmp_path / "other", "--seed", "4")
    assert weights(tmp_path / "other") != weights(straight)


def test_half_the_budget_then_resumed(straight: Path, hard: Path, tmp_path: Path) -> None:
    run("train", "--config", hard, "--out", tmp_path / "run", "--kimg", "0.1")
    run("resume", tmp_path / "run", "--kimg", "0.2")
    assert weights(tmp_path / "run") == weights(straight)
    assert [line["nimg"] for line in log(tmp_path / "run")] == sorted({line["nimg"] for line in log(tmp_path / "run")})


def test_stopped_by_ctrl_c_and_resumed(straight: Path, hard: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = subprocess.Popen(
        command("train", "--config", hard, "--out", out), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    _wait_for(process, lambda: (out / "log.jsonl").exists())
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=120)[0].decode()
    assert process.returncode == 130, said
    assert f"ganzoo resume {out}" in said
    assert "Traceback" not in said
    run("resume", out)
    assert weights(out) == weights(straight)
    assert [line["nimg"] for line in log(out)] == sorted({line["nimg"] for line in log(out)})


@pytest.mark.parametrize(
    ("recipe", "narrow"),
    [
        ("cyclegan-small", ("gen.channels=4", "gen.blocks=1", "disc.channels=4", "reg.image-pool.size=8")),
        ("stargan-small", ("gen.channels=4", "gen.blocks=1", "disc.channels=4")),
    ],
)
def test_games_of_several_networks_go_on_where_they_stopped(
    recipe: str, narrow: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pools, both directions and what is asked of each image included; the rates fall from half of the budget on."""
    import torch

    from ganzoo.assembly import make_plan
    from ganzoo.config import layer_from_dict
    from ganzoo.registry import get_registry
    from ganzoo.training.display import Quiet
    from ganzoo.training.launch import resume, start
    from ganzoo.training.trainer import Trainer

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    layer = layer_from_dict({"recipe": recipe, "batch": 8, "kimg": 0.16, "precision": "fp32", "device": "cpu"}, "the test")
    for setting in narrow:
        part, _, option = setting.partition("=")[0].rpartition(".")
        layer.options.setdefault(part, {})[option] = int(setting.partition("=")[2])

    def begin(name: str) -> Trainer:
        session = start(make_plan(get_registry(), layer), tmp_path / name, Quiet())
        session.play()
        return session.trainer

    whole = begin("straight")
    one_round = Trainer._round

    def stopping(self: Trainer) -> None:
        one_round(self)
        self.stopping = self.nimg + self.batch >= 88  # within what a pool of 8 has shown many times over

    with monkeypatch.context() as context:
        context.setattr(Trainer, "_round", stopping)
        begin("run")
    session = resume(tmp_path / "run", Quiet())
    assert session.trainer.nimg == 88
    assert session.play() == "done"
    torch.set_num_threads(threads)
    for file in ("generator", "players", "game", "optimizers"):
        one, other = (next(tmp_path.glob(f"{name}/checkpoints/000000.160/{file}.safetensors")) for name in ("run", "straight"))
        assert one.read_bytes() == other.read_bytes(), file
    if recipe == "cyclegan-small":
        pools = {name: value for name, value in whole.game.state_dict().items() if name.endswith("pool")}
        assert len(pools) == 2
        assert all(value.abs().sum() > 0 for value in pools.values())


@pytest.mark.parametrize("kills", [5, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_and_resumed(hard: Path, tmp_path: Path, kills: int) -> None:
    """Each process is killed once it has trained or begun to write, a random moment later: in a round, or in a checkpoint."""
    out, moments, budget = tmp_path / "run", random.Random(kills), str(0.1 * kills)
    run("train", "--config", hard, "--out", tmp_path / "straight", "--kimg", budget)
    done, halves = 0, 0
    for _ in range(2 * kills):
        args = ("resume", out) if (out / "run.toml").exists() else ("train", "--config", hard, "--out", out, "--kimg", budget)
        before = _trace(out)
        process = subprocess.Popen(command(*args), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _wait_for(process, lambda before=before: _trace(out) - before)
        time.sleep(moments.uniform(0, 0.1))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            done += 1
        process.wait()
        halves += any(out.glob("checkpoints/.*.tmp"))
        if done >= kills or _nimg(out) >= 100 * kills:
            break
    assert done >= kills, f"{done} kills, {halves} of them in a checkpoint"
    finished = run("resume", out)
    assert "done" in finished.stdout
    assert weights(out) == weights(tmp_path / "straight")


def _trace(out: Path) -> set[str]:
    """What training leaves behind, half-written checkpoints included."""
    lines = (out / "log.jsonl").read_text().splitlines() if (out / "log.jsonl").exists() else []
    return {*lines, *(path.name for path in out.glob("checkpoints/*")), *(path.name for path in out.glob("checkpoints/.*.tmp"))}


def _nimg(out: Path) -> int:
    return max((int(float(path.name) * 1000) for path in out.glob("checkpoints/0*")), default=0)


def _wait_for(process: subprocess.Popen[bytes], condition: object) -> None:
    deadline = time.monotonic() + 120
    while not condition() and process.poll() is None:  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.005)
