"""Unrolling against scalar arithmetic: D(x) = w x + b on points of one dimension, G a single number."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ganzoo.config import PlayerConfig
from ganzoo.interfaces import Match, Phase, Play
from ganzoo.plugin import DataSpec
from ganzoo.training.optimizers import PlayerOptimizer
from ganzoo_objectives.losses import Hinge, LeastSquares, Minimax, NonSaturating, Relativistic, Wasserstein
from ganzoo_objectives.spectral import SpectralNorm
from ganzoo_objectives.unrolled import Unrolled

DATA, F64 = DataSpec("points", (1,)), torch.float64
X, SAMPLE, W, B, LR = 1.5, -0.4, 0.7, 0.2, 0.1


def s(t: float) -> float:
    return 1 / (1 + math.exp(-t))


def sp(t: float) -> float:
    return math.log1p(math.exp(t))


# By hand, for D(x) = w x + b: (dL_D/dr, dL_D/df) and L_G, of the logits r and f.
SLOPES = {
    Minimax: lambda r, f: (-s(-r), s(f)),
    NonSaturating: lambda r, f: (-s(-r), s(f)),
    Hinge: lambda r, f: (-1.0 * (r < 1), 1.0 * (f > -1)),
    LeastSquares: lambda r, f: (r - 1, f),
    Wasserstein: lambda r, f: (-1.0, 1.0),
    Relativistic: lambda r, f: (-s(f - r), s(f - r)),
}
G_LOSS = {
    Minimax: lambda r, f: -sp(-r) - sp(f),
    NonSaturating: lambda r, f: sp(-f),
    Hinge: lambda r, f: -f,
    LeastSquares: lambda r, f: (f - 1) ** 2 / 2,
    Wasserstein: lambda r, f: r - f,
    Relativistic: lambda r, f: sp(r - f),
}
every_loss = pytest.mark.parametrize("loss", SLOPES, ids=lambda cls: cls.__name__)
Moments = list[tuple[float, float]]


def unrolled_by_hand(loss, g: float, steps: int, adam: tuple[float, float, float, float, Moments] | None = None):
    """(w, b) after some steps of D, in plain arithmetic. adam: (t, beta1, beta2, eps, moments of w and b)."""
    theta = [W, B]
    t, b1, b2, eps, moments = adam or (0, 0, 0, 0, [])
    moments = list(moments)
    for _ in range(steps):
        up, down = SLOPES[loss](theta[0] * X + theta[1], theta[0] * g + theta[1])
        gradient = [up * X + down * g, up + down]
        if adam is None:
            theta = [p - LR * d for p, d in zip(theta, gradient, strict=True)]
            continue
        t += 1
        moments = [(b1 * m + (1 - b1) * d, b2 * v + (1 - b2) * d * d) for (m, v), d in zip(moments, gradient, strict=True)]
        theta = [
            p - LR * m / (1 - b1**t) / (math.sqrt(v / (1 - b2**t)) + eps) for p, (m, v) in zip(theta, moments, strict=True)
        ]
    return theta


def g_value(loss, g: float, theta: list[float]) -> float:
    return G_LOSS[loss](theta[0] * X + theta[1], theta[0] * g + theta[1])


def slope_of(function: Callable[[float], float], at: float, h: float = 1e-5) -> float:
    return (8 * (function(at + h) - function(at - h)) - function(at + 2 * h) + function(at - 2 * h)) / (12 * h)


@pytest.fixture
def play(build_match, phase_loss, fixed, affine):
    """(G's loss, dL_G/dG) with these options, D left as it was."""

    def run(loss, *, prepare: Callable[[Match], None] = lambda match: None, **options) -> tuple[float, float]:
        gen, disc = fixed(torch.tensor([[SAMPLE]], dtype=F64)), affine(torch.tensor([W], dtype=F64), B)
        match = build_match(gen, disc, Unrolled(DATA, **options), loss=loss)
        prepare(match)
        before = {name: p.detach().clone() for name, p in disc.named_parameters()}
        value = phase_loss(match, "G", torch.full((4, 1), X, dtype=F64))
        (gradient,) = torch.autograd.grad(value, gen.sample)
        assert all(torch.equal(p, before[name]) for name, p in disc.named_parameters())
        return value.item(), gradient.item()

    return run


def test_two_steps_of_the_linear_game_in_closed_form(build_match, phase_loss, fixed, affine):
    # D(x) = w x, L_D = w (g - x): w_2 = w - 2 lr (g - x), L_G = w_2 (x - g)
    distance = SAMPLE - X
    for second, expected in [(True, -W + 4 * LR * distance), (False, -W + 2 * LR * distance)]:
        gen, disc = fixed(torch.tensor([[SAMPLE]], dtype=F64)), affine(torch.tensor([W], dtype=F64), 0.0)
        disc.b.requires_grad_(False)
        reg = Unrolled(DATA, steps=2, second_order=second, optimizer="sgd", lr=LR)
        value = phase_loss(build_match(gen, disc, reg, loss=Wasserstein), "G", torch.full((3, 1), X, dtype=F64))
        value.backward()
        assert value.item() == pytest.approx((W - 2 * LR * distance) * -distance, rel=1e-12)
        assert gen.sample.grad.item() == pytest.approx(expected, rel=1e-12)


def test_two_steps_of_the_squared_game_in_closed_form(build_match, phase_loss, fixed, affine):
    # D(x) = w x, dL_D/dw = x (w x - 1) + w g^2; L_G = (w_2 g - 1)^2 / 2
    g = SAMPLE
    w1 = W - LR * (X * (W * X - 1) + W * g * g)
    w2 = w1 - LR * (X * (w1 * X - 1) + w1 * g * g)
    dw1 = -LR * 2 * W * g
    dw2 = dw1 * (1 - LR * (X * X + g * g)) - LR * 2 * w1 * g
    for second, through in [(True, dw2), (False, 0.0)]:
        gen, disc = fixed(torch.tensor([[g]], dtype=F64)), affine(torch.tensor([W], dtype=F64), 0.0)
        disc.b.requires_grad_(False)
        reg = Unrolled(DATA, steps=2, second_order=second, optimizer="sgd", lr=LR)
        phase_loss(build_match(gen, disc, reg, loss=LeastSquares), "G", torch.full((3, 1), X, dtype=F64)).backward()
        assert gen.sample.grad.item() == pytest.approx((w2 * g - 1) * (w2 + g * through), rel=1e-12)


@every_loss
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_gradient_descent_inside(loss, steps, play):
    theta = unrolled_by_hand(loss, SAMPLE, steps)
    second = slope_of(lambda g: g_value(loss, g, unrolled_by_hand(loss, g, steps)), SAMPLE)
    first = slope_of(lambda g: g_value(loss, g, theta), SAMPLE)
    for order, expected in [(True, second), (False, first)]:
        value, gradient = play(loss, steps=steps, second_order=order, optimizer="sgd", lr=LR)
        assert value == pytest.approx(g_value(loss, SAMPLE, theta), rel=1e-9)
        assert gradient == pytest.approx(expected, rel=1e-7)
    assert first != pytest.approx(second, rel=1e-3)


@pytest.mark.parametrize("loss", [Minimax, Wasserstein])
def test_the_term_on_the_reals_reaches_g_through_d(loss, play):
    steps = 2
    _, gradient = play(loss, steps=steps, optimizer="sgd", lr=LR)

    def fakes_alone(g: float) -> float:
        theta = unrolled_by_hand(loss, g, steps)
        logit = theta[0] * g + theta[1]
        return -sp(logit) if loss is Minimax else -logit

    assert abs(gradient - slope_of(fakes_alone, SAMPLE)) > 0.01


@pytest.mark.parametrize("second_order", [True, False], ids=["second order", "first order"])
@pytest.mark.parametrize("warm", [0, 3], ids=["no moments", "live moments"])
@pytest.mark.parametrize("betas", [(0.5, 0.9), (0.0, 0.99)], ids=str)
@pytest.mark.parametrize("loss", [Minimax, NonSaturating, LeastSquares], ids=lambda cls: cls.__name__)
def test_ds_own_adam_inside(loss, betas, warm, second_order, play):
    past = [(0.3, -0.5), (0.1, -0.4), (-0.1, -0.3)][:warm]  # gradients of w and b that D's Adam has seen
    held: list[tuple[PlayerOptimizer, dict[str, Tensor]]] = []

    def prepare(match: Match) -> None:
        config = PlayerConfig(optimizer="adam", lr=LR, betas=betas)
        optimizer = PlayerOptimizer("D", match.disc, config, [Phase("D/main", "D"), Phase("G/main", "G")], 1.0)
        for of_w, of_b in past:
            optimizer.begin(0.0)
            match.disc.w.grad, match.disc.b.grad = torch.tensor([of_w], dtype=F64), torch.tensor(of_b, dtype=F64)
            optimizer.step()
        with torch.no_grad():
            match.disc.w.fill_(W)
            match.disc.b.fill_(B)
        match.d_rule = optimizer.rule()
        held.append((optimizer, {key: value.clone() for key, value in optimizer.state_dict().items()}))

    value, gradient = play(loss, steps=2, second_order=second_order, prepare=prepare)

    b1, b2 = betas
    moments = [(0.0, 0.0), (0.0, 0.0)]
    for gradients in past:
        moments = [(b1 * m + (1 - b1) * d, b2 * v + (1 - b2) * d * d) for (m, v), d in zip(moments, gradients, strict=True)]
    adam = (warm, b1, b2, 1e-8, moments)
    theta = unrolled_by_hand(loss, SAMPLE, 2, adam)
    assert value == pytest.approx(g_value(loss, SAMPLE, theta), rel=1e-7)

    def unrolled(g: float) -> float:
        return g_value(loss, g, unrolled_by_hand(loss, g, 2, adam) if second_order else theta)

    assert gradient == pytest.approx(slope_of(unrolled, SAMPLE), rel=1e-6)
    optimizer, state = held[0]  # read, never written
    assert all(torch.equal(moment, state[key]) for key, moment in optimizer.state_dict().items())


class Deep(nn.Module):
    """Batch norm, a unit that never fires, and a head that the adversarial loss does not reach."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(1, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)
        self.unused, self.fixed = nn.Linear(4, 3), nn.Linear(1, 1).requires_grad_(False)
        self.dtypes: list[torch.dtype] = []
        with torch.no_grad():
            self.norm.bias[0] = -100.0  # dead

    def forward(self, x: Tensor, condition: object) -> Tensor:
        hidden = self.first(self.fixed(x))
        self.dtypes.append(hidden.dtype)
        return self.last(self.norm(hidden.float()).relu()).squeeze(1)


def with_adam(match: Match) -> Match:
    config = PlayerConfig(optimizer="adam", lr=0.01, betas=(0.5, 0.999))
    match.d_rule = PlayerOptimizer("D", match.disc, config, [Phase("D/main", "D")], 1.0).rule()
    return match


@pytest.mark.parametrize("second_order", [True, False])
def test_dead_units_batch_norm_and_unreached_parameters(second_order, build_match, phase_loss, fixed):
    gen, disc = fixed(torch.randn(8, 1)), Deep()
    match = with_adam(build_match(gen, disc, Unrolled(DATA, steps=3, second_order=second_order), loss=Minimax))
    before = {name: t.clone() for name, t in disc.state_dict().items()}
    phase_loss(match, "G", torch.randn(8, 1)).backward()
    assert gen.sample.grad.isfinite().all()
    assert gen.sample.grad.any()
    assert all(torch.equal(t, before[name]) for name, t in disc.state_dict().items())
    assert all(p.grad is None for p in disc.parameters())


def test_ds_own_phase_is_ordinary(build_match, phase_loss, fixed, affine):
    gen, disc = fixed(torch.tensor([[SAMPLE]], dtype=F64)), affine(torch.tensor([W], dtype=F64), B)
    match = build_match(gen, disc, Unrolled(DATA, optimizer="sgd", lr=LR), loss=Minimax)
    phase_loss(match, "D", torch.full((4, 1), X, dtype=F64)).backward()
    up, down = SLOPES[Minimax](W * X + B, W * SAMPLE + B)
    assert disc.w.grad.item() == pytest.approx(up * X + down * SAMPLE, rel=1e-12)


def test_steps_are_taken_in_fp32(build_match, phase_loss, fixed):
    gen, disc = fixed(torch.randn(8, 1)), Deep()
    match = with_adam(build_match(gen, disc, Unrolled(DATA, steps=2), loss=NonSaturating))
    with torch.autocast("cpu", torch.bfloat16):
        phase_loss(match, "G", torch.randn(8, 1)).backward()
    assert disc.dtypes == [torch.float32] * 4 + [torch.bfloat16]
    assert gen.sample.grad.isfinite().all()


def test_spectral_norm_keeps_its_vectors(build_match, phase_loss, fixed):
    disc = nn.ModuleList([nn.Linear(1, 4), nn.Linear(4, 1)])
    disc.forward = lambda x, condition: disc[1](disc[0](x).tanh()).squeeze(1)
    gen = fixed(torch.randn(8, 1))
    match = build_match(gen, disc, SpectralNorm(DATA), Unrolled(DATA, steps=2, optimizer="sgd", lr=0.1))
    before = {name: t.clone() for name, t in disc.state_dict().items()}
    phase_loss(match, "G", torch.randn(8, 1)).backward()
    assert gen.sample.grad.any()
    assert all(torch.equal(t, before[name]) for name, t in disc.state_dict().items())


@pytest.mark.parametrize("second_order", [True, False])
def test_shapes_without_data(second_order, build_match, fixed):
    with torch.device("meta"):
        gen, disc = fixed(torch.zeros(4, 1)), nn.Linear(1, 1)
        disc.forward = lambda x, condition: nn.functional.linear(x, disc.weight, disc.bias).squeeze(1)
        match = with_adam(build_match(gen, disc, Unrolled(DATA, second_order=second_order), loss=Minimax))
        play = Play(match, "G", {"real": torch.zeros(4, 1), "x": torch.zeros(4, 1)}, 0)
        score = match.regs[0].opponent(play.critic, play)(play.real, {})
    assert score.logits.is_meta
    assert score.logits.shape == (4,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps=0"),
        ({"optimizer": "sgd"}, "optimizer=sgd with lr=None: sgd needs an lr"),
        ({"lr": 0.1}, "optimizer=live with lr=0.1"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Unrolled(DATA, **options)
