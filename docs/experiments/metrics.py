"""How the metrics move when samples get worse in known ways: the table of docs/metrics.md.

    python docs/experiments/metrics.py

The emoji at 64x64 with their labels are cut in two halves by chance: one is the reals, the other the fakes, which are then
blurred, covered with noise, robbed of classes, or replaced by copies of the reals, more and more. Halves as they are give what
a perfect generator would. Seed 0; about ten minutes on two cores.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ganzoo.data.cache import Store, materialise
from ganzoo.metrics.evaluation import Evaluation, Reals
from ganzoo.metrics.looks import unit
from ganzoo.plugin import DataSpec
from ganzoo.registry import create

HERE = Path(__file__).parent
PAGE, FIGURES = HERE.parent / "metrics.md", HERE / "metrics.json"
LOOKING = ("fd", "kid", "precision", "recall", "density", "coverage", "diversity", "memorization")
ASKED = (*(f"{name}-lite0-128" for name in LOOKING), "class-fd-lite0-128", "is", "accuracy")
# What has to happen as the strength grows: "+" up, "-" down.
EXPECTED: dict[str, dict[str, str]] = {
    "blur": {"fd": "+", "kid": "+", "precision": "-", "density": "-", "coverage": "-", "recall": "-", "class-fd": "+"},
    "noise": {"fd": "+", "kid": "+", "precision": "-", "density": "-", "coverage": "-", "class-fd": "+"},
    "dropping classes": {"fd": "+", "kid": "+", "recall": "-", "coverage": "-", "is": "-"},
    "one image a class": {"recall": "-", "coverage": "-", "diversity": "-", "kid": "+", "fd": "+"},
    "copies": {"memorization": "+", "precision": "+"},
}


@dataclass
class Given:
    """Fakes that are at hand."""

    data: DataSpec
    images: Tensor
    labels: Tensor
    model: None = None
    provides: frozenset[str] = frozenset()
    told: bool = True

    def count(self, samples: int, reals: Store) -> int:
        return len(self.images)

    def fakes(self, n: int, reals: Store, seed: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        yield from zip(self.images.split(64), self.labels.split(64), strict=True)

    def protocol(self) -> dict[str, Any]:
        return {}


def blur(images: Tensor, sigma: float) -> Tensor:
    reach = torch.arange(-8.0, 9.0)
    line = torch.exp(-(reach**2) / (2 * sigma**2))
    line = (line / line.sum()).expand(3, 1, 1, -1)
    padded = F.pad(images, (8, 8, 8, 8), mode="replicate")
    return F.conv2d(F.conv2d(padded, line, groups=3), line.transpose(2, 3), groups=3)


def noise(images: Tensor, sigma: float) -> Tensor:
    return (images + sigma * torch.randn(images.shape, generator=torch.Generator().manual_seed(1))).clamp(-1, 1)


Ways = dict[str, tuple[list[tuple[str, float]], Callable[[Given, Tensor, Tensor, float], Given]]]


def ways() -> Ways:
    """By name, the strengths and what each makes of the fakes, given the reals and their labels."""

    def on_images(change: Callable[[Tensor, float], Tensor]) -> Callable[[Given, Tensor, Tensor, float], Given]:
        return lambda fakes, real, labels, strength: Given(fakes.data, change(fakes.images, strength), fakes.labels)

    def drop(fakes: Given, real: Tensor, labels: Tensor, kept: float) -> Given:
        there = torch.nonzero(fakes.labels < kept).flatten()
        rows = there[torch.randint(len(there), (len(fakes.labels),), generator=torch.Generator().manual_seed(2))]
        return Given(fakes.data, fakes.images[rows], fakes.labels[rows])

    def repeat(fakes: Given, real: Tensor, labels: Tensor, share: float) -> Given:
        """This share of each class is its first image, again and again."""
        first = torch.stack([torch.nonzero(fakes.labels == k)[0, 0] for k in range(len(fakes.data.classes))])
        rows = torch.arange(len(fakes.labels))
        chosen = torch.rand(len(rows), generator=torch.Generator().manual_seed(3)) < share
        rows[chosen] = first[fakes.labels[chosen]]
        return Given(fakes.data, fakes.images[rows], fakes.labels)

    def copy(fakes: Given, real: Tensor, labels: Tensor, share: float) -> Given:
        n = round(share * len(fakes.images))
        return Given(fakes.data, torch.cat([real[:n], fakes.images[n:]]), torch.cat([labels[:n], fakes.labels[n:]]))

    shares = [("a quarter", 0.25), ("a half", 0.5), ("all", 1.0)]
    return {
        "blur": ([(f"sigma {s}", s) for s in (0.5, 1.0, 2.0)], on_images(blur)),
        "noise": ([(f"sigma {s}", s) for s in (0.05, 0.1, 0.2)], on_images(noise)),
        "dropping classes": ([(f"{k} of 9 kept", k) for k in (7, 4, 1)], drop),
        "one image a class": (shares, repeat),
        "copies": (shares, copy),
    }


def measure() -> dict[str, dict[str, list[float | None]]]:
    """By row, each metric's value and standard error."""
    dataset = create("dataset", "emoji", res=(64, 64))
    store = materialise(dataset)
    order = np.random.default_rng(0).permutation(len(store))
    one, other = (np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 : len(order) // 2 * 2]))
    reals = Reals(dataset, "emoji:res=64, one half")
    reals.give(store, one)
    evaluation = Evaluation(ASKED, reals, torch.device("cpu"))
    images, labels = unit(np.asarray(store.fields["real"])), torch.from_numpy(np.array(store.labels, np.int64))
    perfect = Given(store.spec, images[other], labels[other])
    rows: dict[str, Given] = {"the other half": perfect}
    for name, (strengths, change) in ways().items():
        for said, strength in strengths:
            rows[f"{name}: {said}"] = change(perfect, images[one], labels[one], strength)
    found = {}
    for row, fakes in rows.items():
        results = evaluation.take(fakes, len(fakes.images), 0)
        found[row] = {result.metric: [result.value, result.error] for result in results if result.asked}
        print(row, {name: round(value[0] or 0.0, 4) for name, value in found[row].items()}, flush=True)
    return found


def table(found: dict[str, dict[str, list[float | None]]]) -> str:
    """Markdown; a figure that moves against what is expected of it is in bold."""
    names = list(next(iter(found.values())))
    lines = [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for row, figures in found.items():
        cells = []
        for name in names:
            value, error = figures[name]
            assert value is not None
            said = f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
            if row == "the other half" and error is not None:
                said += f" ± {error:.3f}"
            cells.append(f"**{said}**" if (row, name) in wrong(found) else said)
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def wrong(found: dict[str, dict[str, list[float | None]]]) -> set[tuple[str, str]]:
    """(row, metric) that moved against EXPECTED from the weaker row before it, by more than its standard error."""
    out = set()
    for way, signs in EXPECTED.items():
        rows = ["the other half", *(row for row in found if row.startswith(f"{way}:"))]
        for name in next(iter(found.values())):
            if (sign := signs.get(name.removesuffix("-lite0-128").removesuffix("-classifier-32"))) is None:
                continue
            for before, row in pairwise(rows):
                (a, _), (b, error) = found[before][name], found[row][name]
                assert a is not None
                assert b is not None
                if (b - a if sign == "+" else a - b) < -(error or 0.0):
                    out.add((row, name))
    return out


def main() -> None:
    found = measure()
    FIGURES.write_text(json.dumps(found) + "\n")
    text = PAGE.read_text()
    before, _, rest = text.partition("<!-- behaviour -->\n")
    _, _, after = rest.partition("<!-- end of behaviour -->")
    PAGE.write_text(f"{before}<!-- behaviour -->\n{table(found)}\n<!-- end of behaviour -->{after}")
    print("against what is expected:", sorted(wrong(found)) or "nothing")


if __name__ == "__main__":
    main()
