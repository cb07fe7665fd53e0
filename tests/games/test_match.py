"""A match on networks of one parameter, where every term is known in closed form."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganzoo.games.adversarial import Adversarial
from ganzoo.games.match import Parts, diversity
from ganzoo.interfaces import Augment, DataSpec, Loss, Phase, Play, Regularizer, Score
from ganzoo.registry import get_registry

POINTS = DataSpec("points", (2,))


class G(nn.Module):
    z_dim = 2

    def __init__(self, data: DataSpec) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.calls = 0

    def forward(self, x: Tensor, condition: Any) -> Tensor:
        self.calls += 1
        return self.scale * x


class D(nn.Module):
    def __init__(self, data: DataSpec) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.full((data.shape[0],), 0.5))
        self.register_buffer("seen", torch.zeros(()))
        self.shown: list[Tensor] = []

    def forward(self, images: Tensor, condition: Any) -> Tensor:
        self.shown.append(images)
        self.seen += 1
        return images @ self.w


class Linear(Loss):
    def d(self, real: Score, fake: Score) -> Tensor:
        return fake.logits - real.logits

    def g(self, fake: Score, real: Any) -> Tensor:
        return -fake.logits


class Slope(Regularizer):
    """|| dD/dx ||^2 at reals: for D(x) = w.x it is w.w."""

    input_grad = frozenset({"real"})
    double_backward = True

    def forward(self, play: Play) -> Tensor:
        (slope,) = torch.autograd.grad(play.real_score.per_sample().sum(), play.real, create_graph=True)
        return slope.square().sum(1)


def game(*regs: tuple[str, type[Regularizer]], augment: type[Augment] | None = None, **options: Any) -> Adversarial:
    return Adversarial(POINTS, Parts(G, D, Linear, regs, augment), **options)


def batch(n: int = 6) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {"real": torch.randn(n, 2), "x": torch.randn(n, 2)}


def terms(playing: Adversarial, phase: Phase, data: dict[str, Tensor], nimg: int = 0) -> list[Tensor]:
    return [term for _, term in playing.losses(phase, data, nimg)]


def test_losses_and_gradients_in_closed_form() -> None:
    playing, data = game(), batch()
    d_phase, g_phase = playing.phases()
    (loss,) = terms(playing, d_phase, data)
    assert loss.item() == pytest.approx((0.5 * (2 * data["x"] - data["real"]).sum(1)).mean().item())
    loss.backward()
    gen, disc = playing.players["G"], playing.players["D"]
    assert torch.allclose(disc.w.grad, (2 * data["x"] - data["real"]).mean(0))
    assert gen.scale.grad is None  # no graph through G in D's phase
    disc.w.grad = None
    disc.requires_grad_(False)  # as the trainer does
    (loss,) = terms(playing, g_phase, data)
    loss.backward()
    assert gen.scale.grad.item() == pytest.approx(-(0.5 * data["x"].sum(1)).mean().item())
    assert disc.w.grad is None


def test_a_phase_makes_each_thing_once() -> None:
    playing = game(("slope", Slope), ("more", Slope))
    (loss,) = terms(playing, playing.phases()[0], batch())
    assert playing.players["G"].calls == 1
    assert len(playing.players["D"].shown) == 2  # one pass over the reals, one over the fakes: the penalties share them
    bare = 0.5 * (2 * batch()["x"] - batch()["real"]).sum(1).mean()
    assert loss.item() == pytest.approx(bare.item() + 2 * 0.5)


def test_lazy_regularizers_have_phases_of_their_own() -> None:
    lazy = type("Lazy", (Slope,), {"every": 4})
    both = type(
        "Both", (Regularizer,), {"players": frozenset({"G", "D"}), "every": 2, "forward": lambda self, play: play.fake.mean()}
    )
    playing = game(("lazy", lazy), ("both", both), d_warmup=3)
    assert [(p.name, p.every, p.start) for p in playing.phases()] == [
        ("D/main", 1, 0), ("D/every2", 2, 0), ("D/every4", 4, 0), ("G/main", 1, 3), ("G/every2", 2, 3),
    ]  # fmt: skip
    (term,) = terms(playing, playing.phases()[2], batch())
    assert term.item() == pytest.approx(0.5)
    assert playing.players["G"].calls == 0  # nobody asked for fakes


def test_under_bf16_a_penalty_does_its_own_fp32_passes() -> None:
    precisions = []

    class Watch(Slope):
        def forward(self, play: Play) -> Tensor:
            precisions.append(torch.is_autocast_enabled("cpu"))
            return super().forward(play)

    playing = game(("watch", Watch))
    with torch.autocast("cpu", torch.bfloat16):
        found = terms(playing, playing.phases()[0], batch())
    assert precisions == [False]
    assert len(found) == 2
    assert found[1].item() == pytest.approx(0.5, rel=1e-6)  # exact: bf16 would be off in the third digit
    assert playing.players["G"].calls == 1


def test_shows_come_before_the_augmentation_and_changes_of_shape_after() -> None:
    order: list[str] = []

    class Noise(Regularizer):
        def show(self, images: Tensor, play: Play, real: bool | None) -> Tensor:
            order.append(f"noise {real}")
            return images + 1

    class Pairs(Regularizer):
        def data(self, spec: DataSpec) -> DataSpec:
            return spec.replace(shape=(2 * spec.shape[0],))

        def show(self, images: Tensor, play: Play, real: bool | None) -> Tensor:
            order.append("pairs")
            return images.reshape(len(images) // 2, -1)

    class Twice(Augment):
        def forward(self, images: Tensor) -> Tensor:
            order.append("augment")
            return 2 * images

    playing, data = game(("pairs", Pairs), ("noise", Noise), augment=Twice), batch()
    terms(playing, playing.phases()[0], data)
    assert order == ["noise True", "augment", "pairs", "noise False", "augment", "pairs"]
    assert torch.equal(playing.players["D"].shown[0], (2 * (data["real"] + 1)).reshape(3, 4))


def test_fakes_have_a_score_of_their_own_where_d_is_shown_others() -> None:
    class Others(Regularizer):
        swaps = True

        def show(self, images: Tensor, play: Play, real: bool | None) -> Tensor:
            return torch.ones_like(images) if play.player == "D" and real is False else images

    playing, data = game(("others", Others)), batch()
    play = Play(playing.match, "D", data, 0, frozenset({"fake"}))
    assert play.fake_score.per_sample().tolist() == [1.0] * 6
    (slope,) = torch.autograd.grad(play.own_fake_score.per_sample().sum(), play.fake)
    assert torch.equal(slope, torch.full((6, 2), 0.5))
    assert torch.equal(play.own_fake_score.per_sample(), data["x"].sum(1))
    # Elsewhere there is one pass for both.
    play = Play(playing.match, "G", data, 0)
    assert play.own_fake_score is play.fake_score
    play = Play(game(("slope", Slope)).match, "D", data, 0)
    assert play.own_fake_score is play.fake_score


def test_a_look_ahead_moves_no_buffer() -> None:
    playing, data = game(), batch()
    play = Play(playing.match, "G", data, 0)
    critic = play.critic.with_params({"w": torch.tensor([1.0, 0.0])})
    assert torch.allclose(critic(data["real"], {}).logits, data["real"][:, 0])
    assert playing.players["D"].seen == 0
    play.critic(data["real"], {})
    assert playing.players["D"].seen == 1


def test_attach_order_and_own_copies() -> None:
    order: list[str] = []

    def named(name: str, late: bool) -> type[Regularizer]:
        return type(name, (Regularizer,), {"parametrizes": late, "attach": lambda self, match: order.append(name)})

    playing = game(("a", named("weights", True)), ("b", named("layers", False)))
    assert order == ["layers", "weights"]
    assert "gen" not in dict(playing.match.named_children())  # the players hold the networks, once
    assert not any(name.startswith("matches.0.gen") for name in playing.state_dict())


def test_heads_are_summed_and_places_averaged() -> None:
    score = Score((torch.arange(8.0).reshape(2, 1, 2, 2), torch.tensor([10.0, 20.0])))
    assert score.per_sample().tolist() == [1.5 + 10, 5.5 + 20]
    assert [head.logits.shape for head in score.heads()] == [(2, 1, 2, 2), (2,)]


def test_diversity_is_the_mean_distance_within_a_class() -> None:
    samples = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0], [6.0, 8.0]])
    labels = torch.tensor([0, 0, 1, 1])
    distances = [5.0, (36 + 49) ** 0.5]
    assert diversity(samples, {"labels": labels}).item() == pytest.approx(sum(distances) / 2, rel=1e-5)
    every = [(samples[i] - samples[j]).norm().item() for i in range(4) for j in range(i)]
    assert diversity(samples, {}).item() == pytest.approx(sum(every) / 6, rel=1e-5)


def test_fakes_are_compared_within_the_class_they_were_asked_for() -> None:
    class Collapsed(G):
        """One sample a class."""

        def forward(self, x: Tensor, condition: Any) -> Tensor:
            return self.scale * torch.eye(2)[condition["labels"]]

    playing = Adversarial(POINTS, Parts(Collapsed, D, Linear))
    data = {**batch(4), "labels": torch.tensor([0, 0, 1, 1]), "asked": torch.tensor([0, 1, 0, 1])}
    terms(playing, playing.phases()[1], data)
    assert playing.stats["diversity"].item() == 0


@pytest.mark.parametrize("prior", ["normal", "uniform"])
def test_noise_is_a_function_of_the_generator(prior: str) -> None:
    playing = game(prior=prior)
    drawn = [playing.draw({"real": torch.zeros(4000, 2)}, torch.Generator().manual_seed(seed))["x"] for seed in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert drawn[0].std().item() == pytest.approx(1.0 if prior == "normal" else 3**-0.5, abs=0.05)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("name", "options"), [("diffaugment", {"color": 0.0}), ("diffaugment", {}), ("ada", {"p": 0.9})])
def test_a_source_is_augmented_with_the_draws_of_its_image(name: str, options: dict[str, Any], channels: int) -> None:
    class Seeing(nn.Module):
        def __init__(self, data: DataSpec) -> None:
            super().__init__()
            self.pairs: list[tuple[Tensor, Tensor]] = []

        def forward(self, images: Tensor, condition: Any) -> Tensor:
            self.pairs.append((images, condition["source"]))
            return images.flatten(1).sum(1)

    grey = DataSpec("image", (channels, 16, 16))
    spec = DataSpec("image", (3, 16, 16), source=grey)
    registry = get_registry()
    entry = registry.find("augmentation", name)
    parts = Parts(G, Seeing, Linear, (), lambda data: registry.build(entry, options, data, 8))
    playing = Adversarial(spec, parts)
    torch.manual_seed(0)
    source = torch.rand(8, channels, 16, 16) * 2 - 1
    real = source.expand(-1, 3, -1, -1).contiguous()
    play = Play(playing.matches[0], "D", {"real": real, "source": source, "x": source}, 0)
    before = torch.get_rng_state()
    play.critic(real, play.condition)
    after = torch.get_rng_state()
    ((images, shown),) = playing.players["D"].pairs
    assert not torch.equal(images, real)
    assert torch.allclose(shown, images if channels == 3 else images.mean(1, keepdim=True), atol=1e-6)
    torch.set_rng_state(before)
    playing.matches[0].augment(real)
    assert torch.equal(torch.get_rng_state(), after)  # as one pass draws
    playing.players["D"].pairs.clear()
    play.critic(real, play.condition)
    assert not torch.equal(playing.players["D"].pairs[0][0], images)  # the next pass draws anew
