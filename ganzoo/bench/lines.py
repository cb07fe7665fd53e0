"""What a bench has found so far: a directory of SUITE.jsonl, a finished training a line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ganzoo.bench.protocols import Training
from ganzoo.errors import RunError
from ganzoo.runs import Run, check_writable, write_atomically

Line = dict[str, Any]
Key = tuple[str, str, str, str, int]

_FIELDS = ("protocol", "case", "recipe", "hash", "seed")


class Lines:
    """The lines of a directory by what they are of; each is on the disk before the next training begins.

    A line holds what names its training ("protocol", "suite", "case", "recipe", "hash", "seed"), "count" (modes of the data),
    "seconds", "versions", and "looks": at each "steps", "modes", "quality" and "kl". Lines of other hashes stay as they are.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self._run = Run(place)
        self._suites: dict[str, dict[Key, Line]] = {}

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the directory and lock it. Raises UsageError where that cannot be, RunError where another bench is in it."""
        check_writable(self.place)
        try:
            self.place.mkdir(parents=True, exist_ok=True)
            self._run.lock()
        except OSError as err:
            raise RunError(f"--out {self.place} could not be made: {err.strerror}; choose another") from None
        try:
            yield
        finally:
            self._run.unlock()

    def file(self, suite: str) -> Path:
        return self.place / f"{suite}.jsonl"

    def find(self, training: Training) -> Line | None:
        return self._of(training.suite).get(training.key)

    def like(self, training: Training) -> list[Line]:
        """Of every seed of its row, in order."""
        return [line for key, line in sorted(self._of(training.suite).items()) if key[:4] == training.key[:4]]

    def missing(self, trainings: Iterable[Training]) -> list[Training]:
        return [training for training in trainings if self.find(training) is None]

    def add(self, line: Line) -> None:
        lines = self._of(line["suite"])
        lines[_key(line)] = line
        text = "".join(json.dumps(each) + "\n" for each in lines.values())
        write_atomically(self.file(line["suite"]), text.encode())

    def _of(self, suite: str) -> dict[Key, Line]:
        if suite not in self._suites:
            self._suites[suite] = dict(self._read(suite))
        return self._suites[suite]

    def _read(self, suite: str) -> Iterable[tuple[Key, Line]]:
        file = self.file(suite)
        try:
            texts = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        except (OSError, UnicodeDecodeError) as err:
            raise RunError(f"{file} cannot be read: {getattr(err, 'strerror', None) or err}") from None
        for number, text in enumerate(texts, 1):
            try:
                line = json.loads(text)
                yield _key(line), line
            except (ValueError, TypeError, KeyError):
                raise RunError(f"{file}: line {number} is damaged; delete that line, and its training is run again") from None


def _key(line: Mapping[str, Any]) -> Key:
    protocol, case, recipe, hashed, seed = (line[name] for name in _FIELDS)
    return protocol, case, recipe, hashed, seed
