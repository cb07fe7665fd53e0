"""Generator, discriminator and path length, held to ganzoo's own checks with every option that changes what is computed."""

from __future__ import annotations

import pytest

from ganzoo.plugin import DataSpec
from ganzoo.registry import get_registry
from ganzoo.testing import CHECKS, Skip

IMAGES = DataSpec("image", (3, 16, 16), classes=("a", "b", "c"))
PLAIN = DataSpec("image", (3, 16, 16))
WIDE = DataSpec("image", (1, 8, 32))
SMALL = {"channels": 4, "max_channels": 8}

CASES = [
    ("generator", "stylegan", IMAGES, {**SMALL, "z_dim": 5, "w_dim": 6, "noise": True}),
    ("generator", "stylegan", WIDE, {**SMALL, "z_dim": 5, "mapping_layers": 3, "mixing": 0.0}),
    ("discriminator", "stylegan", IMAGES, SMALL),
    ("discriminator", "stylegan", WIDE, {**SMALL, "residual": False, "minibatch_stddev": 2}),
    ("discriminator", "stylegan", IMAGES, {**SMALL, "minibatch_stddev": 0, "mapping_layers": 0}),
    ("regularizer", "path-length", IMAGES, {}),
    ("regularizer", "path-length", PLAIN, {"every": 1, "share": 1.0, "weight": 0.5, "decay": 0.1}),
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
    kind, name, data, options = case
    try:
        check(get_registry().find(kind, name), data, options)
    except Skip as reason:
        pytest.skip(str(reason))
