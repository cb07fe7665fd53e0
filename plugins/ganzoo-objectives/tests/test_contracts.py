"""The parts, held to ganzoo's own checks with the options that change what is computed."""

from __future__ import annotations

import pytest

from ganzoo.plugin import DataSpec
from ganzoo.registry import get_registry
from ganzoo.testing import CHECKS, TRAINING_CHECKS, Skip

IMAGES = DataSpec("image", (3, 8, 8), classes=("a", "b", "c"))
POINTS = DataSpec("points", (2,))

CASES = [
    ("loss", "relativistic-average", POINTS, {"form": "hinge"}),
    ("loss", "relativistic-average", POINTS, {"esrgan": True}),
    ("regularizer", "dragan", IMAGES, {"noise": "normal", "every": 2}),
    ("regularizer", "minibatch-discrimination", IMAGES, {"kernels": 3, "dim": 2}),
    ("regularizer", "minibatch-stddev", POINTS, {"group": 2}),
    ("regularizer", "feature-matching", IMAGES, {"norm": "l1", "replace": False}),
    ("regularizer", "label-smoothing", IMAGES, {"fake": 0.2}),
    ("regularizer", "auxiliary-classifier", IMAGES, {"g": 0.0}),
    ("regularizer", "auxiliary-classifier", IMAGES, {"d": 0.0}),
    ("regularizer", "auxiliary-classifier", IMAGES, {"fakes": False}),
    ("regularizer", "consistency", IMAGES, {"fakes": 10.0, "flip": False}),
    ("regularizer", "lecam", IMAGES, {"start": 0}),
    ("regularizer", "lecam", POINTS, {"start": 2, "form": "square"}),
]


@pytest.mark.parametrize(
    ("case", "check"),
    [
        pytest.param(case, check, id=f"{case[1]}-{i}-{check.__name__}")
        for i, case in enumerate(CASES)
        for check in (*CHECKS[case[0]], *TRAINING_CHECKS)
    ],
)
def test_contract(case, check):
    kind, name, data, options = case
    try:
        check(get_registry().find(kind, name), data, options)
    except Skip as reason:
        pytest.skip(str(reason))
