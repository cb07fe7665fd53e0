"""What the networks compute and how they start, against the paper and independent computations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from ganzoo.plugin import DataSpec
from ganzoo_r3gan.r3gan import GAIN, Pointwise, R3GANDiscriminator, R3GANGenerator, Readout, Residual

IMAGES = DataSpec("image", (3, 16, 16), classes=("a", "b", "c"))
NETWORKS = pytest.mark.parametrize("network", [R3GANGenerator, R3GANDiscriminator])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def drawn(network):
    """`network` in float64 with all its weights random, the zeros of the residual branches and of the biases too."""
    for p in network.parameters():
        nn.init.normal_(p, 0.0, 0.5)
    return network.double()


# ---- a plain reference: one sample, loops over places, groups and taps


def array(tensor):
    return tensor.detach().numpy()


def leaky(x):
    return np.where(x > 0, x, 0.2 * x)


def pointwise(layer, x):
    """[C, H, W] -> [O, H, W]."""
    out = np.zeros((layer.out_channels, *x.shape[1:]))
    for i, j in np.ndindex(*x.shape[1:]):
        out[:, i, j] = array(layer.weight)[:, :, 0, 0] @ x[:, i, j]
    return out if layer.bias is None else out + array(layer.bias)[:, None, None]


def grouped(layer, x):
    """The 3x3 convolution of each group of channels for itself, zeros around the map."""
    weight, bias = array(layer.weight), array(layer.bias)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    size = weight.shape[1]
    out = np.zeros_like(x)
    for o, i, j in np.ndindex(*x.shape):
        first = o // size * size
        out[o, i, j] = bias[o] + (weight[o] * padded[first : first + size, i : i + 3, j : j + 3]).sum()
    return out


def stage(blocks, x):
    for block in blocks:
        x = x + pointwise(block.narrow, leaky(grouped(block.grouped, leaky(pointwise(block.widen, x)))))
    return x


def along(x, axis, line):
    return np.apply_along_axis(line, axis, x)


def doubled(line):
    padded = np.pad(line, 1)
    out = np.zeros(2 * len(line))
    for i in range(len(line)):
        left, here, right = padded[i : i + 3]
        out[2 * i], out[2 * i + 1] = (left + 3 * here) / 4, (3 * here + right) / 4
    return out


def halved(line):
    padded = np.pad(line, 1)
    return np.array([padded[2 * i : 2 * i + 4] @ [1, 3, 3, 1] / 8 for i in range(len(line) // 2)])


def narrowed(layer, x):
    return x if isinstance(layer, nn.Identity) else pointwise(layer, x)


def reference_generator(net, z, label):
    coefficients = array(net.modulation.weight) @ np.concatenate([z, array(net.embedding.weight)[label]])
    x = np.stack([c * array(net.basis)[:, :, k] for k, c in enumerate(coefficients)])
    x = stage(net.stages[0], x)
    for layer, blocks in zip(net.transitions, net.stages[1:], strict=True):
        x = narrowed(layer, along(along(x, 1, doubled), 2, doubled))  # the paper's order
        x = stage(blocks, x)
    return pointwise(net.image, x)


def reference_discriminator(net, image, label):
    x = stage(net.stages[0], pointwise(net.image, image))
    for layer, blocks in zip(net.transitions, net.stages[1:], strict=True):
        x = narrowed(layer, along(along(x, 1, halved), 2, halved))
        x = stage(blocks, x)
    h = np.array([(x[k] * array(net.readout.weight)[k, 0]).sum() for k in range(len(x))])
    return array(net.head.weight) @ h @ array(net.embedding.weight)[label], h


@pytest.mark.parametrize("widths", [{"channels": 4, "max_channels": 8}, {"channels": 6, "max_channels": 6}])
@NETWORKS
def test_the_equations(network, widths):
    net = drawn(network(IMAGES, **widths, blocks=2, group_size=4, embedding=5))
    labels = torch.tensor([2, 0])
    if network is R3GANGenerator:
        z = torch.randn(2, net.z_dim, dtype=torch.float64)
        expected = np.stack([reference_generator(net, array(z[i]), labels[i]) for i in range(2)])
        np.testing.assert_allclose(array(net(z, {"labels": labels})), expected, rtol=1e-8, atol=1e-8 * np.abs(expected).max())
        return
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    score = net(images, {"labels": labels})
    for i in range(2):
        logit, h = reference_discriminator(net, array(images[i]), labels[i])
        np.testing.assert_allclose(array(score.features[-1][i]), h, rtol=1e-8, atol=1e-8 * np.abs(h).max())
        assert score.logits[i].item() == pytest.approx(logit, rel=1e-8)


def test_without_classes_the_head_gives_the_logit():
    net = drawn(R3GANDiscriminator(DataSpec("image", (1, 8, 16)), channels=4, max_channels=8, blocks=1))
    score = net(torch.randn(3, 1, 8, 16, dtype=torch.float64), {})
    torch.testing.assert_close(score.logits, score.features[-1] @ net.head.weight[0])
    assert [tuple(f.shape[1:]) for f in score.features] == [(4, 8, 16), (8, 4, 8), (8,)]


def test_second_derivatives():
    net = drawn(R3GANDiscriminator(DataSpec("image", (1, 8, 8)), channels=1, max_channels=2, blocks=1, group_size=2))
    x = torch.randn(1, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: net(x, {}).logits, (x,))


# ---- the published sizes


@pytest.mark.parametrize(
    ("side", "classes", "channels", "group_size", "generator", "discriminator"),
    [
        (32, 0, 768, 16, 20.73, 20.68),
        (32, 10, 768, 16, 20.78, 21.28),
        (256, 0, 96, 16, 23.06, 23.01),
        (64, 0, 384, 16, 22.43, 22.38),
        (32, 1000, 1536, 32, 82.91, 86.55),
        (64, 1000, 1536, 32, 103.57, 107.21),
    ],
    ids=["Stacked MNIST", "CIFAR-10", "FFHQ-256", "FFHQ-64", "ImageNet-32", "ImageNet-64"],
)
def test_published_numbers_of_parameters(side, classes, channels, group_size, generator, discriminator):
    """Table 9 of the paper, in millions."""
    data = DataSpec("image", (3, side, side), classes=tuple(map(str, range(classes))))
    options = {"channels": channels, "max_channels": max(768, channels), "group_size": group_size, "blocks": 2}
    for network, published in ((R3GANGenerator, generator), (R3GANDiscriminator, discriminator)):
        with torch.device("meta"):
            count = sum(p.numel() for p in network(data, **options).parameters())
        assert round(count / 1e6, 2) == published


def test_published_groups():
    """Table 9, FFHQ-256: widths 96 to 768, 12 to 96 groups, in G from the smallest map."""
    with torch.device("meta"):
        net = R3GANGenerator(DataSpec("image", (3, 256, 256)), channels=96, max_channels=768, group_size=16)
    assert [blocks[0].grouped.groups for blocks in net.stages] == [96, 96, 96, 96, 48, 24, 12]
    assert [blocks[0].widen.in_channels for blocks in net.stages] == [768, 768, 768, 768, 384, 192, 96]
    assert net.basis.shape == (4, 4, 768)


# ---- initialisation


@NETWORKS
def test_residual_branches_start_at_zero(network):
    net = network(IMAGES, channels=8, max_channels=16)
    assert not any(block.narrow.weight.any() for block in net.modules() if isinstance(block, Residual))
    x = torch.randn(2, 8, 16, 16)
    blocks = net.stages[-1] if network is R3GANGenerator else net.stages[0]
    assert torch.equal(blocks(x), x)
    assert not any(p.any() for name, p in net.named_parameters() if name.endswith("bias"))


@NETWORKS
def test_weights_start_as_the_paper_says(network):
    """He's deviation, before an activation times (number of blocks)^-1/4 (section 3, Fix-up)."""
    net = network(IMAGES, channels=128, max_channels=256, blocks=2)
    depth = 2 * 3
    layers = {name: layer for name, layer in net.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)}
    activated = {name for name in layers if name.endswith(("widen", "grouped"))}
    assert len(activated) == 2 * depth
    for name, layer in layers.items():
        if not name.endswith("narrow"):
            gain = math.sqrt(2 / 1.04) * depth**-0.25 if name in activated else 1.0
            expected = gain / math.sqrt(layer.weight[0].numel())
            assert layer.weight.std().item() == pytest.approx(expected, rel=4 / math.sqrt(layer.weight.numel())), name


@pytest.mark.parametrize("depth", [1, 4, 12])
def test_branches_of_unit_gain_would_not_explode_with_depth(depth):
    """Each branch adds 1/L of its input's second moment: (1 + 1/L)^L, under e for any depth L."""
    blocks = nn.Sequential(*(Residual(128, expansion=2, group_size=16, depth=depth) for _ in range(depth)))
    for block in blocks:
        nn.init.normal_(block.narrow.weight, 0.0, 1 / math.sqrt(256))
    with torch.no_grad():
        out = blocks(torch.randn(2, 128, 32, 32))[:, :, 12:-12, 12:-12]
    assert out.square().mean().item() == pytest.approx((1 + 1 / depth) ** depth, rel=0.1)


def test_layers_keep_the_second_moment():
    """In G of z; in D of maps; and of the two layers around a leaky ReLU, of what comes out of that."""
    data = DataSpec("image", (3, 8, 8), classes=("a", "b"))
    gen, disc = R3GANGenerator(data, channels=512, max_channels=512), R3GANDiscriminator(data, channels=512, max_channels=512)
    with torch.no_grad():
        maps = gen.modulation(torch.cat([torch.randn(64, 64), torch.randn(64, 64)], 1))[:, :, None] * gen.basis.flatten(0, 1).T
        assert maps.square().mean().item() == pytest.approx(1, rel=0.15)
        h = torch.randn(256, 512, 4, 4)
        for layer, x in [(disc.readout, h), (disc.head, torch.randn(256, 512)), (Pointwise(512, 512), h)]:
            assert layer(x).square().mean().item() == pytest.approx(1, rel=0.1)
        x = Pointwise(512, 512, gain=GAIN)(h)
        assert nn.functional.leaky_relu(x, 0.2).square().mean().item() == pytest.approx(1, rel=0.1)
        said = disc.head(torch.randn(256, 512)) * disc.embedding(torch.arange(256) % 2)
        assert said.sum(1).square().mean().item() == pytest.approx(1 / 2, rel=0.4)  # 1 / classes
    assert isinstance(disc.readout, Readout)


# ---- options


@NETWORKS
def test_a_group_size_that_does_not_divide_is_refused_with_those_that_do(network):
    with pytest.raises(
        ValueError, match=r"group_size=16 does not divide the 72 channels.*: use one of 1, 2, 3, 4, 6, 8, 9, 12, 18"
    ):
        network(IMAGES, channels=36, max_channels=36, group_size=16)


@NETWORKS
def test_a_layer_with_fewer_channels_than_a_group_is_one_group(network):
    net = network(IMAGES, channels=4, max_channels=16, group_size=16)
    assert sorted({block.grouped.groups for block in net.modules() if isinstance(block, Residual)}) == [1, 2]


@NETWORKS
def test_more_channels_than_max_channels_are_refused(network):
    with pytest.raises(ValueError, match=r"channels=64 is above max_channels=48: raise both"):
        network(IMAGES, channels=64, max_channels=48)


@pytest.mark.parametrize("option", ["channels", "max_channels", "blocks", "expansion", "group_size", "embedding"])
@NETWORKS
def test_options_below_one_are_refused(network, option):
    with pytest.raises(ValueError, match=f"{option}=0 must be at least 1"):
        network(IMAGES, **{option: 0})
