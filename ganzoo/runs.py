"""A run directory: what is in it, who holds it, how it is opened again. Torch-free."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from ganzoo.config import dump_toml
from ganzoo.errors import RunError, UsageError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # what a full disk, quota or file says
_NUMBERED = re.compile(r"(\d{5})-.+")


def stamp(nimg: int) -> str:
    """The name of what was written at `nimg` images: kimg in six digits, with a fraction only where there is one."""
    return f"{nimg // 1000:06d}" + (f".{nimg % 1000:03d}" if nimg % 1000 else "")


def images_at(name: str) -> int | None:
    """The images seen that a stamp stands for; None for other names."""
    match = re.fullmatch(r"(\d{6,})(?:\.(\d{3}))?", name)
    return int(match[1]) * 1000 + int(match[2] or 0) if match else None


def write_atomically(path: Path, content: bytes) -> None:
    """Whole, or not there: written beside its place, flushed, renamed."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as f:
            f.write(content)
            f.flush()
            os.fsync(f.fileno())
        beside.replace(path)
    except OSError as err:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise RunError(f"{path} could not be written: {err.strerror}; free some space or choose another --out") from None


def is_half_written(path: Path) -> bool:
    """Whether it is what `write_atomically` leaves where it is killed."""
    return re.fullmatch(r"\..+\.\d+\.tmp", path.name) is not None


class Run:
    """The directory of one training. Raises RunError where it is no run, or is held by another process."""

    def __init__(self, path: Path | str) -> None:
        self.path = expanded(str(path))
        self._lock: IO[str] | None = None

    @property
    def config_file(self) -> Path:
        return self.path / "run.toml"

    @property
    def log_file(self) -> Path:
        return self.path / "log.jsonl"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def checkpoints_dir(self) -> Path:
        return self.path / "checkpoints"

    @property
    def samples_dir(self) -> Path:
        return self.path / "samples"

    @property
    def resume_command(self) -> str:
        return f"ganzoo resume {quote(self.path)}"

    @property
    def restart_command(self) -> str:
        return f"ganzoo train --config {quote(self.config_file)} --out DIR"

    @classmethod
    def check_free(cls, path: Path) -> None:
        """Raises UsageError where a new run cannot be made."""
        if os.path.exists(cls(path).config_file):
            raise UsageError(f"{path} already holds a run: go on with 'ganzoo resume {quote(path)}', or choose another --out")
        if os.path.lexists(path) and (
            not path.is_dir() or any(p.name != ".lock" and not is_half_written(p) for p in path.iterdir())
        ):
            raise UsageError(f"--out {path}: it exists and is no empty directory; choose another")
        check_writable(path)

    @classmethod
    def create(cls, path: Path, table: Mapping[str, Any]) -> Run:
        """A new run with this run.toml, locked. Raises UsageError where there is one already."""
        run = cls(path)
        cls.check_free(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise RunError(f"--out {path} could not be made: {err.strerror}; choose another") from None
        run.lock()
        try:
            run.write_config(table)
        except BaseException:
            run.unlock()
            raise
        return run

    @classmethod
    def create_next(cls, root: Path, gen: str, disc: str, table: Mapping[str, Any]) -> Run:
        """A new run under the next number: another may have taken it while this one read its data."""
        while True:
            path = next_directory(root, gen, disc)
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                continue
            except OSError as err:
                raise RunError(f"{path} could not be made: {err.strerror}; choose another place with --out") from None
            return cls.create(path, table)

    @classmethod
    def open(cls, path: Path | str) -> Run:
        """An existing run, not locked."""
        run = cls(path)
        if not run.config_file.is_file():
            raise UsageError(f"{path} is no run: there is no run.toml in it; 'ganzoo runs' lists those in runs/")
        return run

    def write_config(self, table: Mapping[str, Any]) -> None:
        write_atomically(self.config_file, dump_toml(table).encode())

    def config(self) -> dict[str, Any]:
        try:
            table = tomllib.loads(self.config_file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as err:
            raise RunError(f"{self.config_file} cannot be read: {err}") from None
        # All of it is written whole: filled up with defaults it would be another run.
        tables = ["gen", "disc", "loss", "game", "data", "components", "dataset", "spec"]
        tables += ["files"] if "files" in table else []  # older runs have none
        missing = [name for name in tables if not isinstance(table.get(name), dict)]
        if missing:
            raise RunError(
                f"{self.config_file} is damaged: its [{missing[0]}] is not there; put back the file that was written"
            )
        return table

    def lock(self) -> None:
        """Hold the run until `unlock` or the process's end. Raises RunError where another process holds it."""
        self._lock = (self.path / ".lock").open("w")
        if not _try_lock(self._lock):
            self.unlock()
            raise RunError(f"{self.path} is in use by another process: wait for it, or stop it there")

    def unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def in_use(self) -> bool:
        file = self.path / ".lock"
        if self._lock is not None:
            return True
        if not file.exists():
            return False
        with file.open() as f:  # it may be another user's, who lets us read alone
            return not _try_lock(f, shared=True)

    def checkpoints(self) -> list[Path]:
        """Complete checkpoint directories, newest first."""
        return sorted(self._stamped(self.checkpoints_dir, ""), key=lambda p: images_at(p.name) or 0, reverse=True)

    def samples(self) -> list[Path]:
        """Sheets of samples, newest first."""
        return sorted(self._stamped(self.samples_dir, ".png"), key=lambda p: images_at(p.name[:-4]) or 0, reverse=True)

    @staticmethod
    def _stamped(directory: Path, suffix: str) -> Iterator[Path]:
        for path in directory.iterdir() if directory.is_dir() else ():
            if path.name.endswith(suffix) and images_at(path.name.removesuffix(suffix)) is not None:
                yield path

    def best(self) -> str | None:
        """The name of the checkpoint that was marked as the best."""
        try:
            return (self.checkpoints_dir / "best").read_text(encoding="utf-8").strip() or None
        except OSError:
            return None

    def mark_best(self, name: str) -> None:
        write_atomically(self.checkpoints_dir / "best", f"{name}\n".encode())

    def append_log(self, line: Mapping[str, Any]) -> None:
        _append(self.log_file, [line])

    def append_metrics(self, lines: Sequence[Mapping[str, Any]], nimg: int | None = None) -> None:
        """Figures, a line each; `nimg` is when in the training they were taken."""
        at = {} if nimg is None else {"kimg": nimg / 1000, "nimg": nimg}
        _append(self.metrics_file, [at | dict(line) for line in lines])

    def log(self) -> list[dict[str, Any]]:
        """The ticks so far."""
        return _lines(self.log_file)

    def metrics(self) -> list[dict[str, Any]]:
        """The figures taken so far: those of the training on its way have "nimg"."""
        return _lines(self.metrics_file)

    def cut_log(self, nimg: int) -> None:
        """Forget the ticks, and the figures, of after `nimg`: they will be trained again."""
        for file in (self.log_file, self.metrics_file):
            if file.exists() or file == self.log_file:
                kept = [line for line in _lines(file) if line.get("nimg", 0) <= nimg]
                write_atomically(file, "".join(json.dumps(line) + "\n" for line in kept).encode())


def _append(file: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    try:
        with file.open("a", encoding="utf-8") as f:
            f.write("".join(json.dumps(line) + "\n" for line in lines))
    except OSError as err:
        raise RunError(f"{file} could not be written: {err.strerror}; free some space") from None


def _lines(file: Path) -> list[dict[str, Any]]:
    """What is no whole line (a last one cut short by a crash) is left out."""
    lines = []
    for text in file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else ():
        with contextlib.suppress(json.JSONDecodeError):
            lines.append(json.loads(text))
    return [line for line in lines if isinstance(line, dict)]


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A line of `ganzoo runs`. state: "running", "done", "stopped" or "damaged"; kimg: of the newest checkpoint."""

    path: str
    state: str
    kimg: float
    budget: float
    images_per_second: float | None
    gen: str
    disc: str
    data: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def summarise(run: Run) -> RunSummary:
    try:
        table = run.config()
        budget = float(table["kimg"])
        names = [table[key]["name"] for key in ("gen", "disc", "data")]
        newest = next(iter(run.checkpoints()), None)
        nimg = images_at(newest.name) or 0 if newest else 0
        speeds = [line["images_per_second"] for line in run.log() if line.get("images_per_second")]
        state = "running" if run.in_use() else "done" if nimg >= budget * 1000 else "stopped"
    except (RunError, OSError, KeyError, TypeError, ValueError):
        return RunSummary(str(run.path), "damaged", 0.0, 0.0, None, "?", "?", "?")
    return RunSummary(str(run.path), state, nimg / 1000, budget, speeds[-1] if speeds else None, *names)


def list_runs(directory: Path) -> list[RunSummary]:
    """Every run directly in `directory`, by name."""
    if not directory.is_dir():
        return []
    return [summarise(Run(path)) for path in sorted(directory.iterdir()) if os.path.isfile(path / "run.toml")]


def next_directory(root: Path, gen: str, disc: str) -> Path:
    """runs/NNNNN-gen-disc, with the number after the highest there."""
    taken = [int(m[1]) for p in (root.iterdir() if root.is_dir() else ()) if (m := _NUMBERED.fullmatch(p.name))]
    return root / f"{max(taken, default=-1) + 1:05d}-{gen.replace('/', '_')}-{disc.replace('/', '_')}"


def check_writable(path: Path) -> None:
    """Raises UsageError where `path` could not be made or filled: found before hours of work, not after."""
    place = path.absolute()
    while not os.path.lexists(place):
        place = place.parent
    if not place.is_dir():
        raise UsageError(f"--out {path}: {place} is no directory; choose another")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UsageError(f"--out {path}: {place} may not be written to; choose another")


def expanded(path: str) -> Path:
    """A path as a user gave it: a shell leaves the ~ of --out=~/runs to us."""
    return Path(os.path.expanduser(path))


def quote(path: Path | str) -> str:
    """A path as a shell takes it."""
    return shlex.quote(str(path))


def _try_lock(file: IO[str], shared: bool = False) -> bool:
    """A lock that ends with the process, or False where another has it. What is open to read can be locked `shared` alone."""
    try:
        try:
            import fcntl
        except ImportError:  # Windows
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
