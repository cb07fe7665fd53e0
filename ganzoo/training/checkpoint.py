"""Checkpoints: written beside their place, flushed, then renamed; hashed; no pickle.

checkpoints/000200/   generator.safetensors (EMA) · players.safetensors · game.safetensors (regularizers, augmentation, pools)
                      optimizers.safetensors (by parameter name) · random.safetensors · state.json (SHA-256 of the rest)
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from ganzoo.errors import RunError, UsageError
from ganzoo.runs import FULL, Run, images_at, stamp

FORMAT = 1
State = dict[str, dict[str, Tensor]]  # by file: generator, players, game, optimizers, random


def plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As safetensors takes them: contiguous, on the CPU, no two sharing memory (ties are written twice)."""
    out: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, value in tensors.items():
        value = value.detach().cpu().contiguous()
        if value.numel() and value.untyped_storage().data_ptr() in seen:
            value = value.clone()
        seen.add(value.untyped_storage().data_ptr())
        out[name] = value
    return out


def write_file(path: Path, content: bytes) -> str:
    """Write and flush to the disk; the SHA-256 of what was written."""
    with path.open("wb") as f:
        f.write(content)
        f.flush()
        os.fsync(f.fileno())
    return hashlib.sha256(content).hexdigest()


def save(run: Run, nimg: int, state: State, more: Mapping[str, Any]) -> Path:
    """Write the checkpoint of `nimg`. Raises RunError where the disk is full: nothing is lost but this checkpoint."""
    place = run.checkpoints_dir / stamp(nimg)
    beside = run.checkpoints_dir / f".{stamp(nimg)}.tmp"
    try:
        run.checkpoints_dir.mkdir(exist_ok=True)
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        hashes = {
            f"{name}.safetensors": write_file(beside / f"{name}.safetensors", safetensors.torch.save(plain(tensors)))
            for name, tensors in state.items()
        }
        table = {"format": FORMAT, "nimg": nimg, **more, "sha256": hashes}
        write_file(beside / "state.json", json.dumps({**table, "own": _own_hash(table)}, indent=1).encode())
        _sync(beside)
        if place.exists():  # of a run that was resumed from before it
            old = run.checkpoints_dir / f".{stamp(nimg)}.old"
            shutil.rmtree(old, ignore_errors=True)
            place.rename(old)
            beside.rename(place)
            shutil.rmtree(old, ignore_errors=True)
        else:
            beside.rename(place)
        _sync(run.checkpoints_dir)
    except OSError as err:
        shutil.rmtree(beside, ignore_errors=True)
        newest = next(iter(run.checkpoints()), None)
        kept = f"the last good one is {newest}" if newest else "there is none before it"
        mend = (
            "Free some space (--set checkpoint.keep=1 keeps fewer)"
            if err.errno in FULL
            else f"Make {run.checkpoints_dir} a writable directory"
        )
        raise RunError(
            f"checkpoint {place} could not be written: {err.strerror}; {kept}. {mend}, then: {run.resume_command}"
        ) from None
    return place


def prune(run: Run, keep: int, milestone: float | None) -> None:
    """Delete all but the newest `keep`, the best, and the first at or after each multiple of `milestone` kimg."""
    newest_first = run.checkpoints()
    kept = {*newest_first[:keep], run.checkpoints_dir / (run.best() or "")}
    if milestone:
        passed = -1
        for path in reversed(newest_first):
            multiple = int((images_at(path.name) or 0) / (milestone * 1000))
            if multiple > passed and multiple > 0:
                kept.add(path)
            passed = max(passed, multiple)
    for path in newest_first:
        if path not in kept:
            shutil.rmtree(path, ignore_errors=True)


class Checkpoint:
    """A verified checkpoint, opened."""

    def __init__(self, path: Path) -> None:
        """Raises RunError that names what is damaged."""
        self.path = path
        try:
            self.table: dict[str, Any] = json.loads((path / "state.json").read_text(encoding="utf-8"))
            version, own = self.table["format"], self.table.pop("own", None)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
            raise RunError(f"checkpoint {path} is damaged: state.json cannot be read ({err})") from None
        if isinstance(version, int) and version > FORMAT:
            raise RunError(f"checkpoint {path} has format {version}; this ganzoo reads {FORMAT}: upgrade ganzoo-core")
        if own != _own_hash(self.table):
            raise RunError(f"checkpoint {path} is damaged: state.json is not what was written")
        for name, expected in self.table["sha256"].items():
            try:
                actual = _sha256(path / name)
            except OSError as err:
                raise RunError(f"checkpoint {path} is damaged: {name} cannot be read ({err.strerror})") from None
            if actual != expected:
                raise RunError(f"checkpoint {path} is damaged: {name} is not what was written")

    @property
    def nimg(self) -> int:
        return int(self.table["nimg"])

    def tensors(self, name: str) -> dict[str, Tensor]:
        try:
            return safetensors.torch.load_file(self.path / f"{name}.safetensors")
        except (OSError, SafetensorError) as err:
            raise RunError(f"checkpoint {self.path}: {name}.safetensors cannot be read ({err})") from None


def newest(run: Run, warn: Callable[[str], None], name: str | None = None) -> Checkpoint | None:
    """The newest checkpoint that is whole, or the one called `name`; each damaged one is named to `warn`.

    None where there never was one. Raises RunError where all are damaged, UsageError where `name` is not there.
    """
    paths = run.checkpoints()
    if name == "best":
        name = run.best()
        if name is None:
            raise UsageError(f"{run.path} has no best checkpoint: it was trained without --eval")
    if name is not None:
        wanted = [p for p in paths if p.name == name or images_at(p.name) == _kimg_to_images(name)]
        if not wanted:
            there = ", ".join(p.name for p in reversed(paths)) or "none"
            raise UsageError(f"{run.path} has no checkpoint '{name}'; there are: {there}")
        return Checkpoint(wanted[0])
    for path, before in zip_longest(paths, paths[1:]):
        try:
            return Checkpoint(path)
        except RunError as err:
            if before is None:
                raise RunError(f"{err}; no other is left in {run.path}. To start again: {run.restart_command}") from None
            warn(f"{err}; trying the one before it, {before.name}")
    return None


def set_aside(run: Run, nimg: int) -> None:
    """Rename the checkpoints after `nimg`, all damaged, to NAME.damaged: they must not pass for the newest, or outlive it."""
    for path in run.checkpoints():
        if (images_at(path.name) or 0) > nimg:
            aside = path.with_name(f"{path.name}.damaged")
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)


def capture_random() -> dict[str, Tensor]:
    """The state of every generator that layers draw from."""
    out = {"cpu": torch.get_rng_state()}
    for i in range(torch.cuda.device_count() if torch.cuda.is_initialized() else 0):
        out[f"cuda:{i}"] = torch.cuda.get_rng_state(i)
    if torch.backends.mps.is_available():
        out["mps"] = torch.mps.get_rng_state()
    return out


def restore_random(state: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(state["cpu"])
    for name, value in state.items():
        if name.startswith("cuda:") and int(name[5:]) < torch.cuda.device_count():
            torch.cuda.set_rng_state(value, int(name[5:]))
        if name == "mps" and torch.backends.mps.is_available():
            torch.mps.set_rng_state(value)


def _kimg_to_images(name: str) -> int | None:
    try:
        return round(float(name) * 1000)
    except (ValueError, OverflowError):  # inf
        return None


def _own_hash(table: Mapping[str, Any]) -> str:
    """Of state.json itself, whatever its layout: the sampler's position matters as much as any weight."""
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _sync(directory: Path) -> None:
    """Flush a directory's entries, where the system knows such a thing."""
    with contextlib.suppress(OSError, PermissionError):
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
