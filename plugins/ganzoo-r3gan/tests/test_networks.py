"""Both networks, held to ganzoo's own checks with every option that changes what is computed."""

from __future__ import annotations

import pytest

from ganzoo.plugin import DataSpec
from ganzoo.registry import get_registry
from ganzoo.testing import CHECKS, Skip

IMAGES = DataSpec("image", (3, 16, 16), classes=("a", "b", "c"))
WIDE = DataSpec("image", (1, 8, 32))

SMALL = {"channels": 4, "max_channels": 8, "blocks": 1}
CASES = [
    ("generator", IMAGES, {"z_dim": 5, "embedding": 3}),
    ("generator", WIDE, {"blocks": 2, "expansion": 1, "group_size": 2}),
    ("generator", IMAGES, {"max_channels": 4, "group_size": 1, "expansion": 3}),
    ("discriminator", IMAGES, {"embedding": 3}),
    ("discriminator", IMAGES, {"blocks": 2, "group_size": 4}),
    ("discriminator", WIDE, {"max_channels": 4, "expansion": 1, "group_size": 1}),
]


@pytest.mark.parametrize(
    ("case", "check"),
    [
        pytest.param(case, check, id=f"{case[0]}-{i}-{check.__name__}")
        for i, case in enumerate(CASES)
        for check in CHECKS[case[0]]
    ],
)
def test_contract(case, check):
    kind, data, options = case
    try:
        check(get_registry().find(kind, "r3gan"), data, {**SMALL, **options})
    except Skip as reason:
        pytest.skip(str(reason))
