"""Each resampling layer against zeros inserted, one filter and a plain convolution, in float64, with both derivatives."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from ganzoo_stylegan.layers import Conv, Fir, StyledConv

LINE = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64) / 8


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def filtered(x, before, after):
    """[N, C, H, W], each channel by itself, with so many zeros around."""
    kernel = torch.outer(LINE, LINE)[None, None]
    flat = F.pad(x, (before, after, before, after)).flatten(0, 1)[:, None]
    return F.conv2d(flat, kernel).unflatten(0, x.shape[:2]).squeeze(2)


def with_zeros(x):
    """[N, C, H, W] to [N, C, 2H, 2W]: a zero after each place, a row of zeros after each row."""
    return F.pad(x[:, :, :, None, :, None], (0, 1, 0, 0, 0, 1)).reshape(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])


def plain_down(layer, x):
    """A 3x3 or 1x1 convolution of what is filtered, at every second place."""
    side = layer.kernel_size[0]
    shown = filtered(x, 2, 2) if side == 3 else filtered(x, 1, 1)
    return F.conv2d(shown, layer.weight * layer.weight_scale, layer.bias * layer.bias_scale)[..., ::2, ::2]


def plain_up(layer, x, w):
    """Weights of each sample modulated and demodulated, on the map with zeros between its places, then the filter."""
    style = layer.style(w)
    kernels = layer.weight * layer.weight_scale * style[:, None, :, None, None]  # [N, O, I, 3, 3]
    kernels = kernels / (kernels.square().sum((2, 3, 4), keepdim=True) + 1e-8).sqrt()
    spread = torch.stack(
        [
            F.conv2d(F.pad(one, (2, 2, 2, 2)), kernel.flip(2, 3))[0]
            for one, kernel in zip(with_zeros(x).split(1), kernels, strict=True)
        ]
    )
    y = 4 * filtered(spread, 1, 1)[..., : 2 * x.shape[2], : 2 * x.shape[3]]
    return 2**0.5 * F.leaky_relu(y + layer.bias[:, None, None], 0.2)


def derivatives(run, parameters, *inputs):
    """What `run` makes; the first derivatives of a curved function of it; those of their squares."""
    inputs = [*(x.clone().requires_grad_() for x in inputs)]
    y = run(*inputs)
    leaves = [*inputs, *parameters]
    first = torch.autograd.grad(
        (y.sin() * torch.arange(y.numel()).view_as(y).cos()).sum(), leaves, create_graph=True, allow_unused=True
    )
    first = [torch.zeros_like(x) if g is None else g for g, x in zip(first, leaves, strict=True)]
    second = torch.autograd.grad(sum(g.square().sum() for g in first), leaves, allow_unused=True)
    return y, first, [torch.zeros_like(x) if g is None else g for g, x in zip(second, leaves, strict=True)]


def agree(layer, plain, *inputs):
    parameters = [*layer.parameters()]
    for one, other in zip(derivatives(layer, parameters, *inputs), derivatives(plain, parameters, *inputs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def drawn(layer):
    """In float64, with every parameter drawn; the filter's taps are eighths, the same in any precision."""
    layer = layer.double()
    for p in layer.parameters():
        torch.nn.init.normal_(p, 0.1)
    return layer


@pytest.mark.parametrize(
    ("mode", "plain"),
    [
        ("blur", lambda x: filtered(x, 1, 1)),
        ("down", lambda x: filtered(x, 1, 1)[..., ::2, ::2]),
        ("up", lambda x: filtered(with_zeros(x), 2, 1)),
    ],
    ids=["blur", "down", "up"],
)
@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (1, 3, 2, 6)])
def test_fir(mode, plain, shape):
    agree(Fir(3, mode).double(), plain, torch.randn(shape, dtype=torch.float64))


@pytest.mark.parametrize("side", [1, 3])
def test_convolution_that_halves(side):
    layer = drawn(Conv(3, 5, side, gain=1.5, down=True))
    agree(layer, lambda x: plain_down(layer, x), torch.randn(2, 3, 4, 6, dtype=torch.float64))


def test_modulated_convolution_that_doubles():
    layer = drawn(StyledConv(3, 5, 4, noise=None, up=True))
    x, w = torch.randn(2, 3, 4, 4, dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64)
    agree(layer, lambda x, w: plain_up(layer, x, w), x, w)
