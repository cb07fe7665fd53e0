"""Fakes held against reals, by any installed metrics: `ganzoo eval`, and what a training takes of itself on the way."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ganzoo import __version__
from ganzoo.assembly import data_spec
from ganzoo.data import pictures
from ganzoo.data.cache import Store, materialise
from ganzoo.errors import GanzooError, UsageError
from ganzoo.interfaces import Dataset, Features, Measured, Sampled
from ganzoo.loading import load
from ganzoo.metrics import looks
from ganzoo.metrics.asking import Asked, Network, build, check_uses, features_of, parse
from ganzoo.metrics.looks import Look, Vectors
from ganzoo.metrics.neighbours import nearest
from ganzoo.metrics.subjects import Generated, Held, Progress, Subject
from ganzoo.models import Model
from ganzoo.options import options_of
from ganzoo.plugin import DataSpec
from ganzoo.registry import Registry, get_registry
from ganzoo.runs import Run, expanded
from ganzoo.training.accelerate import exact
from ganzoo.training.trainer import choose_device
from ganzoo.values import format_spec

SAMPLES, REALS = 2000, 10_000
_SHOWN = 24  # of the fakes that are nearest to a real, on the picture


@dataclass(frozen=True, slots=True)
class Result:
    """One metric's figure with its protocol: without it the figure means nothing.

    asked  False for what is only shown beside another, because that alone misleads
    """

    metric: str
    value: float
    error: float | None
    details: Mapping[str, float]
    protocol: Mapping[str, Any]
    better: Literal["lower", "higher"] | None
    notes: tuple[str, ...] = ()
    asked: bool = field(default=True)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Reals:
    """The data that fakes are held against: opened, decoded only when asked, and which of their records count."""

    dataset: Dataset
    name: str
    most: int = REALS
    _store: Store | None = None
    _among: np.ndarray[Any, Any] | None = None

    def give(self, store: Store, among: np.ndarray[Any, Any]) -> None:
        """A store that is open already, and the records of it that count."""
        self._store, self._among = store, among

    @cached_property
    def fingerprint(self) -> str:
        return self.dataset.fingerprint()

    def store(self, progress: Progress) -> Store:
        if self._store is None:
            with progress("reading images") as update:
                self._store = materialise(self.dataset, progress=update)
        return self._store

    def rows(self, store: Store) -> np.ndarray[Any, Any]:
        """Evenly drawn where there are more than count, the same each time."""
        rows = np.arange(len(store)) if self._among is None else self._among
        return rows if len(rows) <= self.most else np.sort(np.random.default_rng(0).permutation(rows)[: self.most])


class Evaluation:
    """What is asked, of which data: built and refused before any image is read; then asked of any subject, many times."""

    def __init__(
        self,
        metrics: Sequence[str],
        reals: Reals,
        device: torch.device,
        *,
        network: str | None = None,
        size: int | None = None,
        progress: Progress = lambda what: nullcontext(lambda done, total: None),
        registry: Registry | None = None,
    ) -> None:
        self.registry = registry or get_registry()
        self.reals, self.device, self._progress = reals, device, progress
        self.asked = parse(metrics, self.registry, reals.dataset.spec, network, size)
        self._networks: dict[str, Features] = {}
        self._looks: dict[str, Look] = {}
        self._seen: dict[str, Vectors] = {}  # of the reals

    def check(self, mine: DataSpec, model: Model | None, provides: frozenset[str], told: bool) -> None:
        """Refuse what cannot be asked of such fakes, and build the networks; `told`: their classes. Raises UsageError."""
        theirs = self.reals.dataset.spec
        if (mine.modality, mine.channels) != (theirs.modality, theirs.channels):
            raise UsageError(
                f"the fakes are {mine.modality} data of {mine.channels} channels, the reals {theirs.modality} data of "
                f"{theirs.channels}: name other data with --against"
            )
        check_uses(self.asked, self.reals.dataset, model is not None, provides)
        labelled = [one.entry for one in self.asked if one.entry.component.labels == "required"]
        if labelled and mine.classes != theirs.classes:
            raise UsageError(f"{labelled[0]} needs fakes of the same classes as the reals: {', '.join(theirs.classes[:8])}...")
        if labelled and not told:
            raise UsageError(f"{labelled[0]} needs fakes whose classes are known, and this generator looks at no labels")
        for one in self.asked:
            if (network := one.network) is not None and network.name not in self._networks:
                self._networks[network.name] = features_of(network, theirs, self.registry)

    @exact()
    def take(self, subject: Subject, samples: int, seed: int, picture: Path | None = None) -> list[Result]:
        """The figures of so many fakes; `picture` shows those that are nearest to a real beside it.

        Raises UsageError where there are too few for a metric.
        """
        self.check(subject.data, subject.model, subject.provides, subject.told)
        store = self.reals.store(self._progress)
        rows = self.reals.rows(store)
        self._look_at_reals(store, rows)
        n = subject.count(samples, store)
        fakes = self._look_at_fakes(subject, n, store, seed, picture is not None)
        results = []
        for one in self.asked:
            real, fake = self._sides(one, subject, store, rows, fakes)
            found: Measured = build(partial(one.metric, real, fake), one.entry)
            protocol = self._protocol(one, subject, len(rows), fakes.count, seed)
            figure = (one.name, found.value, found.error, dict(found.details), protocol)
            results.append(Result(*figure, one.metric.better, found.notes, one.asked))
        if picture is not None:
            self._draw_copies(picture, store, rows, fakes)
        return results

    # ---- the two sides

    def _look_at_reals(self, store: Store, rows: np.ndarray[Any, Any]) -> None:
        """What each network that is looked through says of the reals."""
        fingerprint = self.reals.fingerprint
        for one in self.asked:
            if (network := one.network) is None or network.name in self._looks:
                continue
            made = self._networks[network.name]
            build(partial(made.learn, self.reals.dataset), network.entry)
            look = Look(made, network.size, "logits" in network.entry.component.provides, self.device)
            with self._progress(f"looking at {len(rows)} reals ({network.name})") as update:
                tick = partial(_of, update, len(rows))
                kept = f"{fingerprint}, {_made_by(network)}"
                self._seen[network.name] = looks.of_reals(look, store.fields["real"], rows, kept, tick)
            self._looks[network.name] = look

    def _look_at_fakes(self, subject: Subject, n: int, store: Store, seed: int, keep: bool) -> _Fakes:
        uses = frozenset().union(*(one.metric.uses for one in self.asked))
        keep = keep or not uses.isdisjoint({"samples", "modes"})
        seen = {name: looks.Seen() for name in self._looks}
        labels, samples, done = [], [], 0
        with self._progress(f"making and looking at {n} fakes") as update:
            for made, of in subject.fakes(n, store, seed):
                for name, look in self._looks.items():
                    seen[name].add(look.see(made))
                if of is not None:
                    labels.append(of.cpu())
                if keep:
                    samples.append(
                        torch.from_numpy(pictures.to_uint8(made.cpu().float().numpy())) if made.dim() == 4 else made.cpu()
                    )
                done += len(made)
                update(done, n)
        return _Fakes(
            done,
            {name: vectors.fetch() for name, vectors in seen.items()},
            torch.cat(labels) if labels else None,
            torch.cat(samples) if samples else None,
        )

    def _sides(
        self, one: Asked, subject: Subject, store: Store, rows: np.ndarray[Any, Any], fakes: _Fakes
    ) -> tuple[Sampled, Sampled]:
        """What this metric uses, and nothing else."""
        uses, none = one.metric.uses, torch.empty(0, 0)
        name = one.network.name if one.network is not None else None
        reals = self._seen[name] if name is not None else {}
        mine = fakes.vectors[name] if name is not None else {}
        real: dict[str, Any] = {"features": reals.get("features", none)}
        fake: dict[str, Any] = {"features": mine.get("features", none)}
        same = subject.data.classes == store.spec.classes  # else a label is another class there
        if "labels" in uses and same and store.labels is not None and fakes.labels is not None:
            real["labels"], fake["labels"] = torch.from_numpy(store.labels[rows].astype(np.int64)), fakes.labels
        if "logits" in uses:
            real["logits"], fake["logits"] = reals["logits"], mine["logits"]
        if not uses.isdisjoint({"samples", "modes"}):
            assert fakes.samples is not None
            held = np.asarray(store.fields["real"][rows])
            if "samples" in uses:
                real["samples"], fake["samples"] = torch.from_numpy(held), fakes.samples
            if "modes" in uses:
                real["modes"], fake["modes"] = (self.reals.dataset.modes(x) for x in (held, fakes.samples.numpy()))
        if "model" in uses:
            assert name is not None
            fake["model"], fake["look"] = subject.model, self._looks[name].maps
        return Sampled(**real), Sampled(**fake)

    def _protocol(self, one: Asked, subject: Subject, reals: int, fakes: int, seed: int) -> dict[str, Any]:
        about: dict[str, Any] = {
            "reals": reals,
            "reals from": self.reals.name,
            "reals' hash": self.reals.fingerprint[:12],
            "fakes": fakes,
            **subject.protocol(),
            "seed": seed,
        }
        if one.network is not None:
            about["network"] = _made_by(one.network)
            about["network's hash"] = self._looks[one.network.name].hash
            if self.reals.dataset.spec.modality == "image":
                about["resize"] = looks.RESIZE if one.network.size is not None else "none"
        versions = {"ganzoo": __version__, "torch": torch.__version__}
        if (timm := sys.modules.get("timm")) is not None:
            versions["timm"] = timm.__version__
        return about | {"versions": versions, "device": self.device.type}

    def _draw_copies(self, path: Path, store: Store, rows: np.ndarray[Any, Any], fakes: _Fakes) -> None:
        """The fakes that are nearest to a real, each beside it."""
        if not self._looks:
            raise UsageError("--picture shows nearest neighbours: ask for a metric with a feature network, as memorization")
        name = next(iter(self._looks))
        assert fakes.samples is not None
        distance, index = nearest(fakes.vectors[name]["features"].double(), self._seen[name]["features"].double())
        which = distance.argsort()[:_SHOWN]
        made = looks.unit(fakes.samples[which].numpy())
        theirs = looks.unit(np.asarray(store.fields["real"][rows[index[which].numpy()]]))
        pairs = torch.stack([made, theirs], 1).flatten(0, 1).numpy() if made.shape == theirs.shape else made.numpy()
        try:
            self.reals.dataset.draw(pairs, path, columns=8)
        except OSError as err:
            raise GanzooError(f"--picture {path} could not be written: {err.strerror}") from None


@dataclass(slots=True)
class _Fakes:
    count: int  # of a folder's, without those that could not be read
    vectors: dict[str, Vectors]
    labels: Tensor | None
    samples: Tensor | None


def _made_by(network: Network) -> str:
    return f"{network.name}, {network.entry.dist} {network.entry.version}"


def _of(update: Callable[[int, int], None], total: int, done: int) -> None:
    update(done, total)


def evaluate(
    subject: str | Path,
    metrics: Sequence[str] = ("kid",),
    *,
    against: str | None = None,
    split: str | None = None,
    samples: int = SAMPLES,
    reals: int = REALS,
    network: str | None = None,
    size: int | None = None,
    seed: int = 0,
    truncation: float | None = None,
    at: str | None = None,
    device: str = "auto",
    strict: bool = False,
    picture: Path | None = None,
    progress: Progress = lambda what: nullcontext(lambda done, total: None),
) -> list[Result]:
    """The figures of a run, an exported model, or a folder, zip, array or data set of samples.

    metrics   names as `ganzoo list metric` has them, with a network or without: "kid", "fd-lite0-128", "fid"
    against   the data, as --data of `ganzoo train`; None: those that the run was trained on
    split     of those data, where they have splits: "held-out", "test"
    samples   fakes, at most; reals: records of the data, at most
    network   for the metrics whose names say none, and `size`, the side that images are resized to for it
    A run's figures are also appended to its metrics.jsonl. Raises GanzooError, UsageError where it can before an image is read.
    """
    if samples < 2 or reals < 2:
        raise UsageError(f"--samples {samples} and --reals {reals} must be at least 2")
    registry, path = get_registry(), expanded(str(subject))
    is_run, is_model = (path / "run.toml").is_file(), any((p / "config.json").is_file() for p in (path, path / "model"))
    held = None
    if not (is_run or is_model):
        if at is not None or truncation is not None:
            raise UsageError(f"{subject} holds samples, no generator: leave --checkpoint and --truncation out")
        held = against_data(registry, None, str(subject), None, str(subject))
    data = against_data(registry, Run.open(path) if is_run else None, against, split, str(subject))
    chosen = choose_device(device)
    evaluation = Evaluation(
        metrics, Reals(*data, reals), chosen, network=network, size=size, progress=progress, registry=registry
    )
    what: Subject = Held(*held, progress) if held else Generated(load(path, device=chosen, at=at, strict=strict), truncation)
    results = evaluation.take(what, samples, seed, picture)
    if is_run:
        Run.open(path).append_metrics([result.to_dict() for result in results])
    return results


def against_data(
    registry: Registry, run: Run | None, against: str | None, split: str | None, subject: str
) -> tuple[Dataset, str]:
    """The data set that fakes are held against, and its name with options; no image is read."""
    if against is not None:
        spec = data_spec(against, registry)
        name, options = spec.name, dict(spec.options)
    elif run is not None:
        table = dict(run.config()["data"])
        name, options = str(table.pop("name")), table
    else:
        raise UsageError(f"say what {subject} is to be held against with --against DATA: a data set or a path")
    entry = registry.find("dataset", name)
    if split is not None:
        if "split" not in options_of(registry.load(entry)):
            raise UsageError(f"{entry} has no splits: leave --split out")
        options["split"] = split
    dataset: Dataset = build(lambda: registry.build(entry, options), entry)
    return dataset, format_spec(name, {k: v for k, v in options.items() if v not in (None, "none")})
