"""PatchGAN: held to ganzoo's own checks, and to the receptive fields of its paper."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from ganzoo.assembly import make_plan
from ganzoo.config import layer_from_dict
from ganzoo.plugin import DataSpec
from ganzoo.registry import get_registry
from ganzoo.testing import CHECKS, Skip
from ganzoo_translation.patch import PatchDiscriminator

IMAGES = DataSpec("image", (3, 16, 16))
CASES = [
    (IMAGES, {}),
    (IMAGES.replace(classes=("a", "b")), {"norm": "batch", "n_layers": 2}),
    (DataSpec("image", (1, 8, 20)), {"norm": "none"}),
    (IMAGES.replace(source=DataSpec("image", (1, 16, 16))), {"norm": "none", "init": 0.1}),
    (DataSpec("image", (2, 25, 31)), {"n_layers": 3}),
]


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("case", "check"),
    [
        pytest.param(case, check, id=f"{i}-{check.__name__}")
        for i, case in enumerate(CASES)
        for check in CHECKS["discriminator"]
    ],
)
def test_contract(case, check):
    data, options = case
    try:
        check(get_registry().find("discriminator", "patch"), data, {"channels": 4, "max_channels": 8, **options})
    except Skip as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize(("n_layers", "field"), [(1, 16), (2, 34), (3, 70), (4, 142)])
def test_a_logit_depends_on_exactly_the_patch_of_the_paper(n_layers, field):
    side = 4 * field  # the patch in the middle lies inside
    disc = PatchDiscriminator(DataSpec("image", (1, side, side)), n_layers=n_layers, channels=2, norm="none", init=0.2).double()
    images = torch.randn(1, 1, side, side, dtype=torch.float64, requires_grad=True)
    logits = disc(images, {}).logits
    (gradient,) = torch.autograd.grad(logits[0, logits.shape[1] // 2, logits.shape[2] // 2], images)
    rows, columns = gradient[0, 0].nonzero(as_tuple=True)
    for places in (rows, columns):
        assert places.max() - places.min() + 1 == field
        assert len(places.unique()) == field


def test_neighbouring_patches_are_as_far_apart_as_the_strides():
    disc = PatchDiscriminator(DataSpec("image", (1, 64, 64)), n_layers=2, channels=2, norm="none", init=0.2).double()
    x = torch.randn(1, 1, 64, 64, dtype=torch.float64)
    said, moved = (disc(images, {}).logits[0] for images in (x, x.roll(4, 3)))
    torch.testing.assert_close(moved[5:9, 6:9], said[5:9, 5:8])  # away from the border


@pytest.mark.parametrize(
    ("n_layers", "shape", "expected"), [(3, (256, 256), (30, 30)), (1, (8, 12), (2, 4)), (2, (12, 16), (1, 2))]
)
def test_the_map_of_logits(n_layers, shape, expected):
    """30x30 at 256 is the authors'; each 4x4 convolution of stride 1 and padding 1 takes one from the side."""
    disc = PatchDiscriminator(DataSpec("image", (3, *shape)), n_layers=n_layers, channels=2)
    assert disc(torch.zeros(2, 3, *shape), {}).logits.shape == (2, *expected)


def test_widths_and_initialisation_of_the_paper():
    """C64-C128-C256-C512 (appendix 6.1.2), the last with stride 1; no norm after the first; N(0, 0.02)."""
    disc = PatchDiscriminator(DataSpec("image", (3, 256, 256)), n_layers=3, norm="batch")
    assert [(c.in_channels, c.out_channels, c.stride[0]) for c in disc.convolutions] == [
        (3, 64, 2),
        (64, 128, 2),
        (128, 256, 2),
        (256, 512, 1),
    ]
    assert [type(n).__name__ for n in disc.norms] == ["Identity"] + ["BatchNorm2d"] * 3
    assert abs(disc.convolutions[2].weight.std() / 0.02 - 1) < 0.02
    assert disc.head.bias.item() == 0


def test_instance_norm_standardises_each_map_of_each_image():
    disc = PatchDiscriminator(IMAGES, n_layers=1, channels=4).double()
    seen = {}
    disc.norms[1].register_forward_hook(lambda module, args, out: seen.update(before=args[0], after=out))
    score = disc(torch.randn(3, 3, 16, 16, dtype=torch.float64), {})
    before = seen["before"].detach().numpy()
    mean, var = before.mean((2, 3), keepdims=True), before.var((2, 3), keepdims=True)
    torch.testing.assert_close(seen["after"].detach(), torch.from_numpy((before - mean) / (var + 1e-5) ** 0.5))
    torch.testing.assert_close(score.features[1], F.leaky_relu(seen["after"], 0.2))


def test_the_source_is_stacked_before_the_image():
    data = IMAGES.replace(source=DataSpec("image", (2, 16, 16)))
    disc = PatchDiscriminator(data, n_layers=1, channels=4, norm="none").double()
    images, source = torch.randn(2, 3, 16, 16, dtype=torch.float64), torch.randn(2, 2, 16, 16, dtype=torch.float64)
    first, weight = disc.convolutions[0], disc.convolutions[0].weight
    expected = F.conv2d(source, weight[:, :2], None, 2, 1) + F.conv2d(images, weight[:, 2:], first.bias, 2, 1)
    torch.testing.assert_close(disc(images, {"source": source}).features[0], F.leaky_relu(expected, 0.2))


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (DataSpec("image", (3, 8, 8)), {"n_layers": 2}, "n_layers=2 needs sides from 12, and the images have 8"),
        (IMAGES, {"n_layers": 0}, "n_layers=0"),
        (IMAGES, {"n_layers": 1, "init": 0.0}, "init=0.0"),
        (IMAGES.replace(source=DataSpec("image", (3, 8, 8))), {"n_layers": 1, "conditional": True}, "cannot be stacked"),
        (IMAGES, {"n_layers": 1, "conditional": True}, "needs data with a source image"),
    ],
)
def test_what_cannot_be_built_is_refused(data, options, message):
    with pytest.raises(ValueError, match=message):
        PatchDiscriminator(data, **options)


@pytest.mark.parametrize(("side", "n_layers"), [(8, 1), (32, 1), (64, 2), (128, 3), (256, 3)])
def test_auto_is_written_down(side, n_layers):
    table = {"gen": "dcgan", "disc": "patch", "data": {"name": "emoji", "res": [side, side]}}
    plan = make_plan(get_registry(), layer_from_dict(table, "the test"))
    assert plan.config.disc.options["n_layers"] == n_layers
