"""The terms that compare with an aligned truth, and discriminators at several sizes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from ganzoo.interfaces import Features
from ganzoo.plugin import DataSpec, Part
from ganzoo.registry import get_registry
from ganzoo_translation.content import Perceptual, Pixel
from ganzoo_translation.patch import MultiscalePatch, PatchDiscriminator

IMAGES = DataSpec("image", (3, 8, 8))


def play(fake, real):
    return SimpleNamespace(fake=fake, real=real)


def pair(n=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(n, 3, 8, 8, generator=generator, dtype=torch.float64) * 2 - 1 for _ in range(2)]


@pytest.mark.parametrize(
    ("distance", "cost"), [("l1", np.abs), ("l2", np.square), ("charbonnier", lambda d: np.sqrt(d**2 + 1e-6))]
)
def test_pixel(distance, cost):
    fake, real = pair()
    found = Pixel(IMAGES, weight=3.0, distance=distance)(play(fake, real))
    expected = 3.0 * cost((fake - real).numpy()).reshape(4, -1).mean(1)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_pixels_alone_take_the_place_of_the_adversarial_loss():
    assert Pixel(IMAGES).replaces == frozenset()
    assert Pixel(IMAGES, alone=True).replaces == {"G"}


class Channels(Features):
    """Two maps: the image itself, and every second pixel of it."""

    channels, strides, width = (3, 3), (1, 2), 3

    def __init__(self, data):
        super().__init__()

    def maps(self, images):
        return images, images[:, :, ::2, ::2]


def test_perceptual_compares_directions_of_features():
    fake, real = pair(seed=1)
    part = Part("channels", {}, Channels)
    found = Perceptual(IMAGES, weight=2.0, features=part, maps=(0, 1))(play(fake, real)).numpy()

    def distance(a, b):
        a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
        return ((a - b) ** 2).sum(1).reshape(len(a), -1).mean(1)

    a, b = fake.float().numpy().astype(np.float64), real.float().numpy().astype(np.float64)
    expected = 2 * (distance(a, b) + distance(a[:, :, ::2, ::2], b[:, :, ::2, ::2]))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    bright = Perceptual(IMAGES, features=part, maps=(-1,))(play(2 * real, real))
    np.testing.assert_allclose(bright.numpy(), 0, atol=1e-6)  # the same direction


def test_perceptual_has_a_gradient_to_the_fake_alone():
    fake, real = (image.float().requires_grad_() for image in pair())
    reg = get_registry().build(get_registry().find("regularizer", "perceptual"), {}, IMAGES, 4)  # with Lite0
    assert not any(p.requires_grad for p in reg.parameters())
    reg.train()
    assert not reg.features.training
    reg(play(fake, real)).sum().backward()
    assert fake.grad is not None
    assert fake.grad.abs().sum() > 0
    assert real.grad is None


def test_perceptual_refuses_maps_that_are_not_there():
    part = Part("channels", {}, Channels)
    for maps in ((), (2,), (-3,)):
        with pytest.raises(ValueError, match="channels has 2 maps"):
            Perceptual(IMAGES, features=part, maps=maps)


# ---- several sizes


def test_each_scale_is_a_patch_discriminator_of_a_smaller_image():
    torch.manual_seed(0)
    data = DataSpec("image", (3, 32, 32))
    many = MultiscalePatch(data, scales=3, n_layers=1, channels=4, norm="none")
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    score = many(images, {})
    for i, logits in enumerate(score.logits):
        alone = PatchDiscriminator(DataSpec("image", (3, 32 >> i, 32 >> i)), n_layers=1, channels=4, norm="none")
        alone.load_state_dict(many.scales[i].state_dict())
        torch.testing.assert_close(logits, alone(images, {}).logits)
        # A mean over 3x3 places of those that are there.
        ones = torch.nn.functional.conv2d(torch.ones_like(images), torch.ones(3, 1, 3, 3), stride=2, padding=1, groups=3)
        sums = torch.nn.functional.conv2d(images, torch.ones(3, 1, 3, 3), stride=2, padding=1, groups=3)
        images = sums / ones
    assert len(score.features) == 6


def test_several_sizes_with_a_source():
    data = DataSpec("image", (3, 32, 32), source=DataSpec("image", (1, 32, 32)))
    options = MultiscalePatch.auto(data, 4)
    assert options == {"scales": 2, "n_layers": 1}
    many = MultiscalePatch(data, channels=4, **options)
    images, source = torch.rand(2, 3, 32, 32), torch.rand(2, 1, 32, 32)
    one, two = many(images, {"source": source}), many(images, {"source": 1 - source})
    assert all(not torch.equal(a, b) for a, b in zip(one.logits, two.logits, strict=True))
    with pytest.raises(ValueError, match="leave 8 pixels"):
        MultiscalePatch(data, scales=4, n_layers=1)


def test_a_patch_does_not_look_at_a_source_of_another_size():
    data = DataSpec("image", (3, 32, 32), source=DataSpec("image", (3, 8, 8)))
    torch.manual_seed(0)
    disc = PatchDiscriminator(data, channels=4, **PatchDiscriminator.auto(data, 4))
    assert isinstance(disc.convolutions[0], nn.Conv2d)
    assert disc.convolutions[0].in_channels == 3
