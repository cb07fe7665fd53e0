"""FastGAN, Projected GAN's discriminator and timm's backbones, held to ganzoo's own checks with the options that matter."""

from __future__ import annotations

import pytest

from ganzoo.plugin import DataSpec
from ganzoo.registry import get_registry
from ganzoo.testing import CHECKS, Skip

IMAGES = DataSpec("image", (3, 16, 16), classes=("a", "b", "c"))
WIDE = DataSpec("image", (1, 8, 32))
ODD = DataSpec("image", (2, 12, 20))
FLAT = DataSpec("image", (2, 16, 16))

FAST = {"channels": 4, "max_channels": 8, "z_dim": 4, "embedding": 4}
SMALL = {"channels": 4, "max_channels": 8, "embedding": 4, "features": "timm(backbone=test_resnet,pretrained=false)"}
CASES = [
    ("generator", "fastgan", IMAGES, FAST),
    ("generator", "fastgan", WIDE, {**FAST, "blocks": "big", "tanh": False}),
    ("generator", "fastgan", DataSpec("image", (3, 64, 64)), {**FAST, "blocks": "small", "skip": 16}),
    ("discriminator", "projected", IMAGES, SMALL),
    ("discriminator", "projected", WIDE, {**SMALL, "norm": "none", "separable": True, "scales": 2}),
    ("discriminator", "projected", ODD, {**SMALL, "size": 40, "scales": 3}),
    ("discriminator", "projected", FLAT, {**SMALL, "features": "timm(backbone=test_vit,pretrained=false)", "size": 32}),
    ("discriminator", "timm", IMAGES, {"backbone": "test_resnet"}),
    ("discriminator", "timm", WIDE, {"backbone": "test_vit", "frozen": True, "size": 32}),
    ("discriminator", "timm", ODD, {"backbone": "test_convnext"}),
]


@pytest.mark.parametrize(
    ("case", "check"),
    [
        pytest.param(case, check, id=f"{case[1]}-{i}-{check.__name__}")
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
