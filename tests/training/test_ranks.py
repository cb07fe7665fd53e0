"""Two ranks under torchrun (gloo, CPU) are one process with the whole batch; what ends one of them ends the job in one line.

Starting two processes takes seconds: ranks_program.py computes all that is compared in one go.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ganzoo.errors import UsageError
from ganzoo.training.distributed import Ranks, sync_batch_norm

from .conftest import log, run

PROGRAM = Path(__file__).with_name("ranks_program.py")
CASES = ("dcgan", "stylegan", "gradient-penalty", "relativistic-average", "lecam", "sync-bn", "micro-batch")
SMALL = (
    *("--gen", "dcgan:channels=4,z_dim=8,norm=none", "--disc", "dcgan:channels=4,norm=none", "--data", "emoji:res=8"),
    *("--batch", "8", "--device", "cpu", "--precision", "fp32", "--set", "checkpoint.every=0.04"),
)


@contextmanager
def torchrun(*args: str | Path, **env: str) -> Iterator[subprocess.Popen[str]]:
    """Two ranks of a module or a program; none outlives the test."""
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    known = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONWARNINGS": "ignore"}
    process = subprocess.Popen(
        [*start, *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **known, **env},
    )
    children: list[int] = []
    try:
        yield process
    finally:
        children = ranks_of(process)
        process.kill()
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def ranks_of(process: subprocess.Popen[str]) -> list[int]:
    """Process numbers, in order of rank."""
    try:
        return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    except OSError:
        return []


def said_by_us(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("ganzoo: ")]


def wait_for(process: subprocess.Popen[str], condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def newest(out: Path) -> int:
    return max((int(float(path.name) * 1000) for path in out.glob("checkpoints/0*")), default=-1)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """Where ranks_program.py trained, and what each rank found."""
    place = tmp_path_factory.mktemp("two")
    with torchrun(PROGRAM, place) as process:
        text = process.communicate(timeout=300)[0]
    assert process.returncode == 0, text
    found = [json.loads((place / f"{rank}.json").read_text()) for rank in range(2)]
    assert found[0]["world"] == 2
    return place, found


@pytest.mark.parametrize("case", CASES)
def test_gradients_and_buffers_are_those_of_the_whole_batch(two: Any, case: str) -> None:
    """In float64, over three rounds with lazy phases, the layers' own noise held fixed; statistics are means over the ranks."""
    for found in two[1]:
        assert found[case]["count"] > 30
        assert found[case]["apart"] < 1e-6, found[case]["worst"]
        assert found[case]["stats"] < 1e-5


def test_a_parameter_that_gets_no_gradient_has_none_on_any_rank(two: Any) -> None:
    assert two[1][0]["stylegan"]["none"] > 0  # R1 leaves D's last bias without, path length the noise


def test_ranks_hold_the_same_at_the_end(two: Any) -> None:
    """Weights, moments, averages, ADA's p and the path length's mean, though each drew noise of its own."""
    one, other = (found["state"] for found in two[1])
    assert one == other
    assert any(name.endswith(".p") and value > 0 for name, value in one.items())


def test_half_a_run_resumed_on_two_ranks_is_the_whole_run(two: Any) -> None:
    files = [two[0] / name / "checkpoints/000000.192" for name in ("straight", "half")]
    for name in ("generator", "players", "game", "optimizers", "random"):
        one, other = ((file / f"{name}.safetensors").read_bytes() for file in files)
        assert one == other, name
    assert [line["nimg"] for line in log(two[0] / "half")] == [32, 64, 96, 128, 160, 192]


def test_half_a_run_resumed_on_one_process(two: Any) -> None:
    place = two[0] / "for-one"
    assert "ranks" not in (place / "run.toml").read_text()
    run("resume", place, "--kimg", "0.192")
    lines, straight = log(place), log(two[0] / "straight")
    assert [line["nimg"] for line in lines] == [line["nimg"] for line in straight]
    # The same images and latents; what layers draw is one process's own.
    assert lines[3]["D/loss"] == pytest.approx(straight[3]["D/loss"], rel=0.1)


def test_a_killed_rank_ends_the_job_and_a_restarted_job_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = ("--max-restarts", "1", "-m", "ganzoo", "train", *SMALL, "--kimg", "1000", "--out", out)
    with torchrun(*command) as process:
        wait_for(process, lambda: newest(out) > 0)
        os.kill(ranks_of(process)[1], signal.SIGKILL)
        was = newest(out)
        wait_for(process, lambda: newest(out) > was + 100)
        begun, killed = time.monotonic(), ranks_of(process)[1]
        os.kill(killed, signal.SIGKILL)
        text = process.communicate(timeout=60)[0]
    assert process.returncode == 1
    assert time.monotonic() - begun < 60
    lines = said_by_us(text)
    assert len(lines) == 2, text
    assert all(
        "rank 0: the connection to another rank broke" in line or "rank 0: another rank is gone" in line for line in lines
    )
    assert f"{out} holds this run already: it goes on" in text
    assert text.count("Traceback") == 1  # torchrun's own, last
    assert text.index("Traceback") > text.rindex(lines[1])
    assert [line["nimg"] for line in log(out)] == sorted({line["nimg"] for line in log(out)})


def test_ctrl_c_stops_all_after_the_same_round_with_a_checkpoint(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with torchrun("-m", "ganzoo", "train", *SMALL, "--kimg", "1000", "--out", out) as process:
        wait_for(process, lambda: newest(out) > 0)
        process.send_signal(signal.SIGINT)
        text = process.communicate(timeout=60)[0]
    assert said_by_us(text) == []
    assert f"stopped. To go on: ganzoo resume {out}" in text
    assert log(out)[-1]["nimg"] == newest(out)


def test_a_script_that_ends_by_itself(tmp_path: Path) -> None:
    """With a watch that asks all the time: its thread does not abort the end, and who ends first is not taken for lost."""
    script = tmp_path / "script.py"
    script.write_text(
        "import time\n"
        "from ganzoo.training import distributed\n"
        "distributed._BEAT, distributed._SILENT = 0.001, 1500\n"
        "time.sleep(3 * distributed.join().first)\n"
    )
    with torchrun(script) as process:
        text = process.communicate(timeout=120)[0]
    assert process.returncode == 0, text


def test_what_is_asked_for_wrongly_is_said_once(tmp_path: Path) -> None:
    with torchrun("-m", "ganzoo", "train", *SMALL, "--batch", "9", "--out", tmp_path / "run") as process:
        text = process.communicate(timeout=120)[0]
    assert said_by_us(text) == ["ganzoo: --batch 9 cannot be shared equally by 2 ranks: use 8 or 10"]
    assert "exitcode  : 2" in text
    assert not (tmp_path / "run").exists()


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA devices on this machine")
@pytest.mark.parametrize("sync", [(), ("--sync-bn",)], ids=["plain", "synced"])
def test_two_gpus(sync: tuple[str, ...], hard: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with torchrun("-m", "ganzoo", "train", "--config", hard, "--device", "cuda", "--out", out, *sync) as process:
        text = process.communicate(timeout=300)[0]
    assert process.returncode == 0, text
    assert "2 ranks of 4 images, cuda" in text
    assert log(out)[-1]["nimg"] == 200


def test_gpus_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [Ranks(rank, 4, rank % 2, 2).device("cuda") for rank in range(4)] == ["cuda:0", "cuda:1"] * 2
    with pytest.raises(UsageError, match="4 ranks on this machine, which has 2 GPUs: --nproc-per-node 2, or --device cpu"):
        Ranks(1, 4, 1, 4).device("cuda")
    with pytest.raises(UsageError, match="each on the GPU of its number"):
        Ranks(1, 4, 1, 4).device("cuda:1")
    with pytest.raises(UsageError, match="--batch 3 cannot be shared equally by 4 ranks: use 4"):
        Ranks(0, 4).share(3)


@pytest.mark.parametrize("kind", [nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d])
def test_synced_batch_norm_is_plain_in_one_process(kind: type[nn.Module]) -> None:
    x = torch.randn(6, 3, *[4] * int(kind.__name__[-2]))
    one, other = nn.Sequential(kind(3)), nn.Sequential(kind(3))
    assert sync_batch_norm(other) == 1
    assert isinstance(other[0], kind)
    assert torch.equal(one(x), other(x))
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())
