"""Each folded layer against the plain form that it stands for, in float64: forward, backward and double backward."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from ganzoo_resnet.layers import ClassNorm, DownConv, UpConv
from ganzoo_resnet.resnet import DownBlock, UpBlock


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def drawn(layer):
    """In float64, with every parameter drawn: gates, shifts and biases that start at 0 count."""
    layer = layer.double()
    for p in layer.parameters():
        torch.nn.init.normal_(p, 0.1)
    return layer


def derivatives(run, layer, x):
    """What `run` makes of x; the first derivatives of a curved function of it; the derivatives of those, squared and summed."""
    inputs = [x.clone().requires_grad_(), *layer.parameters()]
    y = run(inputs[0])
    first = torch.autograd.grad((y.sin() * torch.arange(y.numel()).view_as(y).cos()).sum(), inputs, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), inputs, allow_unused=True)
    return y, first, [torch.zeros_like(i) if g is None else g for g, i in zip(second, inputs, strict=True)]


def agree(folded, plain, layer, x):
    for one, other in zip(derivatives(folded, layer, x), derivatives(plain, layer, x), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def doubled(x):
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def halved(x):
    return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4


def plain(layer, x):
    return F.conv2d(x, layer.weight, layer.bias, padding=1)


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (1, 3, 2, 6)])
def test_up_conv_is_nearest_doubling_and_a_3x3_convolution(shape):
    layer = drawn(UpConv(3, 5))
    agree(layer, lambda x: plain(layer, doubled(x)), layer, torch.randn(shape, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (1, 3, 2, 6)])
def test_down_conv_is_a_3x3_convolution_and_the_mean_of_2x2(shape):
    layer = drawn(DownConv(3, 5))
    agree(layer, lambda x: halved(plain(layer, x)), layer, torch.randn(shape, dtype=torch.float64))


@pytest.mark.parametrize("classes", [0, 2])
def test_up_block(classes):
    """norm, ReLU, doubling, 3x3, norm, ReLU, 3x3, plus doubling and 1x1: written out as the papers draw it."""
    block = drawn(UpBlock(3, 4, "batch", classes))
    labels = torch.tensor([0, 1, 1]) if classes else None

    def norm(n, x):
        gain, shift = (n.gain[labels], n.shift[labels]) if isinstance(n, ClassNorm) else (n.weight[None], n.bias[None])
        x = (x - x.mean((0, 2, 3), keepdim=True)) / (x.var((0, 2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()
        return gain[..., None, None] * x + shift[..., None, None]

    def written_out(x):
        y = plain(block.up, doubled(norm(block.norms[0], x).relu()))
        y = plain(block.convolution, norm(block.norms[1], y).relu())
        return y + F.conv2d(doubled(x), block.shortcut.weight, block.shortcut.bias)

    agree(lambda x: block(x, labels), written_out, block, torch.randn(3, 3, 4, 4, dtype=torch.float64))


@pytest.mark.parametrize("first", [True, False])
def test_down_block(first):
    """(ReLU,) 3x3, ReLU, 3x3, mean, plus 1x1 and mean."""
    block = drawn(DownBlock(3, 4, "none", first))

    def written_out(x):
        y = plain(block.convolution, x if first else x.relu())
        y = halved(plain(block.down, y.relu()))
        return y + halved(F.conv2d(x, block.shortcut.weight, block.shortcut.bias))

    agree(block, written_out, block, torch.randn(2, 3, 4, 6, dtype=torch.float64))


@pytest.mark.parametrize("layer", [UpConv(3, 5), DownConv(3, 5)], ids=["up", "down"])
def test_what_is_learned_and_normalised_is_the_3x3_kernel(layer):
    assert [(name, tuple(p.shape)) for name, p in layer.named_parameters()] == [("weight", (5, 3, 3, 3)), ("bias", (5,))]
    assert isinstance(layer, torch.nn.Conv2d)
    assert not [name for name in layer.state_dict() if "offsets" in name]
