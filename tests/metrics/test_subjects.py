"""Where fakes come from: their seeds, their classes, and how they are looked at."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ganzoo.data.dataset import Dataset
from ganzoo.data.hashing import digest
from ganzoo.errors import UsageError
from ganzoo.interfaces import Features
from ganzoo.metrics.evaluation import Evaluation, Reals
from ganzoo.metrics.looks import Look, Vectors, of_reals
from ganzoo.metrics.subjects import is_told, seeds_of
from ganzoo.plugin import Component, DataSpec

ROOT = Path(__file__).parents[2]


class Greys(Dataset):
    """Even greys, bright or dark by class."""

    def __init__(self, classes: tuple[str, ...]) -> None:
        self.labels = np.arange(40) % 2
        self.images = (50 + 150 * self.labels + np.arange(40))[:, None, None, None].repeat(4, 2).repeat(4, 3).astype(np.uint8)
        self.names = [str(i) for i in range(40)]
        self.spec = DataSpec("image", (1, 4, 4), classes=classes)

    def fingerprint(self) -> str:
        return digest(self.images.tobytes().hex())

    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        return {"real": self.images}


@dataclass
class Copies:
    """A generator that draws each class as it is, of more classes than those."""

    data: DataSpec
    told: bool = True
    model: None = None
    provides: frozenset[str] = frozenset()

    def count(self, samples: int, reals: Any) -> int:
        return samples

    def fakes(self, n: int, reals: Any, seed: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        labels = torch.arange(n) % len(self.data.classes)
        yield (labels[:, None, None, None].expand(n, 1, 4, 4) - 0.5), labels

    def protocol(self) -> dict[str, Any]:
        return {}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path))


def test_two_seeds_of_an_evaluation_share_no_sample() -> None:
    first, second = (set(seeds_of(seed, 0, 50_000)) for seed in range(2))
    assert not first & second
    assert list(seeds_of(0, 3, 5)) == [3, 4]
    assert list(seeds_of(2, 0, 100)) == [*seeds_of(2, 0, 64), *seeds_of(2, 64, 100)]
    torch.Generator().manual_seed(seeds_of(2**31 - 1, 0, 2**20)[-1])


def test_labels_of_other_classes_are_not_compared() -> None:
    """The second class of the one is the first of the other."""
    reals = Reals(Greys(("b", "c")), "greys")

    def diversity(subject: Copies) -> float:
        return Evaluation(["diversity-raw"], reals, torch.device("cpu")).take(subject, 60, 0)[0].value

    spec = reals.dataset.spec
    others = Copies(replace(spec, classes=("a", "b", "c")))
    alone = Copies(replace(spec, classes=()))
    alone.fakes = lambda *given: ((made, None) for made, _ in others.fakes(*given))  # type: ignore[method-assign]
    assert diversity(others) == diversity(alone) != diversity(Copies(spec))
    with pytest.raises(UsageError, match="same classes"):
        Evaluation(["class-fd-raw"], reals, torch.device("cpu")).take(others, 60, 0)
    with pytest.raises(UsageError, match="looks at no labels"):
        Evaluation(["class-fd-raw"], reals, torch.device("cpu")).take(Copies(spec, told=False), 60, 0)


@pytest.mark.parametrize(
    ("more", "text", "told"),
    [
        ({}, 0, False),
        ({"labels": "used"}, 0, True),
        ({"labels": "refused"}, 0, False),
        ({"provides": {"translate"}}, 0, True),
        ({}, 8, True),
    ],
)
def test_who_knows_the_classes_of_fakes(more: dict[str, Any], text: int, told: bool) -> None:
    component = Component("generator", "any", "any:Any", **more)
    assert is_told(component, DataSpec("image", (3, 8, 8), ("a", "b"), text=text)) is told


class Scaled(Features):
    """Whose scale is code: no file of weights has it."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor(scale), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        seen.append(len(images))
        return images.flatten(1) * self.scale


seen: list[int] = []


def test_kept_vectors_are_of_the_code_that_made_them() -> None:
    images = np.zeros((4, 1, 2, 2), np.uint8)

    def look(scale: float, name: str) -> Vectors:
        seen.clear()
        return of_reals(Look(Scaled(scale), None, False, torch.device("cpu")), images, np.arange(4), name, lambda done: None)

    assert torch.equal(look(1.0, "mine 1.0")["features"], -torch.ones(4, 4))
    look(1.0, "mine 1.0")
    assert not seen
    look(1.0, "mine 1.1")
    assert seen
    assert torch.equal(look(2.0, "mine 1.1")["features"], -2 * torch.ones(4, 4))


def test_nothing_is_rounded_where_it_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    flags = []
    see = Look.see

    def noted(look: Look, samples: Tensor) -> Vectors:
        flags.append((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))
        return see(look, samples)

    monkeypatch.setattr(Look, "see", noted)
    reals = Reals(Greys(("a", "b")), "greys")
    try:
        Evaluation(["fd-raw"], reals, torch.device("cpu")).take(Copies(reals.dataset.spec), 60, 0)
        assert set(flags) == {(False, False)}
        assert torch.backends.cudnn.allow_tf32
        assert torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def test_the_experiment_on_the_metrics_plays(monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/experiments/metrics.py takes minutes; what it makes of fakes is a subject, and one row of its table is taken."""
    spec = importlib.util.spec_from_file_location("experiment", ROOT / "docs/experiments/metrics.py")
    assert spec is not None
    assert spec.loader is not None
    experiment = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "experiment", experiment)  # dataclasses look there
    spec.loader.exec_module(experiment)
    reals = Reals(Greys(("b", "c")), "greys")
    images = torch.from_numpy(reals.dataset.arrays()["real"]).float() / 127.5 - 1
    fakes = experiment.Given(reals.dataset.spec, images, torch.from_numpy(reals.dataset.labels))
    changed = experiment.ways()["copies"][1](fakes, images, fakes.labels, 0.5)
    assert Evaluation(["fd-raw", "diversity-raw"], reals, torch.device("cpu")).take(changed, 40, 0)[0].value < 1e-6
