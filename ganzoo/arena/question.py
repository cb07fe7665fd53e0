"""What an arena asks: which parts, on which data, for how long, measured how. And the combinations that follow from it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any

from ganzoo.catalog import get_catalog
from ganzoo.config import Layer, RunConfig
from ganzoo.errors import PluginError, UsageError
from ganzoo.options import Spec, parse_spec, resolve
from ganzoo.plugin import KIND_OF
from ganzoo.registry import Registry
from ganzoo.values import split_items

RECOMMENDED = "recommended"  # in a list: what the generator and the discriminator recommend, as `ganzoo train` would take it
AXES = {"gens": "gen", "discs": "disc", "losses": "loss", "regs": "reg", "augs": "aug"}
_BUDGET = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(m|h)?")
_OPTION = re.compile(r"\s*[^\s:=]+\s*=")
_OWN = {"kimg": "--budget", "seed": "--seeds", "gen": "--gens", "disc": "--discs", "loss": "--losses", "reg": "--regs"}
_OWN |= {"aug": "--augs", "data": "--data"}


@dataclass(frozen=True, slots=True)
class Budget:
    """What each training gets: minutes of its own wall-clock (start-up and measuring not counted), or thousands of images."""

    minutes: float | None
    kimg: float | None

    @classmethod
    def parse(cls, text: str) -> Budget:
        """`10m`, `2h`, or kimg as `40`. Raises UsageError."""
        match = _BUDGET.fullmatch(text.strip())
        if match is None:
            raise UsageError(f"--budget {text}: write minutes of training as 10m (hours as 2h), or thousands of images as 40")
        amount = float(match[1])
        if not (amount >= 0.001 and math.isfinite(amount)):
            raise UsageError(f"--budget {text}: give each training more than that: 10m for ten minutes, 40 for 40,000 images")
        return cls(amount * (60 if match[2] == "h" else 1), None) if match[2] else cls(None, amount)

    def __str__(self) -> str:
        return f"{self.minutes:g}m" if self.minutes is not None else f"{self.kimg:g}"

    @property
    def words(self) -> str:
        return f"{self.minutes:g} minutes of training" if self.minutes is not None else f"{self.kimg:g} kimg"


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """As arena.toml holds it: text that was checked for its form, not for what it names."""

    gens: tuple[str, ...]
    discs: tuple[str, ...]
    losses: tuple[str, ...]
    regs: tuple[str, ...]
    augs: tuple[str, ...]
    data: str
    budget: str
    seeds: int
    metric: str
    samples: int
    settings: tuple[str, ...]

    @classmethod
    def ask(cls, given: Mapping[str, Any]) -> Question:
        """From the flags that were given, with defaults for the rest. Raises UsageError."""
        asked = read_flags(given)
        for name in ("gens", "discs", "budget"):
            if name not in asked:
                raise UsageError(f"--{name} is missing: ganzoo arena --gens dcgan,resnet --discs dcgan,projection --budget 10m")
        values: dict[str, Any] = {
            **dict.fromkeys(("losses", "regs", "augs"), (RECOMMENDED,)),
            "data": get_catalog().defaults["data"],
            "seeds": 1,
            "metric": "kid",
            "samples": 2000,
            "settings": (),
        }
        values |= asked
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        table = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in table.items()}

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Question:
        """Raises KeyError and TypeError for what is no question."""
        values: dict[str, Any] = {}
        for field in fields(cls):
            value = table[field.name]
            values[field.name] = tuple(value) if isinstance(value, list) else value
        return cls(**values)

    def differs(self, given: Mapping[str, Any]) -> str | None:
        """In words, how the flags that were given ask something else than this; None where they do not."""
        for name, value in read_flags(given).items():
            if value != (mine := getattr(self, name)):
                flag = "--set" if name == "settings" else f"--{name}"
                return f"{flag} {_text(mine)} was asked there, not {_text(value)}"
        return None

    @property
    def limit(self) -> Budget:
        return Budget.parse(self.budget)

    def layer(self, registry: Registry, gen: str, disc: str, loss: str, reg: str, aug: str) -> Layer:
        """What `ganzoo train` would be told for this combination."""
        from ganzoo.assembly import data_spec

        layer = Layer("command line")
        for key, text in (("gen", gen), ("disc", disc), ("loss", loss), ("aug", aug)):
            if text != RECOMMENDED:
                layer.set_part(key, text)
        if reg != RECOMMENDED:
            layer.regs_replace, layer.regs = True, reg_specs(reg)
        layer.parts["data"] = data_spec(self.data, registry)
        for text in self.settings:
            layer.set_text(text)
        if self.limit.kimg is not None:
            layer.settings["kimg"] = self.limit.kimg
        return layer


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination: its parts as asked for, or the names of what was recommended; `reason`: why it cannot be played."""

    name: str
    gen: str
    disc: str
    loss: str
    reg: str
    aug: str
    reason: str | None = None

    @property
    def words(self) -> str:
        """What tells it from others: "dcgan x projected, hinge, r1"."""
        others = (part for part in (self.loss, self.reg, self.aug) if part not in ("none", RECOMMENDED))
        return ", ".join([f"{self.gen} x {self.disc}", *others])


def combinations(question: Question, registry: Registry) -> list[tuple[Cell, RunConfig | None]]:
    """Every combination, with its whole configuration where it fits.

    No image is read; what fits by declaration is also built, without memory. Raises UsageError for names and options that there
    are not, and where nothing fits.
    """
    from ganzoo.assembly import make_plan
    from ganzoo.rehearsal import rehearse

    _check_names(question, registry)
    found: list[tuple[Cell, RunConfig | None]] = []
    for number, parts in enumerate(product(*(getattr(question, axis) for axis in AXES))):
        gen, disc, loss, reg, aug = parts
        names = (parse_spec(text).name.replace("/", "_") for text in (gen, disc))
        cell = Cell(f"{number:03d}-{'-'.join(names)}", gen, disc, loss, reg, aug)
        try:
            plan = make_plan(registry, question.layer(registry, *parts))
            rehearse(plan)
        except (UsageError, PluginError) as err:
            found.append((replace(cell, reason=str(err)), None))
            continue
        config = plan.config
        known = (
            config.loss.name,
            "+".join(spec.name for spec in config.reg) or "none",
            config.aug.name if config.aug else "none",
        )
        said = [name if text == RECOMMENDED else text for text, name in zip((loss, reg, aug), known, strict=True)]
        twin = next((other for other, theirs in found if theirs == config), None)
        reason = f"it is the same training as {twin.words}" if twin else None
        resolved = replace(cell, loss=said[0], reg=said[1], aug=said[2], reason=reason)
        found.append((resolved, None if twin else config))
    if not any(config for _, config in found):
        reasons = list(dict.fromkeys(cell.reason for cell, _ in found))
        raise UsageError(f"none of the {len(found)} combinations fits: {'; '.join(map(str, reasons))}")
    return found


def read_flags(given: Mapping[str, Any]) -> dict[str, Any]:
    """What of a question was given, by the names of its fields. Raises UsageError."""
    asked: dict[str, Any] = {axis: read_list(f"--{axis}", given[axis]) for axis in AXES if given.get(axis)}
    for text in given.get("settings") or ():
        key = text.partition("=")[0].strip()
        if key in _OWN:
            raise UsageError(f"--set {text}: in an arena that is {_OWN[key]}")
        if key.startswith("eval."):
            raise UsageError(f"--set {text}: in an arena every run has its whole budget, and is measured after it: --metric")
    if given.get("settings"):
        asked["settings"] = tuple(given["settings"])
    if given.get("budget") is not None:
        asked["budget"] = str(Budget.parse(given["budget"]))
    return asked | {name: given[name] for name in ("data", "seeds", "metric", "samples") if given.get(name) is not None}


def read_list(flag: str, texts: Sequence[str]) -> tuple[str, ...]:
    """The entries of a flag that may be repeated: a comma begins a new one unless OPTION=VALUE follows, an option of the last.

    Commas in brackets and quotes belong to a value. Raises UsageError.
    """
    entries: list[str] = []
    for text in texts:
        first = True
        for piece in split_items(text, text):
            if not piece.strip():
                raise UsageError(f"{flag} {text}: there is nothing between two commas")
            if not _OPTION.match(piece):
                entries.append(piece.strip())
            elif first:
                raise UsageError(f"{flag} {text}: it begins with an option; write NAME:{piece.strip()}")
            elif ":" not in entries[-1]:
                raise UsageError(f"{flag} {text}: options follow a colon: {entries[-1]}:{piece.strip()}")
            else:
                entries[-1] += f",{piece.strip()}"
            first = False
    if not entries:
        raise UsageError(f"{flag} is empty: name a part, or leave it out")
    return tuple(dict.fromkeys(entries))


def reg_specs(text: str) -> list[Spec]:
    """`r1:gamma=1+spectral-norm`, `none`: a plus sign outside brackets separates where a letter follows."""
    return [] if text == "none" else [parse_spec(piece) for piece in _split_plus(text)]


def _split_plus(text: str) -> Iterator[str]:
    depth = begin = 0
    for at, char in enumerate(text):
        depth += (char in "([") - (char in ")]")
        if char == "+" and depth == 0 and text[at + 1 : at + 2].isalpha():
            yield text[begin:at]
            begin = at + 1
    yield text[begin:]


def _check_names(question: Question, registry: Registry) -> None:
    """What names nothing, or gives a part an option that it has not, is no misfit of a combination. Raises UsageError."""
    for axis, key in AXES.items():
        for text in getattr(question, axis):
            if text == RECOMMENDED and axis in ("losses", "regs", "augs"):
                continue
            specs = reg_specs(text) if key == "reg" else [] if key == "aug" and text == "none" else [parse_spec(text)]
            for spec in specs:
                kind = KIND_OF[key]
                target = registry.load(registry.find(kind, spec.name))
                resolve(target, spec.options, f"{kind} '{spec.name}'", fill=False)
    layer = question.layer(registry, *(RECOMMENDED for _ in AXES))
    if (data := layer.parts["data"]) is not None:
        registry.find("dataset", data.name)


def _text(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)
