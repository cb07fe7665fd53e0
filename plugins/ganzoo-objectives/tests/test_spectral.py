from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrizations

from ganzoo.plugin import DataSpec
from ganzoo_objectives.penalties import R1, GradientPenalty
from ganzoo_objectives.spectral import DividedBySigma, SpectralNorm
from ganzoo_objectives.unrolled import Unrolled

DATA = DataSpec("points", (6,))
LAYERS = {
    "linear": (lambda: nn.Linear(7, 5), lambda w: w),
    "embedding": (lambda: nn.Embedding(9, 4), lambda w: w),
    "conv1d": (lambda: nn.Conv1d(3, 5, 3), lambda w: w.reshape(5, 9)),
    "conv2d": (lambda: nn.Conv2d(3, 5, 3), lambda w: w.reshape(5, 27)),
    "conv3d": (lambda: nn.Conv3d(2, 3, 2), lambda w: w.reshape(3, 16)),
    "conv2d grouped": (lambda: nn.Conv2d(4, 6, 3, groups=2), lambda w: w.reshape(6, 18)),
    "transposed 1d": (lambda: nn.ConvTranspose1d(3, 5, 4), lambda w: torch.stack([w[:, o].flatten() for o in range(5)])),
    "transposed 2d": (lambda: nn.ConvTranspose2d(3, 5, 4), lambda w: torch.stack([w[:, o].flatten() for o in range(5)])),
    "transposed 3d": (lambda: nn.ConvTranspose3d(2, 3, 2), lambda w: torch.stack([w[:, o].flatten() for o in range(3)])),
    "transposed grouped": (
        lambda: nn.ConvTranspose2d(4, 6, 3, groups=2),
        lambda w: torch.stack([w[:, o].flatten() for o in range(3)]),
    ),
}


class Net(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor, condition: object) -> Tensor:
        return self.layers(x).squeeze(1)


def mlp() -> Net:
    return Net(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1)).double()


@pytest.fixture
def gen() -> nn.Module:
    net = Net(nn.Linear(1, 6, dtype=torch.float64))
    net.z_dim = 1
    return net


def vectors(network: nn.Module) -> list[Tensor]:
    return [t.clone() for m in network.modules() if isinstance(m, DividedBySigma) for t in (m.u, m.v)]


@pytest.mark.parametrize("name", LAYERS)
def test_converges_to_the_largest_singular_value_of_the_reshaped_weight(name, build_match, gen):
    make, matrix = LAYERS[name]
    layer = make().double()
    raw = layer.weight.detach().clone()
    match = build_match(gen, Net(layer), SpectralNorm(DATA))
    for _ in range(2000):
        match.after_step("D")
    sigma = torch.linalg.svdvals(matrix(raw))[0]
    torch.testing.assert_close(layer.weight.detach(), raw / sigma, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(layer.parametrizations.weight.original.detach(), raw)


class Equalised(nn.Linear):
    """Multiplies its weight by a constant, as layers with an equalised learning rate do."""

    weight_scale = -0.25

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight * self.weight_scale, self.bias)


def test_the_weight_as_it_is_used_has_norm_one(build_match, gen):
    layer = Equalised(6, 4).double()
    used = layer.weight.detach() * layer.weight_scale
    match = build_match(gen, Net(layer), SpectralNorm(DATA))
    for _ in range(2000):
        match.after_step("D")
    x = torch.randn(5, 6, dtype=torch.float64)
    expected = x @ (used / torch.linalg.svdvals(used)[0]).T + layer.bias
    torch.testing.assert_close(layer(x), expected, rtol=1e-9, atol=1e-12)


def test_is_near_from_the_start(build_match, gen):
    net = Net(nn.Conv2d(32, 64, 3), nn.Linear(128, 64))
    for layer in net.layers:
        nn.init.normal_(layer.weight)
    raw = [layer.weight.detach().clone() for layer in net.layers]
    build_match(gen, net, SpectralNorm(DATA))
    for layer, weight in zip(net.layers, raw, strict=True):
        assert torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2).item() == pytest.approx(1, rel=0.05)
        assert torch.linalg.matrix_norm(weight.flatten(1), 2) > 10


def test_gradient_treats_u_and_v_as_constants(build_match, gen):
    layer = nn.Conv2d(3, 4, 2).double()
    build_match(gen, Net(layer), SpectralNorm(DATA))
    weight, other = layer.parametrizations.weight.original, torch.randn(4, 3, 2, 2, dtype=torch.float64)
    (layer.weight * other).sum().backward()
    u, v = layer.parametrizations.weight[0].u, layer.parametrizations.weight[0].v
    with torch.no_grad():
        sigma = u @ weight.reshape(4, 12) @ v
        expected = other / sigma - (other * weight).sum() / sigma**2 * torch.outer(u, v).reshape_as(weight)
    torch.testing.assert_close(weight.grad, expected)


def test_one_iteration_a_step_of_its_player_and_no_other(build_match, phase_loss, gen):
    disc = mlp()
    regs = [SpectralNorm(DATA), R1(DATA, gamma=1.0), GradientPenalty(DATA), Unrolled(DATA, steps=2, optimizer="sgd", lr=0.1)]
    match = build_match(gen, disc, *regs)
    real = torch.randn(5, 6, dtype=torch.float64)
    before = vectors(disc)
    assert len(before) == 4
    for player in ("D", "G", "D"):
        phase_loss(match, player, real).backward()
    match.after_step("G")
    assert all(torch.equal(a, b) for a, b in zip(before, vectors(disc), strict=True))
    with torch.no_grad():
        for p in disc.parameters():
            p.add_(torch.randn_like(p), alpha=0.1)
    match.after_step("D")
    for i, layer in enumerate([disc.layers[0], disc.layers[2]]):
        w, u = layer.parametrizations.weight.original.detach(), before[2 * i]
        v = w.T @ u / (w.T @ u).norm()
        u = w @ v / (w @ v).norm()
        torch.testing.assert_close(layer.parametrizations.weight[0].u, u)
        torch.testing.assert_close(layer.parametrizations.weight[0].v, v)


def test_one_for_each_player_advances_its_own(build_match, gen):
    disc = mlp()
    match = build_match(gen, disc, SpectralNorm(DATA), SpectralNorm(DATA, player="G"))
    once = copy.deepcopy(disc)
    for layer in (once.layers[0], once.layers[2]):
        layer.parametrizations.weight[0].advance(layer.parametrizations.weight.original)
    match.after_step("D")
    assert all(torch.equal(a, b) for a, b in zip(vectors(disc), vectors(once), strict=True))


@pytest.mark.parametrize(("player", "expected"), [("D", (4, 0)), ("G", (0, 2)), ("both", (4, 2))])
def test_whose_weights(player, expected, build_match, gen):
    disc = mlp()
    match = build_match(gen, disc, SpectralNorm(DATA, player=player))
    assert (len(vectors(disc)), len(vectors(gen))) == expected
    for network, who in ((disc, "D"), (gen, "G")):
        before = vectors(network)
        with torch.no_grad():
            for p in network.parameters():
                p.add_(torch.randn_like(p))
        match.after_step("G" if who == "D" else "D")
        assert all(torch.equal(a, b) for a, b in zip(before, vectors(network), strict=True))
        match.after_step(who)
        assert not any(torch.equal(a, b) for a, b in zip(before, vectors(network), strict=True) if a.numel() > 1)


def test_copies_and_state_dicts(build_match, gen):
    disc = mlp()
    build_match(gen, disc, SpectralNorm(DATA))
    other = copy.deepcopy(disc)
    x = torch.randn(3, 6, dtype=torch.float64)
    assert torch.equal(other(x, {}), disc(x, {}))
    with torch.no_grad():
        other.layers[0].parametrizations.weight.original.mul_(3)
        other.layers[0].parametrizations.weight[0].u.neg_()
    assert not torch.equal(other(x, {}), disc(x, {}))
    fresh = mlp()
    build_match(gen, fresh, SpectralNorm(DATA))
    assert not torch.equal(fresh(x, {}), disc(x, {}))
    fresh.load_state_dict(disc.state_dict())
    assert torch.equal(fresh(x, {}), disc(x, {}))
    assert {"layers.0.parametrizations.weight.0.u", "layers.0.parametrizations.weight.0.v"} <= set(disc.state_dict())


def test_built_without_memory_then_filled(build_match, gen):
    disc = mlp()
    build_match(gen, disc, SpectralNorm(DATA))
    with torch.device("meta"):
        empty = mlp()
        build_match(gen, empty, SpectralNorm(DATA))
    assert all(t.is_meta for t in empty.state_dict().values())
    empty.to_empty(device="cpu").load_state_dict(disc.state_dict())
    x = torch.randn(3, 6, dtype=torch.float64)
    assert torch.equal(empty(x, {}), disc(x, {}))


def test_other_weights_can_be_seated(build_match, gen):
    disc = mlp()
    build_match(gen, disc, SpectralNorm(DATA))
    x, name = torch.randn(3, 6, dtype=torch.float64), "layers.0.parametrizations.weight.original"
    weight = torch.randn(8, 6, dtype=torch.float64)
    seated = functional_call(disc, {name: weight}, (x, {}))
    step = disc.layers[0].parametrizations.weight[0]
    hidden = (x @ (weight / (step.u @ weight @ step.v)).T + disc.layers[0].bias).tanh()
    torch.testing.assert_close(seated, disc.layers[2](hidden).squeeze(1))


def test_autocast_leaves_sigma_alone(build_match, gen):
    layer = nn.Linear(64, 32)
    build_match(gen, Net(layer), SpectralNorm(DATA))
    expected = layer.weight.detach()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer.weight.detach(), expected)


def test_frozen_layers_stay_as_they_are(build_match, gen):
    pretrained = parametrizations.spectral_norm(nn.Linear(6, 6, dtype=torch.float64)).requires_grad_(False)
    disc = Net(pretrained, *mlp().layers)
    disc.layers[1].weight.requires_grad_(False)  # its bias learns
    build_match(gen, disc, SpectralNorm(DATA))
    assert len(pretrained.parametrizations.weight) == 1
    assert not hasattr(disc.layers[1], "parametrizations")
    assert hasattr(disc.layers[3], "parametrizations")


def normalised_by_torch(layer: nn.Module) -> nn.Module:
    return parametrizations.spectral_norm(layer)


def normalised_by_the_old_hook(layer: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.utils.spectral_norm(layer)


@pytest.mark.parametrize("normalise", [normalised_by_torch, normalised_by_the_old_hook])
def test_a_second_spectral_norm_is_refused(normalise, build_match, gen):
    disc = Net(nn.Linear(6, 8), normalise(nn.Linear(8, 1)))
    with pytest.raises(ValueError, match=r"D's layer 'layers\.1' is computed already, by another spectral norm"):
        build_match(gen, disc, SpectralNorm(DATA))


def test_itself_twice_is_refused(build_match, gen):
    with pytest.raises(ValueError, match=r"D's layer 'layers\.0' is computed already"):
        build_match(gen, mlp(), SpectralNorm(DATA), SpectralNorm(DATA, player="both"))


def test_nothing_to_normalise_and_zero_weights_are_refused(build_match, gen):
    with pytest.raises(ValueError, match="D has no trainable linear"):
        build_match(gen, Net(nn.BatchNorm1d(6)), SpectralNorm(DATA))
    disc = mlp()
    nn.init.zeros_(disc.layers[2].weight)
    with pytest.raises(ValueError, match=r"D's layer 'layers\.2' starts at zero"):
        build_match(gen, disc, SpectralNorm(DATA))
