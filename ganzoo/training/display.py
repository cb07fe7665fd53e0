"""Who is told of a training, and how it is stopped. Torch-free."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Protocol


class Training(Protocol):
    """What is watched and stopped: images seen, of how many, and whether it should stop after this round."""

    nimg: int
    total: int
    stopping: bool


class Display(Protocol):
    """Who shows a training to a person. It is also an observer: it may have any of the ganzoo_run_* methods."""

    def say(self, words: str) -> None: ...
    def progress(self, what: str) -> contextlib.AbstractContextManager[Callable[[int, int], None]]: ...
    def watch(self, trainer: Training) -> contextlib.AbstractContextManager[None]: ...


class Mute:
    """For ranks that another one speaks for."""

    def say(self, words: str) -> None:
        pass

    @contextlib.contextmanager
    def progress(self, what: str) -> Iterator[Callable[[int, int], None]]:
        yield lambda done, total: None

    @contextlib.contextmanager
    def watch(self, trainer: Training) -> Iterator[None]:
        yield


class Quiet(Mute):
    """For the library: warnings and notices on stderr, nothing else."""

    def say(self, words: str) -> None:
        print(f"ganzoo: {words}", file=sys.stderr)


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes, hours = seconds / 60, seconds / 3600
    return f"{minutes:.0f} min" if minutes < 90 else f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


@contextlib.contextmanager
def stoppable(trainer: Training, say: Callable[[str], None]) -> Iterator[None]:
    """Ctrl-C (or SIGTERM) finishes the round and writes a checkpoint; a second Ctrl-C leaves at once.

    A second SIGTERM is often the same one: a batch system sends it to torchrun and to the ranks, and torchrun passes it on.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        if trainer.stopping:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        trainer.stopping = True
        say("stopping after this round, with a checkpoint; Ctrl-C again leaves at once")

    with signalled(stop):
        yield


@contextlib.contextmanager
def signalled(stop: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """SIGINT, where a shell has a background job ignore it too, and SIGTERM call `stop`; in the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
