"""CycleGAN's game, its two penalties and the image pool, held to computations by hand."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from ganzoo.games.match import Match, Parts, Play
from ganzoo.interfaces import Loss
from ganzoo.plugin import DataSpec
from ganzoo.registry import get_registry
from ganzoo_translation.cycle import BACK, THERE, Cycle, CycleConsistency, Identity, ImagePool

IMAGES = DataSpec("image", (1, 2, 2))
PAIRS = IMAGES.replace(source=IMAGES)


class Affine(nn.Module):
    """scale * x + shift, of numbers that are easy to follow."""

    numbers = iter(())

    def __init__(self, data):
        super().__init__()
        scale, shift = next(Affine.numbers)
        self.scale, self.shift = nn.Parameter(torch.tensor(scale)), nn.Parameter(torch.tensor(shift))

    def forward(self, x, condition):
        assert not condition
        return self.scale * x + self.shift


class Mean(nn.Module):
    """The mean of an image as its logit, times a weight."""

    def __init__(self, data):
        super().__init__()
        assert data.source is None, "no discriminator sees the source"
        self.weight = nn.Parameter(torch.tensor(1.0))

    def forward(self, images, condition):
        return self.weight * images.flatten(1).mean(1)


class Squares(Loss):
    """CycleGAN's: plain squares for G, halves for D."""

    def d(self, real, fake):
        return ((real.logits - 1) ** 2 + fake.logits**2) / 2

    def g(self, fake, real):
        return (fake.logits - 1) ** 2


@pytest.fixture
def game():
    Affine.numbers = iter([(2.0, 0.5), (0.25, -1.0)])  # there: 2 x + .5; back: x / 4 - 1
    return Cycle(PAIRS, Parts(Affine, Mean, Squares, [("cycle-consistency", CycleConsistency), ("identity", Identity)]))


@pytest.fixture
def batch():
    a = torch.tensor([[0.1, 0.2], [0.3, 0.4]])[None, None]  # mean .25
    b = torch.tensor([[0.0, 0.4], [0.8, 0.4]])[None, None]  # mean .4
    return {"real": b, "source": a, "x": a}


def terms(game, batch, player):
    (phase,) = (phase for phase in game.phases() if phase.player == player)
    return {name: float(value.detach()) for name, value in game.losses(phase, batch, 0)}


def test_what_g_minimises(game, batch):
    found = terms(game, batch, "G")
    # There: 2 a + .5 has the mean 1, so the loss 0; back again (2 a + .5) / 4 - 1 - a = -a / 2 - .875, of mean size 1;
    # identity 2 b + .5 - b = b + .5, of mean .9.
    assert found["G/main there"] == pytest.approx(0 + 10 * 1.0 + 5 * 0.9)
    # Back: b / 4 - 1 has the mean -.9, so the loss 3.61; there again 2 (b / 4 - 1) + .5 - b = -b / 2 - 1.5, of mean size 1.7;
    # identity a / 4 - 1 - a = -.75 a - 1, of mean size 1.1875.
    assert found["G/main back"] == pytest.approx(3.61 + 10 * 1.7 + 5 * 1.1875)
    assert float(game.stats["G/cycle-consistency"]) == pytest.approx(10 * (1.0 + 1.7) / 2)


def test_what_d_minimises(game, batch):
    found = terms(game, batch, "D")
    assert found["D/main there"] == pytest.approx(((0.4 - 1) ** 2 + 1.0**2) / 2)  # real b, fake of mean 1
    assert found["D/main back"] == pytest.approx(((0.25 - 1) ** 2 + 0.9**2) / 2)  # real a, fake of mean -.9


def test_g_learns_first_and_each_player_owns_both_networks(game):
    assert [phase.player for phase in game.phases()] == ["G", "D"]
    assert set(game.players["G"]) == set(game.players["D"]) == {THERE, BACK}
    assert game.matches[0].reverse is game.matches[1]
    twin = copy.deepcopy(game)
    assert twin.matches[0].reverse is twin.matches[1]
    assert twin.matches[0].gen is twin.players["G"][THERE]


def test_samples_go_there(game, batch):
    assert torch.equal(game.generate(game.players["G"], batch), 2 * batch["x"] + 0.5)


def test_each_direction_is_a_network_of_its_own():
    colour = IMAGES.replace(shape=(3, 2, 2))
    Affine.numbers = iter([(1.0, 0.0)] * 2)
    game = Cycle(colour.replace(source=IMAGES), Parts(Affine, Mean, Squares))  # from grey to colour
    player = copy.deepcopy(game.players["G"])
    for to, name, spec in (
        (None, THERE, colour.replace(source=IMAGES)),
        ("B", THERE, colour.replace(source=IMAGES)),
        ("A", BACK, IMAGES.replace(source=colour)),
    ):
        assert game.made_by(player, to) == (player[name], spec)
    with pytest.raises(ValueError, match="--to C: it makes B, what the data hold, and A, their source"):
        game.made_by(player, "C")


# ---- the pool


def test_a_sheet_shows_both_directions_and_the_way_back(game, batch):
    x, made, returned, real, back = game.show(game.players["G"], batch)
    assert torch.equal(x, batch["source"])
    assert torch.equal(made, 2 * x + 0.5)
    assert torch.allclose(returned, (2 * x + 0.5) / 4 - 1)
    assert torch.equal(real, batch["real"])
    assert torch.equal(back, real / 4 - 1)


def shown(pool, images, player="D", real=False):
    match = Match(Affine(IMAGES), Mean(IMAGES), Squares(IMAGES), data=IMAGES)
    return pool.show(images, Play(match, player, {"real": images, "x": images}, 0), real)


@pytest.fixture
def numbered():
    Affine.numbers = iter([(1.0, 0.0)] * 100)
    return torch.arange(12.0)[:, None, None, None].expand(12, 1, 2, 2)


def test_a_pool_that_fills_shows_what_it_is_given(numbered):
    pool = ImagePool(IMAGES, size=4)
    assert torch.equal(shown(pool, numbered[:3]), numbered[:3])
    assert int(pool.count) == 3
    assert torch.equal(pool.pool[:3], numbered[:3])
    assert not pool.pool[3].any()


def test_then_each_image_is_shown_or_swapped(numbered):
    """By replaying the draws: place, then coin, of each image in turn."""
    pool = ImagePool(IMAGES, size=4)
    shown(pool, numbered[:4])
    kept, expected = list(range(4)), []
    torch.manual_seed(3)
    for i in range(4, 12):
        place, coin = int(torch.randint(4, ())), float(torch.rand(()))
        if coin < 0.5:
            expected.append(kept[place])
            kept[place] = i
        else:
            expected.append(i)
    torch.manual_seed(3)
    seen = torch.cat([shown(pool, numbered[4:7]), shown(pool, numbered[7:])])
    assert seen[:, 0, 0, 0].tolist() == expected
    assert pool.pool[:, 0, 0, 0].tolist() == kept
    assert len(set(expected)) < 9
    assert expected != list(range(4, 12))


def test_the_pool_serves_d_s_phase_and_fakes_alone(numbered):
    pool = ImagePool(IMAGES, size=2)
    for player, real in (("G", False), ("D", True), ("D", None)):
        assert shown(pool, numbered, player, real) is numbered
    assert int(pool.count) == 0


@pytest.mark.parametrize(("given", "kind"), [({"source": IMAGES}, "source image"), ({"text": 5}, "caption")])
def test_no_pool_where_d_sees_what_a_fake_was_made_of(given, kind):
    with pytest.raises(
        ValueError, match=f"earlier fakes were not made of the {kind} that D may see beside them: leave image-pool"
    ):
        ImagePool(IMAGES.replace(**given))


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("pix2pix-small", "image-pool.*earlier fakes were not made of the source image"),
        ("stargan-small", "labels are what .* cannot do without, and regularizer 'image-pool' cannot use"),
        ("projection-small", "'image-pool' does not fit: it cannot use labels, .* data.labels=false"),
    ],
)
def test_a_pool_is_refused_in_conditional_games(recipe, message):
    from ganzoo.assembly import make_plan
    from ganzoo.config import layer_from_dict
    from ganzoo.errors import UsageError
    from ganzoo.rehearsal import rehearse

    table = {"recipe": recipe, "reg": ["image-pool"]}
    with pytest.raises(UsageError, match=message):
        rehearse(make_plan(get_registry(), layer_from_dict(table, "the test")))


class Squared(Mean):
    """The mean of the squares of an image as its logit, times a weight."""

    def forward(self, images, condition):
        return self.weight * images.square().flatten(1).mean(1)


@pytest.mark.parametrize("every", [1, 2])
def test_r2_beside_a_pool_is_of_g_s_own_fakes(numbered, every):
    entry = get_registry().find("regularizer", "r2")
    r2, pool = get_registry().build(entry, {"gamma": 2.0, "every": every}, IMAGES, 4), ImagePool(IMAGES, size=4)
    match = Match(Affine(IMAGES), Squared(IMAGES), Squares(IMAGES), [("r2", r2), ("pool", pool)], data=IMAGES)
    for images in (numbered[:4], numbered[4:8]):  # then some of the four are shown for the next
        kept, stats = pool.pool.clone(), {}
        for phase in match.phases("D"):
            for _, term in match.losses(phase, {"real": images, "x": images}, 0, stats):
                term.backward()
        assert int(pool.count) == 4
    # D's slope at a pixel of value v is 2 v / 4, so 4 such squares are v^2.
    assert float(stats["D/r2"]) == pytest.approx(float(images[:, 0, 0, 0].square().mean()))
    assert not torch.equal(pool.pool, kept)


def test_cyclegan_with_hinge_r1_and_spectral_norm_is_one_command():
    from ganzoo.assembly import make_plan
    from ganzoo.config import layer_from_dict
    from ganzoo.rehearsal import rehearse

    table = {
        "data": "emoji-pairs:res=[32,32],labels=false",
        "game": "cycle",
        "gen": "resnet-translator:channels=8,blocks=2",
        "disc": "patch:channels=8,norm=none",
        "loss": "hinge",
        "reg": ["cycle-consistency", "identity", "image-pool", "r1", "spectral-norm"],
    }
    plan = make_plan(get_registry(), layer_from_dict(table, "the test"))
    assert rehearse(plan).generated == (3, 32, 32)


def test_a_run_of_both_directions_starts_both(tmp_path):
    """Each network finds its own weights among the player's."""
    import ganzoo
    from ganzoo.loading import plan_of
    from ganzoo.runs import Run
    from ganzoo.training.initial import Initial

    config = {
        "gen": "resnet-translator:channels=4,blocks=1",
        "disc": "patch:channels=4",
        "game": "cycle",
        "data": "emoji-unpaired:res=[16,16]",
        "batch": 2,
        "kimg": 0.002,
        "device": "cpu",
    }
    run = ganzoo.train(config, tmp_path / "run")
    said = []
    game = plan_of(Run.open(run.path)).build(Initial(run.path, said.append))
    trained = ganzoo.load(run.path).network.state_dict()
    mine = game.players["G"][THERE].state_dict()
    assert all(torch.equal(mine[name], value) for name, value in trained.items())
    assert [words.partition(":")[0] for words in said] == ["G.there", "D.there", "G.back", "D.back"]
    assert not torch.equal(*(next(iter(game.players["G"][name].parameters())) for name in (THERE, BACK)))
