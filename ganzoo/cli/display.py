"""What a person sees of a training: live on a terminal, a plain line a tick elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ganzoo.plugin import DataSpec
from ganzoo.registry import get_registry
from ganzoo.runs import Run, quote
from ganzoo.training.display import Training, duration

_FIRST = ("kimg", "images_per_second", "D/loss", "G/loss", "D/real", "D/fake", "diversity")
_HIDDEN = frozenset({"nimg", "round", "seconds"})


class Plain:
    """Lines on stdout, for files, pipes and logs. Observes the run as a plugin would."""

    def __init__(self, err: bool = False) -> None:
        self._sheet: Path | None = None
        self._file = sys.stderr if err else sys.stdout

    def say(self, words: str) -> None:
        with self._enduring():
            print(words, file=self._file, flush=True)

    @contextlib.contextmanager
    def _enduring(self) -> Iterator[None]:
        """A pipe or terminal that is gone, or a full disk, is no reason to end a training: nothing more is said.

        Ctrl-C in `ganzoo train | tee log` ends tee first.
        """
        try:
            yield
        except OSError as err:
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._file.fileno())
            with contextlib.suppress(OSError):
                print(f"ganzoo: nothing more is printed ({err.strerror}); the run goes on", file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def progress(self, what: str) -> Iterator[Callable[[int, int], None]]:
        """Says every ten seconds how far it is."""
        said = time.monotonic()

        def update(done: int, total: int) -> None:
            nonlocal said
            if time.monotonic() - said > 10:
                said = time.monotonic()
                self.say(f"{what}: {done} of {total}")

        yield update

    @contextlib.contextmanager
    def watch(self, trainer: Training) -> Iterator[None]:
        self._total = trainer.total
        yield

    def ganzoo_run_tick(self, run: Path, nimg: int, stats: Mapping[str, float]) -> None:
        self.say(line(stats, self._total))

    def ganzoo_run_images(self, run: Path, nimg: int, path: Path) -> None:
        self._sheet = path

    def conclude(self, run: Run, outcome: str) -> int:
        """The last words and the exit code."""
        if outcome == "stopped":
            self.say(f"stopped. To go on: ganzoo resume {quote(run.path)}")
            return 130
        config, path = run.config(), quote(run.path)
        gen = get_registry().find("generator", config["gen"]["name"])
        words = ' --text "a caption"' if "text" in gen.component.needs else ""
        translates = DataSpec.from_dict(config["spec"]).translates
        look = f"ganzoo translate {path} IMAGES --out DIR" if translates else f"ganzoo sample {path}{words} --out samples.png"
        self.say(f"done: {run.path}. Next: {look}, ganzoo export {path}")
        if self._sheet is not None:
            self.say(str(self._sheet))
        return 0


class Mute(Plain):
    """For ranks that another one speaks for."""

    def say(self, words: str) -> None:
        pass

    def ganzoo_run_tick(self, run: Path, nimg: int, stats: Mapping[str, float]) -> None:
        pass

    def conclude(self, run: Run, outcome: str) -> int:
        return 130 if outcome == "stopped" else 0


class Live(Plain):
    """A display that is redrawn a few times a second; what is said scrolls by above it."""

    def __init__(self, err: bool = False) -> None:
        super().__init__(err)
        from rich.console import Console

        self._console = Console(stderr=err)
        self._stats: Mapping[str, float] = {}
        self._live: Any = None

    def say(self, words: str) -> None:
        with self._enduring():
            self._console.print(words, markup=False, highlight=False, soft_wrap=True)

    @contextlib.contextmanager
    def progress(self, what: str) -> Iterator[Callable[[int, int], None]]:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._console, transient=True) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)

    @contextlib.contextmanager
    def watch(self, trainer: Training) -> Iterator[None]:
        from rich.live import Live as Screen

        self._total, self._trainer = trainer.total, trainer
        self._began, self._from = time.monotonic(), trainer.nimg
        with Screen(get_renderable=self._draw, console=self._console, refresh_per_second=4) as self._live:
            yield

    def ganzoo_run_tick(self, run: Path, nimg: int, stats: Mapping[str, float]) -> None:
        self._stats = stats

    def _draw(self) -> Any:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        trainer = self._trainer
        seconds, seen = time.monotonic() - self._began, trainer.nimg - self._from
        left = duration(max(0, trainer.total - trainer.nimg) * seconds / seen) if seen else "..."
        head = Table.grid(padding=(0, 2))
        head.add_row(
            ProgressBar(trainer.total, trainer.nimg, width=30),
            f"{trainer.nimg / 1000:.1f} of {trainer.total / 1000:g} kimg",
            f"{seen / max(seconds, 1e-9):.1f} images/s" if seen else "",
            f"{left} left",
        )
        body = Table.grid(padding=(0, 3))
        names = [name for name in (*_FIRST, *self._stats) if name in self._stats and name not in _HIDDEN]
        cells = [
            f"[dim]{name}[/] {number(self._stats[name])}"
            for name in dict.fromkeys(names)
            if name not in ("kimg", "images_per_second")
        ]
        for i in range(0, len(cells), 5):
            body.add_row(*cells[i : i + 5])
        return Group(head, body)


def display_for(err: bool = False) -> Plain:
    """Live on a terminal, else plain; on stderr where stdout is for results. Of several ranks the first one's alone is seen."""
    if os.environ.get("TORCHELASTIC_RUN_ID") and os.environ.get("RANK", "0") != "0":
        return Mute(err)
    return Live(err) if (sys.stderr if err else sys.stdout).isatty() else Plain(err)


def line(stats: Mapping[str, float], total: int) -> str:
    """A tick as one line."""
    left = max(0, total - stats["nimg"]) / max(stats["images_per_second"], 1e-9)
    words = [
        f"kimg {stats['kimg']:g} of {total / 1000:g}",
        f"{stats['images_per_second']:.1f} images/s",
        f"{duration(left)} left",
    ]
    names = [n for n in (*_FIRST, *stats) if n in stats and n not in _HIDDEN and n not in ("kimg", "images_per_second")]
    return "  ".join([*words, *(f"{name} {number(stats[name])}" for name in dict.fromkeys(names))])


def number(value: float) -> str:
    return f"{value:.3g}"
