"""Conformance checks: what each contract of ganzoo means, as functions that hold a part to it.

    from ganzoo.registry import get_registry
    from ganzoo.testing import CHECKS, Skip, suitable_data

    entry = get_registry().find("generator", "mine")
    for data in suitable_data(entry.component):
        for check in CHECKS["generator"]:
            check(entry, data)        # AssertionError: what was expected, what was seen, and the contract

A check raises AssertionError where the part breaks its contract (`check.contract` says it in words), and Skip where it does not
apply. Each takes what it needs:

    package      check(distribution)              PACKAGE_CHECKS
    component    check(entry)                     COMPONENT_CHECKS, for every kind
    dataset      check(entry, options)
    recipe       check(entry, data)               data: the table of a data set, for a recipe that names none
    other kinds  check(entry, data, options)      and TRAINING_CHECKS, for whatever plays in a training

Options are those of the part; without them its defaults are tried. They run on the CPU, in fp32 or float64.
"""

from __future__ import annotations

from ganzoo.testing import (
    augmentations,
    datasets,
    discriminators,
    features,
    games,
    generators,
    losses,
    package,
    recipes,
    regularizers,
    training,
)
from ganzoo.testing.cases import suitable_data
from ganzoo.testing.contracts import Check, Skip

__all__ = ["CHECKS", "COMPONENT_CHECKS", "PACKAGE_CHECKS", "TRAINING_CHECKS", "Check", "Skip", "suitable_data"]

PACKAGE_CHECKS: tuple[Check, ...] = package.PACKAGE_CHECKS
COMPONENT_CHECKS: tuple[Check, ...] = package.COMPONENT_CHECKS
TRAINING_CHECKS: tuple[Check, ...] = training.CHECKS
CHECKS: dict[str, tuple[Check, ...]] = {
    "generator": generators.CHECKS,
    "discriminator": discriminators.CHECKS,
    "loss": losses.CHECKS,
    "regularizer": regularizers.CHECKS,
    "augmentation": augmentations.CHECKS,
    "game": games.CHECKS,
    "dataset": datasets.CHECKS,
    "features": features.CHECKS,
    "recipe": recipes.CHECKS,
}
