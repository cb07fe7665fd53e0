"""All networks, held to ganzoo's own checks with every option that changes what is computed."""

from __future__ import annotations

import pytest

from ganzoo.plugin import DataSpec
from ganzoo.registry import get_registry
from ganzoo.testing import CHECKS, Skip

IMAGES = DataSpec("image", (3, 16, 16), classes=("a", "b", "c"))
WIDE = DataSpec("image", (1, 8, 32))
POINTS = DataSpec("points", (2,), classes=("a", "b"))
SIGNAL = DataSpec("signal", (2, 24))

SMALL = {"channels": 4, "max_channels": 8}
CASES = [
    ("generator", "dcgan", IMAGES, {"class_norm": True}),
    ("generator", "dcgan", IMAGES, {"full": True, "upsample": "nearest", "init": None}),
    ("generator", "dcgan", WIDE, {"norm": "instance", "upsample": "nearest", "kernel": 5}),
    ("generator", "dcgan", IMAGES, {"norm": "none", "kernel": 3, "init": None}),
    ("generator", "dcgan", WIDE, {"norm": "layer", "kernel": 6, "full": True}),
    ("discriminator", "dcgan", IMAGES, {"norm": "none", "full": True, "hidden": 8, "minibatch_stddev": 4, "init": None}),
    ("discriminator", "dcgan", WIDE, {"norm": "none", "minibatch_stddev": 2, "kernel": 5, "init": None}),
    ("discriminator", "dcgan", IMAGES, {"norm": "layer", "kernel": 3}),
    ("discriminator", "dcgan", WIDE, {"norm": "instance", "kernel": 6, "hidden": 8}),
    ("generator", "dcgan", IMAGES, {"embedding": None, "upsample": "nearest", "norm": "layer"}),
    ("discriminator", "acgan", IMAGES, {}),
    ("discriminator", "acgan", WIDE.replace(classes=("a", "b")), {"depth": 1, "kernel": 4, "norm": "none", "init": None}),
    ("discriminator", "acgan", IMAGES, {"norm": "layer", "dropout": 0.0, "noise": 0.0, "depth": 3}),
    ("generator", "mlp", POINTS, {"activation": "tanh", "init": "orthogonal", "gain": 1.4}),
    ("generator", "mlp", SIGNAL, {"norm": "batch", "init": "normal", "gain": 0.2, "depth": 4}),
    ("generator", "mlp", IMAGES, {"norm": "layer", "embedding": 3, "activation": "leaky-relu"}),
    ("generator", "mlp", IMAGES, {"branches": (6, 5), "dropout": 0.5, "init": "uniform", "gain": 0.3}),
    ("generator", "mlp", WIDE, {"branches": (6, 5), "init": "he"}),
    ("discriminator", "mlp", IMAGES, {"activation": "maxout", "dropout": 0.5, "depth": 3}),
    ("discriminator", "mlp", IMAGES, {"activation": "maxout", "branches": (6, 5), "branch_pieces": 3, "input_dropout": 0.2}),
    ("discriminator", "mlp", POINTS, {"branches": (6, 5), "embedding": 3, "dropout": 0.3}),
    ("discriminator", "mlp", POINTS, {"activation": "tanh", "embedding": 3, "init": "xavier"}),
    ("discriminator", "mlp", SIGNAL, {"norm": "layer", "activation": "relu"}),
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
    small = {"width": 8} if name == "mlp" else SMALL
    try:
        check(get_registry().find(kind, name), data, {**small, **options})
    except Skip as reason:
        pytest.skip(str(reason))
