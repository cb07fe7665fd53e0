"""StarGAN's game and its two terms, held to computations by hand."""

from __future__ import annotations

from math import exp, log

import pytest
import torch
from torch import nn

from ganzoo.games.match import Parts, Play
from ganzoo.interfaces import Loss, Score
from ganzoo.plugin import DataSpec
from ganzoo_translation.cycle import Identity
from ganzoo_translation.domains import DomainClassification, DomainReconstruction, MultiDomain

DOMAINS = ("dark", "light")
IMAGES = DataSpec("image", (1, 2, 2), classes=DOMAINS, domains=DOMAINS)


class Shift(nn.Module):
    """Adds 0.5 to what is to become "light", takes 0.25 from what is to become "dark"."""

    def __init__(self, data):
        super().__init__()
        self.by = nn.Parameter(torch.tensor([-0.25, 0.5]))

    def forward(self, x, condition):
        return x + self.by[condition["labels"]][:, None, None, None]


class Named(nn.Module):
    """The mean is the logit; the class logits are 0 and the mean; notes the labels that it is shown."""

    def __init__(self, data):
        super().__init__()
        assert data.classes == DOMAINS
        self.one = nn.Parameter(torch.ones(()))
        self.shown = []

    def forward(self, images, condition):
        self.shown.append(condition["labels"].tolist())
        mean = self.one * images.flatten(1).mean(1)
        return Score(mean, classes=torch.stack([torch.zeros_like(mean), mean], 1))


class Differences(Loss):
    def d(self, real, fake):
        return fake.logits - real.logits

    def g(self, fake, real):
        return -fake.logits


REGS = [
    ("domain-classification", lambda data: DomainClassification(data, weight=2.0)),
    ("domain-reconstruction", lambda data: DomainReconstruction(data, weight=10.0)),
]


@pytest.fixture
def game():
    return MultiDomain(IMAGES, Parts(Shift, Named, Differences, REGS))


@pytest.fixture
def batch():
    # A dark image of mean .1 that is to become light, and a light one of mean .4 that is to become dark.
    x = torch.tensor([0.1, 0.4])[:, None, None, None].expand(2, 1, 2, 2).contiguous()
    return {"real": x, "x": x, "labels": torch.tensor([0, 1]), "asked": torch.tensor([1, 0])}


def terms(game, batch, player):
    (phase,) = (phase for phase in game.phases() if phase.player == player)
    return [float(value.detach()) for _, value in game.losses(phase, batch, 0)]


def named(mean, label):
    """Cross-entropy of the logits 0 and mean."""
    return log(1 + exp(mean)) - (mean if label else 0.0)


def test_what_d_minimises(game, batch):
    # Fakes: .1 + .5 = .6 and .4 - .25 = .15; classes from the reals alone, by where they come from.
    adversarial = (0.6 + 0.15) / 2 - (0.1 + 0.4) / 2
    (found,) = terms(game, batch, "D")
    assert found == pytest.approx(adversarial + 2 * (named(0.1, 0) + named(0.4, 1)) / 2)
    # Reals come with their own labels, fakes with those asked for.
    assert game.players["D"].shown == [[0, 1], [1, 0]]


def test_what_g_minimises(game, batch):
    # Back: .6 - .25 = .35, .25 from .1; .15 + .5 = .65, .25 from .4.
    (found,) = terms(game, batch, "G")
    assert found == pytest.approx(-(0.6 + 0.15) / 2 + 2 * (named(0.6, 1) + named(0.15, 0)) / 2 + 10 * 0.25)
    assert game.players["D"].shown == [[1, 0]]


def test_identity_asks_for_the_domain_that_an_image_is_of(batch):
    game = MultiDomain(IMAGES, Parts(Shift, Named, Differences, [("identity", lambda data: Identity(data, weight=4.0))]))
    # .1 - .25 and .4 + .5: as far from their images as the shifts of their own domains.
    (found,) = terms(game, batch, "G")
    assert found == pytest.approx(-(0.6 + 0.15) / 2 + 4 * (0.25 + 0.5) / 2)


def test_identity_wants_images_of_one_shape():
    with pytest.raises(ValueError, match="one shape"):
        Identity(DataSpec("image", (1, 8, 8), source=DataSpec("image", (1, 2, 2))))


def test_what_is_asked_for_is_the_batch_dealt_out_anew(game):
    data = {"real": torch.zeros(64, 1, 2, 2), "labels": torch.arange(64) % 2}
    one, two, other = (game.draw(data, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(one["asked"], two["asked"])
    assert not torch.equal(one["asked"], other["asked"])
    assert one["asked"].sum() == 32
    assert 0 < (one["asked"] == data["labels"]).sum() < 64
    assert one["x"] is data["real"]


def test_a_sheet_shows_the_image_in_every_domain(game, batch):
    x, dark, light = game.show(game.players["G"], batch)
    assert torch.equal(x, batch["x"])
    assert torch.allclose(dark, x - 0.25)
    assert torch.allclose(light, x + 0.5)


def test_play_of_other_games_has_one_condition(batch):
    from ganzoo.games.adversarial import Adversarial

    class Noise(Shift):
        z_dim = 3

    playing = Adversarial(IMAGES, Parts(Noise, Named, Differences))
    plain = {name: value for name, value in batch.items() if name != "asked"}
    play = Play(playing.matches[0], "D", plain, 0)
    assert play.condition is play.real_condition


def test_it_needs_domains():
    with pytest.raises(ValueError, match="several domains"):
        MultiDomain(IMAGES.replace(domains=()), Parts(Shift, Named, Differences))
    for make in (DomainClassification, DomainReconstruction):
        with pytest.raises(ValueError, match="must be above 0"):
            make(IMAGES, weight=0.0)
