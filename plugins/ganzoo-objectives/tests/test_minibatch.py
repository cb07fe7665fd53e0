"""What is inserted before D's head: minibatch discrimination and minibatch stddev."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrizations

from ganzoo.interfaces import Play
from ganzoo.plugin import DataSpec
from ganzoo_objectives.minibatch import Closeness, MinibatchDiscrimination, MinibatchStddev
from ganzoo_objectives.packing import Packing
from ganzoo_objectives.penalties import R1
from ganzoo_objectives.spectral import DividedBySigma, SpectralNorm
from ganzoo_objectives.unrolled import Unrolled

DATA, F64 = DataSpec("image", (2, 4, 4)), torch.float64


class Flat(nn.Module):
    """A linear head on a vector."""

    def __init__(self, channels: int = 2) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(16 * channels, 5), nn.Linear(5, 1)

    def features(self, images: Tensor) -> Tensor:
        return self.body(images.flatten(1)).tanh()

    def forward(self, images: Tensor, condition: object) -> Tensor:
        return self.head(self.features(images)).squeeze(1)


class Patches(nn.Module):
    """A convolution as head, on a map."""

    def __init__(self, channels: int = 2) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(channels, 5, 3, padding=1), nn.Conv2d(5, 1, 3, padding=1)

    def features(self, images: Tensor) -> Tensor:
        return self.body(images).tanh()

    def forward(self, images: Tensor, condition: object) -> Tensor:
        return self.head(self.features(images))


either = pytest.mark.parametrize("cls", [Flat, Patches])


def images(n: int, dtype: torch.dtype = F64) -> Tensor:
    return torch.randn(n, 2, 4, 4, dtype=dtype)


@pytest.fixture
def attached(build_match, fixed):
    """A D in float64 with these regularizers."""

    def attach(disc: nn.Module, *regs) -> nn.Module:
        build_match(fixed(images(1)), disc.double(), *regs)
        return disc

    return attach


def closeness_slowly(h: Tensor, t: Tensor) -> Tensor:
    """o [N, K] of h [N, F] and T [F, K, C], a number at a time."""
    n, (f, kernels, dim) = len(h), t.shape
    m = [
        [[sum(h[i, a].item() * t[a, k, c].item() for a in range(f)) for c in range(dim)] for k in range(kernels)]
        for i in range(n)
    ]
    return torch.tensor(
        [
            [
                sum(math.exp(-sum(abs(p - q) for p, q in zip(m[i][k], m[j][k], strict=True))) for j in range(n) if j != i)
                for k in range(kernels)
            ]
            for i in range(n)
        ],
        dtype=h.dtype,
    )


def tensor_of(layer: Closeness) -> Tensor:
    """T: each column a direction, times its scale, in the unit of its kernel."""
    columns = layer.kernels / layer.kernels.square().sum(0).sqrt()
    return (columns * layer.log_scale.exp() * layer.unit[:, None]).detach()


@either
def test_discrimination_against_a_slow_reference(cls, attached):
    disc = cls()
    old = copy.deepcopy(disc).double()
    attached(disc, MinibatchDiscrimination(DATA, kernels=3, dim=2))
    layer = disc.head.inserted["minibatch-discrimination"]
    with torch.no_grad():
        layer.log_scale.normal_()
        layer.bias.normal_()
    x = images(6)
    disc(images(6), {})  # measures
    features = disc.features(x)
    seen = features if cls is Flat else features.mean((2, 3))
    o = closeness_slowly(seen, tensor_of(layer)) + layer.bias
    weight, new = disc.head.weight[:, :5], disc.head.weight[:, 5:]
    assert torch.equal(weight, old.head.weight)
    assert new.shape[1] == 3
    if cls is Flat:
        expected = old(x, {}) + o @ new[0]
    else:
        expected = old(x, {}) + nn.functional.conv2d(o[:, :, None, None].expand(-1, -1, 4, 4), new, padding=1)
    torch.testing.assert_close(disc(x, {}), expected)


def test_equal_samples_are_at_one_and_far_ones_at_nothing():
    layer = Closeness(torch.zeros((), dtype=F64), features=4, kernels=6, dim=5)
    h = torch.randn(3, 4, dtype=F64)
    h[1], h[2] = h[0], h[0] + 1e4
    torch.testing.assert_close(layer.closeness(h[:2]), torch.ones(2, 6, dtype=F64))
    layer.eval()
    o = layer.closeness(h)
    torch.testing.assert_close(o[:2], torch.ones(2, 6, dtype=F64))
    assert o[2].abs().max() < 1e-12


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e4])
def test_unit_comes_from_the_first_training_batch(size):
    layer = Closeness(torch.zeros((), dtype=F64), features=7, kernels=4, dim=5)
    first, second = (size * torch.randn(9, 7, dtype=F64) for _ in range(2))
    layer.eval()
    layer(first)
    assert torch.equal(layer.unit, torch.ones(4, dtype=F64))
    layer.train()
    layer(first)
    m = torch.einsum("nf,fkc->nkc", first, tensor_of(layer))
    distances = [(m[i] - m[j]).abs().sum(1) for i in range(9) for j in range(i)]
    torch.testing.assert_close(torch.stack(distances).mean(0), torch.full((4,), 5.0, dtype=F64))
    unit = layer.unit.clone()
    layer(100 * second)
    assert torch.equal(layer.unit, unit)


@pytest.mark.parametrize("size", [1e-3, 1e4])
def test_is_not_dead_at_the_start(size):
    layer = Closeness(torch.zeros(()), features=64, kernels=100, dim=5)
    h = (size * torch.randn(32, 64)).requires_grad_()
    o = layer(h) - layer.bias
    assert 0.01 < o.mean() < 30
    by_kernels, by_scale, by_h = torch.autograd.grad((o * torch.randn_like(o)).sum(), [layer.kernels, layer.log_scale, h])
    assert all(grad.isfinite().all() for grad in (by_kernels, by_scale, by_h))
    assert by_scale.abs().mean() > 1e-3  # d o / d log T
    plain = (-((h - h.roll(1, 0)) @ torch.randn(64, 5)).abs().sum(1)).exp()
    assert size < 1 or plain.max() == 0  # what a plain T ~ N(0, 1) would have given


def test_clusters_are_seen_as_such():
    """Samples of a narrow cluster count as close, those of another do not, though the nearest are a thousand times as near."""
    layer = Closeness(torch.zeros((), dtype=F64), features=8, kernels=16, dim=5)
    centres = torch.randn(4, 8, dtype=F64)
    o = layer.closeness(centres.repeat(8, 1) + 1e-3 * torch.randn(32, 8, dtype=F64))
    assert 6.5 < o.mean() < 9  # seven others in each, and what the other clusters add


def test_first_batches_without_any_distance_set_no_unit():
    layer = Closeness(torch.zeros(()), features=4, kernels=3, dim=2)
    layer(torch.ones(5, 4))
    assert torch.equal(layer.unit, torch.ones(3))
    alone = Closeness(torch.zeros(()), features=4, kernels=3, dim=2)
    torch.testing.assert_close(alone(torch.randn(1, 4)), alone.bias[None].detach(), rtol=0, atol=1e-6)
    assert not alone.measured


def test_a_look_ahead_measures_nothing_for_good(build_match, phase_loss, fixed):
    disc = Flat().double()
    match = build_match(
        fixed(images(6)), disc, MinibatchDiscrimination(DATA, kernels=3), Unrolled(DATA, steps=2, optimizer="sgd", lr=0.1)
    )
    layer = disc.head.inserted["minibatch-discrimination"]
    phase_loss(match, "G", images(6)).backward()
    assert not layer.measured
    assert torch.equal(layer.unit, torch.ones(3, dtype=F64))
    phase_loss(match, "D", images(6)).backward()
    assert layer.measured


def test_g_is_pushed_apart(build_match, phase_loss, fixed):
    # with a head that looks at o alone and dislikes it, G's gradient drives close samples away from each other
    gen, disc = fixed(1e-2 * images(2)), Flat().double()
    match = build_match(gen, disc, MinibatchDiscrimination(DATA, kernels=8))
    layer = disc.head.inserted["minibatch-discrimination"]
    phase_loss(match, "D", images(2))
    with torch.no_grad():
        disc.head.weight[:, :5], disc.head.weight[:, 5:] = 0, -1
        layer.unit = torch.ones_like(layer.unit)
    before = (gen.sample[0] - gen.sample[1]).norm().item()
    phase_loss(match, "G", images(2)).backward()
    moved = gen.sample.detach() - 1e-2 * gen.sample.grad
    assert (moved[0] - moved[1]).norm().item() > before


@either
@pytest.mark.parametrize("group", [2, 3])
def test_stddev_against_a_slow_reference(cls, group, attached):
    disc = cls()
    old = copy.deepcopy(disc).double()
    attached(disc, MinibatchStddev(DATA, group=group))
    x = images(2 * group)
    h = disc.features(x).flatten(1)
    spreads = []
    for g in range(2):
        members = h[g * group : (g + 1) * group]
        deviations = [math.sqrt(((column - column.mean()) ** 2).mean().item() + 1e-8) for column in members.T]
        spreads += [sum(deviations) / len(deviations)] * group
    spread = torch.tensor(spreads, dtype=F64)
    new = disc.head.weight[:, 5:]
    if cls is Flat:
        expected = old(x, {}) + spread * new[0, 0]
    else:
        expected = old(x, {}) + nn.functional.conv2d(spread.view(-1, 1, 1, 1).expand(-1, 1, 4, 4), new, padding=1)
    torch.testing.assert_close(disc(x, {}), expected)


def test_broken_groups_are_refused(attached):
    disc = attached(Flat(), MinibatchStddev(DATA, group=4))
    with pytest.raises(ValueError, match="D sees 6 samples, which are no whole groups of 4; make --batch"):
        disc(images(6), {})


ALL = [
    lambda: [MinibatchDiscrimination(DATA, kernels=3, dim=2)],
    lambda: [MinibatchStddev(DATA, group=2)],
    lambda: [SpectralNorm(DATA), MinibatchStddev(DATA, group=2), MinibatchDiscrimination(DATA, kernels=3, dim=2)],
]
every_set = pytest.mark.parametrize("regs", ALL, ids=["discrimination", "stddev", "both with spectral norm"])


@either
def test_both_and_spectral_norm_share_a_head(cls, attached):
    disc = cls()
    old = disc.head
    attached(disc, *ALL[2]())
    assert disc.head is old
    assert isinstance(disc.head, (nn.Linear, nn.Conv2d))
    assert (disc.head.in_features if cls is Flat else disc.head.in_channels) == 5 + 1 + 3 == disc.head.weight.shape[1]
    assert [layer.width for layer in disc.head.inserted.values()] == [1, 3]
    steps = [m for m in disc.modules() if isinstance(m, DividedBySigma)]
    assert len(steps) == 2  # body and head: the learned tensor is no weight of a layer
    for layer in (disc.body, disc.head):
        for _ in range(300):
            layer.parametrizations.weight[0].advance(layer.parametrizations.weight.original)
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1)
    # each sees the features as they were
    x = images(4)
    h = disc.features(x)
    parts = {name: layer(h).view(4, -1, *[1] * (h.ndim - 2)) for name, layer in disc.head.inserted.items()}
    wide = torch.cat([h, *(part.expand(-1, -1, *h.shape[2:]) for part in parts.values())], 1)
    layer = disc.head
    expected = nn.functional.linear(wide, layer.weight, layer.bias) if cls is Flat else None
    if expected is None:
        expected = nn.functional.conv2d(wide, layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(disc(x, {}), expected.squeeze(1) if cls is Flat else expected)


@either
@every_set
def test_copies_seats_states_and_meta(cls, regs, attached, build_match, fixed):
    disc = attached(cls(), *regs())
    x = images(4)
    disc(x, {})
    said = disc(x, {})
    twin = copy.deepcopy(disc)
    assert torch.equal(twin(x, {}), said)
    for p in twin.parameters():
        nn.init.normal_(p)
    assert not torch.allclose(twin(x, {}), said)
    assert torch.equal(disc(x, {}), said)
    params = {name: p.detach() for name, p in twin.named_parameters()}
    buffers = dict(twin.named_buffers())
    torch.testing.assert_close(functional_call(disc, {**params, **buffers}, (x, {})), twin(x, {}))
    assert torch.equal(disc(x, {}), said)
    with torch.device("meta"):
        empty = cls()
        build_match(fixed(torch.zeros(1, 2, 4, 4)), empty, *regs())
        assert all(t.is_meta for t in empty.state_dict().values())
        assert empty(torch.zeros(4, 2, 4, 4), {}).shape == said.shape
    empty.to_empty(device="cpu").double().load_state_dict(disc.state_dict())
    assert torch.equal(empty(x, {}), said)


@either
@every_set
def test_derivatives_by_finite_differences(cls, regs, attached):
    disc = attached(cls(), *regs())
    x = images(4)
    disc(x, {})
    torch.manual_seed(2)
    weights = torch.randn_like(disc(x, {}))
    params = {name: p.detach().clone().requires_grad_() for name, p in disc.named_parameters()}
    names = [name for name in params if name.startswith("head")]

    def said(*given: Tensor) -> Tensor:
        return (functional_call(disc, dict(zip(names, given, strict=True)), (x, {})) * weights).sum()

    assert torch.autograd.gradcheck(said, [params[name] for name in names])

    def squared_slope(first: Tensor) -> Tensor:
        inputs = torch.cat([first, x[1:]])
        (slope,) = torch.autograd.grad((disc(inputs, {}) * weights).sum(), inputs, create_graph=True)
        return slope.square().sum()

    assert torch.autograd.gradcheck(squared_slope, x[:1].clone().requires_grad_())


@either
@every_set
def test_penalties_can_be_twice_differentiated_through_them(cls, regs, build_match, phase_loss, fixed):
    disc = cls().double()
    match = build_match(fixed(images(1)), disc, *regs(), R1(DATA, gamma=1.0))
    same = images(1).expand(4, -1, -1, -1)  # no spread at all: the root is at its end
    phase_loss(match, "D", same).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in disc.parameters())
    assert disc.head.inserted is not None
    assert {f"head.inserted.{name}" for name, _ in disc.head.inserted.named_parameters()} <= match.trainable


@either
@every_set
def test_under_autocast(cls, regs, build_match, fixed):
    disc = cls()
    build_match(fixed(images(1)), disc, *regs())
    x = images(8, torch.float32)
    disc(x, {})
    exact = disc(x, {})
    with torch.autocast("cpu", torch.bfloat16):
        rough = disc(x, {})
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), exact, rtol=0.05, atol=0.05)


@either
def test_packs_are_the_samples(cls, build_match, fixed):
    spec = Packing(DATA, m=2).data(DATA)
    disc = cls(spec.channels).double()
    regs = Packing(DATA, m=2), MinibatchStddev(DATA, group=2), MinibatchDiscrimination(DATA, kernels=3)
    match = build_match(fixed(images(8)), disc, *regs)
    real = images(8)
    play = Play(match, "D", {"real": real, "x": torch.zeros(8, 1, dtype=F64)}, 0)
    score = play.real_score.per_sample()
    assert score.shape == (4,)
    expected = disc(real.reshape(4, 4, 4, 4), {})
    torch.testing.assert_close(score, expected.flatten(1).mean(1) if cls is Patches else expected)


def test_tokens_are_averaged_too(attached):
    class Tokens(Flat):
        def features(self, images: Tensor) -> Tensor:
            return self.body(images.flatten(1)[:, None].expand(-1, 3, -1)).tanh()  # [N, 3, 5]

    disc = attached(Tokens(), *ALL[2]())
    assert disc(images(4), {}).shape == (4, 3, 1)


def test_new_columns_have_the_spread_of_the_old(attached):
    disc = Flat()
    disc.head = nn.Linear(5, 2000)
    nn.init.normal_(disc.head.weight, 0, 0.3)
    attached(disc, MinibatchDiscrimination(DATA, kernels=4))
    assert disc.head.weight[:, 5:].std().item() == pytest.approx(0.3, rel=0.05)


def test_heads_that_cannot_be_widened_are_refused(attached):
    disc = Flat()
    parametrizations.spectral_norm(disc.head)
    with pytest.raises(ValueError, match="minibatch-stddev: the weight of D's head is computed"):
        attached(disc, MinibatchStddev(DATA))
    disc.head = nn.Bilinear(5, 5, 1)
    with pytest.raises(ValueError, match="minibatch-discrimination: D's head is a Bilinear"):
        attached(disc, MinibatchDiscrimination(DATA))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MinibatchDiscrimination(DATA, kernels=0), "kernels=0"),
        (lambda: MinibatchDiscrimination(DATA, dim=0), "dim=0"),
        (lambda: MinibatchStddev(DATA, group=1), "group=1"),
    ],
)
def test_options_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
