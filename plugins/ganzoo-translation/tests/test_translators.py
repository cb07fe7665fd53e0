"""The translators: sizes, parameters as published or counted by hand, and what their options change."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from ganzoo.plugin import DataSpec
from ganzoo.registry import create
from ganzoo_translation.superres import enlarged, scale_of
from ganzoo_translation.translators import UNet, padded

IMAGES = DataSpec("image", (3, 32, 32))
PAIRS = IMAGES.replace(source=IMAGES)


def size(network):
    return sum(p.numel() for p in network.parameters())


def large(side, classes=0):
    spec = DataSpec("image", (3, side, side), classes=tuple(map(str, range(classes))))
    return spec.replace(source=DataSpec("image", (3, side, side)))


def test_parameters_as_published():
    with torch.device("meta"):
        # 7x7 convolutions at both ends, 3x3 ones between; biases where no norm follows: the last alone.
        plain = 9 * (3 * 64 + 64 * 128 + 128 * 256) + 9 * 2 * 9 * 256 * 256 + 9 * (256 * 128 + 128 * 64)
        assert size(create("generator", "resnet-translator", large(256))) == plain - 9 * 3 * 64 + 2 * 49 * 3 * 64 + 3
        assert size(create("generator", "unet", large(256))) == pytest.approx(54.41e6, rel=1e-3)  # pix2pix's authors'
        assert size(create("generator", "stargan", large(128, 5))) == 8_430_528  # as StarGAN's authors' code prints them
        halvings = [3, 64, 128, 256, 512, 1024, 2048]
        six = sum(16 * a * b + b for a, b in itertools.pairwise(halvings))
        assert size(create("discriminator", "stargan", large(128, 5).replace(source=None))) == six + 2048 * (9 + 2 * 2 * 5)
        small = DataSpec("image", (3, 256, 256), source=DataSpec("image", (3, 64, 64)))
        assert size(create("generator", "rrdb", small)) == 16_697_987  # of the published x4 weights


def test_blocks_go_by_the_size():
    with torch.device("meta"):
        for side, blocks in ((128, 6), (256, 9)):
            network = create("generator", "resnet-translator", large(side), channels=4)
            assert sum(type(module).__name__ == "Residual" for module in network.layers) == blocks


@pytest.mark.parametrize("shape", [(8, 8), (9, 13), (17, 8), (31, 33), (40, 24)], ids=str)
def test_a_u_net_takes_any_sides(shape):
    data = DataSpec("image", (3, *shape), source=DataSpec("image", (1, *shape)))
    network = create("generator", "unet", data, channels=4)
    seen = []
    for i, down in enumerate(network.downs):
        down.register_forward_hook(lambda module, inputs, out, i=i: seen.append((i, tuple(out.shape[2:]))))
    x = torch.randn(2, 1, *shape)
    with torch.no_grad():
        assert network.eval()(x, {}).shape == (2, 3, *shape)
    # Each map of the way down is half of the one before, from sides made up to a multiple of 2^depth.
    full = [-(-side // network.multiple) * network.multiple for side in shape]
    assert seen == [(i, tuple(side >> (i + 1) for side in full)) for i in range(len(network.downs))]


def test_a_u_net_s_skips_carry_what_the_bottleneck_cannot():
    """With the way through the innermost map cut, the output still follows the input."""
    network = UNet(PAIRS, channels=4, depth=5).eval()
    nn.init.zeros_(network.ups[0][0].weight)
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert not torch.equal(network(x, {}), network(-x, {}))


def test_padding_is_a_reflection_below_and_to_the_right():
    x = torch.arange(15.0).view(1, 1, 3, 5)
    made = padded(x, 4)
    assert made.shape == (1, 1, 4, 8)
    assert torch.equal(made[..., :3, :5], x)
    assert torch.equal(made[..., 3, :5], x[..., 1, :])  # row 2 is the edge, row 1 what is mirrored
    assert torch.equal(made[..., :3, 5:], x[..., :3, [3, 2, 1]])
    assert padded(x, 1) is x


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
@pytest.mark.parametrize("name", ["srresnet", "rrdb"])
def test_enlargement(name, scale):
    data = DataSpec("image", (3, 8 * scale, 10 * scale), source=DataSpec("image", (3, 8, 10)))
    network = create("generator", name, data, channels=4, blocks=1).eval()
    with torch.no_grad():
        assert network(torch.randn(2, 3, 8, 10), {}).shape == (2, 3, 8 * scale, 10 * scale)
        assert network(torch.randn(1, 3, 5, 7), {}).shape == (1, 3, 5 * scale, 7 * scale)  # another size than it was built for


def test_srresnet_begins_near_the_bicubic_enlargement():
    data = DataSpec("image", (3, 32, 32), source=DataSpec("image", (3, 8, 8)))
    network = create("generator", "srresnet", data, channels=8, blocks=2).eval()
    x = torch.rand(4, 3, 8, 8) * 2 - 1
    with torch.no_grad():
        assert float((network(x, {}) - enlarged(x, 4)).abs().mean()) < 0.1


@pytest.mark.parametrize(("target", "source"), [((24, 24), (8, 8)), ((32, 16), (8, 8)), ((9, 9), (8, 8)), ((8, 8), (16, 16))])
def test_other_scales_are_refused(target, source):
    with pytest.raises(ValueError, match="not 1, 2, 4 or 8 times as large"):
        scale_of(DataSpec("image", (3, *target), source=DataSpec("image", (3, *source))))


def test_translators_keep_the_size():
    with pytest.raises(Exception, match="a translator keeps the size"):
        create("generator", "unet", DataSpec("image", (3, 32, 32), source=DataSpec("image", (3, 8, 8))))
