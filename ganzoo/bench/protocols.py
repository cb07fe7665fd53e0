"""What is compared with what: collapse.toml, and the trainings that it comes to. Torch-free."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from typing import Any

from ganzoo.assembly import Plan, make_plan
from ganzoo.config import Layer, layer_from_dict
from ganzoo.errors import GanzooError, UsageError, did_you_mean
from ganzoo.registry import get_registry

Table = Mapping[str, Any]

DATA = "the data"  # stands where a recipe would: samples of the data set itself


@dataclass(frozen=True, slots=True)
class Training:
    """One seed of one variant, or `samples` of the data themselves; all that a worker needs to know of it.

    table  run.toml's keys, without budget, seed and device
    near   what "inside a mode" means, None where every sample is
    """

    protocol: str
    suite: str
    case: str
    recipe: str
    seed: int
    steps: int
    looks: int
    samples: int
    held: float
    near: str | None
    table: Table

    @property
    def label(self) -> str:
        """The row it belongs to."""
        return f"{self.recipe}, {self.case}" if self.case else self.recipe

    def __str__(self) -> str:
        return f"{self.suite}: {self.label}" + ("" if self.recipe == DATA else f", seed {self.seed}")

    @property
    def hash(self) -> str:
        """Of all that decides its figures but the seed: a changed protocol is another."""
        from ganzoo.data.hashing import digest

        decides = [self.table["data"]] if self.recipe == DATA else [self.table, self.steps, self.looks]
        return digest(*decides, self.samples, self.held)[:12]

    @property
    def key(self) -> tuple[str, str, str, str, int]:
        """What its line is found by."""
        return self.protocol, self.case, self.recipe, self.hash, self.seed

    def plan(self, device: str = "cpu", dataset: Any = None) -> Plan:
        """Resolved and checked. Raises UsageError or PluginError, which say of which training.

        dataset  stands in for the configured one where the plan is only looked at
        """
        budget = {"kimg": self.table["batch"] * self.steps / 1000, "seed": self.seed, "device": device}
        try:
            layer = layer_from_dict({**self.table, **budget}, "the protocol")
            return make_plan(get_registry(), Layer("the command line"), layer, dataset)
        except GanzooError as err:
            raise type(err)(f"{self.suite}, {self.label}: {err}") from err


@dataclass(frozen=True, slots=True)
class Suite:
    """A suite under a protocol: collapse.toml says what each field means."""

    protocol: str
    name: str
    recipes: tuple[str, ...]
    seeds: int
    steps: int
    looks: int
    samples: int
    held: float
    train: Table
    near: str | None = None
    expected: tuple[str, ...] = ()
    cases: Mapping[str, Table] = field(default_factory=lambda: {"": {}})
    changes: Mapping[str, Table] = field(default_factory=dict)
    published: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def changed(self, steps: int | None, recipes: Sequence[str]) -> Suite:
        """With other steps, which are not the protocol's and have nothing published beside them, and other recipes."""
        suite = replace(self, recipes=tuple(recipes) or self.recipes)
        return suite if steps in (None, self.steps) else replace(suite, steps=steps, published={})

    def training(self, recipe: str, case: str = "", seed: int = 0) -> Training:
        known = content()["recipes"]
        table = merged(self.train, self.cases.get(case, {}))
        if recipe != DATA:
            table = merged(table, known[recipe].get("train", {}))
            table = merged(table, self.changes.get(recipe, {}))
            table["batch"] *= known[recipe].get("packs", 1)
        # What the protocol does not name is not there, whatever the networks recommend.
        table = {"reg": [], "aug": "none", **table}
        numbers = (self.steps, self.looks, self.samples, self.held)
        return Training(self.protocol, self.name, case if recipe != DATA else "", recipe, seed, *numbers, self.near, table)

    def rows(self) -> Iterator[Training]:
        """A training of each row of the table, the first seed's."""
        for case in self.cases:
            for recipe in self.recipes:
                yield self.training(recipe, case)

    def check(self, device: str = "cpu") -> None:
        """Raises UsageError or PluginError where a variant cannot be assembled here."""
        dataset = None
        for row in self.rows():  # a data set of many names takes a second to build
            dataset = row.plan(device, dataset).dataset

    def trainings(self, seeds: int | None = None) -> Iterator[Training]:
        """The data themselves, then every variant seed by seed."""
        yield self.training(DATA)
        for seed in range(seeds or self.seeds):
            for row in self.rows():
                yield replace(row, seed=seed)


@cache
def content() -> dict[str, Any]:
    """collapse.toml, as it stands there."""
    return tomllib.loads(resources.files("ganzoo.bench").joinpath("collapse.toml").read_text(encoding="utf-8"))


def protocols() -> list[str]:
    return [name for name in content() if name != "recipes"]


def find_suites(protocol: str, names: Sequence[str] = (), recipes: Sequence[str] = (), steps: int | None = None) -> list[Suite]:
    """The suites of a protocol by name, all without names, with these recipes and steps in place of its own. UsageError."""
    known = content()
    _one_of(protocol, protocols(), "protocol", "protocols")
    tables = known[protocol]["suites"]
    for name in names:
        _one_of(name, tables, f"suite of the protocol '{protocol}'", "suites")
    for name in recipes:
        _one_of(name, known["recipes"], "recipe of this bench", "recipes")
    found = []
    for name in dict.fromkeys(names or tables):
        suite = Suite(protocol, name, **_filled(tables, name)).changed(steps, list(dict.fromkeys(recipes)))
        if suite.steps < suite.looks:
            raise UsageError(f"--steps {suite.steps}: samples are looked at {suite.looks} times; give at least as many steps")
        found.append(suite)
    return found


def merged(base: Table, over: Table) -> dict[str, Any]:
    """`over` on top of `base`, tables inside alike; one of another `name` replaces."""
    out: dict[str, Any] = dict(base)
    for key, value in over.items():
        before: Any = out.get(key)
        inside = isinstance(before, Mapping) and isinstance(value, Mapping)
        if inside and value.get("name", before.get("name")) == before.get("name"):
            value = merged(before, value)
        out[key] = value
    return out


def _filled(tables: Mapping[str, Table], name: str) -> dict[str, Any]:
    """A suite's fields, those of the suite that it is like included."""
    own = dict(tables[name])
    if like := own.pop("like", None):
        own = merged({key: value for key, value in _filled(tables, like).items() if key != "published"}, own)
    return {key: tuple(value) if isinstance(value, list) else value for key, value in own.items()}


def _one_of(name: str, known: Iterable[str], what: str, many: str) -> None:
    names = list(known)
    if name not in names:
        raise UsageError(f"there is no {what} '{name}'.{did_you_mean(name, names)} {many.capitalize()}: {', '.join(names)}")
