"""Path length regularization against gradients by hand and finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import softplus

from ganzoo.interfaces import Loss, Match, Phase, Play
from ganzoo.plugin import DataSpec
from ganzoo_stylegan.generator import StyleGenerator
from ganzoo_stylegan.path_length import PathLength, path_lengths

DATA = DataSpec("image", (1, 2, 3))
LAYERS, WIDTH, PIXELS = 2, 4, 6


class Linear(nn.Module):
    """w is z itself, for each layer; the image is the sum of a linear map of each layer's w."""

    z_dim = WIDTH

    def __init__(self):
        super().__init__()
        self.maps = nn.Parameter(torch.randn(LAYERS, PIXELS, WIDTH, dtype=torch.float64))
        self.one = nn.Parameter(torch.ones((), dtype=torch.float64))
        self.asked = []

    def mapping(self, z, condition):
        self.asked.append((len(z), condition))
        return (z * self.one)[:, None].expand(-1, LAYERS, -1)

    def synthesis(self, w):
        return torch.einsum("lpd,nld->np", self.maps, w).unflatten(1, DATA.shape)

    def forward(self, z, condition):
        return self.synthesis(self.mapping(z, condition))


class Logistic(Loss):
    def d(self, real, fake):
        return softplus(-real.logits) + softplus(fake.logits)

    def g(self, fake, real):
        return softplus(-fake.logits)


class Sum(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, images, condition):
        return images.flatten(1).sum(1) * self.w


def make(**options):
    match = Match(Linear(), Sum(), Logistic(DATA), [("path-length", PathLength(DATA, **options))], data=DATA).double()
    batch = {"real": torch.zeros(6, *DATA.shape, dtype=torch.float64), "x": torch.randn(6, WIDTH, dtype=torch.float64)}
    return match, batch


def by_hand(maps, y, a):
    """Lengths, and the gradient of 2 E (l - a)^2 with respect to the maps: J_l^T y = M_l^T y whatever w is."""
    slopes = torch.einsum("lpd,np->nld", maps, y)
    lengths = (slopes.square().sum(2).sum(1) / LAYERS).sqrt()
    gradient = torch.zeros_like(maps)
    for n in range(len(y)):
        for layer in range(LAYERS):
            # dl/dM = y (M^T y)^T / (L l)
            gradient[layer] += 4 * (lengths[n] - a) * torch.outer(y[n], slopes[n, layer]) / (LAYERS * lengths[n]) / len(y)
    return lengths, gradient


def test_penalty_and_gradient_by_hand():
    match, batch = make()
    reg = match.regs[0]
    maps = match.gen.maps.detach()
    a = 0.0
    for step in range(3):
        torch.manual_seed(step)
        y = torch.randn(3, 1, 2, 3, dtype=torch.float64).flatten(1) / math.sqrt(6)
        lengths, gradient = by_hand(maps, y, a + 0.01 * (by_hand(maps, y, 0.0)[0].mean() - a))
        a = a + 0.01 * (lengths.mean() - a)
        torch.manual_seed(step)
        match.gen.zero_grad()
        penalty = reg(Play(match, "G", batch, 0))
        torch.testing.assert_close(penalty, 2 * (lengths - a) ** 2)
        torch.testing.assert_close(reg.mean, a)
        penalty.mean().backward()
        torch.testing.assert_close(match.gen.maps.grad, gradient)


def test_half_of_the_batch_with_its_labels():
    match, batch = make()
    batch["labels"] = torch.arange(6)
    assert match.regs[0](Play(match, "G", batch, 0)).shape == (3,)
    ((n, condition),) = match.gen.asked
    assert n == 3
    assert condition["labels"].tolist() == [0, 1, 2]


def test_it_is_a_lazy_phase_of_g():
    match, batch = make(every=4)
    assert [(phase.name, phase.every) for phase in match.phases("G")] == [("G/main", 1), ("G/every4", 4)]
    assert [phase.name for phase in match.phases("D")] == ["D/main"]
    stats = {}
    ((_, term),) = match.losses(Phase("G/every4", "G", every=4), batch, 0, stats)
    assert torch.equal(stats["G/path-length"], term.detach())


def test_second_derivatives_of_a_synthesis():
    """The gradient of the mean length with respect to each parameter, against finite differences."""
    data = DataSpec("image", (1, 8, 8))
    synthesis = StyleGenerator(data, z_dim=3, embedding=2, channels=2, max_channels=2, noise=True).double().eval().synthesis
    w = torch.randn(2, synthesis.layers, 3, dtype=torch.float64, requires_grad=True)
    names = ["convs.1.weight", "convs.1.style.weight", "to_image.0.weight", "constant"]
    values = [dict(synthesis.named_parameters())[name].detach().clone().requires_grad_() for name in names]

    def length(*values):
        torch.manual_seed(1)
        return path_lengths(functional_call(synthesis, dict(zip(names, values, strict=True)), (w,)), w).mean()

    assert torch.autograd.gradcheck(length, values)


def test_of_an_orthogonal_map_the_length_is_one_and_even():
    """|J^T y| of an isometry of w into the image is |y| sqrt(H W) restricted to it: its mean square is W / (H W)."""
    torch.manual_seed(3)
    n, pixels, width = 20_000, 12, 5
    basis, _ = torch.linalg.qr(torch.randn(pixels, width, dtype=torch.float64))
    w = torch.randn(n, 1, width, dtype=torch.float64, requires_grad=True)
    images = (w[:, 0] @ basis.T).unflatten(1, (1, 3, 4))
    squares = path_lengths(images, w).square()
    assert abs(squares.mean() - width / pixels) < 5 * squares.std() / math.sqrt(n)


@pytest.mark.parametrize("options", [{"weight": -1.0}, {"decay": 0.0}, {"share": 1.5}, {"every": 0}])
def test_bad_options_are_named(options):
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=f"{name}={value}"):
        PathLength(DATA, **options)
