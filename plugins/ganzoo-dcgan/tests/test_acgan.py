"""AC-GAN's discriminator against hand computations and the networks of its paper."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ganzoo.plugin import DataSpec
from ganzoo_dcgan.acgan import ACGANDiscriminator
from ganzoo_dcgan.dcgan import DCGANGenerator

CIFAR = DataSpec("image", (3, 32, 32), classes=tuple("0123456789"))
GREY = DataSpec("image", (1, 8, 8), classes=("a", "b"))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_widths_and_strides_of_the_paper():
    disc = ACGANDiscriminator(CIFAR)
    assert [(c.out_channels, c.stride[0], c.kernel_size[0]) for c in disc.convolutions] == [
        (16, 2, 3),
        (32, 1, 3),
        (64, 2, 3),
        (128, 1, 3),
        (256, 2, 3),
        (512, 1, 3),
    ]
    assert [type(norm).__name__ for norm in disc.norms] == ["Identity"] + ["BatchNorm2d"] * 5
    assert (disc.head.weight.shape, disc.classifier.weight.shape) == ((1, 512 * 16), (10, 512 * 16))


def test_generator_of_the_paper_eats_noise_and_a_one_hot_label():
    gen = DCGANGenerator(CIFAR, channels=96, max_channels=384, kernel=5, embedding=None)
    assert gen.project.weight.shape == (384 * 16, 110)
    assert [tuple(up.weight.shape) for up in gen.ups] == [(384, 192, 5, 5), (192, 96, 5, 5), (96, 3, 5, 5)]
    x, labels = torch.randn(2, 100), torch.tensor([3, 9])
    one_hot = torch.eye(10)[labels]
    torch.testing.assert_close(gen.project(gen.classes.beside(x, {"labels": labels})), gen.project(torch.cat([x, one_hot], 1)))


def test_logits_by_hand():
    """Kernels that pick one pixel make of 8x8 every other pixel; the rest is leaky ReLU, once for each convolution."""
    disc = ACGANDiscriminator(GREY, channels=1, norm="none", dropout=0.0, noise=0.0).double()
    with torch.no_grad():
        for convolution in disc.convolutions:
            convolution.weight.zero_()
            convolution.weight[:, :, 1, 1] = 1.0
        disc.convolutions[1].bias[1] = -0.5
    images = torch.randn(3, 1, 8, 8, dtype=torch.float64)
    first = images.numpy()[:, 0, ::2, ::2]
    first = np.where(first > 0, first, 0.2 * first)
    second = np.stack([first, first - 0.5], 1)
    h = np.where(second > 0, second, 0.2 * second).reshape(3, 32)
    score = disc(images, {"labels": torch.zeros(3, dtype=torch.long)})
    weights = [(layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in (disc.head, disc.classifier)]
    logits, classes = (h @ w.T + b for w, b in weights)
    np.testing.assert_allclose(score.logits.detach().numpy(), logits[:, 0])
    np.testing.assert_allclose(score.classes.detach().numpy(), classes)


def test_neither_head_looks_at_the_label():
    disc = ACGANDiscriminator(CIFAR, channels=4).eval()
    images = torch.randn(4, 3, 32, 32)
    one, other = (disc(images, {"labels": torch.full((4,), label)}) for label in (0, 7))
    assert torch.equal(one.logits, other.logits)
    assert torch.equal(one.classes, other.classes)


def test_noise_has_its_deviation_in_training_and_is_absent_in_eval():
    disc = ACGANDiscriminator(GREY, channels=1, depth=1, norm="none", dropout=0.0, noise=0.2)
    images = torch.randn(4096, 1, 8, 8)
    clean = disc.eval()(images, {}).features[0]
    assert torch.equal(clean, disc(images, {}).features[0])
    difference = disc.train()(images, {}).features[0] - clean
    assert abs(difference.mean()) < 0.005
    assert abs(difference.std() / 0.2 - 1) < 0.02


def test_dropout_drops_its_share_in_training_and_keeps_the_mean():
    disc = ACGANDiscriminator(GREY, channels=1, depth=1, norm="none", dropout=0.25, noise=0.0)
    with torch.no_grad():
        disc.convolutions[0].bias.fill_(3.0)
    images = torch.zeros(4096, 1, 8, 8)
    assert (disc.eval()(images, {}).features[0] == 3).all()
    x = disc.train()(images, {}).features[0]
    assert abs((x == 0).float().mean() - 0.25) < 0.01
    torch.testing.assert_close(x[x != 0], torch.full_like(x[x != 0], 4.0))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"dropout": 1.0}, "dropout=1.0 must be"), ({"noise": -0.1}, "noise=-0.1 must"), ({"depth": 0}, "depth=0 must be")],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        ACGANDiscriminator(GREY, **options)


def test_data_without_classes_are_refused():
    with pytest.raises(ValueError, match="have none"):
        ACGANDiscriminator(GREY.replace(classes=()))


def test_second_derivatives():
    disc = ACGANDiscriminator(GREY, channels=2, norm="none", dropout=0.0, noise=0.0).double()
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: disc(x, {}).logits, (x,))
