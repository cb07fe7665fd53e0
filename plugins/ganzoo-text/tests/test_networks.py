"""The networks against computations of their own: where the caption comes in, and what sizes they do."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ganzoo.plugin import DataSpec
from ganzoo.registry import create
from ganzoo_text.networks import NearestConv, TextDCGANGenerator, TextDiscriminator

DATA = DataSpec("image", (3, 16, 16), text=7)


def test_d_says_its_head_s_word_plus_the_product_of_image_and_caption():
    torch.manual_seed(0)
    network = TextDiscriminator(DATA, channels=4, embedding=5, norm="none", init=None).double()
    images, text = torch.randn(6, 3, 16, 16).double(), torch.randn(6, 7).double()
    said = network(images, {"text": text})
    h = images
    for convolution in network.convolutions:
        h = F.leaky_relu(F.conv2d(h, convolution.weight, convolution.bias, 2, 1), 0.2)
    h = h.reshape(6, -1)
    unit = text / text.pow(2).mean(1, keepdim=True).sqrt()
    image = h @ network.image.weight.T + network.image.bias
    caption = unit @ network.caption.weight.T + network.caption.bias
    expected = h @ network.head.weight[0] + network.head.bias + (image * caption).sum(1) / math.sqrt(5)
    torch.testing.assert_close(said.logits, expected)
    torch.testing.assert_close(said.features[-1], h)


def test_g_has_the_caption_beside_its_noise():
    torch.manual_seed(0)
    network = TextDCGANGenerator(DATA, channels=4, z_dim=3, embedding=5, norm="none", init=None).double()
    z, text = torch.randn(2, 3).double(), torch.randn(2, 7).double()
    unit = text / text.pow(2).mean(1, keepdim=True).sqrt()
    told = F.leaky_relu(unit @ network.caption.weight.T + network.caption.bias, 0.2)
    x = (torch.cat([z, told], 1) @ network.project.weight.T + network.project.bias).reshape(2, 4, 4, 8).permute(0, 3, 1, 2)
    for up in network.ups:
        x = F.conv_transpose2d(x.relu(), up.weight, up.bias, 2, 1)
    torch.testing.assert_close(network(z, {"text": text}), x.tanh())


def test_the_length_of_a_caption_s_vector_means_nothing_and_no_words_are_finite():
    torch.manual_seed(0)
    network = TextDCGANGenerator(DATA, channels=4).eval()
    z, text = torch.randn(3, 100), torch.randn(3, 7)
    torch.testing.assert_close(network(z, {"text": text}), network(z, {"text": 0.01 * text}))
    assert network(z, {"text": 0 * text}).isfinite().all()


def test_nearest_doubling_is_what_its_name_says():
    torch.manual_seed(0)
    layer = NearestConv(3, 5, bias=True)
    x = torch.randn(2, 3, 6, 4)
    weight = layer.weight.flip(2, 3).transpose(0, 1)  # of a transposed convolution
    expected = F.conv2d(nn.Upsample(scale_factor=2)(x), weight, layer.bias, padding=1)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("upsample", ["transposed", "nearest"])
@pytest.mark.parametrize("size", [(8, 8), (32, 32), (64, 64), (16, 64)])
def test_sizes(size, upsample):
    data = DATA.replace(shape=(3, *size))
    condition = {"text": torch.randn(2, 7)}
    made = create("generator", "text-dcgan", data, channels=4, upsample=upsample)(torch.randn(2, 100), condition)
    assert made.shape == (2, 3, *size)
    assert create("discriminator", "text", data, channels=4)(made, condition).logits.shape == (2,)


@pytest.mark.parametrize("network", [TextDCGANGenerator, TextDiscriminator])
def test_what_is_refused(network):
    with pytest.raises(ValueError, match="take data with captions"):
        network(DATA.replace(text=0))
    with pytest.raises(ValueError, match="embedding=0 must be at least 1"):
        network(DATA, embedding=0)
    with pytest.raises(ValueError, match="init=-1"):
        network(DATA, init=-1.0)
