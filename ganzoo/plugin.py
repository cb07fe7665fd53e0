"""All that a plugin imports to declare itself. Nothing here may import torch, numpy or timm.

from ganzoo.plugin import Component, hookimpl

ganzoo_api = 1

@hookimpl
def ganzoo_components():
    yield Component("generator", "mine", "my_package.nets:Mine", summary="One line on what it is")
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, get_args

import pluggy

__all__ = ["API", "KINDS", "Component", "DataSpec", "FilePath", "Kind", "Part", "Resolutions", "hookimpl"]

API = 1  # of the plugin interface; a plugin states the one it was written for as `ganzoo_api`

hookimpl = pluggy.HookimplMarker("ganzoo")

Kind = Literal[
    "generator",
    "discriminator",
    "loss",
    "regularizer",
    "augmentation",
    "game",
    "dataset",
    "metric",
    "features",
    "encoder",
    "recipe",
]
KINDS: tuple[Kind, ...] = get_args(Kind)
KIND_OF: dict[str, Kind] = {  # by the key under which a run names its part
    "gen": "generator",
    "disc": "discriminator",
    "loss": "loss",
    "reg": "regularizer",
    "aug": "augmentation",
    "game": "game",
    "data": "dataset",
}

Labels = Literal["ignored", "used", "wanted", "required", "refused"]
_NAME = re.compile(r"[a-z0-9][a-z0-9.+-]*")


@dataclass(frozen=True, slots=True)
class DataSpec:
    """What a generator and a discriminator are built for: known without decoding anything.

    `shape` is one sample's, without the batch: (C, H, W) for images (values in [-1, 1]), (D,) for points, (C, L) for signals.
    `source` is what a sample is to be made from; `text` the width of its caption's vector, 0 without one.
    """

    modality: str
    shape: tuple[int, ...]
    classes: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    source: DataSpec | None = None
    text: int = 0

    def replace(self, **changes: Any) -> DataSpec:
        return replace(self, **changes)

    @property
    def channels(self) -> int:
        """C of images and signals, D of points."""
        return self.shape[0]

    @property
    def resolution(self) -> tuple[int, ...]:
        """(H, W) of images, (L,) of signals, () of points."""
        return self.shape[1:]

    @property
    def translates(self) -> bool:
        """Whether samples are made of images: of a source, or of the images of another domain."""
        return self.source is not None or bool(self.domains)

    @property
    def of_records(self) -> bool:
        """Whether samples are made of the data's records: of images, or of captions; else of noise and a class."""
        return self.translates or self.text > 0

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON and TOML values; `from_dict` undoes it."""
        out: dict[str, Any] = {"modality": self.modality, "shape": list(self.shape)}
        if self.classes:
            out["classes"] = list(self.classes)
        if self.domains:
            out["domains"] = list(self.domains)
        if self.source is not None:
            out["source"] = self.source.to_dict()
        if self.text:
            out["text"] = self.text
        return out

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> DataSpec:
        return cls(
            modality=table["modality"],
            shape=tuple(table["shape"]),
            classes=tuple(table.get("classes", ())),
            domains=tuple(table.get("domains", ())),
            source=cls.from_dict(table["source"]) if table.get("source") else None,
            text=table.get("text", 0),
        )


class Resolutions:
    """The sizes that a network can do, from a phrase that people read too.

    "any" | "power of two" | "multiple of N", each with "from A" and "to B" after and "square" before it, or a list: "28, 32".
    The rule holds for every side (H and W, or L).
    """

    _PHRASE = re.compile(
        r"(?P<square>square )?(?P<rule>any|power of two|multiple of (?P<n>\d+)|\d+(?:, ?\d+)*)"
        r"(?: from (?P<low>\d+))?(?: to (?P<high>\d+))?"
    )

    def __init__(self, phrase: str) -> None:
        match = self._PHRASE.fullmatch(phrase)
        if match is None:
            raise ValueError(
                f"resolutions='{phrase}' is not understood; write 'any', 'power of two from 8', "
                f"'multiple of 16 to 512', 'square any' or '28, 32'"
            )
        self.phrase = phrase
        self._square = bool(match["square"])
        self._rule: str = match["rule"]
        self._multiple = int(match["n"] or 1)
        self._low, self._high = int(match["low"] or 1), int(match["high"] or 2**31)

    @property
    def step(self) -> int | None:
        """N of "multiple of N", 1 of "any": sides each by itself; None of every other rule, and of squares."""
        return None if self._square or not (self._rule == "any" or self._rule.startswith("multiple")) else self._multiple

    def admits(self, resolution: Iterable[int]) -> bool:
        sides = tuple(resolution)
        return (not self._square or len(set(sides)) <= 1) and all(self._side(side) for side in sides)

    def nearest(self, resolution: Iterable[int]) -> tuple[int, ...] | None:
        """The admitted resolution next to this one, smaller on a tie; None where nothing is near (checked up to 8 x)."""
        out = []
        for side in resolution:
            good = [s for s in range(1, 8 * side + 1) if self._side(s)]
            if not good:
                return None
            out.append(min(good, key=lambda s: (abs(s - side), s)))
        return tuple(out) if self.admits(out) else tuple([min(out)] * len(out))

    def _side(self, side: int) -> bool:
        if not self._low <= side <= self._high:
            return False
        if self._rule == "power of two":
            return side & (side - 1) == 0
        if self._rule == "any" or self._rule.startswith("multiple"):
            return side % self._multiple == 0
        return str(side) in self._rule.replace(" ", "").split(",")


@dataclass(frozen=True, slots=True)
class Part:
    """A nested part among a component's options: `downscaled:data=emoji(style=flat)`.

    Annotate the option `Annotated[Part, "dataset"]`, with the kind that it is looked up in; the target then receives a Part
    whose `build(*args)` makes it.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    target: Any = None

    def build(self, *args: Any) -> Any:
        return self.target(*args, **self.options)


# An option that names a file or a folder: made absolute, ~ expanded, so that a run goes on from any directory.
FilePath = Annotated[str, "path"]


def _words(value: Iterable[str] | str | None, field_name: str) -> frozenset[str]:
    words = frozenset([value] if isinstance(value, str) else (value or ()))
    if not all(isinstance(w, str) for w in words):
        raise TypeError(f"{field_name} must be strings, got {sorted(map(repr, words))}")
    return words


def name_fault(name: Any) -> str | None:
    """Why no component may be called this, or None."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return f"component name {name!r} must be lower case letters, digits, '-', '.' or '+'"
    if name == "none":
        return "component name 'none' is reserved: on the command line it means no such part"
    return None


@dataclass(frozen=True, slots=True)
class Component:
    """One exchangeable part, as its plugin declares it: the one source of what assembly checks.

    kind         one of KINDS
    name         as typed on the command line and written to run.toml: lower case, digits, '-'
    target       "module:attribute", imported when built; a recipe's is "package:path.toml". Built as `target(data, **options)`
                 (data: DataSpec); a data set or encoder as `target(**options)`; options are the keyword-only parameters
    summary      one line
    paper        "arXiv:NNNN.NNNNN", a DOI or an address
    licence      SPDX identifier, where it is not the distribution's own
    provides     capabilities offered (the table is in ganzoo.interfaces)
    needs        capabilities asked of another part: a network's of its partner, a regularizer's of G or D, and so on
    modality     of "image", "points", "signal"...; empty: any
    resolutions  a phrase, see Resolutions; None: any
    labels       "ignored"; "used" where the data has them; "wanted", the same with a notice where there are none; "required";
                 "refused"
    min_group    batches and micro-batches must be multiples of it: a number, or the name of the option that holds it
    couples      what couples the samples of a batch ("batch norm"), so that micro-batches differ from it; empty: nothing does
    recommends   configuration that suits it, by key: {"D.lr": 4e-4, "reg": ["r1"], "disc": "dcgan"}
    trial        options with which the conformance checks try it: what it cannot be built without, and nothing to download;
                 or "module:function", which gets a folder (a Path) to write files in, and returns options that name them
    aliases      other names of the same thing in papers: shown by `info`, found by `search`, not accepted as names
    """

    kind: str
    name: str
    target: str
    summary: str = ""
    paper: str | None = None
    licence: str | None = None
    provides: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()
    modality: frozenset[str] = frozenset()
    resolutions: str | None = None
    labels: Labels = "ignored"
    min_group: int | str = 1
    couples: str = ""
    recommends: Mapping[str, Any] = field(default_factory=dict)
    trial: Mapping[str, Any] | str = field(default_factory=dict)
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("provides", "needs", "modality"):
            object.__setattr__(self, name, _words(getattr(self, name), name))
        if fault := name_fault(self.name):
            raise ValueError(fault)
        if not isinstance(self.target, str) or not all(self.target.partition(":")):
            raise ValueError(f"{self.kind} '{self.name}': target {self.target!r} must be 'module:attribute'")
        if self.resolutions is not None:
            Resolutions(self.resolutions)
        if self.labels not in get_args(Labels):
            raise ValueError(f"{self.kind} '{self.name}': labels={self.labels!r} must be one of {', '.join(get_args(Labels))}")
