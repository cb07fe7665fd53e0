"""The data sets of emoji, read from the archives beside this file (`data/`; scripts/build.py wrote them).

An archive is the WebP files of one style, one after another; data/index.json has a row an emoji, in Unicode's order, with the
length of each. A drawing is read by seeking to it, so that any number of threads and processes can do so at once.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image

from ganzoo.data.decoding import outlines
from ganzoo.data.splits import Split
from ganzoo.data.splits import chosen as select
from ganzoo.errors import UsageError
from ganzoo.interfaces import Dataset, DataSpec

__all__ = ["Emoji", "EmojiPairs", "EmojiStyles", "EmojiUnpaired"]

Style = Literal["flat", "3d"]
Array = np.ndarray[Any, Any]

DATA = Path(__file__).resolve().parent / "data"


class Drawing(NamedTuple):
    """Where one WebP file lies: bytes of DATA/<style>.bin."""

    style: Style
    offset: int
    length: int


class Row(NamedTuple):
    """One emoji: code points as "1F468-200D-1F33E", and a drawing in each style that has it."""

    codepoints: str
    category: str
    name: str
    drawings: dict[Style, Drawing]


class Index(NamedTuple):
    size: int  # the side of a drawing, in pixels
    digest: str  # SHA-256 of index.json, which holds those of the archives
    categories: tuple[str, ...]  # in Unicode's order
    rows: tuple[Row, ...]


@cache
def read_index() -> Index:
    content = (DATA / "index.json").read_bytes()
    table = json.loads(content)
    ends: dict[Style, int] = {"flat": 0, "3d": 0}
    rows = []
    for codepoints, category, name, *lengths in table["emoji"]:
        drawings = {}
        for style, length in zip(ends, lengths, strict=True):
            if length is not None:
                drawings[style] = Drawing(style, ends[style], length)
                ends[style] += length
        rows.append(Row(codepoints, category, name, drawings))
    categories = tuple(dict.fromkeys(row.category for row in rows))
    return Index(table["size"], hashlib.sha256(content).hexdigest(), categories, tuple(rows))


def choose_categories(names: Iterable[str]) -> tuple[str, ...]:
    """Those of the index, in its order; all for none. Raises ValueError for a name that is not one of them."""
    known, asked = read_index().categories, set(names)
    for name in sorted(asked.difference(known)):
        close = get_close_matches(name.lower(), [c.lower() for c in known], 1, cutoff=0.4)
        hint = "".join(f" Did you mean '{c}'?" for c in known if c.lower() in close)
        raise ValueError(f"emoji: there is no category '{name}'; categories= takes any of {', '.join(known)}.{hint}")
    return tuple(category for category in known if category in asked or not asked)


def read_drawing(drawing: Drawing, res: tuple[int, int]) -> Array:
    """Uint8 [3, H, W]: the emoji at the largest size that `res` (height, width) holds, centred on white."""
    with open(DATA / f"{drawing.style}.bin", "rb") as archive:
        archive.seek(drawing.offset)
        image = Image.open(io.BytesIO(archive.read(drawing.length))).convert("RGB")
    side = min(res)
    if side != image.width:
        image = image.resize((side, side), _filter(image.width, side))
    if (image.height, image.width) != res:
        canvas = Image.new("RGB", (res[1], res[0]), "white")
        canvas.paste(image, ((res[1] - side) // 2, (res[0] - side) // 2))
        image = canvas
    pixels: Array = np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))
    return pixels


def _filter(old: int, new: int) -> Image.Resampling:
    """Where it reduces, a filter without negative lobes: those ring along the hard edges of the flat style."""
    if new > old:
        return Image.Resampling.BICUBIC
    return Image.Resampling.HAMMING if old % new else Image.Resampling.BOX


class _Drawings(Dataset):
    """What the data sets share: `records` holds an emoji and its drawings by field, and all else is made from them."""

    def __init__(
        self,
        records: list[tuple[Row, dict[str, Drawing]]],
        names: list[str],
        res: tuple[int, int] | None,
        classes: tuple[str, ...],
    ) -> None:
        size = read_index().size
        self._res = (size, size) if res is None else (res[0], res[1])
        if min(self._res) < 1:
            raise ValueError(f"emoji: res={res} must be (height, width), each at least 1")
        self._drawings = [drawings for _, drawings in records]
        self.spec = DataSpec("image", (3, *self._res), classes=classes)
        self.names = names
        self.captions = [row.name for row, _ in records]
        if classes:
            self.labels = np.array([classes.index(row.category) for row, _ in records], dtype=np.int64)

    def fingerprint(self) -> str:
        fields = [sorted(drawings.items()) for drawings in self._drawings]
        return hashlib.sha256(repr((read_index().digest, self.spec, fields)).encode()).hexdigest()

    def decode(self, index: int) -> dict[str, Array]:
        return {field: read_drawing(drawing, self._res) for field, drawing in self._drawings[index].items()}


class Emoji(_Drawings):
    """Emoji on white, without skin tones: 1,898 flat drawings (Twemoji) and 1,572 shaded renders (Fluent 3D), 64x64.

    A record's name is "flat/1F600", its caption "grinning face", its class its Unicode category. Where H and W differ, the
    emoji keeps its shape and is centred. Raises ValueError for an unknown category.

    Options:
        style: the drawings: flat (every emoji), 3d (no country flags, families or couples) or both, one after the other
        res: height and width; none is 64x64
        labels: the categories as classes
        categories: only these; empty is all nine: Smileys & Emotion, People & Body, Animals & Nature, Food & Drink,
            Travel & Places, Activities, Objects, Symbols, Flags
    """

    def __init__(
        self,
        *,
        style: Literal["flat", "3d", "both"] = "flat",
        res: tuple[int, int] | None = None,
        labels: bool = True,
        categories: tuple[str, ...] = (),
    ) -> None:
        chosen = choose_categories(categories)
        styles: tuple[Style, ...] = ("flat", "3d") if style == "both" else (style,)
        rows = [(row, s) for s in styles for row in read_index().rows if row.category in chosen and s in row.drawings]
        records = [(row, {"real": row.drawings[s]}) for row, s in rows]
        super().__init__(records, [f"{s}/{row.codepoints}" for row, s in rows], res, chosen if labels else ())


class EmojiPairs(_Drawings):
    """The 1,572 emoji that both styles have, as aligned pairs: "source" is the drawing to translate, "real" what to make of it.

    A record's name is "1F600", its caption "grinning face", its class its Unicode category. Raises ValueError for an unknown
    category and where both sides are one style.

    Options:
        source: the style to translate from
        target: the style to translate to
        res: height and width of both; none is 64x64
        labels: the categories as classes
        categories: only these; empty is all nine (`emoji` lists them)
        split: train, held-out or all of the emoji
        held_out: the share that is held out, by name
    """

    def __init__(
        self,
        *,
        source: Style = "flat",
        target: Style = "3d",
        res: tuple[int, int] | None = None,
        labels: bool = True,
        categories: tuple[str, ...] = (),
        split: Split = "train",
        held_out: float = 0.1,
    ) -> None:
        chosen, rows = _in_both("emoji-pairs", source, target, categories, split, held_out)
        records = [(row, {"real": row.drawings[target], "source": row.drawings[source]}) for row in rows]
        super().__init__(records, [row.codepoints for row in rows], res, chosen if labels else ())
        self.spec = self.spec.replace(source=DataSpec("image", self.spec.shape))


class EmojiUnpaired(_Drawings):
    """Emoji in two styles that are not pairs: those with a "source" are others than those with a "real".

    The emoji that both styles have are dealt out to the two sides by their names, so that no emoji is on both. A record's name
    is "1F600 1F601", the target's first. What is held out are the emoji that `emoji-pairs` holds out, where the truth is known.

    Options:
        source: the style to translate from
        target: the style to translate to
        res: height and width of both; none is 64x64
        categories: only these; empty is all nine (`emoji` lists them)
        split: train, held-out or all of the emoji
        held_out: the share that is held out, by name
    """

    def __init__(
        self,
        *,
        source: Style = "flat",
        target: Style = "3d",
        res: tuple[int, int] | None = None,
        categories: tuple[str, ...] = (),
        split: Split = "train",
        held_out: float = 0.1,
    ) -> None:
        _, rows = _in_both("emoji-unpaired", source, target, categories, split, held_out)
        dealt = [f"side {row.codepoints}" for row in rows]
        halves: tuple[Split, ...] = ("held-out", "train")
        try:
            sides = [[rows[i] for i in select(dealt, half, 0.5)] for half in halves]
        except UsageError:  # all are on one side
            few = f"{len(rows)} emoji are too few to deal out to two sides"
            raise ValueError(f"emoji-unpaired: {few}; take more categories, another split or another held_out") from None
        pairs = [tuple(side[i % len(side)] for side in sides) for i in range(max(map(len, sides)))]
        records = [(real, {"real": real.drawings[target], "source": made.drawings[source]}) for real, made in pairs]
        super().__init__(records, [f"{real.codepoints} {made.codepoints}" for real, made in pairs], res, ())
        self.spec = self.spec.replace(source=DataSpec("image", self.spec.shape))


class EmojiStyles(_Drawings):
    """The 1,572 emoji that both styles have in several styles, each a domain: flat, 3d, and the outlines of the flat ones.

    A record's name is "3d/1F600", its caption "grinning face", its class its style. An emoji is held out in every style.

    Options:
        styles: two or all three of flat, 3d and outlines
        res: height and width; none is 64x64
        categories: only these; empty is all nine (`emoji` lists them)
        split: train, held-out or all of the emoji
        held_out: the share that is held out, by name
    """

    def __init__(
        self,
        *,
        styles: tuple[Literal["flat", "3d", "outlines"], ...] = ("flat", "3d", "outlines"),
        res: tuple[int, int] | None = None,
        categories: tuple[str, ...] = (),
        split: Split = "train",
        held_out: float = 0.1,
    ) -> None:
        if len(set(styles)) < 2 or len(set(styles)) < len(styles):
            raise ValueError(f"emoji-styles: styles={list(styles)} must be at least two, each once")
        _, rows = _in_both("emoji-styles", "flat", "3d", categories, split, held_out)
        of: dict[str, Style] = {"flat": "flat", "3d": "3d", "outlines": "flat"}
        records = [(row, {"real": row.drawings[of[style]]}) for style in styles for row in rows]
        super().__init__(records, [f"{style}/{row.codepoints}" for style in styles for row in rows], res, ())
        self.labels = np.repeat(np.arange(len(styles), dtype=np.int64), len(rows))
        self.spec = self.spec.replace(classes=styles, domains=styles)

    def decode(self, index: int) -> dict[str, Array]:
        assert self.labels is not None
        if self.spec.classes[self.labels[index]] != "outlines":
            return super().decode(index)
        lines = outlines(read_drawing(self._drawings[index]["real"], self._res))
        return {"real": np.repeat(lines, 3, 0)}


def _in_both(
    what: str, source: Style, target: Style, categories: tuple[str, ...], split: Split, held_out: float
) -> tuple[tuple[str, ...], list[Row]]:
    """The categories, and the rows of a split that both styles have."""
    if source == target:
        raise ValueError(f"{what}: source and target are both '{source}'; give one of them flat and the other 3d")
    chosen = choose_categories(categories)
    rows = [row for row in read_index().rows if row.category in chosen and {source, target} <= row.drawings.keys()]
    return chosen, [rows[i] for i in select([row.codepoints for row in rows], split, held_out)]
