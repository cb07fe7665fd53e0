"""Images with captions, each told as the vector that an encoder makes of it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import numpy as np

from ganzoo.data.decoding import Fit
from ganzoo.data.files import Folder
from ganzoo.data.hashing import digest
from ganzoo.data.listing import printable
from ganzoo.data.paths import existing
from ganzoo.data.splits import Split, chosen
from ganzoo.errors import DataError, UsageError
from ganzoo.interfaces import Dataset, Encoder
from ganzoo.plugin import FilePath, Part

Array = np.ndarray[Any, Any]
METADATA = ("metadata.csv", "metadata.jsonl")


class Captioned(Dataset):
    """Images with captions, and of each caption the vector that an encoder makes: what text-to-image trains on.

    From a folder: beside each image a text file of its name, `a.png` and `a.txt`; or one table for all, metadata.csv with the
    columns file_name and text, or metadata.jsonl with these keys. Or from a data set that knows captions, as emoji does.
    Several lines of a text file are one caption. Raises UsageError where an image has no caption, where the table names no
    image, and where there are both text files and a table; DataError for a damaged one.

    Options:
        path: the folder of images and captions; or else data
        data: a data set with captions, as emoji or emoji(labels=false); or else path
        encoder: what makes a vector of a caption
        res: height and width of the images; none: their own
        fit: how another aspect of a folder's images is made to fit: cover (cut), contain (white borders), stretch; none: cover
        labels: the sub-folders of path are classes as well
        split: train, held-out or all of the images
        held_out: the share that is held out, by name
    """

    def __init__(
        self,
        *,
        path: FilePath | None = None,
        data: Annotated[Part, "dataset"] | None = None,
        encoder: Annotated[Part, "encoder"] = Part("hashed-words"),
        res: tuple[int, int] | None = None,
        fit: Fit | None = None,
        labels: bool = False,
        split: Split = "train",
        held_out: float = 0.1,
    ) -> None:
        if path is None and data is None:
            raise UsageError("captioned needs path=FOLDER or data=NAME(...), a data set with captions, as data=emoji")
        if path is not None and data is not None:
            raise UsageError(f"captioned has both path={path} and data={data.name}: leave one out, with data=none or path=none")
        if data is not None:
            if fit is not None or labels:
                raise UsageError(
                    f"fit and labels are of the folder in path; write those of a data set in data={data.name}(...)"
                )
            images, captions = _from_data(data, res)
        else:
            assert path is not None
            images = Folder(path=path, res=res, fit=fit or "cover", labels=labels)
            captions = _from_folder(existing(path), images.names)
        self._images, self._kept = images, chosen(images.names, split, held_out)
        self._encoder: Encoder = encoder.build()
        self.spec = images.spec.replace(text=self._encoder.width)
        self.names = [images.names[i] for i in self._kept]
        self.labels = images.labels[self._kept] if images.labels is not None else None
        self.captions = [captions[i] for i in self._kept]
        self.notices = images.notices

    def fingerprint(self) -> str:
        return digest("captioned", 1, self._images.fingerprint(), self._kept, self.captions, self._encoder.fingerprint())

    def decode(self, index: int) -> dict[str, Array]:
        vector = self._encoder([self.captions[index]])[0].numpy()
        return {**self._images.decode(self._kept[index]), "text": vector}


def _from_data(data: Part, res: tuple[int, int] | None) -> tuple[Dataset, list[str]]:
    images: Dataset = data.build()
    if res is not None and images.spec.resolution != res:
        if "res" not in data.options:
            raise UsageError(
                f"data={data.name} has no option res, so captioned cannot make it {res[0]}x{res[1]}: leave res out"
            )
        images = Part(data.name, {**data.options, "res": res}, data.target).build()
    if images.captions is None:
        raise UsageError(f"data={data.name} has no captions: give a data set that has, as emoji, or path=FOLDER")
    return images, list(images.captions)


def _from_folder(root: Path, names: list[str]) -> list[str]:
    """The caption of each image of a folder."""
    tables = [name for name in METADATA if (root / name).is_file()]
    files = {name: str(PurePosixPath(name).with_suffix(".txt")) for name in names}
    beside = [name for name, file in files.items() if (root / file).is_file()]
    if len(tables) > 1 or (tables and beside):
        what = tables[1] if len(tables) > 1 else f"text files beside images, such as {printable(files[beside[0]])}"
        raise UsageError(f"{root} has {tables[0]} and {what}: keep the one that holds the captions")
    if tables:
        found, where = _from_table(root, tables[0], names), tables[0]
    else:
        found, where = {name: _words(_read(root / files[name])) for name in beside}, "text files beside the images"
    if bare := [name for name in names if not found.get(name)]:
        shown = ", ".join(map(printable, bare[:3])) + (f" and {len(bare) - 3} more" if len(bare) > 3 else "")
        mend = (
            f"add them to {where}" if tables else f"write them into {printable(files[bare[0]])} and its like, or {METADATA[0]}"
        )
        raise UsageError(
            f"{root}: {len(bare)} of {len(names)} images have no caption, {shown}; {mend}, or take the images away"
        )
    return [found[name] for name in names]


def _from_table(root: Path, table: str, names: list[str]) -> dict[str, str]:
    known, found = set(names), dict[str, str]()
    for place, row in (_csv if table.endswith(".csv") else _jsonl)(root / table):
        name, text = row.get("file_name"), row.get("text")
        if not isinstance(name, str) or not isinstance(text, str):
            raise DataError(f"{place}: file_name and text must be there, and text: {dict(row)!s:.80}")
        name = str(PurePosixPath(name))
        if name not in known:
            raise UsageError(f"{place}: there is no image {printable(name)} in {root}: take the line away, or add the image")
        if name in found:
            raise UsageError(f"{place}: {printable(name)} has a caption already: keep one line for each image")
        found[name] = _words(text)
    return found


def _csv(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(place for messages, row)"""
    rows = csv.DictReader(io.StringIO(_read(path), newline=""), strict=True)
    try:
        columns = rows.fieldnames or []
        if missing := [name for name in ("file_name", "text") if name not in columns]:
            has = ", ".join(map(printable, columns)) or "nothing"
            raise DataError(
                f"{path}: its first line must name the columns file_name and text; {missing[0]} is missing of {has}"
            )
        for row in rows:
            yield f"{path}, line {rows.line_num}", row
    except csv.Error as err:
        raise DataError(f"{path}, after line {rows.line_num}: {err}") from err


def _jsonl(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in enumerate(_read(path).split("\n"), 1):
        place = f"{path}, line {number}"
        try:
            row = json.loads(line) if line.strip() else None
        except (ValueError, RecursionError) as err:
            raise DataError(f"{place} is no JSON: {err}") from err
        if row is None:
            continue
        if not isinstance(row, dict):
            raise DataError(f'{place}: write {{"file_name": "a.png", "text": "its caption"}}, not {line:.80}')
        yield place, row


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as err:
        raise DataError(f"cannot read {path}: {err.strerror}") from err
    except UnicodeDecodeError as err:
        raise DataError(f"{path} is not in UTF-8 (byte {err.start}): save it as UTF-8") from err


def _words(text: str) -> str:
    """On one line, with single spaces."""
    return " ".join(text.split())
