"""What styles do: modulation, mixing, truncation, and the mean that it goes towards."""

from __future__ import annotations

import math

import pytest
import torch

from ganzoo.models import Model
from ganzoo.plugin import DataSpec
from ganzoo_stylegan.discriminator import StyleDiscriminator
from ganzoo_stylegan.generator import DECAY, StyleGenerator
from ganzoo_stylegan.layers import GAIN, Conv, Linear, StyledConv

DATA = DataSpec("image", (3, 32, 32), classes=("a", "b", "c"))
SMALL = {"z_dim": 6, "embedding": 6, "channels": 4, "max_channels": 8, "noise": True}
LAYERS = 8


def test_demodulated_outputs_have_unit_variance_for_white_inputs():
    layer = StyledConv(24, 12, 6, noise=None, up=False).double().eval()
    with torch.no_grad():
        torch.nn.init.normal_(layer.style.weight, 0, 3.0)  # scales far from 1
        x, w = torch.randn(6, 24, 64, 64, dtype=torch.float64), torch.randn(6, 6, dtype=torch.float64)
        said = layer(x, w)
        inner = torch.where(said > 0, said, said / 0.2)[:, :, 1:-1, 1:-1] / GAIN  # before the leaky ReLU
    variances = inner.var((2, 3))  # 3,844 places, of which neighbours share inputs
    assert layer.style(w).std() > 2
    assert abs(variances.mean() - 1) < 0.01
    assert (variances - 1).abs().max() < 0.15


def test_weights_are_used_at_equalised_scale():
    """Whatever the fan-in and the learning rate's multiplier, used weights have the variance gain^2 / fan-in; a step of Adam
    moves them by the multiplier."""
    for layer, fan_in, gain, multiplier in [
        (Linear(400, 300, multiplier=0.01, gain=GAIN), 400, GAIN, 0.01),
        (Linear(200, 300), 200, 1.0, 1.0),
        (Conv(40, 60, 3, gain=GAIN), 360, GAIN, 1.0),
        (Conv(200, 300, 1), 200, 1.0, 1.0),
    ]:
        used = layer.weight * layer.weight_scale
        assert abs(used.std() * math.sqrt(fan_in) / gain - 1) < 0.02
        before = used.detach().clone()
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
        layer.weight.sum().backward()
        optimizer.step()
        step = before - layer.weight * layer.weight_scale
        torch.testing.assert_close(step, torch.full_like(step, 0.1 * multiplier * gain / math.sqrt(fan_in)), rtol=1e-3, atol=0)


# ---- mixing


@pytest.mark.parametrize("k", range(1, LAYERS))
def test_a_style_from_layer_k_on_changes_only_the_layers_from_k(k, at_work):
    gen = at_work(StyleGenerator(DATA, **SMALL))
    layers = {0: gen.synthesis.convs[0], 1: gen.synthesis.to_image[0]}
    for i in range(1, 4):
        layers |= {2 * i - 1: gen.synthesis.convs[2 * i - 1], 2 * i: gen.synthesis.convs[2 * i]}
    seen: dict[object, list[torch.Tensor]] = {}
    modules = [*gen.synthesis.convs, *gen.synthesis.to_image]
    for module in modules:
        module.register_forward_hook(lambda module, args, out: seen.setdefault(module, []).append(out))
    w, other = torch.randn(2, 2, LAYERS, 6, dtype=torch.float64)
    with torch.no_grad():
        gen.synthesis(w)
        gen.synthesis(torch.cat([w[:, :k], other[:, k:]], 1))
    # Convolution i has style i, and the image of resolution i style 2i + 1; both see the maps that came before.
    for module in modules:
        before, after = seen[module]
        index = list(gen.synthesis.convs).index(module) if isinstance(module, StyledConv) else None
        if index is None:
            index = 2 * list(gen.synthesis.to_image).index(module) + 1
        assert torch.equal(before, after) == (index < k), (index, k)


def test_training_mixes_two_styles_of_one_label_at_a_cut_that_is_uniform():
    gen = StyleGenerator(DATA, **SMALL, mixing=1.0).train()
    n = 7000
    z, labels = torch.randn(n, 6), torch.randint(3, (n,))
    passes = []
    plain = type(gen.mapping).style

    def spy(z, labels):
        passes.append((z, labels, plain(gen.mapping, z, labels)))
        return passes[-1][2]

    gen.mapping.style = spy
    with torch.no_grad():
        styles = gen.mapping(z, {"labels": labels})
    (first_z, first_labels, first), (second_z, second_labels, second) = passes
    assert torch.equal(first_z, z)
    assert torch.equal(first_labels, labels)
    assert torch.equal(second_labels, labels)
    assert not (second_z == z).any()
    is_first, is_second = ((styles == w[:, None]).all(2) for w in (first, second))
    assert (is_first ^ is_second).all()
    cuts = is_first.sum(1)
    assert torch.equal(is_first, torch.arange(LAYERS) < cuts[:, None])
    counts = torch.bincount(cuts, minlength=LAYERS + 1)[1:LAYERS]
    assert counts.sum() == n
    assert (counts - n / 7).abs().max() < 5 * math.sqrt(n / 7)  # five standard deviations


@pytest.mark.parametrize(("mixing", "training", "share"), [(0.0, True, 0.0), (1.0, False, 0.0), (0.3, True, 0.3)])
def test_mixing_is_a_probability_and_of_training_alone(mixing, training, share):
    gen = StyleGenerator(DATA, **SMALL, mixing=mixing).train(training)
    with torch.no_grad():
        w = gen.mapping(torch.randn(2000, 6), {"labels": torch.zeros(2000, dtype=torch.long)})
    mixed = (w != w[:, :1]).flatten(1).any(1).double().mean()
    assert abs(mixed - share) <= 5 * math.sqrt(share * (1 - share) / 2000)


# ---- the mean style


def test_mean_of_each_class_follows_its_batch_means_and_an_absent_class_keeps_its_own():
    gen = StyleGenerator(DATA, **SMALL, mixing=1.0).double().train()
    start = torch.randn(3, 6, dtype=torch.float64)
    gen.mean_w.copy_(start)
    z, labels = torch.randn(5, 6, dtype=torch.float64), torch.tensor([2, 0, 2, 2, 0])
    gen.mapping(z, {"labels": labels})
    w = gen.mapping.style(z, labels)  # mixing pass left out
    expected = start.clone()
    for label in (0, 2):
        expected[label] += (1 - DECAY) * (w[labels == label].mean(0) - start[label])
    torch.testing.assert_close(gen.mean_w, expected)


def test_mean_without_labels():
    gen = StyleGenerator(DataSpec("image", (3, 8, 8)), **SMALL, mixing=1.0).double().train()
    z = torch.randn(5, 6, dtype=torch.float64)
    gen.mapping(z, {})
    torch.testing.assert_close(gen.mean_w, (1 - DECAY) * gen.mapping.style(z, None).mean(0))


def test_the_mean_moves_in_training_alone():
    gen = StyleGenerator(DATA, **SMALL).eval()
    gen(torch.randn(4, 6), {"labels": torch.zeros(4, dtype=torch.long)})
    assert not gen.mean_w.any()


def test_after_many_batches_it_is_the_mean_of_w_given_the_class():
    gen = StyleGenerator(DATA, **SMALL).train()
    with torch.no_grad():
        for _ in range(1500):
            gen.mapping(torch.randn(48, 6), {"labels": torch.arange(48) % 3})
        for label in range(3):
            w = gen.mapping.style(torch.randn(20_000, 6), torch.full((20_000,), label))
            # A class's mean is over 16 samples a pass and 2 / (1 - DECAY) passes or so.
            error = w.std(0) / math.sqrt(16 * 2 / (1 - DECAY))
            assert ((gen.mean_w[label] - w.mean(0)).abs() < 5 * error + 1e-4).all()


def test_truncation_to_zero_gives_one_image_a_class():
    gen = StyleGenerator(DATA, **SMALL).eval()
    with torch.no_grad():
        for layer in gen.synthesis.convs:
            layer.strength.fill_(0.5)
        gen.mean_w.copy_(torch.randn(3, 6))
        means = gen.synthesis(gen.mean_w[:, None].expand(-1, LAYERS, -1))
    model = Model(gen, DATA, {"style": True, "noise": {"z_dim": 6, "prior": "normal"}})
    for label in range(3):
        images = model.sample(5, label=label, truncation=0.0)
        torch.testing.assert_close(images, means[label].expand(5, -1, -1, -1))
        assert not torch.allclose(images, means[label - 1], atol=0.1)
        half = model.sample(5, label=label, truncation=0.5)
        assert (half - images).square().mean() > 0


def test_training_draws_the_noise_that_eval_mode_keeps():
    gen = StyleGenerator(DATA, **SMALL, mixing=0.0)
    inputs = torch.randn(1, 6).expand(4, -1), {"labels": torch.zeros(4, dtype=torch.long)}
    with torch.no_grad():
        assert torch.equal(gen.train()(*inputs), gen.eval()(*inputs))  # strengths start at zero
        gen.synthesis.convs[2].strength.fill_(1.0)
        drawn, kept = gen.train()(*inputs), gen.eval()(*inputs)
    assert torch.allclose(kept, kept[:1].expand_as(kept), atol=1e-6)
    assert (drawn - drawn[:1])[1:].abs().amax((1, 2, 3)).min() > 0.01


def test_without_noise_training_is_as_eval_mode():
    gen = StyleGenerator(DATA, **{**SMALL, "noise": False, "mixing": 0.0})
    inputs = torch.randn(2, 6), {"labels": torch.zeros(2, dtype=torch.long)}
    assert not [name for name in gen.state_dict() if "noise" in name or "strength" in name]
    state = torch.get_rng_state()
    assert torch.equal(gen.train()(*inputs), gen.eval()(*inputs))
    assert torch.equal(state, torch.get_rng_state())


# ---- sizes


@pytest.mark.parametrize(
    ("side", "widths", "z_dim"),
    [
        (8, [64, 64], 128),
        (32, [64] * 4, 128),
        (64, [128, 128, 128, 128, 64], 256),
        (128, [256, 256, 256, 256, 128, 64], 512),
        (256, [512, 512, 512, 512, 256, 128, 64], 512),  # 16384 / side and 512 at most: published
        (512, [512, 512, 512, 512, 512, 256, 128, 64], 512),  # 32768 / side from here
        (1024, [512, 512, 512, 512, 512, 256, 128, 64, 32], 512),
    ],
)
def test_widths_by_resolution(side, widths, z_dim):
    data = DataSpec("image", (3, side, side))
    with torch.device("meta"):
        gen = StyleGenerator(data, **StyleGenerator.auto(data, 16))
        disc = StyleDiscriminator(data, **StyleDiscriminator.auto(data, 16))
    assert gen.z_dim == z_dim
    assert (gen.synthesis.convs[0].strength is not None) == (side >= 256)
    assert [layer.in_channels for layer in gen.synthesis.to_image] == widths
    assert [block.second.out_channels for block in disc.blocks] == widths[-2::-1]


def test_size_of_the_published_networks():
    """At 1024 pixels, a mapping network of 8 layers: D's as a log of the authors' code prints it, G's from memory."""
    data = DataSpec("image", (3, 1024, 1024))
    with torch.device("meta"):
        gen = StyleGenerator(data, **StyleGenerator.auto(data, 32), mapping_layers=8)
        disc = StyleDiscriminator(data, **StyleDiscriminator.auto(data, 32))
    assert sum(p.numel() for p in gen.parameters()) == 30_370_060
    assert sum(p.numel() for p in disc.parameters()) == 29_012_513


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mixing": 1.5}, "mixing=1.5"),
        ({"mapping_layers": 0}, "mapping_layers=0"),
        ({"w_dim": 0}, "w_dim=0"),
        ({"channels": 0}, "channels=0"),
        ({"z_dim": "auto"}, "z_dim='auto'"),
        ({"noise": "auto"}, "noise='auto'"),
    ],
)
def test_bad_options_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        StyleGenerator(DATA, **{**SMALL, **options})


def test_a_batch_that_is_no_multiple_of_the_group_is_refused():
    disc = StyleDiscriminator(DATA, channels=2, max_channels=2, minibatch_stddev=4)
    with pytest.raises(ValueError, match="batch of 6 is no multiple of minibatch_stddev=4"):
        disc(torch.zeros(6, 3, 32, 32), {"labels": torch.zeros(6, dtype=torch.long)})
