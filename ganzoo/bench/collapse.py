"""A bench of the mode-collapse suites from end to end: what is missing is played, what there is is shown."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from ganzoo.bench import pictures, tables
from ganzoo.bench.lines import Line, Lines
from ganzoo.bench.playing import count_data
from ganzoo.bench.protocols import DATA, Suite, Training
from ganzoo.bench.unfinished import Unfinished
from ganzoo.bench.workers import play_all
from ganzoo.data.cache import cores
from ganzoo.data.pictures import save
from ganzoo.training.display import Display, duration, signalled
from ganzoo.training.trainer import choose_device


@dataclass(slots=True)
class Bench:
    """Suites with a directory of their lines.

    seeds  of each variant, None: each suite's own number
    jobs   trainings at once, None: one a CPU, or one a GPU
    """

    suites: Sequence[Suite]
    lines: Lines
    display: Display
    seeds: int | None = None
    jobs: int | None = None
    device: str = "cpu"

    def trainings(self) -> list[Training]:
        return [training for suite in self.suites for training in suite.trainings(self.seeds)]

    def check(self) -> None:
        """Raises UsageError or PluginError where a variant cannot be assembled here."""
        choose_device(self.device)
        for suite in self.suites:
            suite.check(self.device)

    def play(self) -> bool:
        """Play what there is no line of, a line as soon as each is done; False where it was stopped."""
        everything = self.trainings()
        todo = self.lines.missing(everything)
        try:
            with signalled(_interrupt):
                self._play(todo, len(everything) - len(todo))
        except KeyboardInterrupt:
            left = len(self.lines.missing(everything))
            self.display.say(f"stopped with {len(everything) - left} of {len(everything)} done. The same command goes on")
            return False
        return True

    def _play(self, todo: Sequence[Training], before: int) -> None:
        for training in [t for t in todo if t.recipe == DATA]:
            once = "" if training.near else " (the classifier that tells them is trained once, in minutes)"
            self.display.say(f"{training.suite}: counting modes of the data themselves{once}")
            with self.display.progress("reading images") as progress:
                self.lines.add(count_data(training, progress))
            before += 1
        todo = [training for training in todo if training.recipe != DATA]
        if not todo:
            return
        devices = self._devices()[: len(todo)]
        self.display.say(f"{len(todo)} trainings to do, {len(devices)} at once on {', '.join(dict.fromkeys(devices))}")
        began, looks, total = time.monotonic(), 0, sum(training.looks for training in todo)
        done = 0
        playing = play_all(todo, devices, self.lines.place)
        with self.display.progress("looks at trainings") as progress, contextlib.closing(playing):
            for training, kind, found in playing:
                if kind == "kept":
                    total -= found
                    self.display.say(f"{training}: goes on after {found} of {training.looks} looks")
                    continue
                if kind == "look":
                    looks += found
                    progress(looks, total)
                    continue
                self.lines.add(found)
                Unfinished(self.lines.place, training).forget()
                done += 1
                left = (time.monotonic() - began) / looks * (total - looks)
                ahead = f"; {done} of {len(todo)}" + (f", about {duration(left)} left" if done < len(todo) else "")
                self.display.say(f"{training}: {_found(training, found)}{ahead}")

    def _devices(self) -> list[str]:
        """Where each training that goes on at once computes."""
        kind = choose_device(self.device)
        if kind.type == "cuda" and self.device in ("auto", "cuda"):
            import torch

            there = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        else:
            there = [str(kind)]
        jobs = self.jobs or (cores() if kind.type == "cpu" else len(there))
        return [there[i % len(there)] for i in range(jobs)]

    def reports(self) -> list[tables.Report]:
        return [tables.report(suite, self.lines) for suite in self.suites]

    def draw(self, report: tables.Report) -> dict[str, Path]:
        """Write the pictures of a report beside its lines; their places by what they show."""
        suite = report.suite
        stem = suite.name if suite.protocol == "ganzoo" else f"{suite.protocol}-{suite.name}"
        drawn = {
            f"{suite.name}: every seed a dot": (f"{stem}.png", pictures.dots),
            f"{suite.name}: modes over time": (f"{stem}-steps.png", pictures.curves),
        }
        places = {}
        for words, (name, picture) in drawn.items():
            places[words] = self.lines.place / name
            save(picture(report), places[words])
        return places

    def write_page(self, page: Path, drawn: Mapping[str, Mapping[str, Path]]) -> None:
        """Put every suite that there is something of into the page; `drawn` are its pictures by suite."""
        sections = []
        for report in self.reports():
            if report.rows:
                places = drawn[report.suite.name]
                addresses = {words: Path(os.path.relpath(place, page.parent)).as_posix() for words, place in places.items()}
                sections.append((report.suite, list(tables.section(report, addresses))))
        tables.write_page(page, sections)


def _found(training: Training, line: Line) -> str:
    look: Mapping[str, Any] = line["looks"][-1]
    near = f", {look['quality']:.1%} {training.near}" if training.near else ""
    return f"{look['modes']} of {line['count']} modes{near}, reverse KL {look['kl']:.4f} ({duration(line['seconds'])})"


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
