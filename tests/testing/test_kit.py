"""The checks as a set: none is forgotten, each says what contract it holds parts to, and none leaves a trace."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import ModuleType

import pytest
import torch

from ganzoo import testing
from ganzoo.plugin import KINDS, Component, DataSpec, Resolutions
from ganzoo.testing import (
    CHECKS,
    COMPONENT_CHECKS,
    PACKAGE_CHECKS,
    TRAINING_CHECKS,
    augmentations,
    datasets,
    discriminators,
    encoders,
    features,
    games,
    generators,
    losses,
    metrics,
    package,
    recipes,
    regularizers,
    suitable_data,
    training,
)
from ganzoo.testing.cases import of_another_size

MODULES: Mapping[ModuleType, tuple[testing.Check, ...]] = {
    generators: CHECKS["generator"],
    discriminators: CHECKS["discriminator"],
    losses: CHECKS["loss"],
    regularizers: CHECKS["regularizer"],
    augmentations: CHECKS["augmentation"],
    games: CHECKS["game"],
    metrics: CHECKS["metric"],
    datasets: CHECKS["dataset"],
    features: CHECKS["features"],
    encoders: CHECKS["encoder"],
    recipes: CHECKS["recipe"],
    package: PACKAGE_CHECKS + COMPONENT_CHECKS,
    training: TRAINING_CHECKS,
}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_every_check_is_listed_once_with_its_contract(module: ModuleType) -> None:
    written = {f for name, f in vars(module).items() if name.startswith("check_") and f.__module__ == module.__name__}
    listed = MODULES[module]
    assert set(listed) == written
    assert len(listed) == len(written)
    for check in listed:
        assert check.contract  # type: ignore[attr-defined]
        assert next(iter(inspect.signature(check).parameters)) in ("entry", "distribution")


def test_names_are_unique() -> None:
    names = [check.__name__ for checks in MODULES.values() for check in checks]
    assert len(set(names)) == len(names)
    assert set(CHECKS) <= set(KINDS)


def test_a_check_leaves_the_random_state_as_it_was() -> None:
    from ganzoo.registry import get_registry

    before = torch.get_rng_state()
    generators.check_generator_gradients(get_registry().find("generator", "mlp"), DataSpec("points", (2,)))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("declared", "shapes"),
    [
        ({"resolutions": "power of two from 8"}, {(3, 8, 8), (1, 8, 16)}),
        ({"resolutions": "28, 32"}, {(3, 28, 28)}),
        ({"resolutions": "square multiple of 16 from 64"}, {(3, 64, 64), (1, 64, 64)}),
        ({"resolutions": "power of two from 256"}, {(3, 256, 256)}),
    ],
)
def test_suitable_data_are_of_resolutions_that_the_component_does(
    declared: dict[str, str], shapes: set[tuple[int, ...]]
) -> None:
    component = Component("generator", "tried", "m:a", modality=frozenset({"image"}), **declared)
    found = suitable_data(component)
    assert all(Resolutions(declared["resolutions"]).admits(spec.resolution) for spec in found)
    assert shapes <= {spec.shape for spec in found}
    assert {bool(spec.classes) for spec in found} == {True, False}


@pytest.mark.parametrize(
    ("resolutions", "sides"),
    [
        (None, (20, 40)),
        ("any from 8", (20, 40)),
        ("square any", (20, 20)),
        ("power of two from 8", (16, 32)),
        ("multiple of 16 from 64", (64, 64)),
    ],
)
def test_another_size_is_one_that_the_component_does(resolutions: str | None, sides: tuple[int, int]) -> None:
    component = Component("generator", "tried", "m:a", modality=frozenset({"image"}), resolutions=resolutions)
    data = suitable_data(component)[0]
    pairs = data.replace(source=data)
    assert of_another_size(component, data) == data.replace(shape=(3, *sides))
    assert of_another_size(component, pairs) == pairs.replace(shape=(3, *sides), source=data.replace(shape=(3, *sides)))
    assert of_another_size(component, DataSpec("signal", (2, 64))).resolution == sides[:1]
    assert of_another_size(component, DataSpec("points", (2,))) == DataSpec("points", (2,))


def test_suitable_data_have_classes_and_sources_as_declared() -> None:
    def classes(**declared: object) -> set[bool]:
        return {bool(spec.classes) for spec in suitable_data(Component("generator", "tried", "m:a", **declared))}  # type: ignore[arg-type]

    assert classes(labels="required") == {True}
    assert classes(labels="refused") == {False}
    assert classes(needs=frozenset({"classes"})) == {True}
    pairs = suitable_data(Component("generator", "tried", "m:a", provides=frozenset({"translate"})))
    assert pairs
    assert all(spec.source is not None and spec.modality == "image" for spec in pairs)
    for declared in ({"needs": {"text"}}, {"provides": {"matching"}}, {"needs": {"matching"}}):
        assert all(spec.text > 0 for spec in suitable_data(Component("generator", "tried", "m:a", **declared)))  # type: ignore[arg-type]
    assert {spec.modality for spec in suitable_data(Component("loss", "tried", "m:a"))} == {"image", "points", "signal"}
