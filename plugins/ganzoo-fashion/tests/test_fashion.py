from __future__ import annotations

import gzip
import hashlib
import importlib
import importlib.util
import itertools
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import ganzoo_fashion
from ganzoo.registry import get_registry
from ganzoo.testing import CHECKS, Skip
from ganzoo_fashion import data_sets
from ganzoo_fashion.data_sets import CLASSES, DATA, Fashion, Stacked, read_labels, read_pictures

ROOT = Path(__file__).resolve().parent.parent
FILES = {"train": ("train", 60_000), "test": ("t10k", 10_000)}
Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def idx() -> dict[str, tuple[bytes, bytes]]:
    """Pixels and labels of each split, read without numpy: 16 and 8 bytes of header."""
    out = {}
    for split, (name, count) in FILES.items():
        pixels = gzip.decompress((DATA / f"{name}-images-idx3-ubyte.gz").read_bytes())
        labels = gzip.decompress((DATA / f"{name}-labels-idx1-ubyte.gz").read_bytes())
        assert struct.unpack(">4I", pixels[:16]) == (0x803, count, 28, 28)
        assert struct.unpack(">2I", labels[:8]) == (0x801, count)
        assert len(pixels) == 16 + count * 784
        out[split] = pixels[16:], labels[8:]
    return out


@pytest.fixture
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fashion_build", ROOT / "scripts" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---------------------------------------------------------------- fashion


@pytest.mark.parametrize("split", FILES)
def test_every_pixel_and_label_is_the_published_one(split: str, idx: dict[str, tuple[bytes, bytes]]) -> None:
    data = Fashion(split=split)  # type: ignore[arg-type]
    pixels, labels = idx[split]
    assert len(data) == FILES[split][1]
    assert data.spec.shape == (1, 28, 28)
    assert b"".join(data.decode(i)["real"].tobytes() for i in range(len(data))) == pixels
    assert data.labels is not None
    assert data.labels.tolist() == list(labels)
    assert list(data.names) == [f"{split}/{i:05}" for i in range(len(data))]


def test_the_files_are_debians(build: ModuleType) -> None:
    for name, digest in build.SHA256.items():
        assert hashlib.sha256((DATA / name).read_bytes()).hexdigest() == digest
    listed = [tuple(line.split("  ")[::-1]) for line in (DATA / "SHA256SUMS").read_text().splitlines()]
    assert listed == list(build.SHA256.items())


@pytest.mark.parametrize(("split", "each"), [("train", 6_000), ("test", 1_000)])
def test_classes_are_balanced(split: str, each: int) -> None:
    data = Fashion(split=split)  # type: ignore[arg-type]
    assert data.spec.classes == CLASSES
    assert np.bincount(data.labels).tolist() == [each] * 10  # type: ignore[arg-type]


def test_the_first_records_are_those_of_the_paper() -> None:
    train, test = Fashion(), Fashion(split="test")
    first = [train.spec.classes[k] for k in train.labels[:4]]  # type: ignore[index]
    assert first == ["Ankle boot", "T-shirt/top", "T-shirt/top", "Dress"]
    assert test.spec.classes[test.labels[0]] == "Ankle boot"  # type: ignore[index]


def test_trousers_are_tall_and_sneakers_wide() -> None:
    """The names go with the pictures."""
    data = Fashion(split="test")

    def proportion(name: str) -> float:
        lit = np.stack([data.decode(i)["real"][0] > 60 for i in np.flatnonzero(data.labels == CLASSES.index(name))[:200]])
        return float(np.median(lit.any(2).sum(1) / lit.any(1).sum(1)))

    assert proportion("Trouser") > 1.5
    assert proportion("Dress") > 1.5
    assert proportion("Sneaker") < 0.7


def test_no_test_picture_was_trained_on(idx: dict[str, tuple[bytes, bytes]]) -> None:
    train, test = ({idx[s][0][i : i + 784] for i in range(0, len(idx[s][0]), 784)} for s in ("train", "test"))
    assert not train & test
    assert not set(Fashion().names) & set(Fashion(split="test").names)


def test_without_labels() -> None:
    data = Fashion(labels=False)
    assert data.labels is None
    assert data.spec.classes == ()


def test_some_classes_alone(idx: dict[str, tuple[bytes, bytes]]) -> None:
    data, published = Fashion(split="test", classes=("Bag", "Trouser")), idx["test"][1]
    assert data.spec.classes == ("Trouser", "Bag")  # in the order of the ten
    records = [i for i in range(10_000) if published[i] in (1, 8)]
    assert list(data.names) == [f"test/{i:05}" for i in records]
    assert data.labels is not None
    assert data.labels.tolist() == [int(published[i] == 8) for i in records]
    assert data.decode(7)["real"].tobytes() == idx["test"][0][784 * records[7] :][:784]
    assert data.fingerprint() not in (Fashion(split="test").fingerprint(), Fashion(split="test", classes="Bag").fingerprint())


def test_one_class_has_no_labels() -> None:
    data = Fashion(split="test", classes="Ankle boot")
    assert (len(data), data.labels, data.spec.classes) == (1_000, None, ())


@pytest.mark.parametrize(("classes", "says"), [("Hat", "no class 'Hat'.*Ankle boot"), ((), "leaves nothing")])
def test_unknown_classes_are_refused(classes: str | tuple[str, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Fashion(classes=classes)


# ---------------------------------------------------------------- sizes


def test_32_is_padded_with_black() -> None:
    padded, native = Fashion(res=(32, 32)), Fashion()
    for i in (0, 777, 59_999):
        pixels = padded.decode(i)["real"]
        assert pixels.dtype == np.uint8
        assert np.array_equal(pixels, np.pad(native.decode(i)["real"], ((0, 0), (2, 2), (2, 2))))


def test_other_shapes_keep_the_picture_and_centre_it() -> None:
    wide, native = Fashion(res=(32, 64)).decode(3)["real"], Fashion().decode(3)["real"]
    assert wide.shape == (1, 32, 64)
    assert np.array_equal(wide[:, 2:30, 18:46], native)
    wide[:, 2:30, 18:46] = 0
    assert not wide.any()


def test_64_holds_the_picture_twice_as_large() -> None:
    large, native = Fashion(res=(64, 64)).decode(3)["real"], Fashion().decode(3)["real"]
    assert large.shape == (1, 64, 64)
    inner = large[:, 4:60, 4:60]
    assert large.sum() == inner.sum()
    assert np.corrcoef(inner.ravel(), native.repeat(2, 1).repeat(2, 2).ravel())[0, 1] > 0.95


def test_14_is_the_mean_of_four() -> None:
    small, native = Fashion(res=(14, 14)), Fashion()
    for i in range(20):
        blocks = native.decode(i)["real"].astype(float).reshape(1, 14, 2, 14, 2).mean((2, 4))
        assert np.abs(small.decode(i)["real"] - blocks).max() <= 1.0  # rounded after each of two passes


@pytest.mark.parametrize("res", [(8, 8), (16, 16), (20, 28)])
def test_smaller_sizes_show_the_whole_picture(res: tuple[int, int]) -> None:
    native, small = Fashion().decode(1)["real"], Fashion(res=res).decode(1)["real"]
    assert small.shape == (1, *res)
    side = min(res)
    assert abs(small.sum() / side**2 - native.mean()) < 0.02 * 255
    assert small.max() <= native.max()


@pytest.mark.parametrize("target", [Fashion, Stacked])
def test_impossible_sizes_are_refused(target: type[Fashion]) -> None:
    with pytest.raises(ValueError, match=r"res=\(0, 32\)"):
        target(res=(0, 32))


# ---------------------------------------------------------------- stacked


@pytest.mark.parametrize("res", [None, (32, 32)])
def test_channels_are_pictures_of_fashion(res: tuple[int, int] | None) -> None:
    stacked, fashion = Stacked(n=500, res=res), Fashion(res=res)
    assert stacked.spec.shape == (3, *fashion.spec.resolution)
    where = {name.removeprefix("train/"): i for i, name in enumerate(fashion.names)}
    for i in range(0, 500, 7):
        parts = [where[part] for part in stacked.names[i].removeprefix("train/").split("+")]
        for channel, part in zip(stacked.decode(i)["real"], parts, strict=True):
            assert np.array_equal(channel, fashion.decode(part)["real"][0])
        kinds = [int(fashion.labels[part]) for part in parts]  # type: ignore[index]
        assert stacked.mode_of[i] == int("".join(map(str, kinds)))


def test_labels_are_the_modes_by_name() -> None:
    named, bare = Stacked(n=300, labels=True), Stacked(n=300)
    assert bare.labels is None
    assert bare.spec.classes == ()
    assert len(set(named.spec.classes)) == 1_000
    assert np.array_equal(named.labels, bare.mode_of)  # type: ignore[arg-type]
    assert named.spec.classes[198] == "Trouser + Ankle boot + Bag"
    assert named.fingerprint() == bare.fingerprint()  # the same pictures: one entry of the cache


def test_all_modes_are_there_as_often() -> None:
    data = Stacked()
    assert len(data) == 128_000
    counts = np.bincount(data.mode_of, minlength=1_000)
    assert counts.min() > 0
    excess = ((counts - 128) ** 2 / 128).sum()  # chi-squared with 999 degrees of freedom
    assert abs(excess - 999) < 4 * (2 * 999) ** 0.5
    picks = np.array([name[6:].split("+") for name in data.names], int)
    assert np.abs(np.corrcoef(picks.T) - np.eye(3)).max() < 0.015
    assert len(np.unique(picks)) > 0.99 * 60_000


def test_modes_of_samples_are_told_by_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a classifier that has seen every picture, and knows it again by its bytes."""
    data = Stacked(n=1100)
    kinds = {picture.tobytes(): kind for picture, kind in zip(read_pictures("train"), read_labels("train"), strict=True)}

    class Knows:
        accuracy = 0.5

        def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
            assert pictures.shape[1:] == (1, 28, 28)
            return torch.eye(10)[[kinds[picture.numpy().tobytes()] for picture in pictures]]

    monkeypatch.setattr(data_sets, "trained_classifier", lambda dataset: Knows())
    told = data.modes(np.stack([data.decode(i)["real"] for i in range(1100)]))
    assert np.array_equal(told.index, data.mode_of)
    assert told.inside.all()
    assert (told.count, told.accuracy) == (1000, 0.5)
    assert len(data.modes(np.zeros((0, 3, 28, 28), np.uint8)).index) == 0


@pytest.mark.slow
def test_the_trained_classifier_tells_the_modes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path))
    data = Stacked(n=2000, split="test")  # pictures that it was not trained on
    told = data.modes(np.stack([data.decode(i)["real"] for i in range(2000)]))
    assert told.accuracy is not None
    assert told.accuracy > 0.9
    right = float((told.index == data.mode_of).mean())
    assert right == pytest.approx(told.accuracy**3, abs=0.04)  # three pictures, each told by itself


def test_a_seed_is_one_set_for_ever() -> None:
    """Philox4x64-10 with the key of SeedSequence, by its own definition: independent of numpy's generator."""
    data = Stacked(n=4)
    key = [int(word) for word in np.random.SeedSequence(0).generate_state(2, np.uint64)]
    words = itertools.islice(philox(key), 12)
    picks = [f"{word % 60_000:05}" for word in words]
    assert list(data.names) == ["train/" + "+".join(picks[i : i + 3]) for i in range(0, 12, 3)]
    assert list(Stacked(n=9).names)[:4] == list(data.names)
    assert list(Stacked(n=4, seed=1).names) != list(data.names)


def philox(key: list[int]) -> Iterator[int]:
    """Philox4x64 with 10 rounds (Salmon et al. 2011): 64-bit words, counter from 1."""
    mask = 2**64 - 1
    for counter in itertools.count(1):
        x, (k0, k1) = [counter, 0, 0, 0], key
        for _ in range(10):
            high0, low0 = divmod(0xD2E7470EE14C6C93 * x[0], 2**64)
            high1, low1 = divmod(0xCA5A826395121157 * x[2], 2**64)
            x = [high1 ^ x[1] ^ k0, low1, high0 ^ x[3] ^ k1, low0]
            k0, k1 = (k0 + 0x9E3779B97F4A7C15) & mask, (k1 + 0xBB67AE8584CAA73B) & mask
        yield from x


def test_test_pictures_are_stacked_of_test_pictures() -> None:
    stacked, fashion = Stacked(n=20, split="test"), Fashion(split="test")
    assert stacked.names[0].startswith("test/")
    part = int(stacked.names[0][5:10])
    assert np.array_equal(stacked.decode(0)["real"][0], fashion.decode(part)["real"][0])


@pytest.mark.parametrize("option", ["n", "seed"])
def test_impossible_sets_are_refused(option: str) -> None:
    with pytest.raises(ValueError, match=f"{option}=-1 must be at least"):
        Stacked(**{option: -1})  # type: ignore[arg-type]


# ---------------------------------------------------------------- what a data set promises

CASES = [
    ("fashion", {}),
    ("fashion", {"split": "test", "res": (32, 32), "labels": False}),
    ("fashion", {"split": "test", "res": (64, 64)}),
    ("stacked", {"n": 50}),
    ("stacked", {"n": 50, "labels": True, "res": (32, 32)}),
]


@pytest.mark.parametrize("check", CHECKS["dataset"], ids=lambda check: check.__name__)
@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_the_contract(name: str, options: dict[str, Any], check: Any) -> None:
    try:
        check(get_registry().find("dataset", name), options)
    except Skip as reason:
        pytest.skip(str(reason))


def test_fingerprints_tell_settings_apart() -> None:
    variants = [
        Fashion(),
        Fashion(split="test"),
        Fashion(res=(32, 32)),
        Stacked(n=100),
        Stacked(n=101),
        Stacked(n=100, seed=1),
        Stacked(n=100, split="test"),
        Stacked(n=100, res=(32, 32)),
    ]
    assert len({data.fingerprint() for data in variants}) == len(variants)
    assert Fashion(res=(28, 28)).fingerprint() == Fashion().fingerprint() == Fashion(labels=False).fingerprint()


def test_constructors_read_no_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SHA256SUMS", "train-labels-idx1-ubyte.gz"):
        (tmp_path / name).write_bytes((DATA / name).read_bytes())
    monkeypatch.setattr(data_sets, "DATA", tmp_path)
    monkeypatch.setattr(data_sets, "_read_pictures", data_sets._read_pictures.__wrapped__)
    for data in (Fashion(res=(32, 32)), Stacked(n=10)):
        assert data.fingerprint()
        with pytest.raises(FileNotFoundError):
            data.decode(0)


def test_threads_unpack_a_file_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Path] = []
    read = data_sets.read_idx

    def counted(path: Path) -> Array:
        calls.append(path)
        return read(path)

    data = Fashion(split="test")
    data_sets._read_pictures.cache_clear()
    monkeypatch.setattr(data_sets, "read_idx", counted)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(data.decode, range(64)))
    assert len(calls) == 1


@pytest.mark.parametrize("content", [b"\0\0\x0d\1\0\0\0\0", b"PK\3\4" * 9])
def test_another_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(content))
    with pytest.raises(ValueError, match="no idx file"):
        data_sets.read_idx(tmp_path / "a.gz")


# ---------------------------------------------------------------- packaging


def test_entry_module_is_light() -> None:
    code = "import sys, ganzoo_fashion; sys.exit(bool({'torch', 'numpy', 'PIL'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_components_lead_to_their_targets() -> None:
    components = {c.name: c for c in ganzoo_fashion.ganzoo_components()}
    assert components.keys() == {"fashion", "stacked"}
    for name, target in (("fashion", Fashion), ("stacked", Stacked)):
        module, _, attribute = components[name].target.partition(":")
        assert getattr(importlib.import_module(module), attribute) is target
        assert components[name].licence == "MIT"


def test_the_wheel_holds_the_data(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="the wheel is built without isolation, which needs hatchling")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size <= 31_500_000
    with zipfile.ZipFile(wheel) as archive:
        for path in DATA.iterdir():
            assert archive.read(f"ganzoo_fashion/data/{path.name}") == path.read_bytes()
        assert "ganzoo_fashion/py.typed" in archive.namelist()


def test_the_script_refuses_other_files(build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / build.FOLDER
    folder.mkdir(parents=True)
    for name in build.SHA256:
        (folder / name).write_bytes((DATA / name).read_bytes())
    monkeypatch.setattr(build.subprocess, "run", lambda *args, **named: None)  # in place of dpkg-deb
    files = build.unpack(tmp_path / "some.deb", tmp_path)
    assert files == {name: (DATA / name).read_bytes() for name in (*build.SHA256, "SHA256SUMS")}
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(b"other")
    with pytest.raises(ValueError, match=r"t10k-labels-idx1-ubyte\.gz in .*some\.deb has the SHA-256"):
        build.unpack(tmp_path / "some.deb", tmp_path)
