"""Images, signals and points in .npz and .npy files, read without pickle."""

from __future__ import annotations

import threading
import zipfile
import zlib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from ganzoo.data.dataset import Dataset
from ganzoo.data.decoding import Fit, check_res, fit_array
from ganzoo.data.hashing import content_digest, digest
from ganzoo.data.listing import MOST_CLASSES, printable
from ganzoo.data.paths import existing
from ganzoo.errors import DataError, UsageError
from ganzoo.plugin import DataSpec, FilePath

Layout = Literal["auto", "nhwc", "nchw", "nhw", "ncl", "nd"]

_KEYS = ("images", "x", "arr_0", "real")
_LABEL_KEYS = ("labels", "y")
_AXES = {"nhwc": 4, "nchw": 4, "nhw": 3, "ncl": 3, "nd": 2}
_CHUNK = 1 << 26  # bytes of floats that are converted at once


class Array(Dataset):
    """An .npz or .npy file: images, 1-D signals or points, with labels where the .npz has them.

    Images are uint8, or floats in [0, 1] or [-1, 1]; signals and points are floats, taken as they are. Labels are class
    numbers [N], or names.

    Options:
        path: the file
        layout: what the axes are; auto: nhwc or nchw by the axis that is 1, 3 or 4 long; nhw for uint8 [N, H, W]; ncl for
            floats [N, C, L]; nd for floats [N, D]
        key: the array's name in an .npz; none: images, x, arr_0 or real, or the only one
        res: height and width of the images; none: their own
        fit: how another aspect is made to fit: cover (cut), contain (white borders), stretch
        labels: none: where there are any (labels or y in the .npz); true: refuse when there are none; false: ignore them
    """

    def __init__(
        self,
        *,
        path: FilePath,
        layout: Layout = "auto",
        key: str | None = None,
        res: tuple[int, int] | None = None,
        fit: Fit = "cover",
        labels: bool | None = None,
    ) -> None:
        self._path, self._fit = existing(path), fit
        self._one_reader = threading.Lock()  # records are decoded in threads: without it each would read the whole file
        if self._path.is_dir():
            raise UsageError(f"{path} is a folder, not an .npz or .npy file: --data folder:path={path}")
        self._key, shape, self._dtype, names = self._header(key)
        where = f"{path}{f': {self._key}' if self._key else ''}"
        self._layout = _layout(where, shape, self._dtype) if layout == "auto" else layout
        own = self._shape(where, shape)
        if res is not None and self._modality != "image":
            raise UsageError(f"res={list(res)} is for images; {where} holds {self._modality}s")
        check_res(res)
        self._resize = res if res is not None and res != own[1:] else None
        self.labels, classes = (None, ()) if labels is False else self._labels(names, shape[0])
        if labels and self.labels is None:
            raise UsageError(f"labels=true, but {path} has none: save them in an .npz, as 'labels' beside the array")
        self.names = [str(index) for index in range(shape[0])]
        self.spec = DataSpec(self._modality, (own[0], *self._resize) if self._resize else own, classes=classes)

    def fingerprint(self) -> str:
        return digest("array", 1, self.spec.shape, self._layout, self._key, self._fit, content_digest([("", self._path)]))

    def arrays(self) -> dict[str, np.ndarray[Any, Any]] | None:
        return None if self._resize else {"real": self._values}

    def decode(self, index: int) -> dict[str, np.ndarray[Any, Any]]:
        value = self._values[index]
        return {"real": fit_array(value, self._resize, self._fit) if self._resize else value}

    @property
    def _modality(self) -> str:
        return {"nd": "points", "ncl": "signal"}.get(self._layout, "image")

    def _header(self, key: str | None) -> tuple[str | None, tuple[int, ...], np.dtype[Any], list[str]]:
        """The array's key (None in an .npy), shape and dtype, and all keys: nothing but headers is read."""
        if self._path.suffix.lower() == ".npy":
            if key is not None:
                raise UsageError(f"key={key} is for .npz files; {self._path} holds one array without a name")
            with _reading(self._path), self._path.open("rb") as file:
                shape, dtype = _array_header(file, self._path.stat().st_size, str(self._path))
            return None, shape, dtype, []
        with _reading(self._path), zipfile.ZipFile(self._path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            chosen = key if key is not None else _choose(names)
            if chosen is None or chosen not in names:
                asked = f"key={key} is not in {self._path}" if key is not None else f"which array of {self._path}?"
                raise UsageError(f"{asked} It holds {', '.join(map(printable, names)) or 'nothing'}; say key=NAME")
            shape, dtype = _member_header(archive, chosen, self._path)
        return chosen, shape, dtype, names

    def _shape(self, where: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """One sample's shape, channels first. UsageError where the array cannot be what the layout says."""
        if len(shape) != _AXES[self._layout]:
            raise UsageError(f"layout={self._layout} has {_AXES[self._layout]} axes, {where} has {len(shape)}: {list(shape)}")
        if self._modality != "image" and self._dtype.kind != "f":
            raise UsageError(f"{where} is {self._dtype}; {self._modality}s are floats: save array.astype('float32')")
        if self._modality == "image" and self._dtype != np.uint8 and self._dtype.kind != "f":
            raise UsageError(f"{where} is {self._dtype}; images are uint8, or floats in [-1, 1]: save array.astype('uint8')")
        if 0 in shape:
            raise DataError(f"{where} is empty: {list(shape)}")
        if self._layout == "nhw":
            own: tuple[int, ...] = (1, *shape[1:])
        else:
            own = (shape[3], *shape[1:3]) if self._layout == "nhwc" else shape[1:]
        if self._modality == "image" and own[0] not in (1, 3, 4):
            raise UsageError(f"{where} would have {own[0]} channels with layout={self._layout}; images have 1, 3 or 4")
        return own

    def _labels(self, names: list[str], count: int) -> tuple[np.ndarray[Any, Any] | None, tuple[str, ...]]:
        found = next((name for name in _LABEL_KEYS if name in names and name != self._key), None)
        if found is None:
            return None, ()
        where = f"{self._path}: {found}"
        with _reading(self._path):
            with zipfile.ZipFile(self._path) as headers:
                _member_header(headers, found, self._path)  # numpy itself would set aside whatever size a header claims
            with np.load(self._path, allow_pickle=False) as archive:
                values: np.ndarray[Any, Any] = archive[found]
        values = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
        if values.shape != (count,):
            raise DataError(f"{where} has shape {list(values.shape)} beside {count} records; it must be [{count}]")
        if values.dtype.kind == "U":
            classes, labels = np.unique(values, return_inverse=True)
            return labels.astype(np.int64), tuple(str(name) for name in classes)
        if values.dtype.kind not in "iu":
            raise DataError(f"{where} is {values.dtype}; labels are whole numbers from 0, or names")
        if values.min() < 0 or values.max() >= MOST_CLASSES:
            raise DataError(
                f"{where} goes from {values.min()} to {values.max()}; labels are 0 to K - 1, K at most {MOST_CLASSES}"
            )
        return values.astype(np.int64), tuple(str(number) for number in range(int(values.max()) + 1))

    @property
    def _values(self) -> np.ndarray[Any, Any]:
        with self._one_reader:
            return self._all

    @cached_property
    def _all(self) -> np.ndarray[Any, Any]:
        """All records: uint8 [N, C, H, W] (a view of the file where it can be) or float32."""
        with _reading(self._path):
            if self._key is None:
                values: np.ndarray[Any, Any] = np.load(self._path, mmap_mode="r", allow_pickle=False)
            else:
                with np.load(self._path, allow_pickle=False) as archive:
                    values = archive[self._key]
        if self._layout == "nhw":
            values = values[:, None]
        elif self._layout == "nhwc":
            values = values.transpose(0, 3, 1, 2)
        if values.dtype == np.uint8:
            return values
        low, high = _range(values, str(self._path))
        if self._modality != "image":
            return _in_chunks(values, np.float32, lambda part: part)
        if low < -1 or high > 1:
            raise DataError(
                f"{self._path} holds floats from {low:g} to {high:g}: images are uint8, or floats in [0, 1] or [-1, 1]; "
                f"scale them before saving"
            )
        scale, shift = (255.0, 0.5) if low >= 0 else (127.5, 128.0)
        return _in_chunks(values, np.uint8, lambda part: part.astype(np.float32) * scale + shift)


class _reading:
    """What numpy and zipfile raise for a file that is no array, in one line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError)):
            pickled = isinstance(error, ValueError) and "allow_pickle" in str(error)
            why = _PICKLED if pickled else str(error).splitlines()[0]
            raise DataError(f"cannot read {self._path}: {why}") from error


_PICKLED = "it holds Python objects (a pickle, which can run code when it is loaded); save plain arrays of numbers"


def _member_header(archive: zipfile.ZipFile, name: str, path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    member = archive.getinfo(name + ".npy")
    with archive.open(member) as file:
        return _array_header(file, member.file_size, f"{path}: {name}")


def _array_header(file: IO[bytes], size: int, where: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype from the header of an .npy stream of `size` bytes, which must hold exactly what it says."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    if dtype.hasobject:
        raise DataError(f"cannot read {where}: {_PICKLED}")
    data = dtype.itemsize
    for side in shape:  # not numpy's product: a lie can overflow it
        data *= side
    if file.tell() + data != size:
        raise DataError(f"{where} is cut short or damaged: {data:,} bytes by its header, {size - file.tell():,} there")
    return tuple(int(side) for side in shape), dtype


def _choose(names: list[str]) -> str | None:
    for name in _KEYS:
        if name in names:
            return name
    others = [name for name in names if name not in _LABEL_KEYS]
    return others[0] if len(others) == 1 else None


def _layout(where: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Layout:
    """What an array of this shape is. UsageError where it could be two things, or none."""
    if len(shape) == 4:
        first, last = shape[1] in (1, 3, 4), shape[3] in (1, 3, 4)
        if first != last:
            return "nchw" if first else "nhwc"
        reason = "either axis could be the channels" if first else "no axis of 1, 3 or 4 channels"
        raise UsageError(f"{where} has shape {list(shape)}: {reason}; say layout=nhwc or layout=nchw")
    if len(shape) == 3 and dtype.kind == "f":
        if shape[1] > 4 and shape[1] == shape[2]:
            raise UsageError(f"{where} has shape {list(shape)}: grey images (layout=nhw) or signals (layout=ncl)?")
        return "ncl"
    if len(shape) == 3:
        return "nhw"
    if len(shape) == 2 and dtype.kind == "f":
        return "nd"
    raise UsageError(
        f"{where} is {dtype} {list(shape)}; images are uint8 [N, H, W, C], [N, C, H, W] or [N, H, W], "
        f"signals floats [N, C, L], points floats [N, D]"
    )


def _chunks(values: np.ndarray[Any, Any]) -> list[slice]:
    step = max(1, _CHUNK // max(1, values[:1].nbytes))
    return [slice(start, start + step) for start in range(0, len(values), step)]


def _range(values: np.ndarray[Any, Any], where: str) -> tuple[float, float]:
    """Least and largest value; DataError where one is not finite."""
    lows, highs = zip(*((values[part].min(), values[part].max()) for part in _chunks(values)), strict=True)
    low, high = float(min(lows)), float(max(highs))
    if not np.isfinite([*lows, *highs]).all():
        raise DataError(f"{where} holds values that are not finite (NaN or infinity)")
    return low, high


def _in_chunks(
    values: np.ndarray[Any, Any], dtype: type, change: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]
) -> np.ndarray[Any, Any]:
    out: np.ndarray[Any, Any] = np.empty(values.shape, dtype)
    for part in _chunks(values):
        out[part] = change(values[part])
    return out
