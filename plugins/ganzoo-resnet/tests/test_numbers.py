"""What the layers and networks compute, against independent computations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ganzoo.assembly import make_plan
from ganzoo.config import layer_from_dict
from ganzoo.plugin import DataSpec
from ganzoo.registry import get_registry
from ganzoo_resnet.layers import ClassNorm, DownConv, SelfAttention, UpConv
from ganzoo_resnet.resnet import ProjectionDiscriminator, ResNetDiscriminator, ResNetGenerator
from ganzoo_resnet.sagan import SAGANDiscriminator, SAGANGenerator

CLASSES = tuple("abc")


def images(side, classes=()):
    return DataSpec("image", (3, side, side), classes=classes)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


# ---- layers


def test_class_norm_standardises_over_all_classes_and_scales_by_each():
    norm = ClassNorm("batch", 3, 2).double()
    assert torch.equal(norm.gain, torch.ones(2, 3))
    assert not norm.shift.any()
    for parameter in norm.parameters():
        torch.nn.init.normal_(parameter)
    x, labels = 2 + torch.randn(4, 3, 5, 5, dtype=torch.float64), torch.tensor([0, 1, 1, 0])
    said = norm(x, labels).detach().numpy()
    a, gain, shift = x.numpy(), norm.gain.detach().numpy(), norm.shift.detach().numpy()
    mean, var = a.mean((0, 2, 3)), a.var((0, 2, 3))
    for n, c in np.ndindex(4, 3):
        expected = gain[labels[n], c] * (a[n, c] - mean[c]) / math.sqrt(var[c] + 1e-5) + shift[labels[n], c]
        np.testing.assert_allclose(said[n, c], expected)
    np.testing.assert_allclose(norm.norm.running_mean.numpy(), 0.1 * mean)  # one for all classes


def test_self_attention_is_a_weighted_mean_of_values_at_every_place():
    layer = SelfAttention(16).double()
    torch.nn.init.constant_(layer.gate, 0.7)
    x = torch.randn(2, 16, 4, 6, dtype=torch.float64)
    query, key, value, out = (m.weight.detach()[:, :, 0, 0].numpy() for m in (layer.query, layer.key, layer.value, layer.out))
    assert (query.shape, key.shape, value.shape, out.shape) == ((2, 16), (2, 16), (8, 16), (16, 8))
    expected = x.numpy().copy()
    for n in range(2):
        a = x[n].numpy()
        keys, values = [], []
        for i, j in np.ndindex(2, 3):
            patch = [a[:, 2 * i + di, 2 * j + dj] for di in (0, 1) for dj in (0, 1)]
            keys.append(np.max([key @ p for p in patch], 0))
            values.append(np.max([value @ p for p in patch], 0))
        for i, j in np.ndindex(4, 6):
            scores = np.exp([query @ a[:, i, j] @ k for k in keys])
            expected[n, :, i, j] += 0.7 * out @ (scores[:, None] * values).sum(0) / scores.sum()
    np.testing.assert_allclose(layer(x).detach().numpy(), expected)


def test_self_attention_can_be_differentiated_twice():
    layer = SelfAttention(8).double()
    torch.nn.init.constant_(layer.gate, 0.7)
    x = torch.randn(1, 8, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(layer, (x,))


def test_attention_starts_as_the_identity_and_its_gate_learns_first():
    gen, plain = SAGANGenerator(images(16), channels=8), ResNetGenerator(images(16), channels=8)
    plain.load_state_dict({name: value for name, value in gen.state_dict().items() if not name.startswith("attention.")})
    z = torch.randn(4, 128)
    torch.testing.assert_close(gen(z, {}), plain(z, {}))
    gen(z, {}).square().sum().backward()
    assert gen.attention.gate.grad != 0
    assert not gen.attention.query.weight.grad.any()


# ---- networks


@pytest.mark.parametrize("pool", ["sum", "mean"])
def test_projection_adds_the_inner_product_of_pooled_features_and_class(pool):
    disc = ProjectionDiscriminator(images(16, CLASSES), channels=4, pool=pool).double()
    x, labels = torch.randn(4, 3, 16, 16, dtype=torch.float64), torch.tensor([1, 0, 2, 1])
    score = disc(x, {"labels": labels})
    last = score.features[-2].detach().numpy()  # behind the last block
    weight, bias, embedding = (t.detach().numpy() for t in (disc.head.weight[0], disc.head.bias, disc.embedding.weight))
    for n in range(4):
        h = np.array([sum(max(v, 0) for v in last[n, c].flat) for c in range(4)])
        h = h if pool == "sum" else h / 64
        np.testing.assert_allclose(score.features[-1][n].detach().numpy(), h)
        np.testing.assert_allclose(score.logits[n].item(), h @ weight + bias[0] + embedding[labels[n]] @ h)


def test_without_labels_projection_is_the_residual_discriminator():
    disc, plain = ProjectionDiscriminator(images(16), channels=4), ResNetDiscriminator(images(16, CLASSES), channels=4)
    plain.load_state_dict(disc.state_dict())
    x = torch.randn(2, 3, 16, 16)
    assert torch.equal(disc(x, {}).logits, plain(x, {"labels": torch.zeros(2, dtype=torch.long)}).logits)


def test_without_labels_projection_says_so():
    table = {"disc": "projection", "gen": "resnet", "data": {"name": "emoji", "labels": False}}
    plan = make_plan(get_registry(), layer_from_dict(table, "the test"))
    assert plan.notices == ["discriminator 'projection' is unconditional here: dataset 'emoji' has no labels"]


@pytest.mark.parametrize("norm", ["none", "layer", "instance"])
def test_only_batch_norm_couples_the_samples(norm):
    disc = SAGANDiscriminator(images(16, CLASSES), channels=8, norm=norm)
    x, condition = torch.randn(3, 3, 16, 16), {"labels": torch.tensor([0, 1, 2])}
    alone = torch.cat([disc(x[i : i + 1], {"labels": condition["labels"][i : i + 1]}).logits for i in range(3)])
    torch.testing.assert_close(disc(x, condition).logits, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "disc",
    [
        ProjectionDiscriminator(images(8, CLASSES), channels=2),
        ResNetDiscriminator(images(8), channels=2, norm="layer", flat=1, smallest=2),
        ResNetDiscriminator(images(8), channels=2, norm="batch", flat=0),
        SAGANDiscriminator(images(8, CLASSES), channels=4, flat=0),
    ],
    ids=["projection", "layer", "batch", "sagan"],
)
def test_second_derivatives(disc):
    disc = disc.double()
    if isinstance(disc, SAGANDiscriminator):
        torch.nn.init.constant_(disc.attention.gate, 0.5)
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    condition = {"labels": torch.tensor([0, 2])}
    assert torch.autograd.gradgradcheck(lambda x: disc(x, condition).logits, (x,), fast_mode=True)


# ---- shapes and beginnings


def widths(network):
    """(inputs, outputs) of the shortcut of each block, or the width of a block that has none."""
    return [
        (b.shortcut.in_channels, b.shortcut.out_channels) if hasattr(b, "shortcut") else b.convolutions[0].in_channels
        for b in network.blocks
    ]


def test_shapes_of_the_published_networks():
    gen, disc = ResNetGenerator(images(32), channels=256), ResNetDiscriminator(images(32), channels=128)
    assert gen.project.weight.shape == (4 * 4 * 256, 128)
    assert widths(gen) == [(256, 256)] * 3
    assert widths(disc) == [(3, 128), (128, 128), 128, 128]
    assert disc.maps == [(16, 128), (8, 128), (8, 128), (8, 128)]
    with torch.device("meta"):
        gen, disc = SAGANGenerator(images(128, CLASSES)), SAGANDiscriminator(images(128, CLASSES))
    assert widths(gen) == [(1024, 1024), (1024, 512), (512, 256), (256, 128), (128, 64)]
    assert widths(disc) == [(3, 64), (64, 128), (128, 256), (256, 512), (512, 1024), 1024]
    assert (gen.maps[gen.place], disc.maps[disc.place]) == ((32, 256), (32, 128))


@pytest.mark.parametrize(("side", "attention"), [(8, 4), (16, 8), (32, 16), (64, 32), (256, 32)])
def test_where_attention_is_by_itself(side, attention):
    for network in (SAGANGenerator, SAGANDiscriminator):
        assert network.auto(images(side), 1)["attention"] == attention


def test_initialisation_of_the_published_code():
    """Uniform, of variance 2 / (fan in + fan out), twice that in the blocks' 3x3 convolutions, which ReLUs surround."""
    networks = [ResNetGenerator(images(32), channels=64), ProjectionDiscriminator(images(32, CLASSES), channels=64)]
    layers = {name: m for net in networks for name, m in net.named_modules() if hasattr(m, "weight") and m.weight.ndim > 1}
    assert {type(m) for m in layers.values()} >= {UpConv, DownConv, torch.nn.Linear, torch.nn.Embedding}
    for name, layer in layers.items():
        fans = layer.weight.shape[0] * layer.weight[0, 0].numel() + layer.weight[0].numel()
        bound = math.sqrt(6 / fans) * (
            math.sqrt(2) if layer.weight.ndim == 4 and layer.weight.shape[-1] == 3 and name != "image" else 1
        )
        largest = layer.weight.abs().max().item()
        assert 0.8 * bound < largest <= bound, name
        assert getattr(layer, "bias", None) is None or not layer.bias.any(), name


def test_orthogonal_initialisation():
    disc = ProjectionDiscriminator(images(16, CLASSES), channels=4, init="orthogonal")
    torch.testing.assert_close(torch.linalg.svdvals(disc.embedding.weight), torch.ones(3))
    torch.testing.assert_close(torch.linalg.svdvals(disc.blocks[0].down.weight.flatten(1)), torch.full((4,), math.sqrt(2)))


def test_head_gain_scales_what_is_behind_the_pooling():
    one, other = (ProjectionDiscriminator(images(16, CLASSES), channels=4, head_gain=gain) for gain in (1.0, 0.02))
    other.load_state_dict(one.state_dict() | {k: 0.02 * one.state_dict()[k] for k in ("head.weight", "embedding.weight")})
    x, condition = torch.randn(2, 3, 16, 16), {"labels": torch.tensor([0, 1])}
    torch.testing.assert_close(other(x, condition).logits, 0.02 * one(x, condition).logits)
    torch.manual_seed(1)
    fresh = ProjectionDiscriminator(images(16, CLASSES), channels=64, head_gain=0.02)
    assert fresh.head.weight.abs().max() <= 0.02 * math.sqrt(6 / 65)


# ---- options


@pytest.mark.parametrize(
    ("network", "side", "options", "message"),
    [
        (ResNetGenerator, 16, {"channels": 0}, "channels=0 must be at least 1"),
        (ResNetDiscriminator, 16, {"smallest": 3}, "smallest=3 must be a power of two from 2 to half .* 8 here"),
        (ResNetDiscriminator, 16, {"smallest": 16}, "smallest=16"),
        (ResNetDiscriminator, 16, {"flat": -1}, "flat=-1 must be at least 0"),
        (ProjectionDiscriminator, 16, {"head_gain": 0.0}, "head_gain=0.0 must be greater than 0"),
        (SAGANDiscriminator, 32, {"attention": 4}, "attention=4 is no side of a map; at this resolution there are 8, 16"),
        (SAGANGenerator, 16, {"attention": 16}, "attention=16 is no side of a map; at this resolution there are 4, 8"),
    ],
)
def test_what_does_not_suit_is_refused_by_name(network, side, options, message):
    with pytest.raises(ValueError, match=message):
        network(images(side), **options)
