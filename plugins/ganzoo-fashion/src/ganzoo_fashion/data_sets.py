"""The data sets `fashion` and `stacked`, read from the idx files beside this file (in `data/`, by scripts/build.py)."""

from __future__ import annotations

import gzip
import hashlib
from functools import cache, cached_property
from itertools import product
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np

from ganzoo.interfaces import Dataset, DataSpec, Modes, trained_classifier

__all__ = ["Fashion", "Stacked"]

Split = Literal["train", "test"]
Array = np.ndarray[Any, Any]

DATA = Path(__file__).resolve().parent / "data"
SIDE = 28
CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_FILES: dict[Split, str] = {"train": "train", "test": "t10k"}
_PLACES = np.array([100, 10, 1])  # of the three classes in the number of a mode
_JUDGED = 500  # samples shown to the classifier at once
_one_reader = Lock()  # records are decoded in threads: without it each would unpack the whole file


def read_idx(path: Path) -> Array:
    """The uint8 array of a gzipped idx file: 0, 0, type, number of axes, the axes as big-endian uint32, the values."""
    with gzip.open(path) as file:
        content = file.read()
    kind, axes = content[2], content[3]
    if content[:2] != b"\0\0" or kind != 8:
        raise ValueError(f"{path} is no idx file of bytes")
    shape = np.frombuffer(content, ">u4", axes, 4).tolist()
    values: Array = np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
    return values


def read_labels(split: Split) -> Array:
    """int64 [N]: indices into CLASSES."""
    labels: Array = read_idx(DATA / f"{_FILES[split]}-labels-idx1-ubyte.gz").astype(np.int64)
    return labels


def read_pictures(split: Split) -> Array:
    """uint8 [N, 28, 28], read-only: bright on black."""
    with _one_reader:
        return _read_pictures(split)


@cache
def _read_pictures(split: Split) -> Array:
    return read_idx(DATA / f"{_FILES[split]}-images-idx3-ubyte.gz")


def fit(picture: Array, res: tuple[int, int]) -> Array:
    """uint8 [C, *res] from [C, 28, 28]: enlarged by the largest whole factor that fits, or reduced; centred on black."""
    room = min(res)
    side = room // SIDE * SIDE or room
    out: Array = np.zeros((len(picture), *res), np.uint8)
    top, left = (res[0] - side) // 2, (res[1] - side) // 2
    out[:, top : top + side, left : left + side] = picture if side == SIDE else _resized(picture, side)
    return out


def _resized(picture: Array, side: int) -> Array:
    from PIL import Image

    # Where it reduces, a filter without negative lobes: the black around the clothes stays black.
    reducing = Image.Resampling.HAMMING if SIDE % side else Image.Resampling.BOX
    how = Image.Resampling.BICUBIC if side > SIDE else reducing
    planes: Array = np.stack([np.asarray(Image.fromarray(plane).resize((side, side), how)) for plane in picture])
    return planes


class _Clothes(Dataset):
    """What both data sets share: record i has the pictures `picks[i]` [C] of a split as its channels."""

    def __init__(self, split: Split, picks: Array, res: tuple[int, int] | None) -> None:
        self._res = (SIDE, SIDE) if res is None else (res[0], res[1])
        if min(self._res) < 1:
            raise ValueError(f"res={res} must be (height, width), each at least 1")
        self._split, self._picks = split, picks
        self.spec = DataSpec("image", (picks.shape[1], *self._res))

    def fingerprint(self) -> str:
        settings = repr((self._split, self.spec.shape)).encode()
        sums = (DATA / "SHA256SUMS").read_bytes()
        return hashlib.sha256(sums + settings + self._picks.astype("<i8").tobytes()).hexdigest()

    def decode(self, index: int) -> dict[str, Array]:
        return {"real": fit(read_pictures(self._split)[self._picks[index]], self._res)}


class Fashion(_Clothes):
    """Fashion-MNIST (Xiao et al. 2017): clothes, grey on black (-1), 28x28; 60,000 for training and 10,000 for testing.

    A record's name is "train/00000", in the order of the published files; each class has 6,000 (test: 1,000). Raises ValueError
    for a class that is not there.

    Options:
        split: train or test
        classes: only these, by name; none: all ten
        res: height and width; none is 28x28. A larger size shows the same pixels padded with black, 32x32 with two on each
            side; from 56 on they are first enlarged by the largest whole factor that fits. A smaller size is reduced
        labels: the kinds of clothes as classes; of one kind alone there are none
    """

    def __init__(
        self,
        *,
        split: Split = "train",
        classes: tuple[str, ...] | str | None = None,
        res: tuple[int, int] | None = None,
        labels: bool = True,
    ) -> None:
        kinds = read_labels(split)
        wanted = CLASSES if classes is None else (classes,) if isinstance(classes, str) else classes
        if unknown := [name for name in wanted if name not in CLASSES]:
            raise ValueError(f"there is no class '{unknown[0]}'; classes takes of {', '.join(CLASSES)}")
        chosen = [number for number, name in enumerate(CLASSES) if name in wanted]
        if not chosen:
            raise ValueError(f"classes=[] leaves nothing; it takes of {', '.join(CLASSES)}")
        records = np.flatnonzero(np.isin(kinds, chosen))
        super().__init__(split, records[:, None], res)
        self.names = [f"{split}/{i:05}" for i in records]
        if labels and len(chosen) > 1:
            self.labels = np.searchsorted(chosen, kinds[records])
            self.spec = self.spec.replace(classes=tuple(CLASSES[number] for number in chosen))


class Stacked(_Clothes):
    """Three pictures of `fashion`, drawn independently with replacement, as red, green and blue: 1,000 equally likely modes.

    The stacked digits of Metz et al. (2017), made of clothes. `mode_of` int64 [n] holds each record's, 100 r + 10 g + b of its
    three classes in the order of `fashion`, with or without labels; `modes` tells those of samples by a classifier of single
    pictures, which is trained at the first call and kept in the cache. A record's name is "train/00012+34567+00089", the
    pictures it is made of. Raises ValueError where n or seed is too small.

    Options:
        n: records; 128,000 as in PacGAN (authors' code, VEEGAN experiment)
        seed: the set that is drawn, the same on every machine
        split: the pictures to stack: train or test
        res: height and width; none is 28x28. Larger and smaller as in `fashion`: 32x32 is padded with black
        labels: the modes as 1,000 classes, named "Trouser + Bag + Coat"
    """

    def __init__(
        self,
        *,
        n: int = 128_000,
        seed: int = 0,
        split: Split = "train",
        res: tuple[int, int] | None = None,
        labels: bool = False,
    ) -> None:
        for name, value, least in (("n", n, 1), ("seed", seed, 0)):
            if value < least:
                raise ValueError(f"{name}={value} must be at least {least}")
        kinds = read_labels(split)
        # Philox's raw output is the same in every version of numpy; `Generator.integers` need not be.
        draws = np.random.Philox(np.random.SeedSequence(seed)).random_raw(3 * n)
        picks = (draws % len(kinds)).astype(np.int64).reshape(n, 3)
        super().__init__(split, picks, res)
        self.names = [f"{split}/{r:05}+{g:05}+{b:05}" for r, g, b in picks.tolist()]
        self.mode_of: Array = kinds[picks] @ _PLACES
        if labels:
            classes = tuple(" + ".join(names) for names in product(CLASSES, repeat=3))
            self.labels, self.spec = self.mode_of, self.spec.replace(classes=classes)

    @cached_property
    def _classifier(self) -> Any:
        return trained_classifier(Fashion(split="train", res=self._res))

    def modes(self, samples: Array) -> Modes:
        """By what each channel shows; every sample is inside: a classifier knows nothing that is no garment."""
        import torch

        kinds, classifier = [], self._classifier
        with torch.inference_mode():
            for some in np.array_split(samples, -(-len(samples) // _JUDGED) or 1):
                pictures = torch.from_numpy(np.ascontiguousarray(some)).flatten(0, 1)[:, None]
                kinds.append(classifier(pictures).argmax(1).numpy().reshape(-1, 3))
        return Modes(1000, np.concatenate(kinds) @ _PLACES, np.ones(len(samples), bool), classifier.accuracy)
