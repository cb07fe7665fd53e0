"""What FastGAN's layers compute, against independent computations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ganzoo.plugin import DataSpec
from ganzoo_projected.fastgan import Excitation, FastGANGenerator, Noise, Unit, UpConv

IMAGES = DataSpec("image", (3, 64, 64))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_up_conv_is_nearest_doubling_and_a_3x3_convolution():
    layer = UpConv(3, 5).double()
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    expected = F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), layer.weight, padding=1)
    torch.testing.assert_close(layer(x), expected)


def test_a_unit_gates_half_of_its_standardised_channels_by_the_other_half():
    unit = Unit(torch.nn.Identity(), 3).double()
    torch.nn.init.normal_(unit.norm.weight)
    torch.nn.init.normal_(unit.norm.bias)
    x = torch.randn(4, 6, 5, 5, dtype=torch.float64)
    a = x.numpy()
    gain, shift = (p.detach().numpy()[:, None, None] for p in (unit.norm.weight, unit.norm.bias))
    normed = gain * (a - a.mean((0, 2, 3), keepdims=True)) / np.sqrt(a.var((0, 2, 3), keepdims=True) + 1e-5) + shift
    np.testing.assert_allclose(unit(x).detach().numpy(), normed[:, :3] * sigmoid(normed[:, 3:]))


def test_excitation_by_hand():
    """Means over 4x4 places, all of them to each channel, silu, a matrix, sigmoid."""
    gate = Excitation(2, 3).double()
    small = torch.randn(5, 2, 8, 16, dtype=torch.float64)
    pooled = small.numpy().reshape(5, 2, 4, 2, 4, 4).mean((3, 5))
    h = np.einsum("ncij,ocij->no", pooled, gate.squeeze.weight.detach().numpy())
    expected = sigmoid((h * sigmoid(h)) @ gate.excite.weight.detach().numpy()[:, :, 0, 0].T)
    np.testing.assert_allclose(gate(small).detach().numpy()[:, :, 0, 0], expected)


@pytest.mark.parametrize(("skip", "pairs"), [(4, {2: 0, 3: 1, 4: 2}), (8, {3: 0, 4: 1}), (16, {4: 0})])
def test_a_map_is_multiplied_by_the_gates_of_the_map_that_is_so_many_times_smaller(skip, pairs):
    gen = FastGANGenerator(IMAGES, z_dim=4, channels=2, skip=skip).double().eval()
    made, gates, entered = [], {}, []
    gen.first.register_forward_hook(lambda m, args, out: made.append(out))
    for up in gen.ups:
        up.register_forward_pre_hook(lambda m, args: entered.append(args[0]))
        up.register_forward_hook(lambda m, args, out: made.append(out))
    for i, gate in enumerate(gen.gates):
        gate.register_forward_hook(lambda m, args, out, i=i: gates.update({i: (args[0], out)}))
    gen.last.register_forward_hook(lambda m, args, out: entered.append(args[0]))
    gen(torch.randn(2, 4, dtype=torch.float64), {})
    assert len(gates) == len(pairs)
    for i, raw in enumerate(made):  # entered[i] is map i as the next layer sees it
        if i in pairs:
            small, factor = gates[pairs[i]]
            assert torch.equal(small, entered[pairs[i]])
            assert small.shape[2] * skip == raw.shape[2]
            torch.testing.assert_close(entered[i], raw * factor)
        else:
            assert torch.equal(entered[i], raw)


def test_widths_and_excitations_of_the_published_generator():
    """At 256: 4x4 excites 64x64, 8x8 excites 128x128, 16x16 excites 256x256."""
    with torch.device("meta"):
        gen = FastGANGenerator(DataSpec("image", (3, 256, 256)), channels=64, skip=16)
    first = [up[0] if isinstance(up, torch.nn.Sequential) else up for up in gen.ups]
    assert [u.norm.num_features // 2 for u in (gen.first, *first)] == [1024, 512, 256, 128, 128, 64, 32]
    assert [isinstance(up, torch.nn.Sequential) for up in gen.ups] == [True, False, True, False, True, False]
    assert [(g.squeeze.in_channels, g.excite.out_channels) for g in gen.gates] == [(1024, 128), (512, 64), (256, 32)]


@pytest.mark.parametrize(
    ("side", "skip", "channels"),
    [(8, 2, 16), (16, 2, 16), (32, 4, 16), (64, 8, 16), (128, 16, 32), (256, 16, 64), (1024, 16, 64)],
)
def test_auto(side, skip, channels):
    assert FastGANGenerator.auto(DataSpec("image", (3, side, 2 * side)), 16) == {"skip": skip, "channels": channels}


def test_noise_starts_at_zero_and_is_constant_in_eval_mode():
    noise = Noise(4, 6)
    x = torch.randn(3, 2, 4, 6)
    assert torch.equal(noise(x), x)
    torch.nn.init.constant_(noise.strength, 0.5)
    first, second = noise(x) - x, noise(x) - x
    assert not torch.equal(first, second)
    torch.testing.assert_close(first[:, 0], first[:, 1])  # one channel for all
    noise.eval()
    torch.testing.assert_close(noise(x) - x, (0.5 * noise.constant).expand_as(x))


def test_only_the_direction_of_the_noise_counts():
    gen = FastGANGenerator(IMAGES, z_dim=8, channels=2, skip=8).double().eval()
    z = torch.randn(2, 8, dtype=torch.float64)
    torch.testing.assert_close(gen(3 * z, {}), gen(z, {}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"skip": 3, "channels": 8}, "skip=3"),
        ({"skip": 8, "channels": 0}, "channels=0"),
        ({"skip": 8}, "'auto' depends on the images"),
        ({"channels": 8}, "'auto' depends on the images"),
    ],
)
def test_what_cannot_be_built_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        FastGANGenerator(IMAGES, **options)
