"""What D is shown, and what happens to its weights: instance noise, packing, weight clipping."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ganzoo.interfaces import Augment, Play
from ganzoo.plugin import DataSpec
from ganzoo_objectives.clipping import WeightClip
from ganzoo_objectives.noise import InstanceNoise
from ganzoo_objectives.packing import Packing
from ganzoo_objectives.penalties import R1

DATA = DataSpec("image", (3, 4, 4))


class Watching(nn.Module):
    """Keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(()))
        self.shown: list[Tensor] = []

    def forward(self, images: Tensor, condition: object) -> Tensor:
        self.shown.append(images.detach().clone())
        return self.w * images.flatten(1).mean(1)


@pytest.mark.parametrize(("progress", "sigma"), [(0.0, 0.1), (0.125, 0.075), (0.25, 0.05), (0.5, 0.0), (0.9, 0.0)])
@pytest.mark.parametrize("player", ["D", "G"])
def test_noise_falls_linearly_to_nothing(player, progress, sigma, build_match, phase_loss, fixed):
    disc, n = Watching(), 500
    fake, real = torch.zeros(n, 3, 4, 4), torch.ones(n, 3, 4, 4)
    match = build_match(fixed(fake), disc, InstanceNoise(DATA))
    match.budget = 1000
    phase_loss(match, player, real, nimg=int(1000 * progress))
    assert len(disc.shown) == (2 if player == "D" else 1)
    clean = [real, fake] if player == "D" else [fake]
    for shown, images in zip(disc.shown, clean, strict=True):
        noise = shown - images
        if not sigma:
            assert torch.equal(shown, images)
            continue
        # 24,000 values: the standard error of the deviation is 0.5%
        assert noise.std().item() == pytest.approx(sigma, rel=0.025)
        assert noise.mean().item() == pytest.approx(0, abs=5 * sigma / n)
    if sigma and player == "D":
        assert not torch.equal(disc.shown[0] - real, disc.shown[1] - fake)


def test_noise_can_last(build_match, phase_loss, fixed):
    disc = Watching()
    match = build_match(fixed(torch.zeros(200, 3, 4, 4)), disc, InstanceNoise(DATA, sigma=0.3, until=None))
    match.budget = 100
    phase_loss(match, "D", torch.zeros(200, 3, 4, 4), nimg=100)
    assert disc.shown[0].std().item() == pytest.approx(0.3, rel=0.05)


def test_a_penalty_differentiates_the_clean_image(build_match, fixed, affine):
    w = torch.randn(48)
    match = build_match(fixed(torch.zeros(4, 3, 4, 4)), affine(w), InstanceNoise(DATA, sigma=1.0), R1(DATA, gamma=2.0))
    real = torch.zeros(4, 3, 4, 4)
    play = Play(match, "D", {"real": real, "x": torch.zeros(4, 1)}, 0, frozenset({"real"}))
    assert torch.equal(play.real, real)
    (gradient,) = torch.autograd.grad(play.real_score.per_sample().sum(), play.real)
    torch.testing.assert_close(gradient.flatten(1), w.expand(4, -1))


@pytest.mark.parametrize("shape", [(3, 4, 4), (2,), (1, 16)], ids=["image", "points", "signal"])
@pytest.mark.parametrize("m", [2, 3])
def test_packs_are_consecutive_samples_on_channels(shape, m, build_match, phase_loss, fixed):
    data, n = DataSpec("any", shape), 6
    reg, disc = Packing(data, m=m), Watching()
    packed = reg.data(data)
    assert packed.shape == (m * shape[0], *shape[1:])
    real, fake = torch.randn(n, *shape), torch.randn(n, *shape)
    phase_loss(build_match(fixed(fake), disc, reg), "D", real)
    for shown, images in zip(disc.shown, (real, fake), strict=True):
        assert shown.shape == (n // m, *packed.shape)
        for pack in range(n // m):
            for place in range(m):
                part = shown[pack, place * shape[0] : (place + 1) * shape[0]]
                assert torch.equal(part, images[pack * m + place])


def test_each_image_is_augmented_before_it_is_packed(build_match, phase_loss, fixed):
    class Mark(Augment):
        def forward(self, images: Tensor) -> Tensor:
            assert images.shape[1:] == DATA.shape
            return images + torch.arange(len(images)).view(-1, 1, 1, 1)

    disc = Watching()
    match = build_match(
        fixed(torch.zeros(4, 3, 4, 4)), disc, Packing(DATA), InstanceNoise(DATA, sigma=0.01), augment=Mark(DATA)
    )
    phase_loss(match, "D", torch.zeros(4, 3, 4, 4))
    assert disc.shown[0].round()[:, :, 0, 0].tolist() == [[0, 0, 0, 1, 1, 1], [2, 2, 2, 3, 3, 3]]


def test_d_judges_packs_without_what_the_samples_were_made_of():
    given = DATA.replace(source=DataSpec("image", (1, 4, 4)), text=5)
    assert Packing(given).data(given) == DataSpec("image", (6, 4, 4))


def test_a_broken_pack_is_refused(build_match, phase_loss, fixed):
    match = build_match(fixed(torch.zeros(5, 3, 4, 4)), Watching(), Packing(DATA))
    with pytest.raises(ValueError, match="5 samples are no whole packs of 2; make --batch"):
        phase_loss(match, "D", torch.zeros(5, 3, 4, 4))


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(48, 8).requires_grad_(False)
        self.norm, self.head = nn.BatchNorm1d(8), nn.Linear(8, 1)

    def forward(self, images: Tensor, condition: object) -> Tensor:
        return self.head(self.norm(self.frozen(images.flatten(1)))).squeeze(1)


@pytest.mark.parametrize("c", [0.01, 0.2])
def test_weights_are_clipped_after_ds_step_alone(c, build_match, fixed):
    gen, disc = fixed(torch.randn(4, 3, 4, 4)), Normed()
    match = build_match(gen, disc, WeightClip(DATA, c=c))
    held = {name: p.detach().clone() for name, p in disc.named_parameters()}
    sample = gen.sample.detach().clone()
    match.after_step("G")
    assert all(torch.equal(p, held[name]) for name, p in disc.named_parameters())
    match.after_step("D")
    for name, p in disc.named_parameters():
        # numpy's clip is the reference
        expected = held[name] if name.startswith("frozen") else torch.from_numpy(held[name].numpy().clip(-c, c))
        assert torch.equal(p.detach(), expected), name
    assert disc.norm.weight.detach().eq(torch.tensor(c)).all()  # the scale of the norm, 1 at first, too
    assert torch.equal(gen.sample, sample)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WeightClip(DATA, c=0.0), "c=0.0"),
        (lambda: InstanceNoise(DATA, sigma=-1.0), "sigma=-1.0"),
        (lambda: InstanceNoise(DATA, until=0.0), "until=0.0"),
        (lambda: InstanceNoise(DATA, until=2.0), "until=2.0"),
        (lambda: Packing(DATA, m=1), "m=1"),
    ],
)
def test_options_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
