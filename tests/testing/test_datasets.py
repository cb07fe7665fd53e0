"""The data-set checks: installed data sets pass, and each check catches one that breaks its contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from ganzoo.interfaces import Dataset
from ganzoo.plugin import DataSpec
from ganzoo.testing import Check, datasets
from ganzoo.testing.datasets import CHECKS

from .conftest import Fault, covered, installed, name_of, small, tried

Array = np.ndarray[Any, Any]


class Sound(Dataset):
    """Six striped images in two classes; breaks no contract.

    Options:
        level: brightest value
        colour: the channel that is bright
    """

    def __init__(self, *, level: int = 200, colour: Literal["red", "blue"] = "red") -> None:
        self.level, self.channel = level, ("red", "green", "blue").index(colour)
        self.spec = DataSpec("image", (3, 8, 8), classes=("even", "odd"))
        self.names = [f"{i}.png" for i in range(6)]
        self.labels = np.arange(6) % 2

    def fingerprint(self) -> str:
        return f"{self.level:08d}{self.channel:08d}"

    def decode(self, index: int) -> dict[str, Array]:
        pixels = np.zeros((3, 8, 8), np.uint8)
        pixels[self.channel, index] = self.level
        return {"real": pixels}


class TooFewNames(Sound):
    def __len__(self) -> int:
        return 7


class LabelsFromOne(Sound):
    def __init__(self, *, level: int = 200) -> None:
        super().__init__(level=level)
        self.labels = self.labels + 1


class NarrowLabels(Sound):
    def __init__(self, *, level: int = 200) -> None:
        super().__init__(level=level)
        self.labels = self.labels.astype(np.uint8)


class LabelsWithoutClasses(Sound):
    def __init__(self, *, level: int = 200) -> None:
        super().__init__(level=level)
        self.spec = self.spec.replace(classes=())


class Captioned(Sound):
    """With captions and their vectors; breaks no contract where it declares them."""

    def __init__(self, *, level: int = 200) -> None:
        super().__init__(level=level)
        self.spec = self.spec.replace(text=3)
        self.captions: list[str] | None = [f"stripe {i}" for i in range(6)]

    def decode(self, index: int) -> dict[str, Array]:
        return {**super().decode(index), "text": np.full(3, index, np.float32)}


class VectorsOfNoCaptions(Captioned):
    def __init__(self, *, level: int = 200) -> None:
        super().__init__(level=level)
        self.captions = None


class OtherWidthOfText(Captioned):
    def decode(self, index: int) -> dict[str, Array]:
        return {**super().decode(index), "text": np.full(4, index, np.float32)}


class ForgetsTheText(Captioned):
    def decode(self, index: int) -> dict[str, Array]:
        return {"real": super().decode(index)["real"]}


class Floats(Sound):
    def decode(self, index: int) -> dict[str, Array]:
        return {"real": super().decode(index)["real"].astype(np.float32) / 127.5 - 1}


class ChannelsLast(Sound):
    def decode(self, index: int) -> dict[str, Array]:
        return {"real": super().decode(index)["real"].transpose(1, 2, 0)}


class CutFloats(Sound):
    def decode(self, index: int) -> dict[str, Array]:
        return {"real": (super().decode(index)["real"] / 200.0).astype(np.uint8)}


class RandomCrops(Sound):
    def decode(self, index: int) -> dict[str, Array]:
        return {"real": np.roll(super().decode(index)["real"], np.random.randint(1, 8), 1)}


class ArraysInAnotherOrder(Sound):
    def arrays(self) -> dict[str, Array]:
        return {"real": np.stack([self.decode(i)["real"] for i in range(6)])[::-1]}


class DecodesAtOnce(Sound):
    def __init__(self, *, level: int = 200) -> None:
        super().__init__(level=level)
        self.pixels = [self.decode(i) for i in range(6)]


class ForgetsItsLevel(Sound):
    def fingerprint(self) -> str:
        return f"{self.channel:016d}"


class ForgetsItsColour(Sound):
    def fingerprint(self) -> str:
        return f"{self.level:016d}"


class NewEachTime(Sound):
    def fingerprint(self) -> str:
        return f"{id(self):016x}"


class DrawsNothing(Sound):
    def draw(self, samples: Array, path: Path, *, columns: int = 8, real: Array | None = None) -> None:
        pass


POINTS = {"modality": "points"}
TOLD = {"provides": {"text"}}
FAULTS = [
    Fault(datasets.check_dataset_records, TooFewNames, "expected 7 names; seen: 6"),
    Fault(datasets.check_dataset_records, Sound, "data of modality points; seen: image", declared=POINTS),
    Fault(
        datasets.check_dataset_records, Captioned, "provides={'text'} if and only if spec.text is a width; seen: spec.text = 3"
    ),
    Fault(datasets.check_dataset_records, Sound, "if and only if spec.text is a width; seen: spec.text = 0", declared=TOLD),
    Fault(datasets.check_dataset_records, VectorsOfNoCaptions, "captions, whose vectors", declared=TOLD),
    Fault(datasets.check_dataset_decode, OtherWidthOfText, r"'text' float32 \[3\]; seen: float32 \[4\]", declared=TOLD),
    Fault(datasets.check_dataset_decode, ForgetsTheText, "fields real, text; seen: real", declared=TOLD),
    Fault(datasets.check_dataset_labels, LabelsFromOne, "labels from 0 to 1; seen: 1 to 2"),
    Fault(datasets.check_dataset_labels, NarrowLabels, r"int64 \[6\]; seen: uint8"),
    Fault(datasets.check_dataset_labels, LabelsWithoutClasses, "labels if and only if spec.classes"),
    Fault(datasets.check_dataset_decode, Floats, r"'real' uint8 \[3, 8, 8\]; seen: float32"),
    Fault(datasets.check_dataset_decode, ChannelsLast, r"seen: uint8 \[8, 8, 3\]"),
    Fault(datasets.check_dataset_decode, CutFloats, "nothing above 1"),
    Fault(datasets.check_dataset_deterministic, RandomCrops, "the same record again"),
    Fault(datasets.check_dataset_deterministic, ArraysInAnotherOrder, r"the same record from arrays\(\)"),
    Fault(datasets.check_dataset_is_lazy, DecodesAtOnce, "a call of DecodesAtOnce.decode"),
    Fault(datasets.check_dataset_fingerprint, ForgetsItsLevel, "another fingerprint with level=201"),
    Fault(datasets.check_dataset_fingerprint, ForgetsItsColour, "another fingerprint with colour=blue"),
    Fault(datasets.check_dataset_fingerprint, NewEachTime, "the same from another instance"),
    Fault(datasets.check_dataset_draws, DrawsNothing, "a PNG where it was told to write"),
]


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
@pytest.mark.parametrize(
    ("layout", "array"),
    [("nd", np.random.default_rng(1).normal(size=(20, 3))), ("ncl", np.random.default_rng(2).normal(size=(20, 1, 16)))],
    ids=["points", "signals"],
)
def test_so_do_arrays_of_points_and_signals(check: Check, layout: str, array: Array, tmp_path: Path) -> None:
    (entry,) = (entry for entry in installed("dataset") if entry.name == "array")
    np.savez(tmp_path / "values.npz", x=array.astype(np.float32), labels=np.arange(20) % 4)
    check(entry, {"path": str(tmp_path / "values.npz"), "layout": layout})


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("name", ["emoji", "emoji-pairs", "ring", "grid"])
def test_so_do_those_with_and_without_labels(name: str, labels: bool) -> None:
    (entry,) = (entry for entry in installed("dataset") if entry.name == name)
    options = {"labels": labels, **small(entry)}
    datasets.check_dataset_records(entry, options)
    if labels:
        datasets.check_dataset_labels(entry, options)


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_a_sound_data_set_passes(check: Check) -> None:
    check(tried("dataset", Sound, modality="image"), {})
    check(tried("dataset", Captioned, **TOLD), {})


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_faults_are_caught(fault: Fault) -> None:
    fault.is_caught("dataset")


def test_each_check_catches_something() -> None:
    covered(FAULTS, CHECKS)
