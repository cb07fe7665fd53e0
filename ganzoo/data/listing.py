"""From file names to labels: class sub-folders, or the `dataset.json` that StyleGAN's tools write."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from ganzoo.data.decoding import extensions
from ganzoo.errors import DataError, UsageError

MOST_CLASSES = 100_000  # a label above it is a damaged file: class names are written out one by one
TABLE = "dataset.json"


@dataclass(frozen=True, slots=True)
class Listing:
    """Image files in a fixed order, with their labels where there are any (int64 [N]; `classes` names them)."""

    names: list[str]
    labels: np.ndarray[Any, Any] | None = None
    classes: tuple[str, ...] = ()
    notices: list[str] = field(default_factory=list)


def is_image(name: str) -> bool:
    """By its ending; hidden files and folders, and what macOS leaves in archives, are none."""
    path = PurePosixPath(name)
    return path.suffix.lower() in extensions() and not any(is_hidden(part) for part in path.parts)


def is_hidden(part: str) -> bool:
    return part.startswith(".") or part == "__MACOSX"


def list_images(names: Iterable[str], read: Callable[[str], bytes | None], labels: bool | None, where: str) -> Listing:
    """The images among relative `names` ('/' between folders), sorted; their labels unless `labels` is False.

    The labels are those of `dataset.json` where there is one with the key "labels" (null: no labels, whatever the folders),
    else the first folder of each name. A folder that holds everything is no class: the folders inside it are. Images beside
    class folders leave all without labels, and a notice says so. `read` returns a small file's bytes, None where it is absent.
    UsageError: labels is True and there are none; DataError: no image, or a damaged table.
    """
    everything = list(names)
    images = sorted(name for name in everything if is_image(name))
    if not images:
        raise DataError(f"{where} holds no images ({_what_else(everything)}); endings such as .png, .jpg, .webp, .tif are read")
    if labels is False:
        return Listing(images)
    prefix = _common_folder(images)
    for base in dict.fromkeys(("", prefix)):
        if (text := read(base + TABLE)) is not None and (rows := _table(text, f"{where}: {base + TABLE}")) is not None:
            listing = _from_table(images, rows, base, f"{where}: {base + TABLE}")
            why = f"its {TABLE} says null"
            break
    else:
        listing = _from_folders(images, len(prefix))
        why = _why_no_classes(images, prefix)
    if labels and listing.labels is None:
        raise UsageError(
            f"labels=true, but {where} has none: {why}; put each class into a sub-folder, "
            f'or list them in {TABLE} as {{"labels": [["a.png", 0], ...]}}'
        )
    return listing


def _common_folder(images: list[str]) -> str:
    """The folders that all names begin with, "" or ending in '/'."""
    first, last = images[0].split("/")[:-1], images[-1].split("/")[:-1]  # sorted: what these two share, all share
    shared = []
    for a, b in zip(first, last, strict=False):
        if a != b:
            break
        shared.append(a + "/")
    return "".join(shared)


def _from_folders(images: list[str], start: int) -> Listing:
    loose = [name for name in images if "/" not in name[start:]]
    if loose:
        beside = len(loose) < len(images)
        notice = (
            f"no labels: {len(loose)} images, such as {printable(loose[0])}, lie beside the sub-folders; move them into one "
            f"to use the sub-folders as classes"
        )
        return Listing(images, notices=[notice] if beside else [])
    folders = [name[start:].split("/", 1)[0] for name in images]
    classes = sorted(set(folders))
    index = {name: number for number, name in enumerate(classes)}
    return Listing(images, np.array([index[folder] for folder in folders], np.int64), tuple(map(printable, classes)))


def _table(text: bytes, where: str) -> list[Any] | None:
    """The rows of "labels", [] for null; None where the file is something else's."""
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is damaged: {error}") from error
    if not isinstance(table, dict) or "labels" not in table:
        return None
    rows = table["labels"]
    if rows is None:
        return []
    if not isinstance(rows, list):
        raise DataError(f'{where}: "labels" must be null or a list of ["file name", class number]')
    return rows


def _from_table(images: list[str], rows: list[Any], base: str, where: str) -> Listing:
    if not rows:
        return Listing(images)
    numbers: dict[str, int] = {}
    for row in rows:
        match row:
            case [str(name), int(number)] if not isinstance(number, bool) and 0 <= number < MOST_CLASSES:
                numbers[base + name] = number
            case _:
                raise DataError(f'{where}: {str(row)[:80]} is not ["file name", class number from 0]')
    missing = [name for name in images if name not in numbers]
    if missing:
        raise DataError(
            f"{where} has no label for {len(missing)} of {len(images)} images, such as {printable(missing[0])}; "
            f"add them, or ignore the labels with labels=false"
        )
    labels = np.array([numbers[name] for name in images], np.int64)
    return Listing(images, labels, tuple(str(number) for number in range(int(labels.max()) + 1)))


def _what_else(names: list[str]) -> str:
    if not names:
        return "it is empty"
    endings = Counter(PurePosixPath(name).suffix or "none" for name in names)
    return f"{len(names)} other files, endings: {', '.join(printable(ending) for ending, _ in endings.most_common(3))}"


def _why_no_classes(images: list[str], prefix: str) -> str:
    if any("/" in name[len(prefix) :] for name in images):
        return "not all of its images lie in sub-folders"
    return "its only sub-folder is no class" if prefix else "it has no sub-folders"


def printable(name: str) -> str:
    """A file name that any terminal and any file in UTF-8 can hold, on one line."""
    text = name.encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
