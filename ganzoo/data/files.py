"""Images in a folder or a zip. `Array`, for .npz and .npy, is here by name and lives in arrays.py."""

from __future__ import annotations

import os
import statistics
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from ganzoo.data.arrays import Array
from ganzoo.data.dataset import Dataset
from ganzoo.data.decoding import DEEP, Fit, Header, check_res, decode_image, extensions, read_header
from ganzoo.data.hashing import content_digest, digest
from ganzoo.data.listing import Listing, is_hidden, list_images, printable
from ganzoo.data.paths import existing
from ganzoo.data.zips import ZipReader
from ganzoo.errors import DataError, UsageError
from ganzoo.plugin import DataSpec, FilePath

__all__ = ["Array", "Folder", "Zip", "open_path"]

Channels = Literal["auto", "grey", "rgb", "rgba"]

_DECODED = 1  # raise it when the same files and options give other pixels: old cache entries are then left alone
_LOOKED_AT = 1000  # headers
_LARGEST_CHOSEN = 128


class _ImageFiles(Dataset):
    """What folders and zips share: a listing, a survey of headers, and decoding by index."""

    def __init__(self, listing: Listing, where: str, res: tuple[int, int] | None, fit: Fit, channels: Channels) -> None:
        self.names = listing.names
        self.labels = listing.labels
        self.notices: list[str] = list(listing.notices)
        self._fit: Fit = fit
        check_res(res)
        self._adding = threading.Lock()
        headers = self._survey(where)
        self.one_size = len({header.size for header in headers}) == 1  # of those looked at
        if any(header.deep for header in headers):
            self.notices.append(DEEP)
        grey = channels == "grey" or (channels == "auto" and all(header.grey for header in headers))
        depth = 1 if grey else 4 if channels == "rgba" else 3
        self.spec = DataSpec("image", (depth, *(res or self._choose(headers))), classes=listing.classes)

    def decode(self, index: int) -> dict[str, np.ndarray[Any, Any]]:
        with self._open(self.names[index]) as stream:
            pixels, remarks = decode_image(stream, self.spec.shape, self._fit)
        for remark in remarks:
            with self._adding:
                if remark not in self.notices:
                    self.notices.append(remark)
        return {"real": pixels}

    def fingerprint(self) -> str:
        return digest("images", _DECODED, self.spec.shape, self._fit, self.names, content_digest(self._contents()))

    def _open(self, name: str, header: bool = False) -> IO[bytes]:
        """A stream of the file; with `header`, its beginning will do."""
        raise NotImplementedError

    def _contents(self) -> list[tuple[str, Path]]:
        raise NotImplementedError

    def _survey(self, where: str) -> list[Header]:
        """The headers of up to a thousand files, spread evenly. Those that cannot be read are left to the decoding."""
        places = np.linspace(0, len(self.names) - 1, min(len(self.names), _LOOKED_AT)).round().astype(int)

        def look(place: int) -> Header | str:
            name = self.names[place]
            try:
                with self._open(name, header=True) as stream:
                    return read_header(stream)
            except DataError:
                raise  # the whole archive is refused
            except Exception as error:  # whatever Pillow's thirty readers raise
                return f"{printable(name)} ({error})"

        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(look, places.tolist()))
        headers = [header for header in found if isinstance(header, Header)]
        if not headers:
            unread = [reason for reason in found if isinstance(reason, str)]
            raise DataError(f"{where}: none of {len(unread)} images can be read: {'; '.join(unread[:3])}")
        return headers

    def _choose(self, headers: list[Header]) -> tuple[int, int]:
        sizes = Counter(header.size for header in headers)
        if len(sizes) == 1:
            return headers[0].size
        median = int(statistics.median(min(size) for size in sizes.elements()))
        side = min(1 << (median.bit_length() - 1), _LARGEST_CHOSEN)
        seen = " and ".join(f"{height}x{width}" for (height, width), _ in sizes.most_common(2))
        self.notices.append(
            f"the images differ in size ({seen}, HxW): made {side}x{side}, fit={self._fit}; --res says otherwise"
        )
        return side, side


class Folder(_ImageFiles):
    """A folder of images; its sub-folders are classes.

    A sub-folder that holds everything is no class: the folders inside it are. Deeper folders belong to the class above them.
    A `dataset.json` as StyleGAN's tools write it goes before folders. Hidden files, `__MACOSX` and what is no image are
    ignored. Without `res`, the size that up to 1,000 headers agree on; else the largest power of two within the median of the
    shorter sides, at most 128. What is transparent lies on white, unless channels=rgba.

    Options:
        path: the folder
        res: height and width of the images; none: their own, see above
        fit: how another aspect is made to fit: cover (cut), contain (white borders), stretch
        labels: none: where there are any; true: refuse when there are none; false: ignore them
        channels: auto (grey when all are grey, else rgb), grey, rgb, rgba
    """

    def __init__(
        self,
        *,
        path: FilePath,
        res: tuple[int, int] | None = None,
        fit: Fit = "cover",
        labels: bool | None = None,
        channels: Channels = "auto",
    ) -> None:
        self._root = existing(path)
        if not self._root.is_dir():
            raise UsageError(f"{path} is not a folder; {_ALLOWED}")
        try:
            names = list(walk(self._root))
        except OSError as error:
            raise DataError(f"cannot read the folder {error.filename}: {error.strerror}") from error
        super().__init__(list_images(names, self._small_file, labels, f"folder {path}"), f"folder {path}", res, fit, channels)

    def _small_file(self, name: str) -> bytes | None:
        try:
            return (self._root / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DataError(f"cannot read {self._root / name}: {error.strerror}") from error

    def _open(self, name: str, header: bool = False) -> IO[bytes]:
        return (self._root / name).open("rb")

    def _contents(self) -> list[tuple[str, Path]]:
        return [(name, self._root / name) for name in self.names]


class Zip(_ImageFiles):
    """A zip of images, laid out as a folder would be; its sub-folders, or its dataset.json, give the classes.

    Nothing is extracted to disk. A zip whose members lead out of it, or unpack to far more than they say, is refused. Sizes
    and channels as for `folder`.

    Options:
        path: the zip
        res: height and width of the images; none: their own if they agree, else a power of two up to 128
        fit: how another aspect is made to fit: cover (cut), contain (white borders), stretch
        labels: none: where there are any; true: refuse when there are none; false: ignore them
        channels: auto (grey when all are grey, else rgb), grey, rgb, rgba
    """

    def __init__(
        self,
        *,
        path: FilePath,
        res: tuple[int, int] | None = None,
        fit: Fit = "cover",
        labels: bool | None = None,
        channels: Channels = "auto",
    ) -> None:
        self._path = existing(path)
        if self._path.is_dir():
            raise UsageError(f"{path} is a folder, not a zip: --data folder:path={path}")
        self._zip = ZipReader(self._path)
        super().__init__(
            list_images(self._zip.names(), self._small_file, labels, f"zip {path}"), f"zip {path}", res, fit, channels
        )

    def _small_file(self, name: str) -> bytes | None:
        try:
            return self._zip.read(name) if name in self._zip else None
        except ValueError as error:
            raise DataError(f"cannot read {name} in {self._path}: {error}") from error

    def _open(self, name: str, header: bool = False) -> IO[bytes]:
        return self._zip.stream(name, whole=not header)

    def _contents(self) -> list[tuple[str, Path]]:
        return [("", self._path)]


_ALLOWED = "--data takes a folder of images, a .zip of them, an .npz or .npy file, or a data set's name (ganzoo list dataset)"


def open_path(path: str) -> tuple[str, dict[str, object]]:
    """The data set, by name and options, that `--data PATH` means."""
    found = existing(path)
    kinds = {".zip": "zip", ".npz": "array", ".npy": "array"}
    kind = "folder" if found.is_dir() else kinds.get(found.suffix.lower())
    if kind is None:
        hint = f"; for this image give its folder, {found.parent}" if found.suffix.lower() in extensions() else ""
        raise UsageError(f"{path} is no data: {_ALLOWED}{hint}")
    return kind, {"path": str(found.absolute())}  # a run goes on from any directory


def walk(root: Path) -> Iterator[str]:
    """Relative names of all files, links followed, each folder once (a link may lead back up)."""
    seen: set[tuple[int, int]] = set()
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        found = os.stat(root / prefix)
        if (found.st_dev, found.st_ino) in seen:
            continue
        seen.add((found.st_dev, found.st_ino))
        with os.scandir(root / prefix) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if is_hidden(entry.name):
                    continue
                try:
                    folder, file = entry.is_dir(), entry.is_file() or not os.path.exists(entry.path)
                except OSError:  # a link to itself, or to where we may not look
                    folder, file = False, True
                if folder:
                    waiting.append(f"{prefix}{entry.name}/")
                elif file:  # a dead link is an unreadable image, not one less
                    yield prefix + entry.name
