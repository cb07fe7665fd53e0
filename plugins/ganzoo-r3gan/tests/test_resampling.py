"""Halving and doubling against explicit interpolation, with their derivatives of first and second order."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from ganzoo_r3gan.resampling import Double, Halve

BOTH = pytest.mark.parametrize("layer", [Halve(3).double(), Double(3).double()], ids=["halve", "double"])


@pytest.fixture
def x():
    torch.manual_seed(0)
    return torch.randn(2, 3, 4, 6, dtype=torch.float64)


def test_doubling_is_bilinear_interpolation_of_the_map_with_zeros_around_it(x):
    expected = F.interpolate(F.pad(x, (1, 1, 1, 1)), scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(Double(3).double()(x), expected[:, :, 2:-2, 2:-2])


def test_halving_is_bilinear_interpolation_of_the_map_with_zeros_around_it(x):
    expected = F.interpolate(F.pad(x, (2, 2, 2, 2)), scale_factor=0.5, mode="bilinear", align_corners=False, antialias=True)
    torch.testing.assert_close(Halve(3).double()(x), expected[:, :, 1:-1, 1:-1])


def test_the_kernel_is_the_paper_s_low_pass_on_means_and_copies(x):
    """Appendix E: [1, 2, 1] along each side, then 2x2 means; or nearest-neighbour doubling, then [1, 2, 1]."""
    low = torch.outer(*2 * [torch.tensor([1.0, 2.0, 1.0], dtype=torch.float64) / 4])[None, None].repeat(3, 1, 1, 1)
    means = F.avg_pool2d(F.conv2d(x, low, padding=1, groups=3), 2)
    torch.testing.assert_close(Halve(3).double()(x), means)
    copies = F.pad(F.interpolate(x, scale_factor=2, mode="nearest"), (1, 1, 1, 1))
    torch.testing.assert_close(Double(3).double()(x), F.conv2d(copies, low, groups=3))


@BOTH
def test_derivatives(layer, x):
    x = x[:1, :, :2, :4].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: layer(x.sin()), (x,))
    assert torch.autograd.gradgradcheck(lambda x: layer(x.sin()), (x,))


@BOTH
def test_bf16_is_resampled_in_fp32_and_handed_back(layer, x):
    layer, coarse = type(layer)(3), x.bfloat16()
    expected = layer(coarse.float()).bfloat16()
    assert torch.equal(layer(coarse), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(coarse), expected)
        torch.testing.assert_close(layer(x.float()), layer(x.float()).float(), rtol=0, atol=0)


@BOTH
def test_channels_last_stays_channels_last(layer, x):
    assert layer(x.to(memory_format=torch.channels_last)).is_contiguous(memory_format=torch.channels_last)


@BOTH
def test_a_constant_keeps_its_value_away_from_the_border(layer):
    out = layer(torch.ones(1, 3, 8, 8, dtype=torch.float64))
    torch.testing.assert_close(out[:, :, 1:-1, 1:-1], torch.ones_like(out[:, :, 1:-1, 1:-1]))
