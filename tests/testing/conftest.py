"""What the tests of the checks share: installed parts, and parts made for a test with one fault each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, get_args

import pytest

from ganzoo.options import options_of
from ganzoo.plugin import Component, DataSpec
from ganzoo.registry import WITHOUT_DATA, Entry, get_registry
from ganzoo.testing import Check, Skip, suitable_data
from ganzoo.testing.cases import CLASSES

IMAGES = DataSpec("image", (3, 8, 8))
LABELLED = IMAGES.replace(classes=CLASSES)
TOLD = IMAGES.replace(text=5)
POINTS = DataSpec("points", (2,))


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterable[None]:
    with pytest.MonkeyPatch.context() as context:
        context.setenv("GANZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def name_of(value: Any) -> str | None:
    return value.__name__ if callable(value) else str(value) if isinstance(value, Entry) else None


def installed(kind: str) -> list[Entry]:
    """Every installed component of a kind: a registered part is a tested part."""
    found = get_registry().select(kind)
    assert found
    return found


def tried(kind: str, target: Any, **declared: Any) -> Entry:
    """A component of this test file."""
    component = Component(kind, "tried", f"{target.__module__}:{target.__qualname__}", summary="Made for a test", **declared)
    return Entry(component, "the-tests", "1.0")


def without_couples(entry: Entry) -> Entry:
    """The same component, saying that nothing couples the samples of a batch."""
    return replace(entry, component=replace(entry.component, couples=""))


def has_a_norm(entry: Entry) -> bool:
    """Whether it has an option `norm` that may be none."""
    option = options_of(get_registry().load(entry)).get("norm")
    return option is not None and "none" in get_args(option.annotation)


def on_suitable_data(check: Check, entry: Entry, options: Mapping[str, Any] | None = None, most: int | None = None) -> None:
    """The check on each data that the part declares to fit; skips where it applies to none."""
    reasons = []
    data = suitable_data(entry.component)[:most]
    assert data
    for spec in data:
        try:
            check(entry, spec, options or {})
        except Skip as reason:
            reasons.append(str(reason))
    if len(reasons) == len(data):
        pytest.skip("; ".join(dict.fromkeys(reasons)))


@dataclass(frozen=True)
class Fault:
    """A part with one fault, the check that is meant for it, and words of what it says."""

    check: Check
    target: Any
    words: str
    data: DataSpec = IMAGES
    declared: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.target.__name__}-{self.check.__name__}"

    def is_caught(self, kind: str) -> None:
        entry = tried(kind, self.target, **self.declared)
        arguments: list[Any] = [entry, self.options] if kind in WITHOUT_DATA else [entry, self.data, self.options]
        with pytest.raises(AssertionError, match=self.words) as caught:
            self.check(*arguments)
        said = str(caught.value)
        assert said.startswith(f"{kind} 'tried' of the-tests")
        assert "expected" in said
        assert f"Contract: {self.check.contract}" in said  # type: ignore[attr-defined]


def small(entry: Entry) -> dict[str, int]:
    """Options that keep a data set small, where it has such an option."""
    return {"n": 64} if "n" in options_of(get_registry().load(entry)) else {}


def covered(faults: Iterable[Fault], checks: Iterable[Callable[..., None]]) -> None:
    """Each check has a fault that it catches."""
    assert {fault.check for fault in faults} == set(checks)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "features inception: check_features_gradient" in item.name:  # a minute and a half, at 299 pixels in float64
            item.add_marker("slow")
