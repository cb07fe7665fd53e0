"""Where fakes come from: a generator opened again, or files and data sets that hold some already."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ganzoo.data.cache import Store, materialise
from ganzoo.errors import UsageError
from ganzoo.interfaces import Dataset
from ganzoo.metrics.looks import unit
from ganzoo.models import Model, takes_labels
from ganzoo.plugin import Component, DataSpec

_BATCH = 64
Progress = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]


def seeds_of(seed: int, begin: int, end: int) -> range:
    """Of an evaluation's samples: two seeds of it have none in common, or their figures would not tell how far they vary."""
    return range((seed << 32) + begin, (seed << 32) + end)


def is_told(component: Component | None, data: DataSpec) -> bool:
    """Whether a generator's fakes have classes: it is told them, or makes each of a record that has one."""
    makes_of_records = bool(data.text) or (component is not None and "translate" in component.provides)
    return makes_of_records or takes_labels(component)


class Subject(Protocol):
    """What makes the fakes, or has them; `told`: with their classes, where the data have any."""

    data: DataSpec
    model: Model | None
    provides: frozenset[str]
    told: bool

    def count(self, samples: int, reals: Store) -> int:
        """How many there will be, where this many are asked for."""
        ...

    def fakes(self, n: int, reals: Store, seed: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        """n samples (images in [-1, 1]) a batch at a time, on whatever device they are made, and their labels [N]."""
        ...

    def protocol(self) -> dict[str, Any]: ...


@dataclass(slots=True)
class Generated:
    """Samples of a generator: of noise, classes as often as the reals have them; of the reals' captions; or translations."""

    model: Model
    truncation: float | None = None
    data: DataSpec = field(init=False)
    provides: frozenset[str] = field(init=False)
    told: bool = field(init=False)

    def __post_init__(self) -> None:
        self.data = self.model.data
        self.told = is_told(self.model.component, self.data)
        self.provides = self.model.component.provides if self.model.component is not None else frozenset()

    def count(self, samples: int, reals: Store) -> int:
        return min(samples, len(reals)) if self.model.translates else samples  # the same again would say nothing new

    def fakes(self, n: int, reals: Store, seed: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        random = torch.Generator().manual_seed(seed)
        if self.model.translates:
            yield from self._translated(n, reals, random)
            return
        labels, text = self._labels(n, reals, random), None
        if self.data.text:
            if "text" not in reals.fields:
                raise UsageError("this generator makes images of captions: give data with captions with --against")
            rows = torch.randint(len(reals), (n,), generator=random)
            text = torch.from_numpy(np.asarray(reals.fields["text"])[rows.numpy()]).to(self.model.device)
            labels = None if reals.labels is None else torch.from_numpy(reals.labels[rows.numpy()].astype(np.int64))
        for begin in range(0, n, _BATCH):
            part = slice(begin, min(begin + _BATCH, n))
            seeds = seeds_of(seed, part.start, part.stop)
            x, _ = self.model.inputs(seeds)
            mine = None if labels is None else labels[part]
            model = self.model if text is None else replace(self.model, text=text[part])
            on_device = None if mine is None else mine.to(model.device)
            for made in model.batches(x, on_device, self.truncation, seeds[0]):
                yield made, mine if self.told else None

    def _labels(self, n: int, reals: Store, random: torch.Generator) -> Tensor | None:
        classes = self.data.classes
        if not classes:
            return None
        if reals.labels is None or reals.spec.classes != classes:
            return torch.randint(len(classes), (n,), generator=random)
        counts = np.bincount(reals.labels, minlength=len(classes))
        return torch.multinomial(torch.from_numpy(counts).double(), n, replacement=True, generator=random)

    def _translated(self, n: int, reals: Store, random: torch.Generator) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Of records in turn; into another domain than their own, evenly, where there are several."""
        name = "source" if self.data.source is not None else "real"
        if name not in reals.fields:
            raise UsageError("this generator translates images: give data with images to translate with --against")
        rows = torch.randperm(len(reals), generator=random)[:n].sort().values.numpy()
        k = len(self.model.destinations)
        labels = None if reals.labels is None else torch.from_numpy(reals.labels[rows].astype(np.int64))
        if k and self.data.domains and labels is not None:
            labels = (labels + torch.randint(1, k, (len(rows),), generator=random)) % k
        for to in range(k) if k and labels is not None else [None]:
            mine = np.arange(len(rows)) if to is None or labels is None else (labels == to).numpy().nonzero()[0]
            for begin in range(0, len(mine), _BATCH):
                part = mine[begin : begin + _BATCH]
                made = self.model.translate(unit(np.asarray(reals.fields[name][rows[part]])), to=to)
                yield made, None if labels is None else labels[part]

    def protocol(self) -> dict[str, Any]:
        config = self.model.config
        about = {"generator": config["generator"]["name"], "kimg": config.get("kimg"), "ema": True}
        return about | ({"truncation": self.truncation} if self.truncation is not None else {})


@dataclass(slots=True)
class Held:
    """Samples that lie in files, or are a data set's own records; read when they are asked for."""

    dataset: Dataset
    name: str
    progress: Progress
    model: None = None
    provides: frozenset[str] = frozenset()
    told: bool = True

    @property
    def data(self) -> DataSpec:
        return self.dataset.spec

    def count(self, samples: int, reals: Store) -> int:
        return min(samples, len(self.dataset))

    def fakes(self, n: int, reals: Store, seed: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        with self.progress("reading the fakes") as update:
            store = materialise(self.dataset, progress=update)
        rows = np.arange(len(store))
        if n < len(rows):
            rows = np.sort(np.random.default_rng(seed).permutation(len(rows))[:n])
        labels = store.labels if store.spec.classes == reals.spec.classes else None
        for begin in range(0, len(rows), _BATCH):
            part = rows[begin : begin + _BATCH]
            of = None if labels is None else torch.from_numpy(labels[part].astype(np.int64))
            yield unit(np.asarray(store.fields["real"][part])), of

    def protocol(self) -> dict[str, Any]:
        return {"fakes from": self.name, "fakes' hash": self.dataset.fingerprint()[:12]}
