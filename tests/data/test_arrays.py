from __future__ import annotations

import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganzoo.data.cache import materialise
from ganzoo.data.files import Array
from ganzoo.errors import DataError, GanzooError, UsageError


@pytest.fixture
def images(random: np.random.Generator) -> np.ndarray[Any, Any]:
    return random.integers(0, 256, (20, 3, 8, 6), dtype=np.uint8)


def save(path: Path, *, compress: bool = False, **arrays: Any) -> str:
    (np.savez_compressed if compress else np.savez)(path, **arrays)
    return str(path)


def npy(path: Path, array: Any, **options: Any) -> str:
    np.save(path, array, **options)
    return str(path)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("key", ["images", "x", "arr_0", "real", "whatever"])
def test_images_in_an_npz(tmp_path: Path, images: np.ndarray[Any, Any], key: str, compress: bool) -> None:
    labels = np.arange(20) % 4
    for array in (images, images.transpose(0, 2, 3, 1)):
        data = Array(path=save(tmp_path / "a.npz", compress=compress, **{key: array, "labels": labels}))
        assert data.spec.shape == (3, 8, 6)
        assert data.spec.classes == ("0", "1", "2", "3")
        store = materialise(data)
        assert np.array_equal(store.fields["real"], images)
        assert store.labels is not None
        assert np.array_equal(store.labels, labels)
        assert np.array_equal(data.decode(3)["real"], images[3])


def test_an_npy_is_a_view_of_the_file(tmp_path: Path, images: np.ndarray[Any, Any], cache: Path) -> None:
    store = materialise(Array(path=npy(tmp_path / "a.npy", images.transpose(0, 2, 3, 1))))
    assert np.array_equal(store.fields["real"], images)
    assert isinstance(store.fields["real"], np.memmap)
    assert store.labels is None
    assert not (cache / "data").exists()
    assert np.array_equal(materialise(Array(path=npy(tmp_path / "f.npy", np.asfortranarray(images)))).fields["real"], images)


def test_grey_and_rgba(tmp_path: Path, images: np.ndarray[Any, Any]) -> None:
    grey = images[:, 0]
    assert Array(path=npy(tmp_path / "a.npy", grey)).spec.shape == (1, 8, 6)
    assert np.array_equal(materialise(Array(path=npy(tmp_path / "a.npy", grey))).fields["real"], grey[:, None])
    assert Array(path=npy(tmp_path / "a.npy", np.zeros((5, 9, 7, 4), np.uint8))).spec.shape == (4, 9, 7)
    assert Array(path=npy(tmp_path / "a.npy", grey / 255), layout="nhw").spec.shape == (1, 8, 6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_float_images(tmp_path: Path, images: np.ndarray[Any, Any], dtype: Any) -> None:
    images[0, 0, 0, :2] = [0, 255]
    for low, scale in ((0, 255), (-1, 127.5)):
        floats = (images / scale + low).astype(dtype)
        real = materialise(Array(path=npy(tmp_path / "a.npy", floats))).fields["real"]
        assert real.dtype == np.uint8
        assert np.array_equal(real, images)
    for bad, message in (
        (images.astype(dtype), "from 0 to 255"),
        (images / 255 - 1.5, "from -1.5"),
        (np.full((2, 3, 8, 8), np.nan), "not finite"),
    ):
        with pytest.raises(DataError, match=message):
            materialise(Array(path=npy(tmp_path / "a.npy", bad)))


def test_signals_and_points_are_taken_as_they_are(tmp_path: Path, random: np.random.Generator) -> None:
    for shape, modality in (((9, 2, 50), "signal"), ((9, 2), "points"), ((9, 5), "points")):
        values = 100 * random.standard_normal(shape)
        data = Array(path=npy(tmp_path / "a.npy", values))
        assert (data.spec.modality, data.spec.shape) == (modality, shape[1:])
        real = materialise(data).fields["real"]
        assert real.dtype == np.float32
        assert np.array_equal(real, values.astype(np.float32))
    values[3, 1] = np.inf
    with pytest.raises(DataError, match="not finite"):
        materialise(Array(path=npy(tmp_path / "a.npy", values)))
    with pytest.raises(UsageError, match="is for images"):
        Array(path=npy(tmp_path / "a.npy", values), res=(8, 8))


def test_resized(tmp_path: Path, images: np.ndarray[Any, Any], cache: Path) -> None:
    flat = np.broadcast_to(images[:, :, :1, :1], images.shape)
    path = save(tmp_path / "a.npz", x=flat, y=np.arange(20))
    data = Array(path=path, res=(5, 4))
    assert data.spec.shape == (3, 5, 4)
    store = materialise(data)
    assert np.array_equal(store.fields["real"], np.broadcast_to(images[:, :, :1, :1], (20, 3, 5, 4)))
    assert len(list((cache / "data").glob("*/meta.json"))) == 1
    assert Array(path=path, res=(5, 4)).fingerprint() == data.fingerprint() != Array(path=path, res=(4, 4)).fingerprint()
    assert Array(path=path, res=(8, 6)).arrays() is not None


def test_an_archive_is_read_once_by_all_threads(
    tmp_path: Path, images: np.ndarray[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From Python 3.12 a cached_property has no lock of its own."""
    data, loads, load = Array(path=save(tmp_path / "a.npz", images=images), res=(4, 4)), list[str](), np.load

    def slow(path: Path, **options: Any) -> Any:
        loads.append(str(path))
        time.sleep(0.05)
        return load(path, **options)

    monkeypatch.setattr(np, "load", slow)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(data.decode, range(len(data))))
    assert len(loads) == 1


def test_labels(tmp_path: Path, images: np.ndarray[Any, Any]) -> None:
    def data(values: Any, **options: Any) -> Array:
        return Array(path=save(tmp_path / "a.npz", images=images, labels=values), **options)

    assert data(np.arange(20)[:, None] % 3).spec.classes == ("0", "1", "2")
    named = data(np.array(["dog", "cat"] * 10))
    assert named.spec.classes == ("cat", "dog")
    assert named.labels is not None
    assert named.labels.tolist() == [1, 0] * 10
    assert data(np.arange(20), labels=False).labels is None
    for bad, message in [
        (np.arange(19), "shape .19. beside 20"),
        (np.arange(20) - 1, "from -1"),
        (np.arange(20) * 10**9, "0 to K - 1"),
        (np.arange(20) / 2, "whole numbers"),
        (np.array([None] * 20), "pickle"),
    ]:
        with pytest.raises(DataError, match=message):
            data(bad)
    with pytest.raises(UsageError, match="labels=true"):
        Array(path=npy(tmp_path / "a.npy", images), labels=True)
    with pytest.raises(UsageError, match="labels=true"):
        Array(path=save(tmp_path / "b.npz", images=images), labels=True)


@pytest.mark.parametrize(
    ("shape", "dtype", "options", "message"),
    [
        ((5, 3, 8, 3), "u1", {}, "layout=nhwc or layout=nchw"),
        ((5, 7, 8, 9), "u1", {}, "no axis of 1, 3 or 4"),
        ((5, 7, 8, 9), "u1", {"layout": "nchw"}, "7 channels"),
        ((5, 3, 8, 9), "u1", {"layout": "nhw"}, "3 axes"),
        ((5, 28, 28), "f4", {}, "layout=nhw.* or signals"),
        ((5, 784), "u1", {}, "points floats"),
        ((5,), "f4", {}, "points floats"),
        ((5, 3, 8, 8), "i8", {}, r"astype\('uint8'\)"),
        ((5, 3, 8, 8), "u2", {}, r"astype\('uint8'\)"),
        ((5, 3, 8), "u1", {"layout": "ncl"}, r"astype\('float32'\)"),
        ((0, 3, 8, 8), "u1", {}, "is empty"),
        ((5, 3, 8, 8), "u1", {"key": "x"}, "without a name"),
    ],
)
def test_unclear_shapes_and_types_are_refused_by_the_header(
    tmp_path: Path, shape: tuple[int, ...], dtype: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(GanzooError, match=message) as caught:
        Array(path=npy(tmp_path / "a.npy", np.zeros(shape, dtype)), **options)
    assert isinstance(caught.value, DataError if 0 in shape else UsageError)


def test_which_array_of_an_npz(tmp_path: Path, images: np.ndarray[Any, Any]) -> None:
    path = save(tmp_path / "a.npz", train=images, test=images[:5])
    with pytest.raises(UsageError, match=r"which array.* train, test; say key=NAME"):
        Array(path=path)
    assert len(Array(path=path, key="test")) == 5
    with pytest.raises(UsageError, match="key=valid is not in"):
        Array(path=path, key="valid")


def test_pickles_are_not_loaded(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    objects = np.array([[Bomb()]], dtype=object)
    for path in (npy(tmp_path / "a.npy", objects, allow_pickle=True), save(tmp_path / "a.npz", images=objects)):
        with pytest.raises(DataError, match="pickle"):
            Array(path=path)
    assert not (tmp_path / "ran").exists()


def test_damaged_files(tmp_path: Path, images: np.ndarray[Any, Any]) -> None:
    whole = Path(npy(tmp_path / "a.npy", images)).read_bytes()
    for junk in (b"", b"hello", whole[:-1], whole[:60], whole + b"x"):
        (tmp_path / "a.npy").write_bytes(junk)
        with pytest.raises(DataError, match=r"a\.npy"):
            Array(path=str(tmp_path / "a.npy"))
    whole = Path(save(tmp_path / "a.npz", images=images)).read_bytes()
    for junk in (b"", b"hello", whole[: len(whole) // 2]):
        (tmp_path / "a.npz").write_bytes(junk)
        with pytest.raises(DataError, match=r"a\.npz"):
            Array(path=str(tmp_path / "a.npz"))
    data = bytearray(whole)
    data[len(data) // 2] ^= 255
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(DataError, match="CRC"):
        materialise(Array(path=str(tmp_path / "a.npz")))


def test_a_header_that_lies_about_its_size(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive, archive.open("images.npy", "w") as file:
        table = {"descr": "|u1", "fortran_order": False, "shape": (10**12, 3, 1000, 1000)}
        np.lib.format.write_array_header_1_0(file, table)
        file.write(b"x" * 100)
    with pytest.raises(DataError, match="cut short or damaged"):
        Array(path=str(tmp_path / "a.npz"))


def test_the_constructor_reads_headers_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with path.open("wb") as file:  # 3 TB, and not a byte of it on the disk
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (10**6, 3, 1000, 1000)})
        file.truncate(file.tell() + 10**6 * 3 * 1000 * 1000)
    assert Array(path=str(path)).spec.shape == (3, 1000, 1000)
