"""A player's optimizer: lazy correction, clipping, state with any memory layout, and its rule against torch's own step."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from ganzoo.config import PlayerConfig
from ganzoo.errors import UsageError
from ganzoo.interfaces import Phase
from ganzoo.training.optimizers import PlayerOptimizer, expect_resumable, lazy_ratio, optimizer_class

MAIN = [Phase("D/main", "D")]


def make(network: nn.Module, phases: list[Phase] = MAIN, **settings: object) -> PlayerOptimizer:
    return PlayerOptimizer("D", network, PlayerConfig(**settings), phases, 100.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("phases", "ratio"),
    [
        (MAIN, 1.0),
        ([*MAIN, Phase("D/every16", "D", 16)], 16 / 17),
        ([*MAIN, Phase("D/every4", "D", 4), Phase("D/every2", "D", 2)], 1 / (1 + 1 / 4 + 1 / 2)),
        ([Phase("D/main", "D", repeat=5), Phase("D/every16", "D", 16)], 5 / (5 + 1 / 16)),
        ([*MAIN, Phase("G/every4", "G", 4)], 1.0),
    ],
)
def test_lazy_correction(phases: list[Phase], ratio: float) -> None:
    assert lazy_ratio("D", phases) == pytest.approx(ratio)
    optimizer = make(nn.Linear(2, 2), phases, lr="linear(1e-3, 0)", betas=(0.5, 0.99))
    optimizer.begin(50)
    group = optimizer.torch.param_groups[0]
    assert group["lr"] == pytest.approx(5e-4 * ratio)
    assert group["betas"] == pytest.approx((0.5**ratio, 0.99**ratio))


def test_rules_without_betas_need_no_correction() -> None:
    """N times the gradient in each N-th round moves plain SGD as far as the gradient in every round."""
    lazy, main = Phase("D/every4", "D", 4), Phase("D/main", "D")
    network, other = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    other.load_state_dict(network.state_dict())
    optimizer, always = make(network, [main, lazy], optimizer="sgd", lr=0.1), make(other, [main], optimizer="sgd", lr=0.1)
    for which, gradients in ((optimizer, [1.0, 4 * 3.0, 1.0, 1.0, 1.0]), (always, [1.0 + 3.0] * 4)):
        (p,) = which.parameters.values()
        for gradient in gradients:
            which.begin(0)
            p.grad = torch.full_like(p, gradient)
            which.step()
    assert network.weight.item() == pytest.approx(other.weight.item(), abs=1e-6)


def test_the_norm_is_of_the_whole_player_and_clipped() -> None:
    network = nn.Linear(2, 1, bias=True)
    optimizer = make(network, optimizer="sgd", lr=1.0, clip=1.0)
    before = [p.detach().clone() for p in network.parameters()]
    optimizer.begin(0)
    network.weight.grad, network.bias.grad = torch.tensor([[3.0, 0.0]]), torch.tensor([4.0])
    assert optimizer.step().item() == pytest.approx(5.0)
    steps = torch.cat([(b - p.detach()).flatten() for b, p in zip(before, network.parameters(), strict=True)])
    assert torch.allclose(steps, torch.tensor([0.6, 0.0, 0.8]), atol=1e-5)


@pytest.mark.parametrize(
    "name",
    # timm's count in plain numbers: of a parameter, or of all
    ["adam", "adam:fused=false", "adamw", "rmsprop:momentum=.5", "sgd:momentum=.9", "adabelief", "nadamlegacy", "adan"],
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_state_survives_a_round_trip_with_any_layout(name: str, layout: torch.memory_format) -> None:
    """The trap: moments restored contiguous beside channels_last weights make fused Adam silently wrong."""
    torch.manual_seed(0)
    straight = nn.Conv2d(3, 4, 3).to(memory_format=layout)
    broken = copy.deepcopy(straight)
    gradients = [torch.randn(4, 3, 3, 3) for _ in range(6)]

    def play(network: nn.Conv2d, optimizer: PlayerOptimizer, steps: list[torch.Tensor]) -> None:
        for gradient in steps:
            optimizer.begin(0)
            network.weight.grad = gradient.clone().to(memory_format=layout)
            network.bias.grad = gradient.sum((1, 2, 3))
            optimizer.step()

    settings = {"optimizer": name, "lr": 0.01, "betas": None}
    play(straight, make(straight, **settings), gradients)
    first = make(broken, **settings)
    play(broken, first, gradients[:3])
    saved = {key: value.contiguous().clone() for key, value in first.state_dict().items()}
    second = make(broken, **settings)
    second.load_state_dict(saved)
    play(broken, second, gradients[3:])
    assert torch.equal(straight.weight, broken.weight)
    assert torch.equal(straight.bias, broken.bias)


@pytest.mark.parametrize("name", ["adam:eps=1e-8", "sgd", "sgd:momentum=.9", "sgd:momentum=.9,dampening=.3"])
def test_the_rule_is_the_optimizers_own_step(name: str) -> None:
    torch.manual_seed(0)
    network = nn.Linear(3, 2).double()
    optimizer = make(network, optimizer=name, lr=0.05, betas=(0.5, 0.9) if name.startswith("adam") else None)
    rule = optimizer.rule()
    assert rule is not None
    live = dict(network.named_parameters())
    for steps_before in range(3):
        gradients = [{n: torch.randn_like(p) for n, p in live.items()} for _ in range(2)]
        ahead, state = {n: p.detach().clone() for n, p in live.items()}, None
        for g in gradients:
            ahead, state = rule(live, ahead, g, state)
        twin = copy.deepcopy(network)
        real = make(twin, optimizer=name, lr=0.05, betas=optimizer.config.betas)
        real.load_state_dict(optimizer.state_dict())
        for g in gradients:
            real.begin(0)
            for n, p in twin.named_parameters():
                p.grad = g[n].clone()
            real.step()
        for n, p in twin.named_parameters():
            assert torch.allclose(ahead[n], p, rtol=1e-9), (steps_before, n)
        optimizer.begin(0)
        for n, p in live.items():
            p.grad = gradients[0][n].clone()
        optimizer.step()


def test_the_rule_has_a_finite_derivative_where_the_gradient_is_zero() -> None:
    network = nn.Linear(2, 1)
    rule = make(network, lr=0.1).rule()
    assert rule is not None
    live = dict(network.named_parameters())
    scale = torch.zeros((), requires_grad=True)
    params, _ = rule(
        live, {n: p.detach() for n, p in live.items()}, {n: scale * torch.ones_like(p) for n, p in live.items()}, None
    )
    (gradient,) = torch.autograd.grad(sum(p.sum() for p in params.values()), scale)
    assert gradient.isfinite()


def test_no_rule_is_said_so() -> None:
    assert make(nn.Linear(1, 1), optimizer="rmsprop").rule() is None
    assert make(nn.Linear(1, 1), optimizer="adam:amsgrad=true").rule() is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"optimizer": "adm"}, "Did you mean 'adam'"),
        ({"optimizer": "adam:esp=1e-8"}, "Did you mean 'eps'"),
        ({"optimizer": "adam:eps=x"}, "write a number"),
        ({"optimizer": "sgd", "betas": (0.5, 0.9)}, "has no betas"),
        ({"optimizer": "adam:eps=-1"}, "eps"),
        ({"optimizer": "lbfgs"}, "no optimizer named 'lbfgs'"),
        ({"optimizer": "adan", "betas": (0.5, 0.9)}, "'adan' has 3"),
        ({"optimizer": "adam", "betas": (0.5,)}, "'adam' has 2"),
    ],
)
def test_bad_settings(settings: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make(nn.Linear(1, 1), **settings)


class Listing(torch.optim.SGD):
    """It remembers its gradients in a list."""

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        for p in self.param_groups[0]["params"]:
            self.state[p]["past"] = [*self.state[p].get("past", []), p.grad]
        super().step()


@pytest.mark.parametrize(("name", "words"), [("listing", r"no checkpoint can hold \(past\)"), ("adahessian", "does not step")])
def test_rules_that_no_training_could_go_on_with_are_refused(name: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.optim, "Listing", Listing, raising=False)
    expect_resumable("D", PlayerConfig())
    with pytest.raises(UsageError, match=words):
        expect_resumable("D", PlayerConfig(optimizer=name, betas=None))


def test_what_torch_lacks_comes_from_timm() -> None:
    assert issubclass(optimizer_class("lamb"), torch.optim.Optimizer)
