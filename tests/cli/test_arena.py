"""The leaderboard from the command line: two by two on tiny data, stopped and killed on the way, and wrong input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from PIL import Image

from ganzoo.arena import play, store
from ganzoo.arena.store import Arena
from ganzoo.cli import group
from ganzoo.errors import RunError, UsageError
from ganzoo.runs import Run

if TYPE_CHECKING:
    from tests.cli.conftest import Cli

DCGAN = "dcgan:channels=4,z_dim=8,embedding=4"
TINY = (
    "--data", "emoji", "--metric", "kid-raw", "--samples", "32", "--set", "data.res=8", "--set", "data.labels=false",
    "--set", "batch=8", "--set", "device=cpu",
)  # fmt: skip
TWO_BY_TWO = ("--gens", f"{DCGAN},mlp:width=8,depth=1", "--discs", "dcgan:channels=4,acgan", *TINY)
ONE = ("--gens", "mlp:width=8,depth=1", "--discs", "dcgan:channels=4", *TINY)
NAMES = ["000-dcgan-dcgan-s0", "002-mlp-dcgan-s0"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 32 images a run."""
    path = tmp_path_factory.mktemp("arena") / "first"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GANZOO_CACHE", str(tmp_path_factory.getbasetemp() / "cli-cache"))
        assert group.run(["arena", *TWO_BY_TWO, "--budget", "0.032", "--jobs", "2", "--out", str(path)]) == 0
    return path


def contents(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file() and path.name != ".lock"
    }


def results(path: Path) -> dict[str, dict[str, Any]]:
    lines = [json.loads(line) for line in (path / "results.jsonl").read_text().splitlines()]
    assert len({line["run"] for line in lines}) == len(lines)
    return {line["run"]: line for line in lines}


# ---- what a finished one holds


def test_each_valid_combination_is_a_run(finished: Path) -> None:
    assert sorted(results(finished)) == NAMES == sorted(path.name for path in (finished / "runs").iterdir())
    for name, result in results(finished).items():
        log = Run(finished / "runs" / name).log()
        assert result["kimg"] == log[-1]["kimg"] == 0.032
        assert result["seconds"] == pytest.approx(sum(line["seconds"] for line in log), abs=0.06)
        assert result["diversity"] == pytest.approx(log[-1]["diversity"], abs=1e-4)
        assert [found["metric"] for found in result["metrics"]] == ["kid-raw", "coverage-raw", "memorization-raw"]
        assert result["metrics"][0]["protocol"]["fakes"] == 32
        assert result["device"] == "CPU, 1 thread"
    table = tomllib.loads((finished / "arena.toml").read_text())
    assert [cell["name"] for cell in table["cell"] if "reason" not in cell] == [name.removesuffix("-s0") for name in NAMES]
    assert all("it needs labels" in cell["reason"] for cell in table["cell"] if "reason" in cell)
    for name in ("heatmap.png", "samples.png"):
        with Image.open(finished / name) as picture:
            assert picture.width > 300


def test_a_run_is_what_train_makes(finished: Path, cli: Cli) -> None:
    cli(
        "train", "--gen", DCGAN, "--disc", "dcgan:channels=4", "--data", "emoji", "--res", "8", "--batch", "8",
        "--set", "data.labels=false", "--device", "cpu", "--kimg", "0.032", "--out", "alone",
    )  # fmt: skip
    ours, alone = Run(finished / "runs" / NAMES[0]), Run("alone")
    assert ours.config() == alone.config()
    files = [run.checkpoints()[0] / "generator.safetensors" for run in (ours, alone)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_what_is_done_is_not_run_again(finished: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(play.subprocess, "Popen", lambda *args, **kwargs: pytest.fail("a process was started"))
    before = contents(finished)
    out, _ = cli("arena", "--out", finished)
    assert contents(finished) == before
    assert out.count("| mlp:width=8,depth=1 |") == 1
    assert f"{DCGAN} x acgan: " in out
    board = json.loads(cli("arena", *TWO_BY_TWO, "--budget", "0.032", "--out", finished, "--json")[0])
    assert sorted(run for row in board["rows"] for run in row["runs"]) == NAMES
    values = [row["metrics"]["kid-raw"]["value"] for row in board["rows"]]
    assert values == sorted(found["metrics"][0]["value"] for found in results(finished).values())
    out, _ = cli("arena", "--out", finished, "--dry-run")
    assert out.count("  done\n") == 2
    assert "0 runs of 0.032 kimg" in out


def test_markdown_and_a_blind_page(finished: Path, cli: Cli) -> None:
    cli("arena", "--out", finished, "--markdown", "table.md", "--blind", "page.html")
    assert "| 1 | " in Path("table.md").read_text()
    page = Path("page.html").read_text()
    assert "mlp" not in page.partition("base64")[0]
    held = json.loads(page.partition('id="content">')[2].partition("</script>")[0])
    [[left, right]] = held["pairs"]
    answers = {"format": 1, "arena": held["arena"], "answers": [{"left": left, "right": right, "said": "right"}]}
    Path("answers.json").write_text(json.dumps(answers))
    board = json.loads(cli("arena", "--out", finished, "--answers", "answers.json", "--json")[0])
    assert sorted(row["wins"]["value"] for row in board["rows"]) == [0, 1]


def test_another_question_is_refused(finished: Path, cli: Cli) -> None:
    says = ("holds another arena: --budget 0.032 was asked there, not 2m", f"--out {finished}")
    cli.refused("arena", *TWO_BY_TWO, "--budget", "2m", "--out", finished, says=says)


# ---- stopped, killed, failing


def start(*args: str) -> subprocess.Popen[str]:
    """The command in a process of its own; Ctrl-C reaches it, however the tests were started."""
    default = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from ganzoo.cli.group import main; main()"
    )
    return subprocess.Popen([sys.executable, "-c", default, "arena", *args], stdout=subprocess.PIPE, text=True)


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def await_that(true: Callable[[], Any], what: str) -> Any:
    for _ in range(600):
        if found := true():
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited a minute, in vain, until {what}")


def children_of(process: subprocess.Popen[str]) -> Iterator[int]:
    for file in Path("/proc", str(process.pid), "task").glob("*/children"):
        yield from map(int, file.read_text().split())


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="who its children are is read from /proc")
def test_killed_and_stopped_it_goes_on_as_if_nothing_had_happened(cli: Cli) -> None:
    given = (*TWO_BY_TWO, "--set", "checkpoint.every=0.16", "--budget", "8")
    cli("arena", *given, "--out", "whole", "--jobs", "2")
    whole = results(Path("whole"))

    # The first run's training and the arena are killed once there is something to lose,
    first, second = (Run(f"cut/runs/{name}") for name in NAMES)
    arena = start(*given, "--out", "cut")
    await_that(first.checkpoints, "the first run has a checkpoint")
    training = list(children_of(arena))
    assert len(training) == 1
    kill(arena)
    os.kill(training[0], signal.SIGKILL)
    assert not Path("cut/results.jsonl").exists()
    reached = first.checkpoints()[0].name
    # which goes on from there; the second is stopped by Ctrl-C,
    arena = start("--out", "cut")
    await_that(second.checkpoints, "the second run has a checkpoint")
    arena.send_signal(signal.SIGINT)
    out, _ = arena.communicate(timeout=60)
    assert arena.returncode == 130, out
    assert "To go on: ganzoo arena --out cut" in out
    assert f"run cut/runs/{NAMES[0]}, from {float(reached):g} kimg" in Path(f"cut/logs/{NAMES[0]}.txt").read_text()
    assert list(results(Path("cut"))) == NAMES[:1]
    before, finished = Path("cut/results.jsonl").read_bytes(), contents(first.path)
    assert second.log()[-1]["nimg"] == int(1000 * float(second.checkpoints()[0].name))  # it wrote one as it stopped
    # and now the arena alone is killed: the training goes on, and is waited for.
    arena = start("--out", "cut")
    await_that(second.in_use, "the second run goes on")
    kill(arena)
    assert second.in_use()
    out, _ = cli("arena", "--out", "cut")
    assert "waiting for it" in out
    assert Path("cut/results.jsonl").read_bytes().startswith(before)
    assert contents(first.path) == finished
    for name, result in results(Path("cut")).items():
        assert result["metrics"] == whole[name]["metrics"]
        ticks = [line["nimg"] for line in Run(f"cut/runs/{name}").log()]
        assert ticks == sorted(set(ticks))


def test_minutes_are_of_training_and_counted_once(cli: Cli) -> None:
    """A first training tells the speed, a second has the rest; the log's seconds are all that is spent."""
    out, _ = cli("arena", *ONE, "--budget", "0.05m", "--out", "timed")
    [[name, result]] = results(Path("timed")).items()
    run = Run(f"timed/runs/{name}")
    spent = sum(line["seconds"] for line in run.log())
    assert 0.985 * 3 <= spent < 6  # a busy machine's ticks are long
    assert result["seconds"] == pytest.approx(spent, abs=0.06)
    assert result["kimg"] * 1000 == run.log()[-1]["nimg"] == round(1000 * float(run.checkpoints()[0].name))
    assert Path(f"timed/logs/{name}.txt").read_text().count(f"run {run.path}, from ") >= 1
    assert "0.05 minutes of training wall-clock, start-up and measuring not counted" in out


def test_a_run_that_fails_harms_no_other_and_is_retried_when_asked(cli: Cli) -> None:
    cli("arena", *TWO_BY_TWO, "--budget", "0.032", "--out", "a", "--dry-run")
    assert not Path("a").exists()
    broken = Path("a/runs", NAMES[0], "run.toml")
    real = Arena.create

    def create(*args: Any) -> Arena:
        arena = real(*args)
        broken.parent.mkdir(parents=True)
        broken.write_text("this is no run")
        return arena

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Arena, "create", create)
        out, _ = cli("arena", *TWO_BY_TWO, "--budget", "0.032", "--out", "a", code=1)
    assert f"- {NAMES[0]} ({DCGAN} x dcgan:channels=4, non-saturating) failed: a/runs/{NAMES[0]}/run.toml cannot be read" in out
    assert list(results(Path("a"))) == NAMES[1:]
    broken.unlink()
    out, _ = cli("arena", "--out", "a", code=1)  # not by itself
    assert list(results(Path("a"))) == NAMES[1:]
    out, _ = cli("arena", "--out", "a", "--retry")
    assert sorted(results(Path("a"))) == NAMES
    assert "failed" not in out


def test_a_full_disk_is_one_line(cli: Cli) -> None:
    real = store.write_atomically

    def full(path: Path, content: bytes) -> None:
        if path.name == "results.jsonl":
            raise RunError(f"{path} could not be written: No space left on device; free some space or choose another --out")
        real(path, content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "write_atomically", full)
        cli.fails("arena", *ONE, "--budget", "0.032", "--out", "a", code=1, says=("results.jsonl", "No space left"))
    assert not Path("a/failures.jsonl").exists()
    cli("arena", "--out", "a")
    assert list(results(Path("a"))) == ["000-mlp-dcgan-s0"]


def test_two_at_once_do_not_play_in_one_place(cli: Cli, finished: Path) -> None:
    arena = Arena.open(finished)
    assert arena is not None
    arena.lock()
    cli.fails("arena", "--out", finished, code=1, says=("is in use by another process",))
    arena.unlock()


def test_a_gpu_takes_one_training_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganzoo.training.trainer.choose_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"card {device}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    slots = play.make_slots("auto", None)
    assert [(slot.device, dict(slot.environment)) for slot in slots] == [
        ("card 0", {"CUDA_VISIBLE_DEVICES": "3"}),
        ("card 1", {"CUDA_VISIBLE_DEVICES": "5"}),
    ]
    assert play.make_slots("cuda", 1) == slots[:1]
    with pytest.raises(UsageError, match="--jobs 3: one training a GPU, and there are 2"):
        play.make_slots("auto", 3)


def test_on_a_cpu_each_has_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [slot.environment["OMP_NUM_THREADS"] for slot in play.make_slots("cpu", 3)] == ["1", "1", "1"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("--gens", "dcgn"), "there is no generator 'dcgn'. Did you mean 'dcgan'?"),
        (("--losses", "hnige"), "Did you mean 'hinge'?"),
        (("--regs", "none,r1+spectral-nrom"), "Did you mean 'spectral-norm'?"),
        (("--augs", "ad"), "there is no augmentation 'ad'"),
        (("--gens", "dcgan:chanels=4"), "Did you mean 'channels'?"),
        (("--gens", "dcgan,,mlp"), "nothing between two commas"),
        (("--budget", "10x"), "--budget 10x: write minutes"),
        (("--budget", "0"), "--budget 0: "),
        (("--seeds", "0"), "--seeds"),
        (("--metric", "kidd"), "Did you mean 'kid'?"),
        (("--metric", "ppl"), "needs 'style'"),
        (("--data", "ring", "--gens", "mlp", "--discs", "mlp", "--metric", "kid-lite0"), "points"),
        (("--data", "nowhere"), "there is no dataset 'nowhere'"),
        (
            ("--discs", "acgan", "--set", "data.labels=false"),
            "none of the 1 combinations fits: discriminator 'acgan' does not fit",
        ),
        (("--set", "kimg=3"), "in an arena that is --budget"),
        (("--set", "eval.patience=3"), "every run has its whole budget"),
        (("--set", "G.ls=3"), "unknown key 'G.ls'"),
        (("--set", "G.lr"), "write KEY=VALUE"),
        (("--set", "batch=0"), "batch"),
        (("--markdown", "taken.md"), "has no place for the table"),
        (("--blind", "taken.md"), "no page of an arena"),
        (("--out", "filled"), "--out filled: it holds no arena, but a-file"),
        (("--jobs", "0"), "--jobs"),
    ],
)
def test_wrong_input_is_one_line_before_anything_is_written(cli: Cli, given: tuple[str, ...], says: str) -> None:
    Path("taken.md").write_text("mine")
    Path("filled").mkdir()
    Path("filled", "a-file").write_text("")
    defaults = {"--gens": "dcgan", "--discs": "dcgan", "--data": "emoji:res=8", "--budget": "1", "--set": "device=cpu"}
    flags = defaults | dict(zip(given[::2], given[1::2], strict=True))
    cli.refused("arena", *(word for pair in flags.items() for word in pair), says=(says,))


def test_what_is_missing_is_named(cli: Cli) -> None:
    for flag, given in (("--gens", ()), ("--discs", ("--gens", "mlp")), ("--budget", ("--gens", "mlp", "--discs", "mlp"))):
        cli.refused("arena", *given, says=(f"{flag} is missing",))
