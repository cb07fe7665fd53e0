"""How ada adapts itself, what it leaves alone, and what passes back through it."""

from __future__ import annotations

import copy
import math
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from ganzoo.interfaces import Match, Score
from ganzoo.plugin import DataSpec
from ganzoo.registry import get_registry
from ganzoo.testing import CHECKS
from ganzoo_objectives import ada
from ganzoo_objectives.ada import Ada
from ganzoo_objectives.losses import LeastSquares, Relativistic
from ganzoo_objectives.penalties import R1

DATA = DataSpec("image", (3, 8, 8))
F64 = torch.float64


def scores(*values: float) -> Score:
    return Score(torch.tensor(values))


def images_of(n: int, *shape: int) -> Tensor:
    return torch.randn(n, *shape, dtype=F64)


# ---- the kit


@pytest.mark.parametrize("options", [{}, {"p": 0.6}, {"p": 0.6, "transforms": "g"}], ids=str)
@pytest.mark.parametrize(
    "data", [DATA, DataSpec("image", (1, 8, 16)), DataSpec("image", (4, 9, 12))], ids=lambda d: str(d.shape)
)
@pytest.mark.parametrize("check", CHECKS["augmentation"], ids=lambda c: c.__name__)
def test_kit(check, data, options):
    check(get_registry().find("augmentation", "ada"), data, options)


# ---- adaptation


def test_p_follows_its_statistic_by_the_rule():
    augment = Ada(DATA, kimg=1.0, interval=2)  # a batch of 10 twice: a change of 20 / 1000
    sure, unsure = scores(*[0.1] * 9, -5.0), scores(*[3.0] * 7, *[-0.2] * 3)  # mean signs .8 and .4
    fake = scores(*[9.0] * 10)  # says nothing here
    seen = []
    for real in (sure, sure, sure, sure, unsure, unsure, sure, sure, unsure, unsure):
        augment.observe(real, fake)
        seen.append(float(augment.p))
    assert seen == pytest.approx([0, 0.02, 0.02, 0.04, 0.04, 0.02, 0.02, 0.04, 0.04, 0.02])


def test_the_statistic_spans_the_whole_interval():
    augment = Ada(DATA, kimg=1.0, interval=3, target=0.0)
    for real in (scores(1, 1, 1), scores(-1, -1, 1), scores(-1, -1, 1)):  # 5 of 9: above 0, though two steps of three are below
        augment.observe(real, scores(0, 0, 0))
    assert float(augment.p) == pytest.approx(0.009)
    for real in (scores(-1, -1, -1), scores(1, 1, -1), scores(1, 1, -1)):
        augment.observe(real, scores(0, 0, 0))
    assert float(augment.p) == pytest.approx(0)


def test_no_change_at_the_target_itself():
    augment = Ada(DATA, kimg=1.0, interval=1, target=0.5)
    augment.p.fill_(0.3)
    augment.observe(scores(1, 1, 1, -1), scores(0, 0, 0, 0))
    assert augment.p == torch.tensor(0.3)


@pytest.mark.parametrize("max_p", [0.8, 1.0, 0.25])
def test_p_stays_between_0_and_its_bound(max_p):
    augment = Ada(DATA, kimg=0.01, interval=1, max_p=max_p)  # 10 images: 4 are a change of .4
    for expected in (min(0.4, max_p), min(0.8, max_p), max_p, max_p):
        augment.observe(scores(1, 1, 1, 1), scores(1, 1, 1, 1))
        assert float(augment.p) == pytest.approx(expected)
    for _ in range(4):
        augment.observe(scores(-1, -1, -1, -1), scores(1, 1, 1, 1))
    assert float(augment.p) == 0


def test_maps_of_logits_and_heads_count_once_an_image():
    augment = Ada(DATA, kimg=1.0, interval=1)
    coarse, fine = torch.full((5, 2, 2), 3.0), torch.full((5, 4, 4), -1.0)
    coarse[:, 0, 0] = -100  # the mean over places is below 0: -22.75 - 1
    augment.observe(Score((coarse, fine)), Score((coarse, fine)))
    assert float(augment.p) == 0
    augment.observe(Score((-coarse, fine)), Score((coarse, fine)))
    assert float(augment.p) == pytest.approx(0.005)


@pytest.mark.parametrize(("loss", "rises"), [(None, True), (Relativistic, False)])
def test_a_relative_loss_is_judged_by_pairs(build_match, phase_loss, affine, fixed, loss, rises):
    # Every D(real) is above 0, but every fake's D is above its real's: a level alone would raise p.
    augment = Ada(DATA, kimg=1.0, interval=1).double()
    augment.p.fill_(0.5)
    real, fake = torch.full((4, 3, 8, 8), 0.5, dtype=F64), torch.full((1, 3, 8, 8), 0.9, dtype=F64)
    disc = affine(torch.ones(192, dtype=F64))
    # No shift of the images' values: the level is what is tested.
    augment.groups = frozenset()
    match: Match = build_match(fixed(fake), disc, augment=augment, **({"loss": loss} if loss else {}))
    assert augment.relative == (loss is Relativistic)
    assert all(module is not match for module in augment.modules())
    phase_loss(match, "D", real)
    assert float(augment.p) == pytest.approx(0.504 if rises else 0.496)
    phase_loss(match, "G", real)
    assert float(augment.p) == pytest.approx(0.504 if rises else 0.496)  # D's steps alone


@pytest.mark.parametrize(("real", "fake"), [(1.0, 0.0), (1.0, -1.0), (0.0, 1.0)])
@pytest.mark.parametrize("heads", [1, 3])
def test_lsgan_has_even_odds_halfway_between_its_targets(build_match, phase_loss, fixed, real, fake, heads):
    class Saying(nn.Module):
        """Of every image the same, in each of some heads."""

        def __init__(self) -> None:
            super().__init__()
            self.word = nn.Parameter(torch.zeros(()))

        def forward(self, images: Tensor, condition: object) -> Score:
            return Score((self.word.expand(len(images)),) * heads)

    augment, disc = Ada(DATA, kimg=1.0, interval=1), Saying()
    loss = partial(LeastSquares, real=real, fake=fake)
    match: Match = copy.deepcopy(build_match(fixed(torch.zeros(1, 3, 8, 8)), disc, augment=augment, loss=loss))
    match.augment.p.fill_(0.5)
    # D's word on every image as a share of the way from fakes to reals; then r and p.
    for share, sign, p in ((0.5, 0, 0.496), (0.25, -1, 0.492), (0.75, 1, 0.496)):
        match.disc.word.data.fill_(fake + share * (real - fake))
        stats: dict[str, Tensor] = {}
        phase_loss(match, "D", torch.zeros(4, 3, 8, 8), stats=stats)
        assert float(stats["D/sign"]) == sign
        assert float(match.augment.p) == pytest.approx(p)


def test_ranks_share_one_p(monkeypatch):
    augment = Ada(DATA, kimg=1.0, interval=1)
    # This rank's mean sign is 1, the other's 0: together .5, below .6, of 2 x 4 images.
    monkeypatch.setattr(ada, "batch_mean", lambda total: (total + 0) / 2)
    monkeypatch.setattr(ada, "sharing", lambda: 2)
    augment.p.fill_(0.5)
    augment.observe(scores(1, 1, 1, 1), scores(0, 0, 0, 0))
    assert float(augment.p) == pytest.approx(0.492)


def test_a_constant_p_does_not_adapt():
    augment = Ada(DATA, p=0.3, kimg=0.01, interval=1)
    augment.observe(scores(1, 1), scores(0, 0))
    assert augment.p == torch.tensor(0.3)


def test_a_ramp_is_half_a_cosine():
    augment = Ada(DATA, p=0.55, ramp=0.04)
    assert augment.p == 0
    for images in range(10, 70, 10):
        augment.observe(scores(*[1.0] * 10), scores(*[0.0] * 10))
        share = min(1, images / 40)
        # R3GAN's schedule: to + (from - to) (1 + cos) / 2
        assert float(augment.p) == pytest.approx(0.55 + (0 - 0.55) * (1 + math.cos(math.pi * share)) / 2)


@pytest.mark.parametrize("options", [{"kimg": 0.8}, {"p": 0.5, "ramp": 0.2}], ids=str)
def test_its_state_goes_on_as_if_never_stopped(options):
    one, other = Ada(DATA, **options), Ada(DATA, **options)
    generator = torch.Generator().manual_seed(1)
    real = [Score(torch.randn(6, generator=generator) + 1) for _ in range(40)]
    shapes = {name: buffer.shape for name, buffer in one.state_dict().items()}
    for said in real[:18]:  # in the middle of an interval
        one.observe(said, said)
    state = copy.deepcopy(one.state_dict())
    assert {name: buffer.shape for name, buffer in state.items()} == shapes
    assert set(state) == {"p", "images", "signs", "steps"}
    other.load_state_dict(state)
    seen = []
    for augment in (one, other):
        seen.append([])
        for said in real[18:]:
            augment.observe(said, said)
            seen[-1].append(float(augment.p))
    assert seen[0] == seen[1]
    assert len(set(seen[0])) > 3


def test_nothing_is_read_on_the_host():
    with torch.device("meta"):
        for augment in (Ada(DATA), Ada(DATA, p=0.5, ramp=1.0)):
            augment(torch.empty(4, 3, 8, 8))
            augment.observe(Score(torch.empty(4)), Score(torch.empty(4)))


# ---- identity and derivatives


@pytest.mark.parametrize("dtype", [torch.float32, F64, torch.bfloat16])
def test_nothing_at_p_0_and_its_gradient_is_the_identity(dtype):
    images = torch.randn(6, 3, 8, 8, dtype=dtype).requires_grad_()
    augment = Ada(DATA)
    out = augment(images)
    assert torch.equal(out, images)
    assert out.dtype == dtype
    given = torch.randn_like(images)
    assert torch.equal(torch.autograd.grad(out, images, given)[0], given)


@pytest.mark.parametrize("transforms", ["b", "g", "c", "bgc"])
def test_derivatives_by_finite_differences(transforms):
    images = images_of(2, 3, 4, 4).requires_grad_()
    augment = Ada(DataSpec("image", (3, 4, 4)), transforms=transforms, p=0.9).double()

    def same(x: Tensor) -> Tensor:
        torch.manual_seed(3)
        return augment(x).pow(2)

    assert torch.autograd.gradcheck(same, images)
    assert torch.autograd.gradgradcheck(same, images, fast_mode=transforms != "g")


def test_r1_reaches_the_clean_image(build_match, phase_loss, affine, fixed):
    images, w = images_of(2, 3, 4, 4), images_of(48).flatten()
    augment = Ada(DataSpec("image", (3, 4, 4)), p=0.9).double()
    stats: dict[str, Tensor] = {}
    match = build_match(fixed(images[:1]), affine(w), R1(DATA, gamma=4.0), augment=augment)
    torch.manual_seed(5)
    phase_loss(match, "D", images, stats=stats)
    # The augmentation is an affine map of each image: its matrix, a column a pixel.
    torch.manual_seed(5)
    offset = augment(torch.zeros_like(images)).flatten(1)
    columns = []
    for pixel in torch.eye(48, dtype=F64):
        torch.manual_seed(5)
        columns.append(augment(pixel.view(1, 3, 4, 4).expand(2, -1, -1, -1)).flatten(1) - offset)
    gradient = torch.stack(columns, 2).transpose(1, 2) @ w  # [2, 48]
    torch.testing.assert_close(stats["D/R10"], 2 * gradient.square().sum(1).mean())


def test_memory_format_and_autocast_do_not_matter():
    images, augment = torch.randn(8, 3, 8, 8), Ada(DATA, p=0.7)
    torch.manual_seed(5)
    expected = augment(images)
    torch.manual_seed(5)
    torch.testing.assert_close(augment(images.contiguous(memory_format=torch.channels_last)), expected)
    torch.manual_seed(5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(augment(images), expected)


# ---- options


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"p": 1.5}, "p=1.5"),
        ({"p": -0.1}, "p=-0.1"),
        ({"max_p": 1.1}, "max_p=1.1"),
        ({"target": 1.0}, "target=1.0"),
        ({"kimg": 0.0}, "kimg=0.0"),
        ({"interval": 0}, "interval=0"),
        ({"p": 0.5, "ramp": -1.0}, "ramp=-1.0"),
        ({"ramp": 5.0}, "ramp=5.0 needs p"),
    ],
)
def test_options_out_of_range_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        Ada(DATA, **options)
