"""What makes a function a check: it says which contract it holds a part to, what was expected and what was seen."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch

from ganzoo.plugin import DataSpec
from ganzoo.registry import Entry, one_line

Check = Callable[..., None]


class Skip(Exception):
    """Raised by a check that does not apply to what it was given; the message says why."""


class Broken(Exception):
    """Raised by `expect`; `check` makes it an AssertionError that names the part and the contract."""


def expect(holds: bool, expected: str, seen: object) -> None:
    """Raise unless `holds`, with "expected ..., seen ..."."""
    if not holds:
        raise Broken(f"expected {expected}; seen: {seen}")


def check(contract: str) -> Callable[[Check], Check]:
    """Make a function a check of `contract`, which it then carries as an attribute.

    Whatever goes wrong in it becomes an AssertionError "PART: expected ...; seen: .... Contract: ...", an exception of the part
    too. It starts from one random state, and leaves the caller's as it was. Skip passes.
    """

    def decorate(function: Check) -> Check:
        @functools.wraps(function)
        def checked(*args: Any, **named: Any) -> None:
            where = " ".join(text for value in (*args, *named.values()) if (text := _describe(value)))
            try:
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(0)
                    function(*args, **named)
            except Skip:
                raise
            except Broken as err:
                raise AssertionError(f"{where}: {err}. Contract: {contract}") from None
            except Exception as err:
                raise AssertionError(f"{where}: expected no exception; seen: {one_line(err)}. Contract: {contract}") from err

        checked.contract = contract  # type: ignore[attr-defined]
        return checked

    return decorate


def _describe(value: object) -> str:
    match value:
        case Entry():
            return f"{value} of {value.dist}"
        case DataSpec():
            classes = f" with {len(value.classes)} classes" if value.classes else ""
            return f"on {value.modality} {list(value.shape)}{classes}{' from a source' if value.source else ''}"
        case Mapping():
            return "with " + ", ".join(f"{name}={option}" for name, option in value.items()) if value else ""
        case str():
            return value
        case _:
            return ""
