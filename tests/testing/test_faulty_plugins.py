"""A hundred installed plugins with one fault each: `ganzoo check` finds every one, and none is in anybody's way."""

from __future__ import annotations

import importlib
import json
import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from ganzoo.registry import get_registry
from ganzoo.testing import Failure, cases_of

from ..conftest import Site
from .conftest import Fault

if TYPE_CHECKING:
    from ganzoo.testing import Case

KINDS = {
    "augmentation": "augmentations",
    "dataset": "datasets",
    "discriminator": "discriminators",
    "encoder": "encoders",
    "features": "features",
    "game": "games",
    "generator": "generators",
    "loss": "losses",
    "metric": "metrics",
    "regularizer": "regularizers",
}
HEAD = "from ganzoo.plugin import Component, hookimpl\nganzoo_api = 1\n@hookimpl\ndef ganzoo_components():\n"
TINY = ["--gen", "dcgan:channels=4,z_dim=8", "--disc", "dcgan:channels=4", "--res", "8", "--batch", "8", "--kimg", "0.016"]


def faults() -> Iterator[tuple[str, Fault]]:
    """(kind, fault) of all tests of the kit."""
    package = __name__.rpartition(".")[0]
    for kind, module in KINDS.items():
        yield from ((kind, fault) for fault in importlib.import_module(f"{package}.test_{module}").FAULTS)
    yield from importlib.import_module(f"{package}.test_training").FAULTS


def install(site: Site, number: int, kind: str, fault: Fault) -> str:
    """A distribution that offers the faulty part; returns its name."""
    declared = ", ".join(f"{key}={value!r}" for key, value in fault.declared.items())
    target = f"{fault.target.__module__}:{fault.target.__qualname__}"
    component = (
        f"Component({kind!r}, 'faulty-{number}', {target!r}, summary='one fault', trial={dict(fault.options)!r}, {declared})"
    )
    body = "from ganzoo.plugin import Component, hookimpl\nganzoo_api = 1\n"
    site.add(f"faulty-{number}", f"{body}@hookimpl\ndef ganzoo_components():\n    yield {component}\n")
    return f"faulty-{number}"


def case(distribution: str, fault: Fault) -> Case:
    """The check that is meant for the fault, as `ganzoo check` would run it."""
    (found,) = (case for case in cases_of(distribution) if case.check is fault.check)
    return found


def test_each_is_found_by_the_check_that_is_meant_for_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    known = [(install(site, i, kind, fault), fault) for i, (kind, fault) in enumerate(faults())]
    assert len(known) > 100
    get_registry.cache_clear()
    missed = []
    for distribution, fault in known:
        try:
            case(distribution, fault)()
        except Failure as err:
            if re.search(fault.words, str(err)):
                continue
        missed.append(str(fault))
    assert not missed


def test_none_is_in_the_way_of_healthy_parts(
    site: Site, ganzoo_here: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from .test_package import FAULTY, FAULTY_COMPONENTS

    monkeypatch.chdir(tmp_path)  # one of them writes there
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))  # which one of them sets
    names = {install(site, i, kind, fault) for i, (kind, fault) in enumerate(faults())}
    for _, dist, body, _ in FAULTY:
        site.add(dist, body)
    for i, (_, entry, _) in enumerate(FAULTY_COMPONENTS):
        site.add(f"odd-{i}", f"{HEAD}    yield Component({entry.kind!r}, 'odd-{i}', {entry.component.target!r})\n")
    listed = ganzoo_here("list", "--json")
    assert listed.returncode == 0
    rows = json.loads(listed.stdout)
    assert names <= {row["plugin"] for row in rows}
    assert {"stylegan", "dcgan"} <= {row["name"] for row in rows if row["kind"] == "generator"}
    assert ganzoo_here("info", "generator", "dcgan").returncode == 0
    assert ganzoo_here("train", *TINY, "--device", "cpu", "--out", str(tmp_path / "run")).returncode == 0
