"""A training that uses all that makes a resume hard, small enough to run in seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# Lazy regularization, EMA with a ramp, flips, augmentation, noise, bf16, channels_last, fused Adam, clipping, a schedule.
HARD: dict[str, Any] = {
    "batch": 8,
    "kimg": 0.2,
    "seed": 3,
    "device": "cpu",
    "precision": "bf16",
    "channels_last": True,
    "flip": True,
    "gen": "dcgan:channels=4,z_dim=8,embedding=4",
    "disc": "dcgan:channels=4",
    "loss": "non-saturating",
    "aug": "diffaugment",
    "data": "emoji:res=8",
    "reg": ["r1:gamma=1,every=2", "instance-noise:sigma=.05,until=none", "spectral-norm"],
    "G": {"optimizer": "adam:fused=true", "lr": "linear(2e-3, 1e-3, 0.1)", "betas": [0.0, 0.99], "clip": 5.0},
    "D": {"optimizer": "adam:fused=true", "lr": 2e-3, "betas": [0.0, 0.99], "steps": 2},
    "ema": {"half_life": 0.05, "ramp": 0.5},
    "checkpoint": {"tick": 0.016, "images": 0.1, "every": 0.016},
}


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One cache of decoded images for the session; never the user's."""
    os.environ["GANZOO_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def hard(tmp_path: Path) -> Path:
    """The hard configuration as a file."""
    from ganzoo.config import dump_toml

    path = tmp_path / "hard.toml"
    path.write_text(dump_toml(HARD))
    return path


def command(*args: str | Path) -> list[str]:
    return [sys.executable, "-m", "ganzoo", *map(str, args)]


def run(*args: str | Path, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    """`ganzoo ARGS` in a process of its own; its exit code is checked."""
    done = subprocess.run(command(*args), capture_output=True, text=True, env={**os.environ, **env}, timeout=300)
    assert done.returncode == code, f"{args}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def weights(run_dir: Path) -> bytes:
    """The newest averaged generator, as bytes."""
    newest = sorted(p for p in (run_dir / "checkpoints").iterdir() if not p.name.startswith("."))[-1]
    return (newest / "generator.safetensors").read_bytes()


def log(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
