"""What the layers compute, against independent computations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ganzoo.plugin import DataSpec
from ganzoo_dcgan.dcgan import ClassNorm, DCGANDiscriminator, DCGANGenerator, NearestConv, with_spread
from ganzoo_dcgan.mlp import Layer, MLPDiscriminator, MLPGenerator

IMAGES = DataSpec("image", (3, 32, 32), classes=("a", "b"))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_nearest_conv_is_nearest_doubling_and_a_3x3_convolution():
    layer = NearestConv(3, 5, bias=True).double()
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    # A transposed convolution's kernel is a convolution's with its sides swapped and turned by half a turn.
    kernel = layer.weight.transpose(0, 1).flip(2, 3)
    expected = F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), kernel, layer.bias, padding=1)
    torch.testing.assert_close(layer(x), expected)


def test_spread_is_the_mean_deviation_of_each_group_of_consecutive_samples():
    x = torch.randn(6, 3, 2, 5, dtype=torch.float64)
    said = with_spread(x, 3)
    assert torch.equal(said[:, :3], x)
    for first in (0, 3):
        spread = x[first : first + 3].numpy().std(0).mean()
        np.testing.assert_allclose(said[first : first + 3, 3].numpy(), np.full((3, 2, 5), spread), rtol=1e-6)


def test_spread_of_equal_samples_can_be_differentiated_twice():
    x = torch.ones(2, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(with_spread(x, 2)[:, -1].sum(), x, create_graph=True)
    slope.square().sum().backward()
    assert x.grad.isfinite().all()


def test_a_batch_that_is_no_multiple_of_the_group_is_refused():
    disc = DCGANDiscriminator(IMAGES, channels=4, norm="none", minibatch_stddev=4)
    with pytest.raises(ValueError, match="batch of 6 is no multiple of minibatch_stddev=4"):
        disc(torch.zeros(6, 3, 32, 32), {"labels": torch.zeros(6, dtype=torch.long)})


def test_class_norm_scales_and_shifts_standardised_channels_by_class():
    norm = ClassNorm(3, 2).double()
    for parameter in norm.parameters():
        torch.nn.init.normal_(parameter)
    x, labels = torch.randn(4, 3, 5, 5, dtype=torch.float64), torch.tensor([0, 1, 1, 0])
    a = x.numpy()
    mean, var = a.mean((0, 2, 3), keepdims=True), a.var((0, 2, 3), keepdims=True)
    gain, shift = (p.detach().numpy()[labels][:, :, None, None] for p in (norm.gain, norm.shift))
    np.testing.assert_allclose(norm(x, labels).detach().numpy(), gain * (a - mean) / np.sqrt(var + 1e-5) + shift)


def test_maxout_takes_the_largest_of_its_pieces():
    layer = Layer(4, 3, activation="maxout", pieces=5, norm="none", dropout=0.0)
    x = torch.randn(7, 4)
    weight, bias = layer.linear.weight.view(3, 5, 4), layer.linear.bias.view(3, 5)
    for unit in range(3):
        pieces = torch.stack([x @ weight[unit, piece] + bias[unit, piece] for piece in range(5)])
        torch.testing.assert_close(layer(x)[:, unit], pieces.max(0).values)


@pytest.mark.parametrize(("upsample", "kernel"), [("transposed", 4), ("transposed", 6), ("nearest", 4)])
def test_he_initialisation_keeps_the_scale_of_rectified_maps(upsample, kernel):
    """relu(x) of a Gaussian of unit variance has the second moment 1/2, and He's weights make of it unit variance again."""
    gen = DCGANGenerator(IMAGES, channels=128, upsample=upsample, kernel=kernel, norm="none", init=None)
    with torch.no_grad():
        x = gen.ups[0](torch.randn(16, gen.ups[0].weight.shape[0], 8, 8).relu())[:, :, 2:-2, 2:-2]  # away from the border
    assert 0.85 < x.square().mean().sqrt() < 1.15


def test_published_initialisation():
    gen = DCGANGenerator(IMAGES, init=0.02)
    for weight in (gen.project.weight, *(up.weight for up in gen.ups[:-1])):
        assert abs(weight.std() / 0.02 - 1) < 0.02
    assert abs(gen.norms[0].weight.mean() - 1) < 0.01
    assert abs(gen.norms[0].weight.std() / 0.02 - 1) < 0.2


def test_widths_of_the_published_generator():
    """Figure 1 of the paper: 100 -> 4x4x1024 -> 8x8x512 -> 16x16x256 -> 32x32x128 -> 64x64x3."""
    gen = DCGANGenerator(DataSpec("image", (3, 64, 64)), channels=128, max_channels=1024, kernel=5)
    assert gen.project.weight.shape == (4 * 4 * 1024, 100)
    assert [tuple(up.weight.shape) for up in gen.ups] == [
        (1024, 512, 5, 5),
        (512, 256, 5, 5),
        (256, 128, 5, 5),
        (128, 3, 5, 5),
    ]
    assert gen(torch.randn(2, 100), {}).shape == (2, 3, 64, 64)


def test_projection_adds_the_inner_product_of_features_and_class():
    disc = DCGANDiscriminator(IMAGES, channels=4, norm="none", hidden=6).double()
    images, labels = torch.randn(3, 3, 32, 32, dtype=torch.float64), torch.tensor([1, 0, 1])
    score = disc(images, {"labels": labels})
    h = score.features[-1]
    expected = torch.stack([disc.head(h[i])[0] + disc.embedding.weight[labels[i]] @ h[i] for i in range(3)])
    torch.testing.assert_close(score.logits, expected)


@pytest.mark.parametrize(
    "disc",
    [
        DCGANDiscriminator(DataSpec("image", (1, 8, 8)), channels=2, norm="none", minibatch_stddev=2, hidden=3, full=True),
        MLPDiscriminator(DataSpec("points", (2,)), width=4, activation="maxout", norm="layer"),
    ],
    ids=["dcgan", "mlp"],
)
def test_second_derivatives(disc):
    disc = disc.double()
    shape = (1, 8, 8) if isinstance(disc, DCGANDiscriminator) else (2,)
    x = torch.randn(2, *shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: disc(x, {}).logits, (x,))


def test_orthogonal_initialisation_has_equal_singular_values():
    gen = MLPGenerator(DataSpec("points", (2,)), z_dim=8, width=16, init="orthogonal", gain=1.4)
    for linear in (gen.layers[0].linear, gen.layers[1].linear, gen.out):
        torch.testing.assert_close(torch.linalg.svdvals(linear.weight), torch.full((min(linear.weight.shape),), 1.4))
        assert not linear.bias.any()


@pytest.mark.parametrize(
    ("init", "gain", "deviation"), [("uniform", 0.3, 0.3 / 3**0.5), ("he", 1.0, (2 / 200) ** 0.5), ("normal", 0.3, 0.3)]
)
def test_spread_of_initial_weights(init, gain, deviation):
    weight = MLPGenerator(DataSpec("points", (2,)), z_dim=200, width=500, init=init, gain=gain).layers[0].linear.weight
    assert abs(weight.std() / deviation - 1) < 0.01
    assert init != "uniform" or weight.abs().max() <= gain


def test_branches_take_sample_and_label_apart():
    disc = MLPDiscriminator(
        DataSpec("points", (2,), classes=("a", "b", "c")),
        width=4,
        depth=1,
        activation="maxout",
        pieces=3,
        branches=(5, 6),
        branch_pieces=2,
    ).eval()
    images, labels = torch.randn(3, 2), torch.tensor([0, 2, 1])

    def maxout(linear, x, pieces):
        return (x @ linear.weight.T + linear.bias).view(len(x), -1, pieces).max(2).values

    own = maxout(disc.entry.own.linear, images, 2)
    label = maxout(disc.entry.label.linear, torch.eye(3)[labels], 2)
    h = maxout(disc.layers[0].linear, torch.cat([own, label], 1), 3)
    torch.testing.assert_close(disc(images, {"labels": labels}).logits, (h @ disc.head.weight.T + disc.head.bias)[:, 0])


def test_networks_of_the_conditional_gan():
    """Mirza and Osindero 2014, section 4.1. G: 100 to 200, 10 to 1000, then 1200; D: 784 to 240, 10 to 50, then 240, maxout."""
    data = DataSpec("image", (1, 28, 28), classes=tuple("0123456789"))
    gen = MLPGenerator(data, z_dim=100, width=1200, depth=1, branches=(200, 1000))
    disc = MLPDiscriminator(
        data, width=240, depth=1, activation="maxout", pieces=4, branches=(240, 50), branch_pieces=5, dropout=0.5
    )
    shapes = [[tuple(p.shape) for p in net.parameters() if p.ndim == 2] for net in (gen, disc)]
    assert shapes == [
        [(200, 100), (1000, 10), (1200, 1200), (784, 1200)],
        [(1200, 784), (250, 10), (960, 290), (1, 240)],
    ]


def test_branches_without_classes_leave_the_label_out():
    gen = MLPGenerator(DataSpec("points", (2,)), z_dim=3, branches=(5, 6), width=4, depth=1)
    assert gen.entry.label is None
    assert gen(torch.randn(2, 3), {}).shape == (2, 2)


@pytest.mark.parametrize(
    ("option", "where"), [("input_dropout", lambda d: d.input_dropout), ("dropout", lambda d: d.layers[0].dropout)]
)
def test_dropout_of_perceptrons_is_where_it_says(option, where):
    disc = MLPDiscriminator(DataSpec("points", (2,)), width=4, **{option: 0.4})
    assert where(disc).p == 0.4
    with pytest.raises(ValueError, match=f"{option}=1.0 must be from 0 and below 1"):
        MLPDiscriminator(DataSpec("points", (2,)), **{option: 1.0})


def test_what_parametrizes_a_weight_reaches_the_nearest_convolution():
    layer = NearestConv(2, 3, bias=False)
    x = torch.randn(1, 2, 4, 4)
    before = layer(x)

    class Half(torch.nn.Module):
        def forward(self, weight):
            return weight / 2

    torch.nn.utils.parametrize.register_parametrization(layer, "weight", Half())
    torch.testing.assert_close(layer(x), before / 2)


def test_images_are_bounded_and_points_are_not():
    x = 100 * torch.randn(8, 64)
    assert MLPGenerator(DataSpec("image", (1, 4, 4)))(x, {}).abs().max() <= 1
    assert MLPGenerator(DataSpec("points", (2,)))(x, {}).abs().max() > 1


def test_biases_that_batch_norm_would_take_away_are_not_there():
    gen = MLPGenerator(DataSpec("points", (2,)), norm="batch")
    assert [name for name, _ in gen.named_parameters() if name.endswith("linear.bias")] == []
    assert DCGANGenerator(IMAGES).project.bias is None
