"""Projected GAN's discriminator: what is frozen stays, what is mixed is mixed rightly, and G learns through all of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from ganzoo.assembly import make_plan
from ganzoo.config import layer_from_dict
from ganzoo.data.cache import materialise
from ganzoo.data.sampling import Sampler
from ganzoo.interfaces import Features
from ganzoo.plugin import DataSpec, Part
from ganzoo.registry import get_registry
from ganzoo.training.trainer import Trainer
from ganzoo_projected.projected import Mixing, ProjectedDiscriminator, enlarged


class TinyFeatures(Features):
    """Strided convolutions with batch norm; like all features they are frozen, and stay in eval mode."""

    channels, strides, width = (3, 5, 7, 9), (4, 8, 16, 32), 9

    def __init__(self, data: DataSpec) -> None:
        super().__init__()
        self.first = nn.Conv2d(data.channels, 3, 5, 4, 2)
        self.rest = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in ((3, 5), (5, 7), (7, 9)))
        self.norm = nn.BatchNorm2d(3)
        self.requires_grad_(False).eval()

    def maps(self, images: Tensor) -> tuple[Tensor, ...]:
        maps = [self.norm(self.first(images)).tanh()]
        for layer in self.rest:
            maps.append(layer(maps[-1]).tanh())
        return tuple(maps)

    def forward(self, images: Tensor) -> Tensor:
        return self.maps(images)[-1].mean((2, 3))


TINY = Part("tiny", {}, TinyFeatures)
IMAGES = DataSpec("image", (3, 32, 32))
SMALL = {"features": TINY, "size": 64, "channels": 4, "max_channels": 16}


def doubled(a):
    """Bilinear doubling of [..., H, W] by its definition: a place lies a quarter from its own source, three from the next."""
    for axis in (-2, -1):
        a = np.moveaxis(a, axis, -1)
        before, after = np.concatenate([a[..., :1], a[..., :-1]], -1), np.concatenate([a[..., 1:], a[..., -1:]], -1)
        a = np.moveaxis(np.stack([0.75 * a + 0.25 * before, 0.75 * a + 0.25 * after], -1).reshape(*a.shape[:-1], -1), -1, axis)
    return a


def test_mixing_by_hand():
    mixing = Mixing((3, 5, 7), (4, 8, 16)).double()
    maps = [torch.randn(2, c, s, s, dtype=torch.float64) for c, s in ((3, 12), (5, 6), (7, 3))]
    below, expected = None, []
    for i in (2, 1, 0):
        x = np.einsum("nchw,oc->nohw", maps[i].numpy(), mixing.across_channels[i].weight[:, :, 0, 0].numpy())
        x = x if below is None else x + below
        below = doubled(F.conv2d(torch.from_numpy(x), mixing.across_scales[i].weight, padding=1).numpy())
        expected.insert(0, below)
    said = mixing(maps)
    assert [tuple(x.shape[1:]) for x in said] == [(4, 24, 24), (4, 12, 12), (8, 6, 6)]
    for one, other in zip(said, expected, strict=True):
        np.testing.assert_allclose(one.numpy(), other)


def test_mixing_keeps_the_scale_of_what_it_mixes():
    mixing = Mixing((64,), (64,))
    x = mixing.across_scales[0](mixing.across_channels[0](torch.randn(8, 64, 16, 16)))
    assert 0.8 < x[:, :, 1:-1, 1:-1].std() < 1.2


@pytest.mark.parametrize(
    ("side", "size", "logits"), [(256, 224, 5), (64, 224, 4), (64, 128, 5), (64, 96, 3)], ids=lambda value: str(value)
)
def test_heads_of_the_published_size_end_in_a_map_of_about_four(side, size, logits):
    disc = ProjectedDiscriminator(DataSpec("image", (3, side, side)), features=TINY, size=size, channels=4, max_channels=32)
    said = disc(torch.zeros(2, 3, side, side), {})
    assert [tuple(x.shape) for x in said.logits] == [(2, logits, logits)] * 3 + [
        (2, *([4, 4] if size == 128 else [logits] * 2))
    ]


def test_widths_and_halvings_of_the_authors():
    """At 224 the heads halve 4, 3, 2 and 1 times; a map of 256 / 2^n has 64 channels down to 64x64, then 128, 256 and 512."""
    with torch.device("meta"):
        disc = ProjectedDiscriminator(IMAGES, features=TINY, size=224)
    assert disc.mixing.outputs == [64, 64, 128, 256]
    convolutions = [[m for m in head.downs if isinstance(m, nn.Conv2d)] for head in disc.heads]
    assert [[c.out_channels for c in each] for each in convolutions] == [
        [64, 128, 256, 512],
        [128, 256, 512],
        [256, 512],
        [512],
    ]
    assert all(head.logits.kernel_size == (4, 4) and head.logits.out_channels == 1 for head in disc.heads)


def test_only_the_heads_learn():
    disc = ProjectedDiscriminator(IMAGES, **SMALL).train()
    frozen = {name for name, p in disc.named_parameters() if not p.requires_grad}
    assert frozen == {name for name, _ in disc.named_parameters() if not name.startswith("heads.")}
    assert all(not module.training for module in disc.features.modules())
    assert all(module.training for module in disc.heads.modules())


@pytest.fixture
def trainer(tmp_path):
    """FastGAN against a projected discriminator of tiny features, with everything that the recipe has."""
    np.savez(
        tmp_path / "images.npz",
        x=np.random.default_rng(0).integers(0, 256, (16, 3, 16, 16), np.uint8),
        labels=np.arange(16) % 3,
    )
    features = {"name": "timm", "backbone": "test_resnet", "pretrained": False}
    table = {
        "gen": {"name": "fastgan", "channels": 4, "max_channels": 8, "z_dim": 4},
        "disc": {"name": "projected", "features": features, "channels": 4, "max_channels": 16, "embedding": 4},
        "loss": "hinge",
        "reg": [{"name": "spectral-norm", "player": "both"}],
        "aug": {"name": "diffaugment", "cutout": 0.2},
        "data": {"name": "array", "path": str(tmp_path / "images.npz"), "layout": "nchw"},
        "batch": 4,
        "kimg": 0.012,
        "device": "cpu",
        "precision": "fp32",
    }
    plan = make_plan(get_registry(), layer_from_dict(table, "the test"))
    sampler = Sampler(materialise(plan.dataset), batch=4, seed=0, device="cpu", in_memory=True)
    return Trainer(plan.build(), sampler, plan.config.settings, torch.device("cpu"))


def test_training_moves_the_heads_and_g_and_nothing_frozen(trainer):
    disc = trainer.game.players["D"]
    before = {name: value.clone() for name, value in disc.state_dict().items()}
    first = trainer.game.players["G"].first.convolution.parametrizations.weight.original.detach().clone()
    assert trainer.train() == "done"
    moved = {name for name, value in disc.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.split(".")[0] for name in moved} == {"heads"}
    assert {name for name, p in disc.named_parameters() if p.requires_grad} <= moved
    assert not torch.equal(trainer.game.players["G"].first.convolution.parametrizations.weight.original, first)


def test_spectral_norm_divides_the_heads_weights_and_no_frozen_one(trainer):
    disc = trainer.game.players["D"]
    normed = {name for name, module in disc.named_modules() if parametrize.is_parametrized(module)}
    layers = (nn.Conv2d, nn.Linear, nn.Embedding)
    assert normed == {n.removesuffix(".") for n, m in disc.named_modules() if isinstance(m, layers) and n.startswith("heads.")}
    for _ in range(100):
        for match in trainer.game.matches:
            match.after_step("D")
    for head in disc.heads:
        assert abs(torch.linalg.matrix_norm(head.logits.weight.flatten(1), 2) - 1) < 1e-3


def test_gradient_reaches_g_through_everything_frozen():
    disc = ProjectedDiscriminator(IMAGES, **SMALL).double().eval()
    images = torch.randn(1, 3, 32, 32, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(disc(images, {}).per_sample().sum(), images)
    assert (gradient != 0).float().mean() > 0.9
    step = torch.randn_like(images)
    with torch.no_grad():
        ends = [disc(images + sign * 1e-6 * step, {}).per_sample().sum() for sign in (1, -1)]
    torch.testing.assert_close((gradient * step).sum(), (ends[0] - ends[1]) / 2e-6, rtol=1e-4, atol=1e-8)


def test_logits_of_a_class_are_inner_products_over_eight():
    disc = ProjectedDiscriminator(IMAGES.replace(classes=("a", "b")), **SMALL, embedding=5).double()
    images, labels = torch.randn(3, 3, 32, 32, dtype=torch.float64), torch.tensor([1, 0, 1])
    score = disc(images, {"labels": labels})
    for head, logits, h in zip(disc.heads, score.logits, score.features, strict=True):
        channels = head.logits(h)
        assert channels.shape[1] == 64
        for n in range(3):
            wanted = F.leaky_relu(head.project.weight @ head.embedding.weight[labels[n]] + head.project.bias, 0.2)
            torch.testing.assert_close(logits[n], sum(wanted[c] * channels[n, c] for c in range(64)) / 8)


@pytest.mark.parametrize(
    ("resolution", "size", "expected"),
    [((32, 32), 64, (64, 64)), ((32, 48), 96, (96, 144)), ((256, 300), 224, (256, 300)), ((9, 12), 24, (24, 32))],
)
def test_images_are_enlarged_in_proportion_and_never_made_smaller(resolution, size, expected):
    assert enlarged(resolution, size) == expected
    disc = ProjectedDiscriminator(DataSpec("image", (1, *resolution)), **{**SMALL, "size": size})
    seen = []
    disc.features.first.register_forward_hook(lambda module, args, out: seen.append(tuple(args[0].shape[2:])))
    disc(torch.zeros(2, 1, *resolution), {})
    assert seen == [expected]


@pytest.mark.parametrize(("side", "size"), [(8, 64), (32, 64), (33, 96), (64, 128), (128, 224), (512, 224)])
def test_auto_size(side, size):
    assert ProjectedDiscriminator.auto(DataSpec("image", (3, side, side)), 16) == {"size": size}


@pytest.mark.parametrize(
    ("options", "message"),
    [({"scales": 5}, "scales=5: the features 'tiny' have 4 maps"), ({"size": 0}, "size=0"), ({"channels": 0}, "channels=0")],
)
def test_what_cannot_be_built_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ProjectedDiscriminator(IMAGES, **{**SMALL, **options})


def test_its_default_features_are_the_ones_that_need_no_download():
    pytest.importorskip("ganzoo_lite0")
    plan = make_plan(get_registry(), layer_from_dict({"gen": "fastgan", "disc": "projected"}, "the test"))
    assert plan.config.to_dict()["disc"]["features"] == {"name": "lite0"}
    assert plan.config.disc.options["size"] == 64
    assert [spec.name for spec in plan.config.reg] == ["spectral-norm"]
