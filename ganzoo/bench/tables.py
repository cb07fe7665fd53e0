"""What the lines of a bench come to: rows of figures, as plain values, as Markdown, and in a page."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from ganzoo.bench.lines import Line, Lines
from ganzoo.bench.protocols import DATA, Suite
from ganzoo.pages import around
from ganzoo.runs import write_atomically


@dataclass(frozen=True, slots=True)
class Row:
    """One variant over its seeds."""

    label: str
    lines: Sequence[Line]
    published: Sequence[float] | None = None

    def last(self, figure: str) -> list[float]:
        """A figure at the last look, of every seed."""
        return [line["looks"][-1][figure] for line in self.lines]

    @property
    def lost(self) -> list[int]:
        """Of every seed the modes that one look had and the next had fewer of."""
        return [sum(max(0, before - after) for before, after in pairwise(held)) for held in self.held]

    @property
    def held(self) -> list[list[int]]:
        """Modes at each look, of every seed."""
        return [[look["modes"] for look in line["looks"]] for line in self.lines]

    @property
    def diverged(self) -> int:
        return sum(bool(line["looks"][-1].get("diverged")) for line in self.lines)

    def to_dict(self) -> dict[str, Any]:
        figures: dict[str, Sequence[float]] = {
            "modes": self.last("modes"),
            "quality": self.last("quality"),
            "reverse_kl": self.last("kl"),
        }
        figures |= {"lost": self.lost, "seconds": [line["seconds"] for line in self.lines]}
        told: dict[str, Any] = {"variant": self.label, "seeds": [line["seed"] for line in self.lines]}
        for name, values in figures.items():
            told[name] = dict(zip(("mean", "standard_error"), spread(values), strict=True)) | {"each": values}
        return told | {"diverged": self.diverged, "published": list(self.published) if self.published else None}


@dataclass(frozen=True, slots=True)
class Report:
    """A suite with the rows that there are lines of.

    data  the line of the data themselves, where they were counted
    """

    suite: Suite
    rows: Sequence[Row]
    data: Line | None

    @property
    def count(self) -> int:
        """Modes that there are."""
        lines = [*self.rows[0].lines] if self.rows else [self.data] if self.data else []
        return int(lines[0]["count"]) if lines else 0

    @property
    def floor(self) -> float:
        """What a perfect generator's reverse KL comes to with as many samples, in the mean."""
        return (self.count - 1) / (2 * self.suite.samples)

    def to_dict(self) -> dict[str, Any]:
        suite = self.suite
        told = {"protocol": suite.protocol, "suite": suite.name, "steps": suite.steps, "samples": suite.samples}
        told |= {"modes": self.count, "reverse_kl_floor": self.floor, "rows": [row.to_dict() for row in self.rows]}
        keep = ("count", "accuracy")
        data = {**self.data["looks"][-1], **{k: v for k, v in self.data.items() if k in keep}} if self.data else None
        return {**told, "data": data}


def report(suite: Suite, lines: Lines) -> Report:
    """What there is of a suite, of all seeds."""
    found = [(training, lines.like(training)) for training in suite.rows()]
    rows = [Row(training.label, of_row, suite.published.get(training.recipe)) for training, of_row in found if of_row]
    return Report(suite, rows, lines.find(suite.training(DATA)))


def spread(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and standard error; of one value there is none."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return statistics.fmean(values), error


def cells(report: Report) -> tuple[list[str], list[list[str]]]:
    """The table as text: the head, and a row of cells each. What the data come to stands first."""
    suite, near = report.suite, report.suite.near
    head = ["", "seeds", f"modes of {report.count}"]
    head += [near] if near else []
    head += ["reverse KL", "lost on the way", "seconds"]
    head += ["published: modes" + (f", {near}" if near else "") + ", reverse KL"] if suite.published else []
    table = []
    if report.data is not None:
        look = report.data["looks"][-1]
        ideal = [DATA, "", str(look["modes"]), f"{look['quality']:.1%}", f"{look['kl']:.4f} (floor {report.floor:.4f})"]
        table.append(ideal if near else [*ideal[:3], *ideal[4:]])
    for row in report.rows:
        name = row.label + (f" ({row.diverged} of {len(row.lines)} diverged)" if row.diverged else "")
        cells = [name, str(len(row.lines)), _spread(row.last("modes"), ".2f")]
        cells += [_spread(row.last("quality"), ".1%")] if near else []
        cells += [_spread(row.last("kl"), ".4f"), _spread(row.lost, ".2f")]
        cells += [f"{statistics.fmean(line['seconds'] for line in row.lines):.0f}"]
        table.append([*cells, _published(row, near)] if suite.published else cells)
    return head, [[*cells, *[""] * (len(head) - len(cells))] for cells in table]


def _spread(values: Sequence[float], form: str) -> str:
    mean, error = spread(values)
    return f"{mean:{form}}" + (f" ± {error:{form}}" if error is not None else "")


def _published(row: Row, near: str | None) -> str:
    if row.published is None:
        return ""
    modes, quality, kl = row.published
    return ", ".join([f"{modes:g}", *([f"{quality:.1%}"] if near else []), f"{kl:g}"])


def markdown(report: Report) -> str:
    head, table = cells(report)
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *table])


def said(report: Report) -> str:
    """The protocol of a suite in a sentence or two."""
    suite = report.suite
    batch = suite.train["batch"]
    rule = f"{suite.held:.0%} of the samples" if suite.held else "one sample"
    where = f" {suite.near}" if suite.near else ""
    text = f"{suite.steps:,} steps in batches of {batch}; {suite.samples:,} samples at each of {suite.looks} looks; a mode "
    text += f"is held by {rule}{where}. Mean ± standard error over seeds, at the last look."
    if report.data is not None and (accuracy := report.data.get("accuracy")) is not None:
        text += f" A classifier tells the modes; of the single pictures that it had not seen it told {accuracy:.1%} rightly."
    return text


# ---- the page


def section(report: Report, pictures: Mapping[str, str]) -> Iterator[str]:
    """Lines of Markdown: what was expected, then what was found; `pictures` are addresses by what they show."""
    yield f"Protocol `{report.suite.protocol}`: {said(report)}"
    yield ""
    yield "Expected, before the runs:"
    yield ""
    yield from (f"{number}. {words}" for number, words in enumerate(report.suite.expected, 1))
    yield ""
    yield markdown(report)
    for words, address in pictures.items():
        yield ""
        yield f"![{words}]({address})"


def marks(suite: Suite) -> tuple[str, str]:
    """The lines between which a page holds a suite."""
    name = f"bench collapse: {suite.protocol} {suite.name}"
    return f"<!-- {name} -->", f"<!-- end of {name} -->"


def check_page(page: Path, suites: Sequence[Suite]) -> None:
    """Raises UsageError where it cannot be read or written, or has no place for a suite."""
    for suite in suites:
        _around(page, suite)


def write_page(page: Path, sections: Sequence[tuple[Suite, Sequence[str]]]) -> None:
    """Put each suite's lines between its marks; what is outside stays as it is."""
    for suite, lines in sections:
        before, after = _around(page, suite)
        write_atomically(page, (before + "".join(f"{line}\n" for line in lines) + after).encode())


def _around(page: Path, suite: Suite) -> tuple[str, str]:
    return around(page, marks(suite), "--page", f"the suite {suite.name}")
