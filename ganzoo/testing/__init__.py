"""Conformance checks: what each contract of ganzoo means, as functions that hold a part to it.

A plugin's tests, whole:

    from ganzoo.testing import parametrize_with_checks

    @parametrize_with_checks("ganzoo-mine")
    def test_contracts(check):
        check()

The same on the command line: `ganzoo check ganzoo-mine`, or `ganzoo check ./FOLDER` of a project that is not installed.

One check, with options of your choice:

    from ganzoo.registry import get_registry
    from ganzoo.testing import CHECKS, suitable_data

    entry = get_registry().find("generator", "mine")
    for data in suitable_data(entry.component):
        for check in CHECKS["generator"]:
            check(entry, data, {"channels": 8})

A check raises Failure, an AssertionError, where the part breaks its contract (`check.contract` says it in words), and Skip
where it does not apply; pytest and unittest take both as they are. Each takes what it needs:

    package      check(distribution)              PACKAGE_CHECKS
    component    check(entry)                     COMPONENT_CHECKS, for every kind
    dataset      check(entry, options)            the same for an encoder
    recipe       check(entry, data)               data: the table of a data set, for a recipe that names none
    other kinds  check(entry, data, options)      and TRAINING_CHECKS, for whatever plays in a training

Options are those of the part; without them its defaults are tried. They run on the CPU, in fp32 or float64.
"""

from __future__ import annotations

from ganzoo.testing.cases import suitable_data
from ganzoo.testing.checks import CHECKS, COMPONENT_CHECKS, PACKAGE_CHECKS, TRAINING_CHECKS
from ganzoo.testing.contracts import Check, Failure, Skip, Untried
from ganzoo.testing.suite import Case, cases_of, parametrize_with_checks

__all__ = [
    "CHECKS",
    "COMPONENT_CHECKS",
    "PACKAGE_CHECKS",
    "TRAINING_CHECKS",
    "Case",
    "Check",
    "Failure",
    "Skip",
    "Untried",
    "cases_of",
    "parametrize_with_checks",
    "suitable_data",
]
