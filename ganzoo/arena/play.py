"""Trains and measures all that an arena asks for, several at once, each in processes of its own: what crashes harms one run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ganzoo.arena.store import Arena, Line, Training
from ganzoo.errors import RunError, UsageError
from ganzoo.runs import Run, images_at
from ganzoo.training.display import stoppable

_PILOT = 16  # rounds that tell how fast a combination is, where the budget is minutes
_SPENT = 0.985  # of the minutes: a hundredth is a tick
_POLL = 0.2  # seconds


@dataclass(frozen=True, slots=True)
class Slot:
    """A place where one training at a time runs."""

    device: str
    environment: Mapping[str, str] = field(default_factory=dict)


def make_slots(device: str, jobs: int | None) -> list[Slot]:
    """One a GPU; on a CPU as many as asked for (1), with one thread each. Raises UsageError."""
    import torch

    from ganzoo.training.trainer import choose_device

    chosen = choose_device(device)
    if chosen.type == "cpu":
        threads = os.environ.get("OMP_NUM_THREADS") or "1"
        name = f"CPU, {threads} thread{'s' * (threads != '1')}"
        return [Slot(name, {"OMP_NUM_THREADS": threads})] * (jobs or 1)
    if device in ("auto", "cuda") and chosen.type == "cuda":
        count = torch.cuda.device_count()
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        numbers = visible.split(",") if visible else [str(i) for i in range(count)]
        slots = [Slot(torch.cuda.get_device_name(i), {"CUDA_VISIBLE_DEVICES": numbers[i].strip()}) for i in range(count)]
    else:
        slots = [Slot(torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else chosen.type)]
    if jobs is not None and jobs > len(slots):
        raise UsageError(f"--jobs {jobs}: one training a GPU, and there {'is 1' if len(slots) == 1 else f'are {len(slots)}'}")
    return slots[: jobs or len(slots)]


class _Failed(Exception):
    """A child process that ended otherwise than it should: what it said."""


class Player:
    """Plays what is left of an arena. `nimg` and `total` count runs: that is what can be watched and stopped here."""

    def __init__(self, arena: Arena, slots: list[Slot], device: str, say: Callable[[str], None]) -> None:
        self.arena, self.slots, self.device, self.say = arena, slots, device, say
        self.budget = arena.question.limit
        done = {line["run"] for line in arena.results()}
        tried = done | {line["run"] for line in arena.failures()}
        self.queue = [training for training in arena.trainings() if training.name not in tried]
        self.nimg, self.total = len(done), len(arena.trainings())
        self.stopping = self.hurried = False
        self._lock = threading.Lock()

    def play(self) -> str:
        """Until nothing is left, or `stopping`. Returns "done" or "stopped". Raises RunError where nothing can be written."""
        for folder in ("runs", "logs"):
            _make(self.arena.path / folder)
        with stoppable(self, self.say), ThreadPoolExecutor(len(self.slots)) as pool:
            working = [pool.submit(self._work, slot) for slot in self.slots]
            try:
                while wait(working, timeout=_POLL).not_done:
                    pass  # a signal's handler runs in this thread, between two waits
            except BaseException:
                self.stopping = self.hurried = True
                raise
        for worker in working:
            worker.result()
        return "stopped" if self.stopping else "done"

    def _work(self, slot: Slot) -> None:
        while (training := self._take()) is not None:
            try:
                self._play(training, slot)
            except _Failed as err:
                self.arena.add_failure({"run": training.name, "cell": training.cell.name, "error": str(err)})
                self.say(f"{training.name} ({training.cell.words}) failed: {err}")
            except BaseException:
                self.stopping = True  # what ends this place's work ends all: a full disk
                raise

    def _take(self) -> Training | None:
        with self._lock:
            return self.queue.pop(0) if self.queue and not self.stopping else None

    def _play(self, training: Training, slot: Slot) -> None:
        run = self.arena.run(training)
        self._await_another(run)
        while (arguments := self._next(training, run)) is not None:
            before = _reached(run)
            code, said = self._call(arguments, training, slot, timed=run)
            if self.stopping:
                return
            if code not in (0, 130):  # 130: stopped with a checkpoint, its minutes were over
                if self._await_another(run):  # it was still starting, and was faster
                    continue
                raise _Failed(said)
            if _reached(run) == before:
                raise _Failed(f"it trains no further: {said}")
        question, file = self.arena.question, self.arena.path / "logs" / f"{training.name}.json"
        asked = ["--metric", question.metric, "--samples", str(question.samples), "--device", self.device, "--json"]
        code, said = self._call(["eval", str(run.path), *asked], training, slot, out=file)
        if self.stopping:
            return
        if code:
            raise _Failed(said)
        line = {"run": training.name, "cell": training.cell.name, "seed": training.seed, "device": slot.device}
        try:
            line |= figures(run) | {"metrics": (results := _results(file))}
        except (ValueError, KeyError) as err:
            raise _Failed(f"its figures cannot be read: {err}") from None
        file.unlink()
        self.arena.add_result(line)
        with self._lock:
            self.nimg += 1
        found = f"{results[0]['metric']} {results[0]['value']:.4g}"
        self.say(f"{self.nimg} of {self.total}: {training.name} ({training.cell.words}): {found}")

    def _next(self, training: Training, run: Run) -> list[str] | None:
        """The command that brings a training further; None where it has had its budget."""
        new = not run.config_file.is_file()
        if new:
            shutil.rmtree(run.path, ignore_errors=True)  # what a training that was killed before it began has left
        config = [] if not new else ["--config", str(self.arena.config_file(training.cell)), "--seed", str(training.seed)]
        config += ["--out", str(run.path)] if new else []
        if self.budget.kimg is not None:
            if new:
                return ["train", *config]
            return None if _reached(run) >= self.budget.kimg * 1000 else ["resume", str(run.path)]
        assert self.budget.minutes is not None
        if new:
            # Its speed is not known yet. Budgets that are known decide ticks, checkpoints and schedules: a short one first.
            return ["train", *config, "--kimg", f"{_PILOT * self._batch(training) / 1000:g}"]
        reached = _reached(run)
        run.cut_log(reached)
        log = run.log()
        seconds = sum(line["seconds"] for line in log)
        left = 60 * self.budget.minutes - seconds
        if left <= (1 - _SPENT) * 60 * self.budget.minutes:
            return None
        if not log or not reached:
            return ["resume", str(run.path)]
        speed = max(line["images_per_second"] for line in log[-3:])
        # A little more than fits: it is stopped at the first tick beyond its minutes.
        return [
            "resume",
            str(run.path),
            "--kimg",
            f"{(reached + max(1.02 * left * speed, 4 * self._batch(training))) / 1000:.3f}",
        ]

    def _batch(self, training: Training) -> int:
        batch: int = tomllib.loads(self.arena.config_file(training.cell).read_text(encoding="utf-8"))["batch"]
        return batch

    def _await_another(self, run: Run) -> bool:
        """A training outlives an arena that is killed; it is let finish. Whether there was one."""
        said = False
        while run.path.is_dir() and run.in_use() and not self.stopping:
            if not said:
                self.say(f"{run.path} is still being trained by a process that an arena left behind: waiting for it")
            said = True
            time.sleep(1)
        return said

    def _call(
        self, arguments: list[str], training: Training, slot: Slot, *, timed: Run | None = None, out: Path | None = None
    ) -> tuple[int, str]:
        """A command of ganzoo in a process of its own: its exit code and last words. What it prints goes to `out`, or the log.

        `timed` is stopped at the first tick beyond the budget. All are stopped with `stopping`: one signal, which lets a
        training write a checkpoint; they have sessions of their own, so that Ctrl-C in a terminal is no second one.
        """
        path = self.arena.log_file(training)
        try:
            with path.open("ab") as log, (out or path).open("ab" if out is None else "wb") as printed:
                begin = log.tell()
                process = subprocess.Popen(
                    [sys.executable, "-m", "ganzoo", *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=printed,
                    stderr=log,
                    env=os.environ | dict(slot.environment),
                    start_new_session=True,
                )
        except OSError as err:
            raise RunError(f"{path} could not be written: {err.strerror}; free some space") from None
        told = over = False
        try:
            while process.poll() is None:
                over = over or (timed is not None and self._is_over(timed))
                if not told and (self.stopping or over):
                    process.terminate()
                    told = True
                if self.hurried:
                    process.kill()
                time.sleep(_POLL)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if over and process.returncode == -signal.SIGTERM:
            return 0, ""  # it had ended by itself, and was about to say so
        return process.returncode, _last_words(path, begin, process.returncode)

    def _is_over(self, run: Run) -> bool:
        return self.budget.minutes is not None and sum(line["seconds"] for line in run.log()) >= 60 * self.budget.minutes


def _results(file: Path) -> list[Line]:
    """What `ganzoo eval --json` printed, a line a metric; a part may have printed lines of its own. Raises ValueError."""
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    if not (found := [json.loads(line) for line in lines if line.startswith('{"metric": ')]):
        raise ValueError(f"{file} has none")
    return found


def figures(run: Run) -> Line:
    """What a finished training says of itself: kimg, seconds, images a second (median), diversity over its last tenth.

    Raises ValueError where its log is lost.
    """
    log = run.log()
    late = [line["diversity"] for line in log[-max(1, len(log) // 10) :] if "diversity" in line]
    return {
        "kimg": _reached(run) / 1000,
        "seconds": round(sum(line["seconds"] for line in log), 1),
        "images_per_second": round(statistics.median(line["images_per_second"] for line in log), 1),
        "diversity": round(statistics.mean(late), 4) if late else None,
    }


def _reached(run: Run) -> int:
    """Images seen at the newest checkpoint."""
    newest = next(iter(run.checkpoints()), None)
    return images_at(newest.name) or 0 if newest is not None else 0


def _make(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise RunError(f"{path} could not be made: {err.strerror}; free some space") from None


def _last_words(path: Path, begin: int, code: int) -> str:
    if code < 0:
        return f"it was killed by signal {-code}" + (": out of memory?" if code == -9 else "")
    with path.open("rb") as log:
        log.seek(begin)
        lines = [line.strip() for line in log.read().decode("utf-8", "replace").splitlines() if line.strip()]
    said: Any = [line.removeprefix("ganzoo: ") for line in lines if line.startswith("ganzoo: ")]
    return str((said or lines or [f"exit code {code}"])[-1])
