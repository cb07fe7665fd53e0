"""What makes a function a check: it says which contract it holds a part to, what was expected and what was seen."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any
from unittest import SkipTest

import torch

from ganzoo.plugin import DataSpec
from ganzoo.registry import Entry, one_line

Check = Callable[..., None]


class Skip(SkipTest):
    """Raised by a check that does not apply to what it was given; the message says why. pytest and unittest know it."""


class Untried(Skip):
    """A Skip of what does apply and could not be tried here, for want of options or of a tool: `--strict` counts it."""


class Failure(AssertionError):
    """A broken contract: "WHERE: expected ...; seen: .... Contract: ..."."""

    def __init__(self, where: str, expected: str, seen: str, contract: str) -> None:
        super().__init__(f"{where}: expected {expected}; seen: {seen}. Contract: {contract}")
        self.where, self.expected, self.seen, self.contract = where, expected, seen, contract


class Broken(Exception):
    """Raised by `expect`; `check` makes it a Failure, which names the part and the contract."""

    def __init__(self, expected: str, seen: object) -> None:
        super().__init__(f"expected {expected}; seen: {seen}")
        self.expected, self.seen = expected, str(seen)


def expect(holds: bool, expected: str, seen: object) -> None:
    """Raise unless `holds`, with "expected ..., seen ..."."""
    if not holds:
        raise Broken(expected, seen)


def check(contract: str) -> Callable[[Check], Check]:
    """Make a function a check of `contract`, which it then carries as an attribute.

    Whatever goes wrong in it becomes a Failure, an exception of the part too. It starts from one random state, and leaves the
    caller's as it was. Skip passes.
    """

    def decorate(function: Check) -> Check:
        @functools.wraps(function)
        def checked(*args: Any, **named: Any) -> None:
            where = " ".join(text for value in (*args, *named.values()) if (text := _describe(value)))
            try:
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(0)
                    function(*args, **named)
            except (Skip, KeyboardInterrupt):
                raise
            except Broken as err:
                raise Failure(where, err.expected, err.seen, contract) from None
            except BaseException as err:  # SystemExit too: a part that exits would end the checks without a word
                raise Failure(where, "no exception", one_line(err), contract) from err

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
