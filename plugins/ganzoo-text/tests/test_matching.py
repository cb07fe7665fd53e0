"""The matching-aware loss, against a computation in float64 by hand; which wrong captions are drawn."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ganzoo.games.match import Match, Play
from ganzoo.interfaces import DataSpec, Loss, Phase, Score
from ganzoo.registry import create
from ganzoo_text.matching import MatchingAware, others

DATA = DataSpec("image", (1, 8, 8), text=2)


class Table(nn.Module):
    """Says of an image and a caption the product of the image's first pixel and a weighing of the caption."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.7, -1.3], dtype=torch.float64))

    def forward(self, images, condition):
        return Score(images[:, 0, 0, 0] * (condition["text"] @ self.weight) + images[:, 0, 0, 1])


class Made(nn.Module):
    def forward(self, x, condition):
        return x[:, :, None, None].expand(-1, 1, 8, 8)


def softplus(x):
    return math.log1p(math.exp(x))


def play_of(text, loss=None):
    n = len(text)
    generator = torch.Generator().manual_seed(0)
    batch = {
        "real": torch.randn(n, 1, 8, 8, generator=generator, dtype=torch.float64),
        "x": torch.randn(n, 1, generator=generator, dtype=torch.float64),
        "text": torch.tensor(text, dtype=torch.float64),
    }
    match = Match(Made(), Table(), loss or create("loss", "non-saturating", DATA), [("matching-aware", MatchingAware(DATA))])
    return match, batch


def by_hand(batch, weight, wrong):
    """-log D(x, t) - 1/2 log(1 - D(x~, t)) - 1/2 log(1 - D(x, t')), averaged, in plain Python."""
    total = 0.0
    for i, (t, w) in enumerate(zip(batch["text"].tolist(), wrong, strict=True)):
        real, fake = batch["real"][i, 0, 0].tolist(), batch["x"][i].item()

        def says(first, second, caption):
            return first * sum(a * b for a, b in zip(caption, weight, strict=True)) + second

        total += softplus(-says(real[0], real[1], t))
        total += softplus(says(fake, fake, t)) / 2 + softplus(says(real[0], real[1], w)) / 2
    return total / len(wrong)


def test_the_loss_is_the_paper_s():
    """With two captions in the batch the wrong one is certain."""
    one, two = [0.5, 1.5], [-1.0, 0.25]
    match, batch = play_of([one, two, one, two, one])
    (term,) = (value for _, value in match.losses(Phase("D/main", "D"), batch, 0, {}))
    weight = match.disc.weight.tolist()
    expected = by_hand(batch, weight, [two, one, two, one, two])
    assert term.item() == pytest.approx(expected, rel=1e-12)  # the whole of D's loss: it takes the plain one's place
    term.backward()
    for k in range(2):  # the gradient, by central differences of the same
        step = [1e-6 * (j == k) for j in range(2)]
        ends = [
            by_hand(batch, [w + sign * s for w, s in zip(weight, step, strict=True)], [two, one, two, one, two])
            for sign in (1, -1)
        ]
        assert match.disc.weight.grad[k].item() == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6)


def test_any_loss_has_its_counterpart():
    class Margin(Loss):
        def d(self, real, fake):
            return (1 - real.logits).relu() + (1 + fake.logits).relu()

    one, two = [0.5, 1.5], [-1.0, 0.25]
    match, batch = play_of([one, two], Margin(DATA))
    (term,) = (value for _, value in match.losses(Phase("D/main", "D"), batch, 0, {}))
    play = Play(match, "D", batch, 0)
    wrong = play.critic(play.real, {"text": torch.tensor([two, one], dtype=torch.float64)})
    margin = Margin(DATA)
    expected = (margin.d(play.real_score, play.fake_score).mean() + margin.d(play.real_score, wrong).mean()) / 2
    assert term.item() == pytest.approx(expected.item(), rel=1e-12)


def test_one_caption_in_a_batch_leaves_the_plain_loss():
    match, batch = play_of([[0.5, 1.5]] * 4)
    stats = {}
    (term,) = (value for _, value in match.losses(Phase("D/main", "D"), batch, 0, stats))
    assert term.item() == stats["D/loss"].item()
    term.backward()
    assert match.disc.weight.grad.isfinite().all()


def test_g_s_loss_stays():
    match, batch = play_of([[0.5, 1.5], [-1.0, 0.25]])
    stats = {}
    list(match.losses(Phase("G/main", "G"), batch, 0, stats))
    assert "G/matching-aware" not in stats
    assert "G/loss" in stats


def test_no_caption_is_its_own_wrong_one_nor_an_equal_one_s():
    torch.manual_seed(0)
    captions = torch.randn(5, 7)
    captions[1] = captions[0] + 1e-30 * torch.arange(7)  # equal in float32
    captions[2] = captions[3]
    captions[2, 6] = torch.nextafter(captions[2, 6], torch.tensor(torch.inf))  # and this one is not
    drawn = set()
    for _ in range(300):
        text = captions[torch.randint(5, (6,))]
        wrong, any_other = others(text)
        if not any_other:
            assert torch.equal(wrong, text)
            continue
        for row, other in zip(text, wrong, strict=True):
            assert any(torch.equal(other, known) for known in text)
            if len(text.unique(dim=0)) > 1:
                assert not torch.equal(row, other)
        drawn |= {
            (int((captions == r).all(1).nonzero()[0]), int((captions == o).all(1).nonzero()[0]))
            for r, o in zip(text, wrong, strict=True)
        }
    distinct = {0, 2, 3, 4}
    assert drawn == {(a, b) for a in distinct for b in distinct if a != b}  # each other one is drawn


def test_wrong_captions_are_drawn_evenly():
    torch.manual_seed(0)
    text = torch.eye(4)
    counts = torch.stack([others(text)[0] for _ in range(3000)]).mean(0)
    assert counts.diagonal().tolist() == [0, 0, 0, 0]
    apart = (counts + torch.eye(4) / 3 - 1 / 3).abs().max()
    assert apart < 5 * math.sqrt(2 / 9 / 3000)
