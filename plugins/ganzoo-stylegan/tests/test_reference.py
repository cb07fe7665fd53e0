"""The networks against StyleGAN2's equations, written out slowly in numpy.

The reference shares nothing with the package: one sample at a time, its own weights, zeros inserted, loops over pixels. It
reads parameters by name.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ganzoo.plugin import DataSpec
from ganzoo_stylegan.discriminator import StyleDiscriminator
from ganzoo_stylegan.generator import StyleGenerator
from ganzoo_stylegan.layers import Fir, StyledConv, ToImage

# ---- the reference

FILTER = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64.0


def correlate(x, kernel):
    """[I, H, W] and [O, I, k, k] to [O, H - k + 1, W - k + 1]."""
    side = kernel.shape[-1]
    out = np.empty((len(kernel), x.shape[1] - side + 1, x.shape[2] - side + 1))
    for row in range(out.shape[1]):
        for column in range(out.shape[2]):
            out[:, row, column] = np.tensordot(kernel, x[:, row : row + side, column : column + side], 3)
    return out


def pad(x, before, after):
    return np.pad(x, ((0, 0), (before, after), (before, after)))


def filtered(x):
    """[C, H, W] to [C, H - 3, W - 3], each channel by itself."""
    return np.concatenate([correlate(channel[None], FILTER[None, None]) for channel in x])


def with_zeros(x):
    """[C, H, W] to [C, 2H, 2W]: a zero after each place, a row of zeros after each row."""
    out = np.zeros((len(x), 2 * x.shape[1], 2 * x.shape[2]))
    out[:, ::2, ::2] = x
    return out


def doubled(x):
    """Upsampling by zero insertion and the filter."""
    return 4 * filtered(pad(with_zeros(x), 2, 1))


def halved(x):
    """Downsampling by the filter and leaving out every second place."""
    return filtered(pad(x, 1, 1))[:, ::2, ::2][:, : x.shape[1] // 2, : x.shape[2] // 2]


def lrelu(x):
    return np.sqrt(2) * np.where(x > 0, x, 0.2 * x)


def normalised(x):
    return x / np.sqrt(np.mean(x**2) + 1e-8)


def dense(p, name, x, multiplier=1.0):
    weight, bias = p[f"{name}.weight"], p[f"{name}.bias"]
    return (weight * multiplier / np.sqrt(weight.shape[1])) @ x + bias * multiplier


def mapped(p, z, label, depth, prefix="mapping."):
    x = normalised(z)
    if label is not None:
        x = np.concatenate([x, normalised(p[f"{prefix}embedding.weight"][label])])
    for i in range(depth):
        x = lrelu(dense(p, f"{prefix}hidden.{i}", x, 0.01))
    return x


def styled(p, name, x, w, up):
    kernel = p[f"{name}.weight"]
    kernel = kernel / np.sqrt(kernel[0].size) * dense(p, f"{name}.style", w)[None, :, None, None]
    kernel = kernel / np.sqrt((kernel**2).sum((1, 2, 3), keepdims=True) + 1e-8)
    if up:
        spread = correlate(pad(with_zeros(x), 2, 2), kernel[:, :, ::-1, ::-1])  # a convolution: kernel turned by half a turn
        y = 4 * filtered(pad(spread, 1, 1))[:, : 2 * x.shape[1], : 2 * x.shape[2]]
    else:
        y = correlate(pad(x, 1, 1), kernel)
    return lrelu(y + p[f"{name}.strength"] * p[f"{name}.noise"][0] + p[f"{name}.bias"][:, None, None])


def to_image(p, name, x, w):
    style = dense(p, f"{name}.style", w) / np.sqrt(len(x))
    return correlate(x, p[f"{name}.weight"] * style[None, :, None, None]) + p[f"{name}.bias"][:, None, None]


def synthesised(p, w):
    """One sample's styles [layers, W] to an image."""
    x = styled(p, "synthesis.convs.0", p["synthesis.constant"], w[0], up=False)
    image = to_image(p, "synthesis.to_image.0", x, w[1])
    for k in range(1, len(w) // 2):
        x = styled(p, f"synthesis.convs.{2 * k - 1}", x, w[2 * k - 1], up=True)
        x = styled(p, f"synthesis.convs.{2 * k}", x, w[2 * k], up=False)
        image = doubled(image) + to_image(p, f"synthesis.to_image.{k}", x, w[2 * k + 1])
    return image


def convolved(p, name, x, down=False):
    kernel = p[f"{name}.weight"]
    kernel = kernel / np.sqrt(kernel[0].size)
    bias = p[f"{name}.bias"][:, None, None] if f"{name}.bias" in p else 0.0
    if kernel.shape[-1] == 1:
        return correlate(halved(x) if down else x, kernel) + bias
    if down:
        return correlate(filtered(pad(x, 2, 2)), kernel)[:, ::2, ::2] + bias
    return correlate(pad(x, 1, 1), kernel) + bias


def judged(p, images, labels, *, blocks, residual, group, depth):
    """Logits of a batch."""
    maps = []
    for image in images:
        x = lrelu(convolved(p, "from_image", image))
        for i in range(blocks):
            y = lrelu(convolved(p, f"blocks.{i}.first", x))
            y = lrelu(convolved(p, f"blocks.{i}.second", y, down=True))
            x = (y + convolved(p, f"blocks.{i}.skip", x, down=True)) / np.sqrt(2) if residual else y
        maps.append(x)
    logits = []
    for i, x in enumerate(maps):
        first = i // group * group
        spread = np.sqrt(np.var(maps[first : first + group], axis=0) + 1e-8).mean()
        x = np.concatenate([x, np.full((1, *x.shape[1:]), spread)])
        h = lrelu(dense(p, "hidden", lrelu(convolved(p, "mix", x)).ravel()))
        said = dense(p, "head", h)
        if labels is None:
            logits.append(said[0])
            continue
        c = normalised(p["classes.embedding.weight"][labels[i]])
        for k in range(depth):
            c = lrelu(dense(p, f"classes.hidden.{k}", c, 0.01))
        logits.append(said @ c / np.sqrt(len(c)))
    return np.array(logits)


# ---- the networks

CLASSES = ("a", "b", "c")
SIZES = {"square": (3, 16, 16), "wide": (1, 8, 16)}


def numbers(network):
    return {name: value.detach().numpy() for name, value in network.state_dict().items()}


@pytest.mark.parametrize("shape", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("classes", [(), CLASSES], ids=["plain", "labelled"])
def test_generator(shape, classes, at_work):
    data = DataSpec("image", shape, classes=classes)
    gen = at_work(StyleGenerator(data, z_dim=5, w_dim=6, embedding=3, channels=3, max_channels=8, mapping_layers=3, noise=True))
    z, labels = torch.randn(2, 5, dtype=torch.float64), torch.tensor([2, 0])
    with torch.no_grad():
        w = gen.mapping(z, {"labels": labels})
        images = gen(z, {"labels": labels})
    p = numbers(gen)
    for i in range(2):
        expected = mapped(p, z[i].numpy(), int(labels[i]) if classes else None, 3)
        np.testing.assert_allclose(w[i], np.tile(expected, (w.shape[1], 1)), rtol=0, atol=1e-12)
        np.testing.assert_allclose(images[i], synthesised(p, w[i].numpy()), rtol=0, atol=1e-10)


def test_each_layer_has_its_own_style(at_work):
    gen = at_work(StyleGenerator(DataSpec("image", (3, 16, 16)), z_dim=4, embedding=4, channels=3, max_channels=8, noise=True))
    w = torch.randn(2, gen.synthesis.layers, 4, dtype=torch.float64)
    with torch.no_grad():
        images = gen.synthesis(w)
    for image, own in zip(images, w, strict=True):
        np.testing.assert_allclose(image, synthesised(numbers(gen), own.numpy()), rtol=0, atol=1e-10)


def test_generator_in_single_precision(at_work):
    """The promise is 1e-5 of the image's scale."""
    gen = at_work(StyleGenerator(DataSpec("image", (3, 16, 16)), z_dim=8, embedding=8, channels=8, max_channels=16, noise=True))
    w = torch.randn(2, gen.synthesis.layers, 8, dtype=torch.float64)
    expected = np.stack([synthesised(numbers(gen), own.numpy()) for own in w])
    with torch.no_grad():
        images = gen.float().synthesis(w.float()).numpy()
    assert np.abs(images - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("residual", [True, False], ids=["residual", "plain"])
@pytest.mark.parametrize("classes", [(), CLASSES], ids=["unlabelled", "labelled"])
def test_discriminator(residual, classes, at_work):
    data = DataSpec("image", (3, 16, 8), classes=classes)
    options = {"minibatch_stddev": 2, "mapping_layers": 2, "residual": residual}
    disc = at_work(StyleDiscriminator(data, channels=3, max_channels=5, **options))
    images, labels = torch.randn(4, 3, 16, 8, dtype=torch.float64), torch.tensor([1, 0, 2, 1])
    p = numbers(disc)
    expected = judged(p, images.numpy(), labels.tolist() if classes else None, blocks=1, residual=residual, group=2, depth=2)
    with torch.no_grad():
        logits = disc(images, {"labels": labels}).logits
        single = disc.float()(images.float(), {"labels": labels}).logits
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-10 * np.abs(expected).max())
    np.testing.assert_allclose(single, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("up", [False, True], ids=["same", "up"])
def test_modulated_convolution(up, at_work):
    """The one convolution for the whole batch against each sample's own weights, and against grouped convolution."""
    layer = at_work(StyledConv(4, 3, 5, noise=(6, 10) if up else (3, 5), up=up))
    x, w = torch.randn(2, 4, 3, 5, dtype=torch.float64), torch.randn(2, 5, dtype=torch.float64)
    with torch.no_grad():
        said = layer(x, w)
    p = {f"layer.{name}": value for name, value in numbers(layer).items()}
    for i in range(2):
        np.testing.assert_allclose(said[i], styled(p, "layer", x[i].numpy(), w[i].numpy(), up), rtol=0, atol=1e-12)


def test_image_layer(at_work):
    layer = at_work(ToImage(4, 3, 5))
    x, w = torch.randn(2, 4, 3, 5, dtype=torch.float64), torch.randn(2, 5, dtype=torch.float64)
    p = {f"layer.{name}": value for name, value in numbers(layer).items()}
    for i in range(2):
        np.testing.assert_allclose(
            layer(x, w)[i].detach(), to_image(p, "layer", x[i].numpy(), w[i].numpy()), rtol=0, atol=1e-12
        )


# ---- the filter

MODES = {
    "up": ({"mode": "up", "gain": 4.0}, doubled),
    "down": ({"mode": "down"}, halved),
    "blur": ({"mode": "blur", "padding": 2}, lambda x: filtered(pad(x, 2, 2))),
}


@pytest.mark.parametrize("mode", MODES)
def test_filter_forward(mode):
    options, expected = MODES[mode]
    fir = Fir(2, **options).double()
    x = torch.randn(3, 2, 4, 6, dtype=torch.float64)
    for said, image in zip(fir(x), x, strict=True):
        np.testing.assert_allclose(said, expected(image.numpy()), rtol=0, atol=1e-12)


def explicit(x, mode):
    """The same of tensors, by zero insertion and sixteen shifted copies, for what autograd makes of it."""
    if mode == "up":
        x = torch.stack([x, torch.zeros_like(x)], 4).flatten(3)
        x = torch.stack([x, torch.zeros_like(x)], 3).flatten(2, 3)
    before, after = {"up": (2, 1), "down": (1, 1), "blur": (2, 2)}[mode]
    x = F.pad(x, (before, after, before, after))
    height, width = x.shape[2] - 3, x.shape[3] - 3
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype) / (4 if mode == "up" else 8)
    y = sum(taps[i] * taps[j] * x[:, :, i : i + height, j : j + width] for i in range(4) for j in range(4))
    return y[:, :, ::2, ::2] if mode == "down" else y


@pytest.mark.parametrize("mode", MODES)
def test_filter_backward_and_double_backward(mode):
    fir = Fir(2, **MODES[mode][0]).double()
    x = torch.randn(2, 2, 4, 6, dtype=torch.float64, requires_grad=True)
    found = []
    for function in (fir, lambda x: explicit(x, mode)):
        y = function(x)
        (slope,) = torch.autograd.grad((y**3).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad((slope**2).sum(), x)
        found.append((y, slope, second))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert torch.autograd.gradgradcheck(lambda x: fir(x), (x,))


def test_resampling_keeps_a_constant_away_from_the_border():
    flat = torch.full((1, 1, 8, 8), 3.0)
    for mode in ("up", "down"):
        said = Fir(1, **MODES[mode][0])(flat)[:, :, 2:-2, 2:-2]
        torch.testing.assert_close(said, torch.full_like(said, 3.0))
