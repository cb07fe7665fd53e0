"""The catalogue, registry.toml: what could be installed, which names it would offer, and what a bare `ganzoo train` takes."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ganzoo.errors import UsageError, did_you_mean
from ganzoo.plugin import KINDS

FORMAT = 1
_DEFAULTS = ("data", "loss", "game")
_FACTS = ("distribution", "summary", "homepage")


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


def get_catalog() -> Catalog:
    """The catalogue of this ganzoo, or the one that GANZOO_CATALOG names. Raises UsageError where it cannot be read."""
    return load_catalog(Path(os.environ.get("GANZOO_CATALOG") or _own()))


@functools.cache
def load_catalog(path: Path) -> Catalog:
    """Read a registry.toml. Raises UsageError, with the file and what is wrong in it."""
    import tomllib

    try:
        return _catalog(tomllib.loads(path.read_text("utf-8")))
    except OSError as err:
        raise UsageError(f"the catalogue {path} cannot be read: {err.strerror or err}") from None
    except (ValueError, UsageError) as err:  # broken TOML and broken UTF-8 are ValueErrors
        raise UsageError(f"the catalogue {path} is broken: {err}") from None


def _own() -> Path:
    """In the wheel beside this module; in a checkout at the root."""
    inside = Path(__file__).with_name("registry.toml")
    return inside if inside.exists() else Path(__file__).parents[1] / "registry.toml"


def _catalog(table: dict[str, Any]) -> Catalog:
    if table.get("format") != FORMAT:
        newer = isinstance(table.get("format"), int) and table["format"] > FORMAT
        raise UsageError(
            f"format is {table.get('format', 'missing')}, this ganzoo reads {FORMAT}"
            + (": pip install --upgrade ganzoo-core" if newer else "")
        )
    _only(table, ("format", "default", "plugin"), "the file")
    default = _table(table.get("default", {}), "[default]")
    _only(default, ("recipe", *_DEFAULTS), "[default]")
    recipes = _table(default.get("recipe", {}), "[default] recipe")
    plugins = table.get("plugin", [])
    if not isinstance(plugins, list):
        raise UsageError("[plugin] must be written [[plugin]]")
    return Catalog(
        tuple(_offer(_table(plugin, "[[plugin]]")) for plugin in plugins),
        {key: name for key in _DEFAULTS if (name := _text(default, key, "[default]"))},
        {modality: _text(recipes, modality, "[default] recipe") or "" for modality in recipes},
    )


def _offer(table: dict[str, Any]) -> Offer:
    distribution = _text(table, "distribution", "[[plugin]]")
    if not distribution:
        raise UsageError("a [[plugin]] has no distribution")
    where = f"[[plugin]] {distribution}"
    _only(table, (*_FACTS, *KINDS), where)
    names: dict[str, tuple[str, ...]] = {}
    for kind in KINDS:
        listed = table.get(kind, [])
        if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
            raise UsageError(f"{where}: {kind} must be a list of names")
        if listed:
            names[kind] = tuple(listed)
    return Offer(distribution, _text(table, "summary", where) or "", _text(table, "homepage", where), names)


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UsageError(f"{where} must be a table")
    return value


def _text(table: Mapping[str, Any], key: str, where: str) -> str | None:
    value = table.get(key)
    if value is not None and not isinstance(value, str):
        raise UsageError(f"{where}: {key} must be text, not {value!r}")
    return value


def _only(table: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in known:
            raise UsageError(f"{where} has an unknown key '{key}'.{did_you_mean(key, known)}")
