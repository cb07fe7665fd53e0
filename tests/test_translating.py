"""Images of any size through networks: what is made up, how tiles are cut and blended, and that they do not show."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganzoo import translating
from ganzoo.errors import GanzooError, PluginError, UsageError
from ganzoo.models import Model
from ganzoo.plugin import Component, DataSpec, Resolutions
from ganzoo_translation.stargan import StarGenerator
from ganzoo_translation.superres import RRDBGenerator, SRResNet
from ganzoo_translation.translators import ResnetTranslator, UNet

COLOUR = DataSpec("image", (3, 16, 16))
PAIRS = COLOUR.replace(source=COLOUR)
LARGER = DataSpec("image", (3, 64, 64)).replace(source=COLOUR)
DOMAINS = COLOUR.replace(classes=("cat", "dog", "owl"), domains=("cat", "dog", "owl"))


class Spy(nn.Module):
    """Returns what it sees, each pixel `scale` times as high and wide, and remembers it."""

    def __init__(self, scale: int = 1) -> None:
        super().__init__()
        self.scale = scale
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor, condition: Any) -> Tensor:
        self.seen.append(x)
        return x.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)


def model(network: nn.Module, data: DataSpec = PAIRS, resolutions: str | None = None, labels: Any = "ignored") -> Model:
    component = Component("generator", "tried", "here:there", resolutions=resolutions, labels=labels)
    config = {"noise": {"z_dim": 0, "prior": "normal"}, "style": False}
    return Model(network.requires_grad_(False).eval(), data, config, component=component)


def pictures(n: int, channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Smooth and rough, and not alike in all places."""
    down, across = torch.linspace(0, 1, height)[:, None], torch.linspace(0, 1, width)
    waves = [
        torch.sin(9 * across * (1 + down) + 2 * i) * 0.6 + torch.cos(40 * down * across + i) * 0.3 for i in range(channels)
    ]
    noise = torch.randn(n, channels, height, width, generator=torch.Generator().manual_seed(seed))
    return (torch.stack(waves) + 0.1 * across * noise).clamp(-1, 1)


def strong(network: nn.Module) -> nn.Module:
    """With weights that keep the variance, and batch-norm statistics as after a training: its output depends on its input."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.3)
            module.running_var.uniform_(0.5, 2)
    return network.requires_grad_(False).eval()


# ---- sides that a generator does not take


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (5, 7), (8, 8), (13, 30), (64, 3)], ids=str)
def test_sides_are_made_up_by_reflection_and_cut_off_again(size: tuple[int, int]) -> None:
    spy = Spy()
    images = pictures(2, 3, *size)
    torch.testing.assert_close(model(spy, resolutions="multiple of 4 from 8").translate(images), images)
    [seen] = spy.seen
    made_up = [max(8, -(-side // 4) * 4) for side in size]
    expected = np.pad(
        images.numpy(), [(0, 0), (0, 0), *((0, to - side) for to, side in zip(made_up, size, strict=True))], "reflect"
    )
    np.testing.assert_array_equal(seen.numpy(), expected)


@pytest.mark.parametrize(
    ("phrase", "size", "seen"),
    [
        ("any", (5, 7), (5, 7)),
        ("power of two from 8", (9, 33), (16, 64)),
        ("square multiple of 4", (9, 21), (24, 24)),
        ("28, 32", (5, 30), (28, 32)),
    ],
)
def test_the_smallest_sides_that_it_takes(phrase: str, size: tuple[int, int], seen: tuple[int, int]) -> None:
    spy = Spy()
    model(spy, resolutions=phrase).translate(pictures(1, 3, *size))
    assert [tuple(x.shape[2:]) for x in spy.seen] == [seen]


def test_enlarged_images_are_cut_to_the_scale() -> None:
    spy = Spy(4)
    images = pictures(1, 3, 6, 9)
    made = model(spy, LARGER, "multiple of 32").translate(images)  # 32 of the output: 8 of the input
    assert spy.seen[0].shape[2:] == (8, 16)
    torch.testing.assert_close(made, F.interpolate(images, scale_factor=4, mode="nearest"))


def test_many_images_go_together_and_none_is_fine() -> None:
    spy = Spy()
    images = pictures(130, 3, 8, 8)
    torch.testing.assert_close(model(spy).translate(images), images)
    assert [len(x) for x in spy.seen] == [64, 64, 2]
    assert model(Spy(2), LARGER.replace(shape=(3, 32, 32))).translate(images[:0]).shape == (0, 3, 16, 16)


def test_what_overshoots_is_clipped() -> None:
    class Loud(nn.Module):
        def forward(self, x: Tensor, condition: Any) -> Tensor:
            return 3 * x

    images = pictures(1, 3, 8, 8)
    torch.testing.assert_close(model(Loud()).translate(images), (3 * images).clamp(-1, 1))


# ---- how tiles are cut


PHRASES = ("any", "any from 8", "multiple of 4 from 8", "multiple of 12", "any from 8 to 64", "power of two from 8 to 64",
           "square any from 8", "square multiple of 16", "32, 48")  # fmt: skip


@pytest.mark.parametrize("phrase", PHRASES)
@pytest.mark.parametrize("scale", [1, 2])
def test_tiles_cover_the_image_and_suit_the_generator(phrase: str, scale: int) -> None:
    can, data = Resolutions(phrase), PAIRS.replace(shape=(3, 16 * scale, 16 * scale))
    tile = 48 // scale if can.admits((48, 48)) else 32 // scale
    for size, overlap in itertools.product([(50, 200), (200, 49), (131, 97), (tile + 1, 5)], [0, 1, 7, tile // 2]):
        if overlap > tile - (can.step or 1):  # more than the tile has
            continue
        cut = translating.cut(size, data, can, tile, overlap)
        for windows, side in zip((cut.rows, cut.columns), size, strict=True):
            assert windows[0][0] == 0
            assert windows[-1][1] >= side
            assert all(before[1] - after[0] >= overlap for before, after in itertools.pairwise(windows))
            assert all(before[0] < after[0] for before, after in itertools.pairwise(windows))
        for rows, columns in itertools.product(cut.rows, cut.columns):
            sides = rows[1] - rows[0], columns[1] - columns[0]
            assert max(sides) <= tile
            assert can.admits(side * scale for side in sides)
        assert can.admits(side * scale for side in cut.copy)


@pytest.mark.parametrize("phrase", PHRASES)
@pytest.mark.parametrize("overlap", [0, 1, 2, 5, 16, 31])
def test_the_tiles_weights_are_1_everywhere(phrase: str, overlap: int) -> None:
    spy = Spy()
    images = pictures(1, 3, 75, 150)
    tile = 48 if phrase != "power of two from 8 to 64" and phrase != "square multiple of 16" else 32
    if overlap > tile - (Resolutions(phrase).step or 1):
        pytest.skip("more than the tile has")
    made = model(spy, resolutions=phrase).translate(images, tile=tile, overlap=overlap)
    assert len(spy.seen) > 4
    torch.testing.assert_close(made, images, atol=1e-6, rtol=0)  # the same from all tiles: whatever the weights, their sum is 1


def test_the_ramp_is_linear_and_leaves_the_borders_out() -> None:
    """Two tiles that make 0 and 1: what comes out is the second one's weight."""

    class Counter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0

        def forward(self, x: Tensor, condition: Any) -> Tensor:
            self.calls += 1
            return torch.full_like(x, self.calls - 1.0)

    made = model(Counter()).translate(torch.zeros(1, 3, 8, 96), tile=64, overlap=32)[0, 0, 0]
    assert made[:32].tolist() == [0] * 32
    assert made[64:].tolist() == [1] * 32
    # Of 32 shared pixels the middle 8 are the ramp, at the pixels' centres.
    expected = [0.0] * 12 + [(i + 0.5) / 8 for i in range(8)] + [1.0] * 12
    np.testing.assert_allclose(made[32:64].numpy(), expected, atol=1e-6)


def test_small_images_are_whole_and_large_ones_are_not() -> None:
    can = Resolutions("any")
    assert translating.cut((1024, 1024), PAIRS, can).tiles == 1
    assert translating.cut((1025, 1024), PAIRS, can).tiles > 1
    assert translating.cut((256, 256), LARGER, can).tiles == 1
    assert translating.cut((257, 256), LARGER, can).tiles > 1
    assert translating.cut((300, 300), PAIRS, Resolutions("any from 8 to 256")).tiles > 1  # it cannot be whole
    assert translating.cut((300, 300), PAIRS, can, tile=300).tiles == 1


def test_a_tile_that_does_not_suit() -> None:
    can = Resolutions("multiple of 4 from 8")
    for tile, overlap, words in (
        (30, None, "--tile 30: this generator makes images with sides multiple of 4 from 8; take 28"),
        (2, None, "--tile 2: .*; take 8"),
        (32, 29, "--overlap 29: tiles of 32 pixels may overlap by 0 to 28"),
        (32, -1, "--overlap -1: tiles of 32 pixels"),
    ):
        with pytest.raises(UsageError, match=words):
            translating.cut((5, 5), PAIRS, can, tile, overlap)
    with pytest.raises(UsageError, match="makes images of 16x24 from 16x16, no whole number of times"):
        translating.cut((5, 5), PAIRS.replace(shape=(3, 16, 24)), can)


# ---- networks without norms over the image: tiles are the whole


def networks() -> dict[str, tuple[Callable[[], nn.Module], DataSpec, str | None, int]]:
    """Each with data, sides and a tile."""
    return {
        "srresnet": (lambda: SRResNet(LARGER, channels=6, blocks=2), LARGER, None, 96),
        "srresnet with batch norm": (lambda: SRResNet(LARGER, channels=6, blocks=2, norm="batch"), LARGER, None, 96),
        "rrdb": (lambda: RRDBGenerator(LARGER, channels=6, blocks=1, growth=4), LARGER, None, 96),
        "unet": (lambda: UNet(PAIRS, channels=4, depth=3), PAIRS, "any from 8", 160),
        "resnet with batch norm": (
            lambda: ResnetTranslator(PAIRS, channels=4, blocks=1, norm="batch"), PAIRS, "multiple of 4 from 8", 160,
        ),
    }  # fmt: skip


@pytest.mark.parametrize("name", networks())
def test_tiled_is_whole(name: str) -> None:
    """Where the overlap covers what the network looks at: 2/3 of the tile, and a width that no tile divides."""
    build, data, phrase, tile = networks()[name]
    translator = model(strong(build()), data, phrase)
    images = pictures(1, 3, tile + 37, 2 * tile + 51)
    whole = translator.translate(images, tile=10_000)
    tiled = translator.translate(images, tile=tile, overlap=2 * tile // 3)
    assert float(whole.std()) > 0.1
    assert float((tiled - whole).abs().max()) < 1e-3
    cut_apart = translator.translate(images, tile=tile, overlap=0)
    assert float((cut_apart - whole).abs().max()) > 1e-2  # which is no small thing


# ---- norms that look at the image


class Grouped(nn.Module):
    """A group norm that is called twice, with different statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.last = nn.GroupNorm(2, 4), nn.Conv2d(4, 3, 3, padding=1)
        nn.init.normal_(self.norm.weight, 1, 0.3)
        nn.init.normal_(self.norm.bias, 0, 0.3)

    def forward(self, x: Tensor, condition: Any) -> Tensor:
        x = self.norm(self.first(x)).relu()
        return self.last(self.norm(self.second(x)).relu()).tanh()


class Fixed(nn.Module):
    """A norm by given statistics, one after the other: an independent reference."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm, self.seen, self.call = norm, [], None

    def forward(self, x: Tensor) -> Tensor:
        per = x.shape[1] // (self.norm.num_groups if isinstance(self.norm, nn.GroupNorm) else x.shape[1])
        if self.call is None:
            parts = x.double().split(per, 1)
            mean = torch.cat([part.mean((1, 2, 3)).repeat_interleave(per) for part in parts])
            var = torch.cat([part.var((1, 2, 3), correction=0).repeat_interleave(per) for part in parts])
            self.seen.append((mean, var))
            return self.norm(x)
        mean, var = (value[:, None, None] for value in self.seen[self.call])
        self.call += 1
        out = (x - mean) / (var + self.norm.eps).sqrt()
        if self.norm.weight is not None:
            out = out * self.norm.weight[:, None, None] + self.norm.bias[:, None, None]
        return out.float()


def normalised_by(network: nn.Module, copied: Tensor, images: Tensor, condition: Any) -> Tensor:
    """The whole image, each norm with the statistics that it has on `copied`."""
    network = copy.deepcopy(network)
    made: dict[nn.Module, Fixed] = {}
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.InstanceNorm2d | nn.GroupNorm):
                setattr(parent, name, made.setdefault(child, Fixed(child)))
    network(copied, condition)
    for fixed in made.values():
        fixed.call = 0
    return network(images, condition)


def seam(tiled: Tensor, whole: Tensor, cut: translating.Cut) -> float:
    """The largest step between neighbouring pixels, beyond the untiled image's, where a tile begins, ends or takes over."""
    wrong = tiled - whole
    steps = [
        wrong.diff(dim=2)[:, :, begin - 1].abs().max() for windows in [cut.rows] for begin in _borders(windows, wrong.shape[2])
    ]
    steps += [
        wrong.diff(dim=3)[..., begin - 1].abs().max()
        for windows in [cut.columns]
        for begin in _borders(windows, wrong.shape[3])
    ]
    return float(max(steps))


def _borders(windows: tuple[tuple[int, int], ...], side: int) -> list[int]:
    pairs = list(itertools.pairwise(windows))
    return [place for before, after in pairs for place in range(after[0], min(before[1] + 1, side)) if 0 < place < side]


def whole_norm_networks() -> dict[str, tuple[Callable[[], nn.Module], DataSpec, str]]:
    return {
        "resnet": (lambda: ResnetTranslator(PAIRS, channels=4, blocks=1), PAIRS, "multiple of 4 from 8"),
        "stargan": (lambda: StarGenerator(DOMAINS, channels=4, blocks=1), DOMAINS, "multiple of 4 from 8"),
        "group norm": (Grouped, PAIRS, "multiple of 4"),
    }


@pytest.mark.parametrize("name", whole_norm_networks())
def test_seams_of_norms_that_look_at_the_image(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    build, data, phrase = whole_norm_networks()[name]
    labels = "required" if data.domains else "ignored"
    network = strong(build())
    translator = model(network, data, phrase, labels)
    images, to = pictures(1, 3, 200, 328), "dog" if data.domains else None
    cut = translator.cut((200, 328), 160, 112)
    tiled = translator.translate(images, to=to, tile=160, overlap=112)
    reduced = F.interpolate(images, size=cut.copy, mode="bilinear", antialias=True)
    assert cut.copy[0] * cut.copy[1] <= 160 * 160
    condition = {"labels": torch.tensor([1])} if to else {}
    whole = normalised_by(network, reduced, images, condition)
    assert float(whole.std()) > 0.1
    assert float((tiled - whole).abs().max()) < 1e-3
    assert seam(tiled, whole, cut) < 1e-3
    monkeypatch.setattr(translating, "image_wide_norms", lambda network: [])  # each tile by itself
    apart = translator.translate(images, to=to, tile=160, overlap=112)
    assert seam(apart, whole, cut) > 1e-2
    assert not any(module._forward_hooks for module in network.modules())


def test_norms_are_left_alone_where_an_image_is_whole() -> None:
    network = strong(ResnetTranslator(PAIRS, channels=4, blocks=1))
    images = pictures(2, 3, 40, 24)
    torch.testing.assert_close(model(network, resolutions="multiple of 4 from 8").translate(images), network(images, {}))


# ---- what is refused, and what fails


def test_domains_are_labels() -> None:
    class Told(nn.Module):
        def forward(self, x: Tensor, condition: Any) -> Tensor:
            return torch.zeros_like(x) + condition["labels"][:, None, None, None] / 4

    translator = model(Told(), DOMAINS, labels="required")
    images = pictures(2, 3, 8, 8)
    assert translator.destinations == DOMAINS.domains
    for to, value in (("owl", 0.5), ("cat", 0.0), (1, 0.25)):
        assert translator.translate(images, to=to).unique().tolist() == [value]
    with pytest.raises(UsageError, match="say what the images are to become with --to, one of its domains: cat, dog, owl"):
        translator.translate(images)
    with pytest.raises(UsageError, match="there is no domain 'dogs'. Did you mean 'dog'"):
        translator.translate(images, to="dogs")
    for index in (-1, 3):
        with pytest.raises(UsageError, match=f"there is no domain '{index}'"):
            translator.translate(images, to=index)
    ignorant = model(Spy(), DOMAINS)  # its component says that it looks at no labels
    assert ignorant.destinations == ()
    with pytest.raises(UsageError, match="--to dog: this generator was trained to make one thing"):
        ignorant.translate(images, to="dog")


def test_the_source_is_in_the_condition() -> None:
    class Reads(nn.Module):
        def forward(self, x: Tensor, condition: Any) -> Tensor:
            return condition["source"]

    images = pictures(1, 3, 8, 8)
    torch.testing.assert_close(model(Reads()).translate(images), images)


def test_what_is_no_image_of_its_kind() -> None:
    for shape in ((3, 8, 8), (1, 1, 8, 8), (1, 3, 0, 8)):
        with pytest.raises(UsageError, match=r"images must be \[N, 3, H, W\]; these are"):
            model(Spy()).translate(torch.zeros(shape))
    noise = Model(Spy(), COLOUR, {"noise": {"z_dim": 4, "prior": "normal"}, "style": False})
    with pytest.raises(UsageError, match="from noise, not from images: use 'ganzoo sample'"):
        noise.translate(torch.zeros(1, 3, 8, 8))
    with pytest.raises(UsageError, match="from images, not from noise: use 'ganzoo translate'"):
        model(Spy()).sample(4)


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        ("sizes differ", PluginError, "the generator fails on 12x8 pixels: RuntimeError: sizes differ"),
        ("CUDA out of memory", GanzooError, "out of memory with 12x8 pixels at once: give a smaller --tile"),
    ],
)
def test_a_generator_that_fails_is_named(said: str, kind: type[GanzooError], words: str) -> None:
    class Fails(nn.Module):
        def forward(self, x: Tensor, condition: Any) -> Tensor:
            raise RuntimeError(said)

    with pytest.raises(kind, match=words):
        model(Fails()).translate(torch.zeros(1, 3, 8, 12))
