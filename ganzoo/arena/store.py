"""An arena's directory: the question, a configuration a combination, a run a training, and a line a finished run.

arena.toml        the question and every combination, with the reason of those that do not fit
configs/NAME.toml all that decides a combination's trainings but seed and budget: `ganzoo train --config` takes it
runs/NAME-sK      run directories, as `ganzoo train` makes them
logs/NAME-sK.txt  what training and measuring it printed
results.jsonl     a line a finished run
failures.jsonl    a line a run that failed
"""

from __future__ import annotations

import json
import threading
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ganzoo.arena.question import Cell, Question
from ganzoo.config import FORMAT, RunConfig, dump_toml
from ganzoo.errors import RunError, UsageError
from ganzoo.runs import Run, check_writable, is_half_written, quote, write_atomically

Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Training:
    """One run: a combination and a seed."""

    cell: Cell
    seed: int

    @property
    def name(self) -> str:
        return f"{self.cell.name}-s{self.seed}"


class Arena:
    """An arena's directory, opened. Threads may share it."""

    def __init__(self, path: Path, question: Question, cells: list[Cell]) -> None:
        self.path, self.question, self.cells = path, question, cells
        self._held = Run(path)
        self._writing = threading.Lock()

    @classmethod
    def open(cls, path: Path) -> Arena | None:
        """None where there is none yet. Raises RunError where arena.toml cannot be read."""
        file = path / "arena.toml"
        if not file.is_file():
            return None
        try:
            table = tomllib.loads(file.read_text(encoding="utf-8"))
            if table["format"] != FORMAT:
                raise RunError(f"{file}: format = {table['format']!r}: this ganzoo reads format {FORMAT}; upgrade ganzoo-core")
            cells = [Cell(**line) for line in table["cell"]]
            return cls(path, Question.from_dict(table), cells)
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError) as err:
            raise RunError(
                f"{file} cannot be read: {err}; put back the file that was written, or choose another --out"
            ) from None

    @classmethod
    def create(cls, path: Path, question: Question, cells: list[tuple[Cell, RunConfig | None]]) -> Arena:
        """A new one. Raises UsageError where something else is there already, RunError where it cannot be written."""
        cls.check_free(path)
        arena = cls(path, question, [cell for cell, _ in cells])
        try:
            (path / "configs").mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise RunError(f"--out {path} could not be made: {err.strerror}; choose another") from None
        for cell, config in cells:
            if config is not None:
                write_atomically(arena.config_file(cell), config.to_toml().encode())
        table = {"format": FORMAT, **question.to_dict()}
        lines = [{key: value for key, value in asdict(cell).items() if value is not None} for cell in arena.cells]
        # Last, because where it is, the rest is.
        write_atomically(path / "arena.toml", dump_toml({**table, "cell": lines}).encode())
        return arena

    @staticmethod
    def check_free(path: Path) -> None:
        """Raises UsageError where no new arena can be made: what one left that was stopped while it began is no hindrance."""
        there = {p.name for p in path.iterdir() if not is_half_written(p)} if path.is_dir() else set()
        if others := there - {"configs", ".lock"}:
            raise UsageError(f"--out {path}: it holds no arena, but {sorted(others)[0]}; choose another")
        check_writable(path)

    def lock(self) -> None:
        """Raises RunError where another process plays here."""
        self._held.lock()

    def unlock(self) -> None:
        self._held.unlock()

    def config_file(self, cell: Cell) -> Path:
        return self.path / "configs" / f"{cell.name}.toml"

    def run(self, training: Training) -> Run:
        return Run(self.path / "runs" / training.name)

    def log_file(self, training: Training) -> Path:
        return self.path / "logs" / f"{training.name}.txt"

    def trainings(self) -> list[Training]:
        """All that is asked for: every combination once before any of them a second time."""
        playable = [cell for cell in self.cells if cell.reason is None]
        return [Training(cell, seed) for seed in range(self.question.seeds) for cell in playable]

    def results(self) -> list[Line]:
        return self._read("results.jsonl")

    def failures(self) -> list[Line]:
        return self._read("failures.jsonl")

    def add_result(self, line: Mapping[str, Any]) -> None:
        self._add("results.jsonl", line)

    def add_failure(self, line: Mapping[str, Any]) -> None:
        self._add("failures.jsonl", line)

    def forget_failures(self) -> None:
        if self.failures():
            write_atomically(self.path / "failures.jsonl", b"")

    def _read(self, name: str) -> list[Line]:
        path = self.path / name
        try:
            text = path.read_text(encoding="utf-8") if path.exists() else ""
            return [json.loads(line) for line in text.splitlines()]
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as err:
            raise RunError(f"{path} cannot be read: {err}; mend it, or remove the line: that run is measured again") from None

    def _add(self, name: str, line: Mapping[str, Any]) -> None:
        """A whole line more: the file is written anew beside its place, so that none is ever cut short."""
        with self._writing:
            path = self.path / name
            before = path.read_bytes() if path.exists() else b""
            write_atomically(path, before + (json.dumps(line, ensure_ascii=False) + "\n").encode())

    @property
    def command(self) -> str:
        """What goes on with it."""
        return f"ganzoo arena --out {quote(self.path)}"
