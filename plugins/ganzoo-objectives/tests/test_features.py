"""What D says beside its logits: feature matching, the auxiliary classifier."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from ganzoo.interfaces import Play, Score
from ganzoo.plugin import DataSpec
from ganzoo_objectives.features import AuxiliaryClassifier, FeatureMatching
from ganzoo_objectives.losses import Hinge
from ganzoo_objectives.unrolled import Unrolled

DATA, F64 = DataSpec("points", (3,), classes=("a", "b", "c")), torch.float64


@pytest.fixture
def samples() -> tuple[Tensor, Tensor]:
    return torch.randn(5, 3, dtype=F64), torch.randn(5, 3, dtype=F64)


def means(features: Tensor) -> list[float]:
    """Of each entry over the batch."""
    rows = features.flatten(1).tolist()
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("replace", [True, False])
@pytest.mark.parametrize(("layers", "norm"), [((-1,), "l2"), ((0,), "l1"), ((0, 1), "l2"), ((0, -1), "l1")])
def test_matching_is_the_distance_of_batch_means(layers, norm, replace, samples, build_match, phase_loss, fixed, told):
    real, fake = samples
    disc, gen = told(3), fixed(fake)
    reg = FeatureMatching(DATA, layers=layers, norm=norm, weight=2.5, replace=replace)
    match = build_match(gen, disc, reg, loss=Hinge)
    with torch.no_grad():
        expected = 0.0
        for layer in layers:
            pairs = zip(means(disc(fake, {}).features[layer]), means(disc(real, {}).features[layer]), strict=True)
            gaps = [a - b for a, b in pairs]
            expected += 2.5 * (sum(g * g for g in gaps) if norm == "l2" else sum(map(abs, gaps)) / len(gaps))
        adversarial = -disc(fake, {}).logits.mean().item()
    stats: dict[str, Tensor] = {}
    total = phase_loss(match, "G", real, stats=stats)
    assert stats["G/FeatureMatching0"].item() == pytest.approx(expected, rel=1e-12)
    assert total.item() == pytest.approx(expected + (0 if replace else adversarial), rel=1e-12)
    assert stats["G/loss"].item() == pytest.approx(adversarial, rel=1e-12)  # still in the log
    plain = build_match(gen, disc, loss=Hinge)
    torch.testing.assert_close(phase_loss(match, "D", real), phase_loss(plain, "D", real))


class Maps(nn.Module):
    """Features that are the images themselves."""

    def forward(self, images: Tensor, condition: object) -> Score:
        return Score(images.flatten(1).sum(1), (images,))


def test_matching_maps_place_by_place_with_a_gradient_for_g(build_match, phase_loss, fixed):
    real, fake = torch.randn(5, 2, 3, 3, dtype=F64), torch.randn(5, 2, 3, 3, dtype=F64)
    gen = fixed(fake)
    phase_loss(build_match(gen, Maps(), FeatureMatching(DATA)), "G", real).backward()
    expected = 2 * (fake.mean(0) - real.mean(0)) / 5
    torch.testing.assert_close(gen.sample.grad, expected.expand(5, -1, -1, -1))


def test_reals_are_constants_when_d_looks_ahead(samples, build_match, phase_loss, fixed, told):
    # D's weights, and so its features of reals, then depend on G; the match still goes one way
    real, fake = samples
    disc = told(3)
    regs = FeatureMatching(DATA), Unrolled(DATA, steps=1, optimizer="sgd", lr=0.5)
    gen = fixed(fake)
    match = build_match(gen, disc, *regs)
    phase_loss(match, "G", real).backward()
    assert gen.sample.grad.isfinite().all()
    play = Play(match, "G", {"real": real, "x": torch.zeros(5, 1, dtype=F64)}, 0)
    play.critic = match.regs[1].opponent(play.critic, play)
    (expected,) = torch.autograd.grad(
        (play.fake_score.features[-1].mean(0) - play.real_score.features[-1].mean(0).detach()).square().sum(), gen.sample
    )
    torch.testing.assert_close(gen.sample.grad, expected)


def test_matching_by_finite_differences(samples, build_match, as_function, fixed, told):
    real, fake = samples
    for norm in ("l2", "l1"):
        match = build_match(fixed(fake), told(3), FeatureMatching(DATA, layers=(0, 1), norm=norm))

        def value(images: Tensor, match=match) -> Tensor:
            play = Play(match, "G", {"real": real, "x": torch.zeros(5, 1, dtype=F64)}, 0)
            play.fake = images
            return match.regs[0](play)

        assert torch.autograd.gradcheck(value, fake.clone().requires_grad_())
        assert torch.autograd.gradgradcheck(value, fake.clone().requires_grad_())


def test_layers_that_are_not_there_are_refused(samples, build_match, phase_loss, fixed, told):
    real, fake = samples
    for layer in (2, -3):
        match = build_match(fixed(fake), told(3), FeatureMatching(DATA, layers=(layer,)))
        with pytest.raises(ValueError, match=rf"layers=\[{layer}\], but D has 2 features"):
            phase_loss(match, "G", real)
    with pytest.raises(ValueError, match=r"layers=\[\]"):
        FeatureMatching(DATA, layers=())
    with pytest.raises(ValueError, match="weight=0"):
        FeatureMatching(DATA, weight=0)


def crossed(logits: Tensor, labels: list[int]) -> float:
    """Cross-entropy, a number at a time."""
    terms = []
    for row, label in zip(logits.tolist(), labels, strict=True):
        terms.append(math.log(sum(math.exp(v) for v in row)) - row[label])
    return sum(terms) / len(terms)


@pytest.mark.parametrize(("d", "g", "fakes"), [(1.0, 1.0, True), (2.0, 0.1, False), (0.5, 0.0, True), (0.0, 3.0, True)])
def test_both_players_want_the_right_class(d, g, fakes, samples, build_match, phase_loss, fixed, told):
    real, fake = samples
    labels = [0, 1, 2, 2, 1]
    gen, disc = fixed(fake), told(3)
    match = build_match(gen, disc, AuxiliaryClassifier(DATA, d=d, g=g, fakes=fakes))
    plain = build_match(gen, disc)
    with torch.no_grad():
        on_real, on_fake = (crossed(disc(images, {}).classes, labels) for images in (real, fake))
    for player, expected in (("D", d * (on_real + fakes * on_fake)), ("G", g * on_fake)):
        stats: dict[str, Tensor] = {}
        total = phase_loss(match, player, real, labels=torch.tensor(labels), stats=stats)
        extra = total - phase_loss(plain, player, real, labels=torch.tensor(labels))
        assert extra.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
        assert (f"{player}/AuxiliaryClassifier0" in stats) == bool(d if player == "D" else g)
    # down for both: the class term is no game
    phase_loss(match, "D", real, labels=torch.tensor(labels)).backward()
    assert gen.sample.grad is None
    assert (disc.sort.weight.grad is not None) == bool(d)


def test_classifier_by_finite_differences(samples, build_match, as_function, fixed, told):
    real, fake = samples
    match = build_match(fixed(fake), told(3), AuxiliaryClassifier(DATA, d=2.0))
    value, where = as_function(match, real, "first.weight", "sort.weight", "sort.bias", labels=torch.tensor([0, 1, 2, 2, 1]))
    assert torch.autograd.gradcheck(value, where)
    assert torch.autograd.gradgradcheck(value, where)


@pytest.mark.parametrize(("options", "message"), [({"d": -1.0}, "d=-1.0"), ({"d": 0.0, "g": 0.0}, "g=0.0")])
def test_weights_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        AuxiliaryClassifier(DATA, **options)
