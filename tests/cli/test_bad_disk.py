"""A disk that fills: files may grow to a limit and no further (RLIMIT_FSIZE), as on a full one."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from tests.cli.conftest import Cli

resource = pytest.importorskip("resource", reason="limits of file sizes are a Unix thing")


@contextlib.contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Python ignores the signal, so that writing more raises OSError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def limit_of(run: Path) -> int:
    """What everything but a checkpoint's largest file fits into."""
    largest = (run / "checkpoints/000000.032/players.safetensors").stat().st_size
    others = max(path.stat().st_size for path in [*run.glob("samples/*"), run / "run.toml", run / "log.jsonl"])
    assert others + 10_000 < largest
    return largest - 1


def test_while_a_checkpoint_is_written(cli: Cli, run: Path) -> None:
    limit = limit_of(run)
    before = contents(run / "checkpoints")
    with files_up_to(limit):
        line = cli.fails("resume", run, "--kimg", "0.064", code=1)
    assert "checkpoint run/checkpoints/000000.048 could not be written: File too large" in line
    assert "the last good one is run/checkpoints/000000.032. Free some space" in line
    assert line.endswith("then: ganzoo resume run")
    assert contents(run / "checkpoints") == before  # the good ones, and nothing half written
    out, _ = cli("resume", run)
    assert "run run, from 0.032 kimg" in out
    assert (run / "checkpoints/000000.064").is_dir()


def test_the_process_as_a_user_starts_it(cli: Cli, run: Path) -> None:
    """The same from outside: the exit code is the process's, stderr holds one line, the lock is gone."""
    limit = limit_of(run)
    done = subprocess.run(
        [sys.executable, "-m", "ganzoo", "resume", "run", "--kimg", "0.064"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 1, done.stdout + done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith("ganzoo: checkpoint run/checkpoints/000000.048 could not be written: File too large")
    out, _ = cli("runs", ".")
    assert out.startswith("run  stopped   0.032 of 0.064 kimg")
    cli("resume", run)


def test_the_first_checkpoint(cli: Cli, run: Path) -> None:
    with files_up_to(limit_of(run)):
        args = (*cli.tiny, "--disc", "mlp:width=128,depth=1", "--out", "new")
        cli.fails("train", *args, code=1, says=("there is none before it. Free some space", "then: ganzoo resume new"))
    out, _ = cli("resume", "new")
    assert "from 0 kimg" in out
    assert (Path("new") / "checkpoints/000000.032").is_dir()


def test_while_samples_and_models_are_written(cli: Cli, run: Path) -> None:
    for out, n in (("a.png", "400"), ("a.npz", "64"), ("folder", "1")):
        cli("sample", run, "--n", n, "--out", out)
    cli("export", run)
    before = contents(Path())
    for out, n in (("a.png", "400"), ("a.npz", "64"), ("folder", "1")):
        with files_up_to(200):
            cli.fails("sample", run, "--n", n, "--seed", "9", "--out", out, code=1, says=("File too large", "free some space"))
    with files_up_to(1000):
        cli.fails("export", run, code=1, says=("File too large", "free some space"))
        cli.fails("export", run, "--out", "new", code=1, says=("File too large", "free some space"))
    assert {name: content for name, content in contents(Path()).items() if name in before} == before
    assert set(contents(Path())) == set(before)


def test_while_a_run_is_made(cli: Cli) -> None:
    with files_up_to(1000):
        cli.fails("train", *cli.tiny, "--out", "new", code=1, says=("new/run.toml could not be written: File too large",))
    cli("train", *cli.tiny, "--out", "new")  # nothing is in the way


def test_while_a_sheet_is_written(cli: Cli) -> None:
    with files_up_to(10_000):
        says = ("cannot write new/samples/000000.png: File too large", "free some space")
        cli.fails("train", *cli.tiny, "--out", "new", code=1, says=says)
    cli("resume", "new")


def test_while_data_are_decoded(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("pictures").mkdir()
    random = np.random.default_rng(0)
    for i in range(200):
        Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).save(f"pictures/{i}.png")
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "own cache"))
    with files_up_to(20_000):
        says = ("no space for the decoded data in", "own cache/data (File too large; 38.4 kB are needed)", "set GANZOO_CACHE")
        cli.fails("train", *cli.tiny, "--data", "pictures", "--out", "new", code=1, says=says)
    assert not Path("new").exists()
    cli("train", *cli.tiny, "--data", "pictures", "--out", "new")


def test_ctrl_c_that_ends_tee_first_is_a_ctrl_c_all_the_same(tmp_path: Path) -> None:
    """`ganzoo train | tee log`: what is said after it goes nowhere, and the checkpoint is written."""
    out = tmp_path / "run"
    command = [sys.executable, "-m", "ganzoo", "train", "--data", "grid", "--gen", "mlp", "--disc", "mlp", "--device", "cpu"]
    with subprocess.Popen(
        [*command, "--kimg", "1000", "--out", out], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        while "kimg " not in process.stdout.readline():
            assert process.poll() is None, process.stderr.read()
        process.stdout.close()
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == 130, said
    assert said.splitlines() == ["ganzoo: nothing more is printed (Broken pipe); the run goes on"]
    assert list(out.glob("checkpoints/0*"))
