"""`ganzoo explore`, on a tiny run and on a generator whose images can be computed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from ganzoo import explore
from ganzoo.errors import UsageError
from ganzoo.models import Model
from ganzoo.plugin import DataSpec
from ganzoo.testing.partners import PartnerGenerator

if TYPE_CHECKING:
    from conftest import Cli

DATA = DataSpec("image", (3, 4, 4), classes=("a", "b", "c"))


def model(data: DataSpec = DATA, style: bool = True, prior: str = "normal") -> Model:
    torch.manual_seed(0)
    network = PartnerGenerator(data).requires_grad_(False).eval()
    return Model(network, data, {"noise": {"z_dim": network.z_dim, "prior": prior}, "style": style})


def test_a_walk_starts_and_ends_at_its_seeds() -> None:
    walker = model()
    grid = explore.interpolate(walker, [3, 7, 9], 5, "b")
    assert grid.shape == (2, 5, 3, 4, 4)
    ends = walker.sample(seeds=[3, 7, 9], label="b")
    torch.testing.assert_close(grid[:, 0], ends[:2])
    torch.testing.assert_close(grid[:, -1], ends[1:])


def test_a_walk_keeps_to_the_sphere_at_even_angles() -> None:
    a, b = torch.tensor([2.0, 0.0, 0.0]), torch.tensor([0.0, 2.0, 0.0])
    for t in (0.0, 0.25, 0.5, 1.0):
        angle = torch.tensor(t * torch.pi / 2)
        expected = 2 * torch.stack([angle.cos(), angle.sin(), torch.tensor(0.0)])
        torch.testing.assert_close(explore._sphere(a, b, t), expected)
    torch.testing.assert_close(explore._sphere(a, 3 * a, 0.5), 2 * a)  # no angle between them: along the line


def test_a_walk_of_classes_has_a_row_a_class_and_no_image_twice() -> None:
    walker = model()
    grid = explore.interpolate(walker, [0, 1, 2], 4)
    assert grid.shape[:2] == (3, 7)
    for row, name in zip(grid, DATA.classes, strict=True):
        torch.testing.assert_close(row[[0, 3, 6]], walker.sample(seeds=[0, 1, 2], label=name))


def test_uniform_noise_is_walked_along_the_line() -> None:
    walker = model(prior="uniform")
    x, labels = walker.inputs([0, 1], "a")
    middle = explore.interpolate(walker, [0, 1], 3, "a")[0, 1]
    torch.testing.assert_close(middle, walker.generate(x.mean(0, keepdim=True), labels[:1])[0])


def test_truncation_scales_styles_about_their_mean() -> None:
    walker = model()
    walker.network.mean_w.normal_()
    grid = explore.truncation(walker, [4, 5], [0.0, 0.5, 1.0], "c")
    assert grid.shape[:2] == (2, 3)
    torch.testing.assert_close(grid[0, 0], grid[1, 0])  # the mean image
    torch.testing.assert_close(grid[:, 2], walker.sample(seeds=[4, 5], label="c"))


def test_mixing_takes_the_layers_it_says() -> None:
    walker = model()
    grid = explore.mix(walker, [0, 1], [2, 3, 4], "a")
    assert grid.shape[:2] == (1 + 3 * 2, 1 + 3)
    torch.testing.assert_close(grid[0, 1:], walker.sample(seeds=[2, 3, 4], label="a"))
    torch.testing.assert_close(grid[1:3, 0], walker.sample(seeds=[0, 1], label="a"))
    (x, labels), (y, _) = walker.inputs([0], "a"), walker.inputs([2], "a")
    w, v = (walker.network.mapping(z, {"labels": labels}) for z in (x, y))
    both = torch.stack([v[:, 0], w[:, 1]], 1)  # two styles: the first is coarse, the second middle and fine
    torch.testing.assert_close(grid[1, 1], walker.network.synthesis(both)[0])


def test_classes_share_the_noise() -> None:
    walker = model()
    grid = explore.classes(walker, [8, 9])
    for row, name in zip(grid, DATA.classes, strict=True):
        torch.testing.assert_close(row, walker.sample(seeds=[8, 9], label=name))


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_copy_is_its_own_nearest_neighbour(mirrored: bool) -> None:
    walker = model()
    images = ((walker.sample(3).numpy() + 1) * 127.5).round().astype(np.uint8)
    real = np.concatenate([np.random.default_rng(0).integers(0, 256, (9, 3, 4, 4)).astype(np.uint8), images])
    found = explore.neighbours(walker, real[..., ::-1].copy() if mirrored else real, [0, 1, 2], 4)
    assert found.index[:, 0].tolist() == [9, 10, 11]
    assert found.distance[:, 0].max() < 1 / 127.5
    plain = torch.from_numpy(real).float() / 127.5 - 1
    both = torch.stack([found.grid[:, 0, None] - view for view in (plain, plain.flip(-1))])
    nearest = both.square().mean((3, 4, 5)).sqrt().amin(0).sort(1).values
    if not mirrored:
        torch.testing.assert_close(found.distance, nearest[:, :4])
    assert found.grid.shape == (3, 5, 3, 4, 4)


class OnTheSphere(PartnerGenerator):
    def forward(self, x: torch.Tensor, condition: Any) -> torch.Tensor:
        return super().forward(torch.nn.functional.normalize(x), condition)


def test_noise_that_cannot_be_shortened_is_not_truncated() -> None:
    with pytest.raises(UsageError, match="uniform noise"):
        explore.truncation(model(style=False, prior="uniform"), [0, 1], [0.5, 1.0])
    walker = model(style=False)
    explore.truncation(walker, [0, 1], [0.5, 1.0])
    walker.network.__class__ = OnTheSphere
    with pytest.raises(UsageError, match="divides its noise by its length"):
        explore.truncation(walker, [0, 1], [0.5, 1.0])


@pytest.mark.parametrize("view", ["interpolate", "truncation", "classes", "neighbours"])
def test_sheets(view: str, run: Path, cli: Cli, tmp_path: Path) -> None:
    out, _ = cli("explore", run, f"--{view}", "--out", tmp_path / "sheet.png")
    assert out.strip() == str(tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as picture:
        assert min(picture.size) >= 8


def test_animation(run: Path, cli: Cli, tmp_path: Path) -> None:
    cli("explore", run, "--interpolate", "--seeds", "1,2", "--steps", "4", "--out", tmp_path / "walk.gif")
    with Image.open(tmp_path / "walk.gif") as picture:
        assert picture.n_frames == 6  # there, and back without showing an end twice


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--mix"], "needs a generator with styles"),
        ([], "one of --interpolate"),
        (["--mix", "--classes"], "--mix and --classes was given"),
        (["--mix", "--out", "a.gif"], "it does not move"),
        (["--interpolate", "--out", "a.jpg"], "FILE.png or FILE.gif"),
        (["--interpolate", "--seeds", "3"], "goes from one seed to another"),
        (["--classes", "--steps", "3"], "--steps means nothing to --classes"),
        (["--classes", "--class", "a"], "--class means nothing to --classes"),
        (["--truncation", "--values", "a"], "numbers joined by commas"),
        (["--neighbours", "--features", "nothing"], "no features 'nothing'"),
    ],
)
def test_what_cannot_be_shown_is_refused(args: list[str], says: str, run: Path, cli: Cli, tmp_path: Path) -> None:
    out: list[Any] = [] if "--out" in args else ["--out", tmp_path / "sheet.png"]
    cli.refused("explore", run, *args, *out, says=(says,))
