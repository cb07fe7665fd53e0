"""Trainings side by side, each in a process of its own with one thread: torch's threads do not pay on small networks."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from ganzoo.bench.protocols import Training
from ganzoo.errors import GanzooError
from ganzoo.registry import one_line


def play_all(trainings: Sequence[Training], devices: Sequence[str], place: Path) -> Iterator[tuple[Training, str, Any]]:
    """Play them in order, one process for each of `devices`; `place` is the bench's directory.

    Yields (training, "kept" or "look", how many looks) as `play` tells, and (training, "line", the line) at its end.

    Raises GanzooError where one fails, after the others are stopped; so are they where the generator is closed.
    """
    context = multiprocessing.get_context("spawn")  # a fork would share locks of torch's threads, and CUDA cannot be forked
    waiting, playing = deque(trainings), dict[Any, Training]()
    processes = []
    try:
        for device in devices[: len(trainings)]:
            here, there = context.Pipe()
            process = context.Process(target=_work, args=(there, device, place), daemon=True)
            with _uninterrupted():
                process.start()
            there.close()  # or its end would not be noticed
            processes.append(process)
            playing[here] = waiting.popleft()
            here.send(playing[here])
        while playing:
            for ready in wait(list(playing)):
                connection: Any = ready
                training = playing[connection]
                try:
                    kind, value = connection.recv()
                    if kind == "line" and waiting:
                        connection.send(waiting[0])
                except (EOFError, OSError):
                    raise GanzooError(f"{training}: its process was killed, as where memory ends; try fewer --jobs") from None
                if kind == "failed":
                    raise GanzooError(f"{training}: {value}")
                if kind == "line":
                    del playing[connection]
                    if waiting:
                        playing[connection] = waiting.popleft()
                yield training, kind, value
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """A process that is started in here ignores Ctrl-C, which reaches the whole group: the parent decides."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _work(connection: Connection, device: str, place: Path) -> None:
    """Play what comes, until nothing more does. A parent that is gone is noticed at the next look."""
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            training: Training = connection.recv()
            connection.send(_played(training, connection, device, place))


def _played(training: Training, connection: Connection, device: str, place: Path) -> tuple[str, Any]:
    import torch

    from ganzoo.bench.playing import play

    torch.set_num_threads(1)
    try:
        return "line", play(training, lambda *told: connection.send(told), device, place)
    except (BrokenPipeError, ConnectionResetError):
        raise
    except GanzooError as err:
        return "failed", str(err)
    except Exception as err:
        return "failed", one_line(err)
