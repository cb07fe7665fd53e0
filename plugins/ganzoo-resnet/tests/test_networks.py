"""The networks, held to ganzoo's own checks with every option that changes what is computed."""

from __future__ import annotations

import pytest

from ganzoo.plugin import DataSpec
from ganzoo.registry import get_registry
from ganzoo.testing import CHECKS, Skip

IMAGES = DataSpec("image", (3, 16, 16), classes=("a", "b", "c"))
WIDE = DataSpec("image", (1, 8, 32))

SMALL = {"channels": 4, "max_channels": 8}
CASES = [
    ("generator", "resnet", IMAGES, {}),
    ("generator", "resnet", WIDE, {"doubling": True, "init": "orthogonal"}),
    ("generator", "resnet", WIDE, {"norm": "layer"}),
    ("generator", "resnet", IMAGES, {"norm": "instance"}),
    ("generator", "resnet", IMAGES, {"norm": "none"}),
    ("generator", "sagan", IMAGES, {"channels": 16}),
    ("generator", "sagan", WIDE, {"attention": 4}),
    ("discriminator", "resnet", IMAGES, {}),
    ("discriminator", "resnet", WIDE, {"doubling": True, "smallest": 2, "flat": 1, "pool": "mean"}),
    ("discriminator", "resnet", WIDE, {"norm": "layer", "init": "orthogonal"}),
    ("discriminator", "resnet", IMAGES, {"norm": "instance", "flat": 0}),
    ("discriminator", "projection", IMAGES, {"head_gain": 0.5, "doubling": True, "smallest": 4}),
    ("discriminator", "projection", WIDE, {}),
    ("discriminator", "sagan", IMAGES, {"channels": 16}),
    ("discriminator", "sagan", WIDE, {"norm": "layer", "attention": 4}),
]


@pytest.mark.parametrize(
    ("case", "check"),
    [
        pytest.param(case, check, id=f"{case[0]}-{case[1]}-{i}-{check.__name__}")
        for i, case in enumerate(CASES)
        for check in CHECKS[case[0]]
    ],
)
def test_contract(case, check):
    kind, name, data, options = case
    try:
        check(get_registry().find(kind, name), data, {**SMALL, **options})
    except Skip as reason:
        pytest.skip(str(reason))
