"""The catalogue, registry.toml: what could be installed, which names it would offer, and what a bare `ganzoo train` takes."""

from __future__ import annotations

import functools
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ganzoo.errors import UsageError, did_you_mean
from ganzoo.plugin import KINDS, name_fault

FORMAT = 1
_DEFAULTS = {"data": "dataset", "loss": "loss", "game": "game"}  # key and kind
_FACTS = ("distribution", "summary", "homepage")
_DISTRIBUTION = r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"  # PEP 508; what pip is told to install, so never an option of pip's


def is_distribution(name: str) -> bool:
    """Whether pip would take it for a distribution's name."""
    return re.fullmatch(_DISTRIBUTION, name) is not None


def is_address(text: str) -> bool:
    """Whether it can be a homepage."""
    return re.fullmatch(r"https?://[!-~]+", text) is not None


@dataclass(frozen=True, slots=True)
class Offer:
    """One plugin distribution, and the names that it offers by kind."""

    distribution: str
    summary: str = ""
    homepage: str | None = None
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Catalog:
    """registry.toml. `defaults` holds what nobody said: data, loss, game; `default_recipes` goes by modality."""

    offers: tuple[Offer, ...] = ()
    defaults: Mapping[str, str] = field(default_factory=dict)
    default_recipes: Mapping[str, str] = field(default_factory=dict)

    def offering(self, kind: str, name: str) -> list[Offer]:
        """The distributions that offer this name."""
        return [offer for offer in self.offers if name in offer.names.get(kind, ())]

    def names(self, kind: str) -> set[str]:
        return {name for offer in self.offers for name in offer.names.get(kind, ())}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about a catalogue, in one line: broken, it is not read; wrong, it misleads; doubtful, it may be meant."""

    grade: Literal["broken", "wrong", "doubtful"]
    message: str


def get_catalog() -> Catalog:
    """The catalogue of this ganzoo, or the one that GANZOO_CATALOG names. Raises UsageError where it cannot be read."""
    return load_catalog(catalog_path())


def catalog_path() -> Path:
    return Path(os.environ.get("GANZOO_CATALOG") or _own())


@functools.cache
def load_catalog(path: Path) -> Catalog:
    """Read a registry.toml. Raises UsageError, with the file and the first thing that is broken in it."""
    table, findings = _examined(path)
    for finding in findings:
        if finding.grade == "broken":
            raise UsageError(f"the catalogue {path} is broken: {finding.message}")
    default = table.get("default", {})
    return Catalog(
        tuple(map(_offer, table.get("plugin", []))),
        {key: default[key] for key in _DEFAULTS if default.get(key)},
        default.get("recipe", {}),
    )


def check_catalog(path: Path) -> list[Finding]:
    """All that can be said against a registry.toml. Raises UsageError where there is no such file."""
    return list(_examined(path)[1])


def canonical(distribution: str) -> str:
    """`Ganzoo_Foo` and `ganzoo-foo` are one distribution."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _own() -> Path:
    """In the wheel beside this module; in a checkout at the root."""
    inside = Path(__file__).with_name("registry.toml")
    return inside if inside.exists() else Path(__file__).parents[1] / "registry.toml"


def _offer(plugin: dict[str, Any]) -> Offer:
    names: dict[str, tuple[str, ...]] = {kind: tuple(plugin[kind]) for kind in KINDS if plugin.get(kind)}
    return Offer(plugin["distribution"], plugin.get("summary", ""), plugin.get("homepage"), names)


# ---- the rules, once for those who read the catalogue and those who check it


def _examined(path: Path) -> tuple[dict[str, Any], Iterable[Finding]]:
    import tomllib

    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except OSError as err:
        raise UsageError(f"the catalogue {path} cannot be read: {err.strerror or err}") from None
    except ValueError as err:  # broken TOML and broken UTF-8
        return {}, [Finding("broken", str(err))]
    return table, _findings(table)


def _findings(table: dict[str, Any]) -> Iterator[Finding]:
    """All of them, whatever the table holds; without one that is broken, it has the form that `load_catalog` reads."""
    given = table.get("format")
    if type(given) is int and given > FORMAT:
        yield Finding("broken", f"format is {given}, this ganzoo reads {FORMAT}: pip install --upgrade ganzoo-core")
        return  # whose rules are not known here
    if type(given) is not int or given != FORMAT:
        yield Finding("broken", f"format is {'missing' if given is None else repr(given)}: write format = {FORMAT}")
    yield from _only(table, ("format", "default", "plugin"), "the file")
    plugins = table.get("plugin", [])
    if not isinstance(plugins, list):
        yield Finding("broken", "[plugin] must be written [[plugin]]")
        plugins = []
    homes: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    listed: set[str] = set()
    for number, plugin in enumerate(plugins, 1):
        if not isinstance(plugin, dict):
            yield Finding("broken", f"[[plugin]] number {number} must be a table")
            continue
        distribution = plugin.get("distribution")
        if not isinstance(distribution, str) or not is_distribution(distribution):
            yield from _about(plugin, f"[[plugin]] number {number}")
            continue
        yield from _about(plugin, f"[[plugin]] {distribution}")
        if canonical(distribution) in listed:
            yield Finding("wrong", f"[[plugin]] {distribution}: it is listed already: join the two")
        listed.add(canonical(distribution))
        for kind in KINDS:
            for name in _names(plugin, kind):
                homes[kind, name].setdefault(canonical(distribution), distribution)
    yield from _about_defaults(table.get("default", {}), homes)
    for (of_kind, name), dists in homes.items():
        if len(dists) > 1:
            choice = " or ".join(f"{dist}/{name}" for dist in dists.values())
            message = f"{of_kind} {name!r} is offered by {' and '.join(dists.values())}: who has them must write {choice}"
            yield Finding("doubtful", message)


def _about(plugin: dict[str, Any], where: str) -> Iterator[Finding]:
    for key in _FACTS:
        if not isinstance(text := plugin.get(key, ""), str):
            yield Finding("broken", f"{where}: {key} must be text, not {text!r}")
    match plugin.get("distribution", ""):
        case "":
            yield Finding("broken", f"{where}: it has no distribution: write the name that pip installs")
        case str(text) if not is_distribution(text):
            yield Finding(
                "broken",
                f"{where}: no distribution is called {text!r}: letters, digits, '-', '_', '.'; at both ends a letter or digit",
            )
    yield from _only(plugin, (*_FACTS, *KINDS), where)
    match plugin.get("summary", ""):
        case str(text) if not text.strip():
            yield Finding("wrong", f"{where}: it has no summary: write one line on what it offers")
        case str(text) if len(text.splitlines()) > 1:
            yield Finding("wrong", f"{where}: its summary has {len(text.splitlines())} lines: write one")
    match plugin.get("homepage"):
        case str(text) if not is_address(text):
            yield Finding("wrong", f"{where}: homepage {text!r} is no address: write https://...")
    for kind in KINDS:
        names = _names(plugin, kind)
        if names != plugin.get(kind, []):
            yield Finding("broken", f"{where}: {kind} must be a list of names")
        for name, count in Counter(names).items():
            if fault := name_fault(name):
                yield Finding("wrong", f"{where}: {kind}: {fault}")
            if count > 1:
                yield Finding("wrong", f"{where}: {kind} {name!r} is listed {count} times")


def _about_defaults(default: Any, homes: Mapping[tuple[str, str], Mapping[str, str]]) -> Iterator[Finding]:
    if not isinstance(default, dict):
        yield Finding("broken", "[default] must be a table")
        return
    yield from _only(default, (*_DEFAULTS, "recipe"), "[default]")
    recipes = default.get("recipe", {})
    if not isinstance(recipes, dict):
        yield Finding("broken", "[default] recipe must be a table: write recipe.image = 'NAME'")
        recipes = {}
    said = [(key, kind, default[key]) for key, kind in _DEFAULTS.items() if key in default]
    for key, kind, text in [*said, *((f"recipe.{modality}", "recipe", text) for modality, text in recipes.items())]:
        if not isinstance(text, str):
            yield Finding("broken", f"[default] {key} must be text, not {text!r}")
            continue
        asked = text.partition(":")[0]  # as everywhere: distribution/name:option=value
        dist, _, name = asked.rpartition("/")
        offering = homes.get((kind, name), {})
        if not offering or (dist and canonical(dist) not in offering):
            guess = "" if offering else did_you_mean(name, [known for of, known in homes if of == kind])
            yield Finding("wrong", f"[default] {key}: no [[plugin]] offers the {kind} {asked!r}.{guess}")


def _names(plugin: Mapping[str, Any], kind: str) -> list[str]:
    listed = plugin.get(kind, [])
    return [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []


def _only(table: Mapping[str, Any], known: tuple[str, ...], where: str) -> Iterator[Finding]:
    for key in table:
        if key not in known:
            yield Finding("broken", f"{where} has an unknown key {key!r}.{did_you_mean(key, known)}")
