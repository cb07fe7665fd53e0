from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from ganzoo.interfaces import Augment, Score
from ganzoo.plugin import DataSpec
from ganzoo_objectives.packing import Packing
from ganzoo_objectives.penalties import R1, R2, Dragan, GradientPenalty, squared_gradients

DATA = DataSpec("image", (3, 4, 4))
N, F64 = 6, torch.float64


@pytest.fixture
def w() -> Tensor:
    return torch.randn(48, dtype=F64) / 7


@pytest.fixture
def real() -> Tensor:
    return torch.randn(N, 3, 4, 4, dtype=F64)


@pytest.fixture
def penalty(build_match, phase_loss, fixed, real):
    """The value of one regularizer in D's phase for a discriminator."""

    def value(reg, disc, *others, augment=None, nimg=0, budget=0, **more) -> Tensor:
        match = build_match(fixed(torch.randn(N, 3, 4, 4, dtype=F64)), disc, reg, *others, augment=augment)
        match.budget = budget
        stats: dict[str, Tensor] = {}
        total = phase_loss(match, "D", real, every=reg.every, nimg=nimg, stats=stats, **more)
        assert total.requires_grad
        return stats[f"D/{type(reg).__name__}0"]

    return value


class Map(nn.Module):
    """A map of equal logits, or several heads, on top of one network."""

    def __init__(self, inner: nn.Module, shape: tuple[int, ...] = (), heads: int = 1) -> None:
        super().__init__()
        self.inner, self.shape, self.heads = inner, shape, heads

    def forward(self, images: Tensor, condition: object) -> Score:
        logits = self.inner(images, condition)
        logits = logits.view(-1, *[1] * len(self.shape)).expand(-1, *self.shape) if self.shape else logits
        return Score(tuple([logits] * self.heads) if self.heads > 1 else logits)


class Curved(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(48, 5), nn.Tanh(), nn.Linear(5, 1)).double()

    def forward(self, images: Tensor, condition: object) -> Tensor:
        return self.net(images).squeeze(1)


class Doubled(Augment):
    def forward(self, images: Tensor) -> Tensor:
        return 2 * images


@pytest.mark.parametrize("cls", [R1, R2])
def test_zero_centred_penalty_of_an_affine_d(cls, penalty, affine, w):
    assert penalty(cls(DATA, gamma=3.0), affine(w, 5.0)).item() == pytest.approx(1.5 * w.square().sum().item(), rel=1e-12)


def test_gradient_penalty_of_an_affine_d(penalty, affine, w):
    slope = w.norm().item()
    assert penalty(GradientPenalty(DATA), affine(w)).item() == pytest.approx(10 * (slope - 1) ** 2, rel=1e-9)
    assert penalty(GradientPenalty(DATA, weight=2.0), affine(5 * w)).item() == pytest.approx(2 * (5 * slope - 1) ** 2, rel=1e-9)


def test_one_sided_penalty_leaves_gentle_slopes_alone(penalty, affine, w):
    gentle, steep = w / w.norm() / 2, w / w.norm() * 3
    assert penalty(GradientPenalty(DATA, one_sided=True), affine(gentle)).item() == 0
    assert penalty(GradientPenalty(DATA, one_sided=True), affine(steep)).item() == pytest.approx(10 * 4, rel=1e-9)
    assert penalty(GradientPenalty(DATA), affine(gentle)).item() == pytest.approx(10 / 4, rel=1e-9)


@pytest.mark.parametrize("noise", ["uniform", "normal"])
def test_dragan_of_an_affine_d(noise, penalty, affine, w):
    slope = w.norm().item()
    assert penalty(Dragan(DATA, noise=noise), affine(w)).item() == pytest.approx(10 * (slope - 1) ** 2, rel=1e-9)
    assert penalty(Dragan(DATA, noise=noise, weight=2.0), affine(5 * w)).item() == pytest.approx(
        2 * (5 * slope - 1) ** 2, rel=1e-9
    )


def test_dragan_perturbs_like_the_authors_code():
    n = 4000
    real = 3 + 2 * torch.randn(n, 3, 2, 2, dtype=F64)
    moved = (Dragan(DATA).perturbed(real) - real) / (0.5 * real.std(correction=0))
    assert moved.min() >= 0
    assert moved.max() < 1
    # a U with one a a sample: E aU = 1/4, E (aU)^2 = 1/9, and between two pixels of a sample E a^2 (EU)^2 = 1/12
    assert moved.mean().item() == pytest.approx(1 / 4, rel=0.03)
    assert moved.square().mean().item() == pytest.approx(1 / 9, rel=0.03)
    assert (moved[:, 0] * moved[:, 1]).mean().item() == pytest.approx(1 / 12, rel=0.05)


def test_dragan_perturbs_like_the_paper():
    real = 3 + 2 * torch.randn(4000, 3, 2, 2, dtype=F64)
    moved = (Dragan(DATA, noise="normal", scale=0.3).perturbed(real) - real) / (0.3 * real.std(correction=0))
    assert moved.mean().item() == pytest.approx(0, abs=0.02)
    assert moved.std().item() == pytest.approx(1, rel=0.02)
    assert moved.pow(4).mean().item() == pytest.approx(3, rel=0.05)
    assert (moved[:, 0] * moved[:, 1]).mean().item() == pytest.approx(0, abs=0.03)


@pytest.mark.parametrize(
    "reg",
    [R1(DATA, gamma=2.0), R2(DATA, gamma=2.0), GradientPenalty(DATA), Dragan(DATA)],
    ids=["r1", "r2", "gp", "dragan"],
)
def test_a_map_of_900_logits_weighs_as_one(reg, penalty, affine, w):
    one = penalty(reg, affine(w))
    torch.testing.assert_close(penalty(reg, Map(affine(w), (1, 30, 30))), one, rtol=1e-9, atol=0.0)


def test_heads_are_summed(penalty, affine, w):
    assert penalty(R1(DATA, gamma=2.0), Map(affine(w), heads=3)).item() == pytest.approx(9 * w.square().sum().item(), rel=1e-12)


@pytest.mark.parametrize("cls", [R1, R2])
def test_gradient_is_taken_through_the_augmentation(cls, penalty, affine, w):
    value = penalty(cls(DATA, gamma=2.0), affine(w), augment=Doubled(DATA))
    assert value.item() == pytest.approx(4 * w.square().sum().item(), rel=1e-12)


def test_a_pack_is_one_input(penalty, affine):
    w = torch.randn(96, dtype=F64) / 9
    pack = Packing(DATA, m=2)
    assert penalty(R1(DATA, gamma=2.0), affine(w), pack).item() == pytest.approx(w.square().sum().item(), rel=1e-12)
    assert penalty(GradientPenalty(DATA), affine(w), pack).item() == pytest.approx(10 * (w.norm().item() - 1) ** 2, rel=1e-9)


def test_each_penalty_looks_at_its_own_samples(build_match, phase_loss, fixed, penalty, real):
    # D(x) = sum of x^3 / 3: its squared gradient is the sum of x^4
    class Cubic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones((), dtype=F64))

        def forward(self, images: Tensor, condition: object) -> Tensor:
            return self.scale * images.pow(3).flatten(1).sum(1) / 3

    fake = torch.randn(N, 3, 4, 4, dtype=F64)
    stats: dict[str, Tensor] = {}
    match = build_match(fixed(fake), Cubic(), R1(DATA, gamma=2.0), R2(DATA, gamma=2.0))
    phase_loss(match, "D", real, stats=stats)
    torch.testing.assert_close(stats["D/R10"], real.pow(4).sum() / N)
    torch.testing.assert_close(stats["D/R21"], fake.pow(4).sum() / N)


def test_interpolates_have_one_weight_a_sample_and_the_condition_of_the_real(build_match, phase_loss, fixed):
    seen = []

    class Watching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones((), dtype=F64))

        def forward(self, images: Tensor, condition) -> Tensor:
            seen.append((images.detach(), condition["labels"]))
            return self.w * images.flatten(1).sum(1)

    n = 64
    match = build_match(fixed(torch.zeros(n, 3, 4, 4, dtype=F64)), Watching(), GradientPenalty(DATA))
    labels = torch.arange(n)  # of the reals; fakes are asked to be others
    phase_loss(match, "D", torch.ones(n, 3, 4, 4, dtype=F64), labels=labels, asked=labels.flip(0))
    between, condition = seen[-1]
    share = between.flatten(1)
    assert torch.equal(share, share[:, :1].expand_as(share))
    assert ((share >= 0) & (share <= 1)).all()
    assert len(share[:, 0].unique()) == n
    assert share[:, 0].mean().item() == pytest.approx(0.5, abs=4 / math.sqrt(12 * n))
    assert torch.equal(condition, labels)


@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize("cls", [R1, R2, GradientPenalty, Dragan])
def test_gradient_reaches_d_and_never_g(cls, every, build_match, phase_loss, fixed, real):
    options = {"every": every, "gamma": 1.0} if cls in (R1, R2) else {"every": every}
    gen, disc = fixed(torch.randn(N, 3, 4, 4, dtype=F64)), Curved()
    match = build_match(gen, disc, cls(DATA, **options))
    assert [phase.every for phase in match.phases("D")] == ([1] if every == 1 else [1, 4])
    phase_loss(match, "D", real, every=every).backward()
    assert all(p.grad is not None and p.grad.any() for p in list(disc.parameters())[:-1])  # the last bias has no slope
    assert gen.sample.grad is None
    assert real.grad is None
    assert not real.requires_grad


@pytest.mark.parametrize(
    "make",
    [
        lambda data: R1(data, gamma=1.0),
        lambda data: R2(data, gamma=1.0),
        GradientPenalty,
        lambda data: GradientPenalty(data, one_sided=True),
        Dragan,
        lambda data: Dragan(data, noise="normal"),
    ],
    ids=["r1", "r2", "gp", "one-sided", "dragan", "dragan of the paper"],
)
def test_derivatives_in_ds_weights_by_finite_differences(make, build_match, as_function, fixed, told):
    data, disc = DataSpec("points", (3,)), told(3)
    with torch.no_grad():
        disc.first.weight *= 3  # slopes on both sides of 1
        disc.head.weight *= 3
    match = build_match(fixed(torch.randn(4, 3, dtype=F64)), disc, make(data))
    value, where = as_function(match, torch.randn(4, 3, dtype=F64), "first.weight", "second.bias", "head.weight")
    assert torch.autograd.gradcheck(value, where)
    assert torch.autograd.gradgradcheck(value, where)


def test_squared_gradients_can_be_differentiated_twice():
    first, second = torch.randn(3, 4, dtype=F64, requires_grad=True), torch.randn(4, dtype=F64, requires_grad=True)
    inputs = torch.randn(2, 3, dtype=F64, requires_grad=True)

    def value(a: Tensor, b: Tensor, x: Tensor) -> Tensor:
        return squared_gradients((x @ a).tanh() @ b, x)

    assert torch.autograd.gradcheck(value, (first, second, inputs))
    assert torch.autograd.gradgradcheck(value, (first, second, inputs))


@pytest.mark.parametrize("cls", [GradientPenalty, Dragan])
def test_a_flat_d_has_a_finite_gradient(cls, build_match, phase_loss, fixed, affine, real):
    disc = affine(torch.zeros(48, dtype=F64))
    match = build_match(fixed(torch.randn(N, 3, 4, 4, dtype=F64)), disc, cls(DATA, every=2))
    phase_loss(match, "D", real, every=2).backward()
    assert disc.w.grad.isfinite().all()


def test_gamma_fades_along_half_a_cosine(penalty, affine, w):
    square = w.square().sum().item()
    reg = R1(DATA, gamma=1.0, gamma_end=0.1)
    for share, gamma in [(0.0, 1.0), (0.25, 0.55 + 0.45 / math.sqrt(2)), (0.5, 0.55), (1.0, 0.1)]:
        value = penalty(reg, affine(w), nimg=int(share * 1000), budget=1000)
        assert value.item() == pytest.approx(gamma / 2 * square, rel=1e-9)


def test_gamma_may_fade_over_less_than_the_budget(penalty, affine, w):
    square = w.square().sum().item()
    reg = R1(DATA, gamma=1.0, gamma_end=0.1, ramp=0.2)
    for nimg, gamma in [(0, 1.0), (100, 0.55), (200, 0.1), (900, 0.1)]:
        value = penalty(reg, affine(w), nimg=nimg, budget=1000)
        assert value.item() == pytest.approx(gamma / 2 * square, rel=1e-9)


@pytest.mark.parametrize("cls", [R1, R2])
def test_automatic_gamma(cls):
    assert cls.auto(DataSpec("image", (3, 256, 256)), 32)["gamma"] == pytest.approx(0.4096)
    assert cls.auto(DataSpec("image", (1, 32, 16)), 64)["gamma"] == pytest.approx(2e-4 * 512 / 64)
    assert cls.auto(DataSpec("signal", (2, 128)), 64)["gamma"] == pytest.approx(2e-4 * 128 / 64)
    assert cls.auto(DataSpec("points", (2,)), 64)["gamma"] == cls.auto(DataSpec("points", (2,)), 512)["gamma"] == 0.1
    with pytest.raises(ValueError, match=rf"gamma='auto'.*{cls.__name__}\.auto"):
        cls(DATA)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: R1(DATA, gamma=-1.0), "gamma=-1.0"),
        (lambda: R2(DATA, gamma=1.0, gamma_end=-1.0), "gamma_end=-1.0"),
        (lambda: R2(DATA, gamma=1.0, ramp=5.0), "ramp=5.0 must be above 0 kimg, and leads to gamma_end"),
        (lambda: R2(DATA, gamma=1.0, every=0), "every=0"),
        (lambda: GradientPenalty(DATA, weight=-1.0), "weight=-1.0"),
        (lambda: GradientPenalty(DATA, every=0), "every=0"),
        (lambda: Dragan(DATA, weight=-1.0), "weight=-1.0"),
        (lambda: Dragan(DATA, scale=-1.0), "scale=-1.0"),
        (lambda: Dragan(DATA, every=0), "every=0"),
    ],
)
def test_options_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
