from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ganzoo.interfaces import Score
from ganzoo.plugin import DataSpec
from ganzoo_objectives.losses import Hinge, LeastSquares, Minimax, NonSaturating, Relativistic, RelativisticAverage, Wasserstein

DATA = DataSpec("points", (1,))


def sp(t: float) -> float:
    return max(t, 0.0) + math.log1p(math.exp(-abs(t)))


# (L_D, L_G) of one real logit r and one fake logit f, after the papers
FORMULAS = {
    Minimax: (lambda r, f: sp(-r) + sp(f), lambda r, f: -sp(f) - sp(-r)),
    NonSaturating: (lambda r, f: sp(-r) + sp(f), lambda r, f: sp(-f)),
    Hinge: (lambda r, f: max(0.0, 1 - r) + max(0.0, 1 + f), lambda r, f: -f),
    LeastSquares: (lambda r, f: (r - 1) ** 2 / 2 + f**2 / 2, lambda r, f: (f - 1) ** 2 / 2),
    Wasserstein: (lambda r, f: f - r, lambda r, f: r - f),
    Relativistic: (lambda r, f: sp(-(r - f)), lambda r, f: sp(-(f - r))),
}
LOOK_AT_REALS = {Minimax, Wasserstein, Relativistic, RelativisticAverage}
formula_of_a_pair = pytest.mark.parametrize("cls", FORMULAS, ids=lambda cls: cls.__name__)
every_loss = pytest.mark.parametrize("cls", [*FORMULAS, RelativisticAverage], ids=lambda cls: cls.__name__)


def g_loss(loss, fake: Tensor, real: Tensor) -> Tensor:
    return loss.g(Score(fake), lambda: Score(real))


@formula_of_a_pair
def test_values_are_the_papers(cls):
    logits = torch.tensor([-1e4, -30.0, -2.5, -1.0, -0.3, 0.0, 0.7, 1.0, 3.0, 30.0, 1e4], dtype=torch.float64)
    real, fake = (grid.flatten() for grid in torch.meshgrid(logits, logits, indexing="ij"))
    loss, (d, g) = cls(DATA), FORMULAS[cls]
    pairs = list(zip(real.tolist(), fake.tolist(), strict=True))
    # torch's softplus is linear beyond 20: 2e-9 off
    expected = [torch.tensor([formula(*pair) for pair in pairs], dtype=torch.float64) for formula in (d, g)]
    torch.testing.assert_close(loss.d(Score(real), Score(fake)), expected[0], rtol=1e-8, atol=3e-9)
    torch.testing.assert_close(g_loss(loss, fake, real), expected[1], rtol=1e-8, atol=3e-9)


@every_loss
@pytest.mark.parametrize("size", [-1e4, 1e4])
def test_extreme_logits_stay_finite(cls, size):
    real, fake = torch.tensor([size, -size, size], requires_grad=True), torch.tensor([size, size, -size], requires_grad=True)
    loss = cls(DATA)
    for value in (loss.d(Score(real), Score(fake)), g_loss(loss, fake, real)):
        assert value.isfinite().all()
        gradients = torch.autograd.grad(value.sum(), [real, fake], allow_unused=True)
        assert all(gradient.isfinite().all() for gradient in gradients if gradient is not None)


@every_loss
def test_gradients_push_the_right_way(cls):
    real = torch.linspace(-0.9, 0.9, 19, dtype=torch.float64, requires_grad=True)
    fake = real.detach().flip(0).clone().requires_grad_()
    loss = cls(DATA)
    up, down = torch.autograd.grad(loss.d(Score(real), Score(fake)).sum(), [real, fake])
    # least squares has its targets at 1 and 0: D wants fakes at 0, from whichever side
    assert (up < 0).all()
    assert (down[fake > 0] > 0).all()
    (g_up,) = torch.autograd.grad(g_loss(loss, fake, real.detach()).sum(), fake)
    assert (g_up < 0).all()


@every_loss
def test_maps_of_logits_are_taken_place_by_place(cls):
    real, fake = torch.randn(4, 1, 5, 6), torch.randn(4, 1, 5, 6)
    loss = cls(DATA)
    d, g = loss.d(Score(real), Score(fake)), g_loss(loss, fake, real)
    assert d.shape == g.shape == real.shape
    torch.testing.assert_close(d.flatten(), loss.d(Score(real.flatten()), Score(fake.flatten())))
    torch.testing.assert_close(g.flatten(), g_loss(loss, fake.flatten(), real.flatten()))


@every_loss
def test_reals_are_asked_for_only_where_g_looks_at_them(cls):
    calls = []

    def real() -> Score:
        calls.append(1)
        return Score(torch.zeros(3))

    cls(DATA).g(Score(torch.zeros(3)), real)
    assert bool(calls) == (cls in LOOK_AT_REALS)


@pytest.mark.parametrize(
    ("cls", "d", "g"),
    [
        (NonSaturating, 2 * math.log(2), math.log(2)),
        (Minimax, 2 * math.log(2), -2 * math.log(2)),
        (Hinge, 2.0, 0.0),
        (LeastSquares, 0.5, 0.5),
        (Wasserstein, 0.0, 0.0),
        (Relativistic, math.log(2), math.log(2)),
        (RelativisticAverage, 2 * math.log(2), 2 * math.log(2)),
    ],
)
def test_value_where_d_says_zero(cls, d, g):
    zero = torch.zeros(2, dtype=torch.float64)
    loss = cls(DATA)
    torch.testing.assert_close(loss.d(Score(zero), Score(zero)), torch.full_like(zero, d))
    torch.testing.assert_close(g_loss(loss, zero, zero), torch.full_like(zero, g))


def test_minimax_vanishes_where_non_saturating_does_not():
    def slope(cls) -> Tensor:
        fake = torch.tensor([-10.0], dtype=torch.float64, requires_grad=True)
        return torch.autograd.grad(g_loss(cls(DATA), fake, torch.zeros(1, dtype=torch.float64)).sum(), fake)[0]

    # s(10) / s(-10) = e^10
    torch.testing.assert_close((slope(NonSaturating) / slope(Minimax)).item(), math.exp(10), rtol=1e-9, atol=0.0)


@pytest.mark.parametrize("cls", [Minimax, Wasserstein])
def test_the_zero_sum_losses_give_g_the_gradient_of_its_published_loss(cls, build_match, phase_loss, affine, fixed):
    # in ordinary play: the term on the reals has no path to G
    sample, w = torch.tensor([[0.3]], dtype=torch.float64), torch.tensor([1.7], dtype=torch.float64)
    gen = fixed(sample)
    match = build_match(gen, affine(w, 0.2), loss=cls)
    phase_loss(match, "G", torch.full((4, 1), 2.0, dtype=torch.float64)).backward()
    logit = 1.7 * 0.3 + 0.2
    slope = 1 / (1 + math.exp(-logit)) if cls is Minimax else 1.0
    assert gen.sample.grad.item() == pytest.approx(-slope * 1.7, rel=1e-12)


def test_relativistic_ignores_the_level_and_pairs_by_index():
    loss = Relativistic(DATA)
    real, fake = torch.randn(5, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    torch.testing.assert_close(loss.d(Score(real + 3), Score(fake + 3)), loss.d(Score(real), Score(fake)))
    order = torch.tensor([1, 2, 3, 4, 0])
    assert not torch.allclose(loss.d(Score(real), Score(fake[order])).mean(), loss.d(Score(real), Score(fake)).mean())


def test_least_squares_takes_other_codings():
    loss = LeastSquares(DATA, real=1.0, fake=-1.0, goal=0.0)
    logit = torch.tensor([0.5], dtype=torch.float64)
    assert loss.d(Score(logit), Score(logit)).item() == pytest.approx((0.5**2 + 1.5**2) / 2)
    assert g_loss(loss, logit, logit).item() == pytest.approx(0.5**2 / 2)
    with pytest.raises(ValueError, match="two targets"):
        LeastSquares(DATA, real=1.0, fake=1.0)


@pytest.mark.parametrize("esrgan", [False, True])
@pytest.mark.parametrize("form", ["logistic", "hinge"])
def test_relativistic_average_compares_with_the_mean_of_the_other_side(form, esrgan):
    def h(t: float) -> float:
        return sp(t) if form == "logistic" else max(0.0, 1 + t)

    def loss_of(up: list[float], down: list[float]) -> float:
        mean_up, mean_down = sum(up) / len(up), sum(down) / len(down)
        value = sum(h(mean_down - u) for u in up) / len(up) + sum(h(d - mean_up) for d in down) / len(down)
        return value / 2 if esrgan else value

    real, fake = torch.randn(7, dtype=torch.float64) + 1, 2 * torch.randn(7, dtype=torch.float64)
    loss = RelativisticAverage(DATA, form=form, esrgan=esrgan)
    r, f = real.tolist(), fake.tolist()
    assert loss.d(Score(real), Score(fake)).mean().item() == pytest.approx(loss_of(r, f), rel=1e-9)
    assert g_loss(loss, fake, real).mean().item() == pytest.approx(loss_of(f, r), rel=1e-9)


@pytest.mark.parametrize("form", ["logistic", "hinge"])
def test_relativistic_average_has_the_gradient_of_its_means(form):
    loss = RelativisticAverage(DATA, form=form)
    real, fake = (torch.randn(5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda r, f: loss.d(Score(r), Score(f)).mean(), (real, fake))
    assert torch.autograd.gradcheck(lambda r, f: g_loss(loss, f, r).mean(), (real, fake))
    if form == "logistic":
        assert torch.autograd.gradgradcheck(lambda r, f: loss.d(Score(r), Score(f)).mean(), (real, fake))


def test_the_form_of_esrgan_holds_ds_means_constant():
    loss, n = RelativisticAverage(DATA, esrgan=True), 6
    real, fake = (torch.randn(n, dtype=torch.float64, requires_grad=True) for _ in range(2))
    by_real, by_fake = torch.autograd.grad(loss.d(Score(real), Score(fake)).mean(), [real, fake])
    torch.testing.assert_close(by_real, -torch.sigmoid(fake.mean() - real) / (2 * n))
    torch.testing.assert_close(by_fake, torch.sigmoid(fake - real.mean()) / (2 * n))
    # G's fakes move the mean that its reals are compared with
    assert torch.autograd.gradcheck(lambda f: g_loss(loss, f, real.detach()).mean(), (fake,))
