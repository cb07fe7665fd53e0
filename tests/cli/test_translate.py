"""`ganzoo translate` and `upscale`, and the export of translators, as a user meets them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

import ganzoo
from ganzoo.cli import group
from ganzoo.data import decoding
from tests.cli.test_bad_disk import files_up_to

if TYPE_CHECKING:
    from tests.cli.conftest import Cli

SHORT = ("--batch", "8", "--kimg", "0.016", "--device", "cpu")
PAIRS = ("--data", "emoji-pairs:labels=false", "--res", "8")
RUNS = {
    "unet": (*PAIRS, "--gen", "unet:channels=4", "--disc", "patch:channels=4"),
    "cycle": (*PAIRS, "--game", "cycle", "--gen", "resnet-translator:channels=4,blocks=1,norm=batch", "--disc",
              "patch:channels=4", "--reg", "cycle-consistency"),
    "instance": (*PAIRS, "--gen", "resnet-translator:channels=4,blocks=1", "--disc", "patch:channels=4"),
    "larger": ("--data", "downscaled:data=folder(path=IMAGES,labels=false),scale=2", "--gen", "srresnet:channels=4,blocks=1",
               "--disc", "patch:channels=4"),
    "colour": ("--data", "derived:data=folder(path=IMAGES,labels=false)", "--gen", "unet:channels=4", "--disc",
               "patch:channels=4"),
    "domains": ("--data", "domains:path=images", "--gen", "stargan:channels=4,blocks=1"),
}  # fmt: skip


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of each kind, and the folder that some were trained on."""
    place = tmp_path_factory.mktemp("translators")
    random = np.random.default_rng(0)
    for domain in ("cat", "dog"):
        (place / "images" / domain).mkdir(parents=True)
        for i in range(12):
            Image.fromarray(random.integers(0, 256, (16, 16, 3), np.uint8)).save(place / f"images/{domain}/{i}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("GANZOO_CACHE", str(tmp_path_factory.getbasetemp() / "cli-cache"))
        for name, args in RUNS.items():
            assert group.run(["train", *(arg.replace("IMAGES", f"{place}/images") for arg in args), *SHORT, "--out", name]) == 0
    return place


@pytest.fixture
def runs(cli: Cli, trained: Path) -> Iterator[Path]:
    """The runs by name, and pictures of many kinds in "pictures"."""
    Path("pictures/deep/er").mkdir(parents=True)
    random = np.random.default_rng(1)
    pixels = random.integers(0, 256, (13, 30, 4), np.uint8)
    colours, picture = Image.fromarray(pixels[..., :3]), Image.fromarray(pixels)
    turned = Image.Exif()
    turned[0x0112] = 6
    colours.save("pictures/a.jpg")
    colours.save("pictures/turned.JPG", exif=turned)
    picture.save("pictures/b.png")
    picture.save("pictures/deep/c.webp", lossless=True)
    colours.convert("P").save("pictures/deep/er/d.gif")
    Image.fromarray(pixels[..., 0]).save("pictures/deep/er/e.tif")
    colours.resize((1, 1)).save("pictures/one.bmp")
    picture.save("pictures/lie.jpg", "PNG")
    Image.fromarray(random.integers(0, 65536, (9, 9)).astype(np.uint16)).save("pictures/sixteen.png")
    Path("pictures/notes.txt").write_text("no image")
    Path("pictures/.hidden.png").write_text("no image")
    return trained


def written(folder: str) -> dict[str, tuple[str | None, str, tuple[int, int]]]:
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file():
            with Image.open(path) as image:
                found[str(path.relative_to(folder))] = (image.format, image.mode, image.size)
    return found


def through(run: Path, pixels: np.ndarray, **options: object) -> np.ndarray:
    """uint8 [H, W, C] through a run's generator, [H, W, C], by the library."""
    images = torch.tensor(pixels).permute(2, 0, 1)[None] / 127.5 - 1
    made = ganzoo.load(run).translate(images, **options)[0].permute(1, 2, 0)
    return ((made + 1) * 127.5).round().byte().numpy()


def close(made: np.ndarray, expected: np.ndarray) -> bool:
    """Up to how halves are rounded."""
    return made.shape == expected.shape and int(np.abs(made.astype(int) - expected).max()) <= 1


# ---- what comes out


def test_a_folder_keeps_names_formats_and_sizes(cli: Cli, runs: Path) -> None:
    out, err = cli("translate", runs / "unet", "pictures", "--out", "made/here")
    assert out == "made/here\n"
    assert err == "ganzoo: images of more than 8 bits a channel are reduced to 8\n"
    assert written("made/here") == {
        "a.jpg": ("JPEG", "RGB", (30, 13)),
        "b.png": ("PNG", "RGBA", (30, 13)),
        "deep/c.webp": ("WEBP", "RGBA", (30, 13)),
        "deep/er/d.png": ("PNG", "RGB", (30, 13)),  # a GIF holds 256 colours
        "deep/er/e.tif": ("TIFF", "RGB", (30, 13)),
        "lie.png": ("PNG", "RGBA", (30, 13)),  # a JPEG holds no transparency
        "one.bmp": ("BMP", "RGB", (1, 1)),
        "sixteen.png": ("PNG", "RGB", (9, 9)),
        "turned.JPG": ("JPEG", "RGB", (13, 30)),
    }


def test_the_pixels_are_the_generator_s(cli: Cli, runs: Path) -> None:
    cli("translate", runs / "unet", "pictures/b.png", "pictures/turned.JPG", "pictures/deep/er", "--out", "made")
    with Image.open("pictures/b.png") as given, Image.open("made/b.png") as made:
        pixels = np.asarray(given).astype(float)
        alpha = pixels[..., 3:] / 255
        on_white = (pixels[..., :3] * alpha + 255 * (1 - alpha)).round().astype(np.uint8)
        assert close(np.asarray(made)[..., :3], through(runs / "unet", on_white))
        assert np.array_equal(np.asarray(made)[..., 3], pixels[..., 3])
    with Image.open("pictures/deep/er/e.tif") as given, Image.open("made/e.tif") as made:
        assert close(np.asarray(made), through(runs / "unet", np.repeat(np.asarray(given)[..., None], 3, 2)))
    with Image.open("pictures/turned.JPG") as given, Image.open("made/turned.JPG") as made:
        upright = through(runs / "unet", np.rot90(np.asarray(given), -1).copy()).astype(float)  # orientation 6: turn clockwise
        assert np.abs(np.asarray(made) - upright).mean() < 8  # JPEG, of quality 95
        assert 0x0112 not in made.getexif()
        assert max(made.quantization[0]) <= 12  # quality 95; 75 has up to 61


def test_grey_in_colour_out_and_images_twice_as_large(cli: Cli, runs: Path) -> None:
    cli("translate", runs / "colour", "pictures/a.jpg", "--out", "made")
    with Image.open("pictures/a.jpg") as given, Image.open("made/a.jpg") as made:
        assert (made.mode, made.size) == ("RGB", (30, 13))
        expected = through(runs / "colour", np.asarray(given.convert("L"))[..., None]).astype(float)
        assert np.abs(np.asarray(made) - expected).mean() < 8
    for command in ("upscale", "translate"):
        cli(command, runs / "larger", "pictures", "--out", command)
        made = written(command)
        assert made["b.png"] == ("PNG", "RGBA", (60, 26))
        assert made["one.bmp"] == ("BMP", "RGB", (2, 2))
        assert made["turned.JPG"] == ("JPEG", "RGB", (26, 60))
    with Image.open("pictures/b.png") as given, Image.open("upscale/b.png") as made:
        alpha = given.getchannel("A").resize((60, 26), Image.Resampling.BICUBIC)
        assert np.array_equal(np.asarray(made.getchannel("A")), np.asarray(alpha))


def test_a_cycle_goes_both_ways(cli: Cli, runs: Path) -> None:
    for to in ("A", "B"):
        cli("translate", runs / "cycle", "pictures/b.png", "--to", to, "--out", to)
        cli("export", runs / "cycle", "--to", to, "--out", f"model-{to}")
        cli("translate", f"model-{to}", "pictures/b.png", "--out", f"exported-{to}")
        assert Path(to, "b.png").read_bytes() == Path(f"exported-{to}/b.png").read_bytes()
    cli("translate", runs / "cycle", "pictures/b.png", "--out", "default")
    assert Path("default/b.png").read_bytes() == Path("B/b.png").read_bytes() != Path("A/b.png").read_bytes()


def test_domains(cli: Cli, runs: Path) -> None:
    made = {}
    for to in ("cat", "dog"):
        cli("translate", runs / "domains", "pictures/a.jpg", "--to", to, "--out", to)
        made[to] = Path(to, "a.jpg").read_bytes()
    assert made["cat"] != made["dog"]
    says = ("say what the images are to become with --to, one of its domains: cat, dog",)
    cli.refused("translate", runs / "domains", "pictures", "--out", "new", says=says)
    cli.refused("translate", runs / "domains", "pictures", "--to", "A", "--out", "new", says=("--to A: it makes cat, dog",))
    cli("export", runs / "domains", "--out", "model")
    cli("translate", "model", "pictures/a.jpg", "--to", "dog", "--out", "again")
    assert Path("again/a.jpg").read_bytes() == made["dog"]
    cli.refused("export", runs / "domains", "--to", "dog", "--out", "new", says=("one generator makes all of cat, dog",))


def test_tiles(cli: Cli, runs: Path) -> None:
    Image.fromarray(np.random.default_rng(2).integers(0, 256, (70, 90, 3), np.uint8)).save("large.png")
    for run in ("larger", "instance"):
        cli("translate", runs / run, "large.png", "--out", f"{run}/whole")
        _, err = cli("translate", runs / run, "large.png", "--tile", "48", "--overlap", "32", "--out", f"{run}/tiled")
        assert ("normalised as a reduced copy of the image" in err) == (run == "instance")
        assert (Path(f"{run}/whole/large.png").read_bytes() == Path(f"{run}/tiled/large.png").read_bytes()) == (run == "larger")
    cli.refused("translate", runs / "instance", "large.png", "--tile", "30", "--out", "new", says=("sides multiple of 4",))
    cli.refused("upscale", runs / "larger", "large.png", "--tile", "30", "--overlap", "40", "--out", "new", says=("0 to 29",))


# ---- what is refused before any work


def test_what_is_there_is_not_overwritten(cli: Cli, runs: Path) -> None:
    args = ("translate", runs / "unet", "pictures/a.jpg", "pictures/b.png", "--out", "made")
    cli(*args)
    Path("made/a.jpg").write_text("mine")
    cli.refused(*args, says=("made/a.jpg exists, and so do 1 more: replace with --overwrite",))
    cli(*args, "--overwrite")
    assert written("made")["a.jpg"][0] == "JPEG"
    cli.refused("translate", runs / "unet", "pictures", "--out", "pictures", "--overwrite", says=("is one of the inputs",))
    os.link("pictures/a.jpg", "made/b.png.jpg")
    Path("b.png.jpg").write_bytes(Path("pictures/a.jpg").read_bytes())
    args = ("translate", runs / "unet", "b.png.jpg", "pictures/a.jpg", "--out", "made", "--overwrite")
    cli.refused(*args, says=("made/b.png.jpg is one of the inputs",))


def test_two_inputs_of_one_name(cli: Cli, runs: Path) -> None:
    shutil.copytree("pictures", "more")
    args = ("translate", runs / "unet", "pictures/a.jpg", "more/a.jpg", "--out", "new")
    cli.refused(*args, says=("pictures/a.jpg and more/a.jpg would both become new/a.jpg",))
    Image.new("RGB", (9, 9)).save("pictures/b.gif")
    says = ("would both become new/b.png",)
    cli.refused("translate", runs / "unet", "pictures", "--out", "new", says=says)
    cli("translate", runs / "unet", "pictures/deep", "pictures/deep/c.webp", "pictures/deep/../deep", "--out", "once")
    assert set(written("once")) == {"c.webp", "er/d.png", "er/e.tif"}


def test_an_out_inside_an_input_is_no_input(cli: Cli, runs: Path) -> None:
    for _ in range(2):
        cli("translate", runs / "unet", "pictures", "--out", "pictures/made", "--overwrite")
    assert not Path("pictures/made/made").exists()


def test_runs_that_do_not_suit(cli: Cli, runs: Path, run: Path) -> None:
    for command in ("translate", "upscale"):
        says = ("run makes image data from noise: use 'ganzoo sample'",)
        cli.refused(command, run, "pictures", "--out", "new", says=says)
    cli.refused("upscale", runs / "unet", "pictures", "--out", "new", says=("does not enlarge images: use 'ganzoo translate'",))
    says = ("--to C: it makes B, what the data hold, and A, their source",)
    cli.refused("translate", runs / "cycle", "pictures", "--to", "C", "--out", "new", says=says)
    cli.refused("export", runs / "cycle", "--to", "C", says=says)
    says = ("--to A: it makes B",)
    cli.refused("translate", runs / "unet", "pictures", "--to", "A", "--out", "new", says=says)
    cli.refused("translate", run, "pictures", "--to", "A", "--out", "new", says=("--to A: it makes one thing",))
    cli("export", runs / "cycle", "--out", "model")
    says = ("--to A: model is an exported model that makes B alone",)
    cli.refused("translate", "model", "pictures", "--to", "A", "--out", "new", says=says)


def test_inputs_and_places_that_are_none(cli: Cli, runs: Path) -> None:
    Path("empty").mkdir()
    Path("file").write_text("x")
    for args, says in (
        (("absent.png", "--out", "new"), "there is no 'absent.png'"),
        (("empty", "--out", "new"), "the folder empty holds no images"),
        (("pictures", "--out", "file"), "--out file: "),
        (("pictures", "--out", "file/new"), "/file is no directory"),
        (("--out", "new"), "Missing argument 'INPUT...'"),
        (("pictures",), "Missing option '--out'"),
    ):
        cli.refused("translate", runs / "unet", *args, says=(says,))
    Path("made").mkdir()
    Path("made/deep").write_text("x")
    says = ("made/deep is no directory",)
    cli.refused("translate", runs / "unet", "pictures", "--out", "made", says=says)
    Path("made/b.png").mkdir()
    cli.refused("translate", runs / "unet", "pictures/b.png", "--out", "made", "--overwrite", says=("made/b.png is a folder",))


def test_translators_do_not_sample(cli: Cli, runs: Path) -> None:
    says = ("this generator makes images from images, not from noise: use 'ganzoo translate'",)
    for name in RUNS:
        cli.refused("sample", runs / name, "--out", "new.png", says=says)
    for view in ("interpolate", "truncation", "neighbours"):
        cli.refused("explore", runs / "unet", f"--{view}", "--out", "new.png", says=says)
    says = ("makes images from images, not from noise: use 'ganzoo translate'",)
    cli.refused("synthesize", runs / "unet", "--n", "3", "--out", "new", says=says)


# ---- what goes wrong on the way


def test_an_unreadable_image_among_others(cli: Cli, runs: Path) -> None:
    whole = Path("pictures/b.png").read_bytes()
    Path("pictures/cut.png").write_bytes(whole[: len(whole) // 2])
    Path("pictures/no.png").write_text("no")
    _, err = cli("translate", runs / "unet", "pictures", "--out", "made", code=1)
    lines = err.splitlines()
    assert [line for line in lines if "pictures/cut.png cannot be read" in line or "pictures/no.png cannot be read" in line]
    assert sum("cannot be read" in line for line in lines) == 2
    assert lines[-1] == "ganzoo: 2 of 11 images could not be done; the other 9 are in made"
    assert len(written("made")) == 9
    _, err = cli("translate", runs / "unet", "pictures/no.png", "--out", "none", code=1)
    assert err.splitlines()[-1] == "ganzoo: 1 of 1 images could not be done; none got nothing"
    assert not Path("none").exists()


def test_a_full_disk(cli: Cli, runs: Path) -> None:
    cli("translate", runs / "unet", "pictures/b.png", "--out", "made")
    before = Path("made/b.png").read_bytes()
    with files_up_to(500):
        says = ("cannot write made/b.png: File too large; free some space",)
        cli.fails("translate", runs / "unet", "pictures/b.png", "--out", "made", "--overwrite", code=1, says=says)
    assert Path("made/b.png").read_bytes() == before
    assert os.listdir("made") == ["b.png"]


def test_ctrl_c_leaves_whole_files(cli: Cli, runs: Path) -> None:
    Path("many").mkdir()
    for i in range(400):
        shutil.copy("pictures/b.png", f"many/{i:03d}.png")
    process = subprocess.Popen(
        [sys.executable, "-m", "ganzoo", "translate", str(runs / "unet"), "many", "--out", "made"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    while not Path("made").is_dir() or len(os.listdir("made")) < 3:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in err
    names = os.listdir("made")
    assert 3 <= len(names) < 400
    assert not [name for name in names if name.startswith(".")]
    for name in names:
        with Image.open(Path("made", name)) as image:
            image.load()


def test_odd_numbers_of_channels(cli: Cli, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file holds two channels; with four, the generator's own alpha is written."""
    cli("export", runs / "unet", "--out", "model")
    config = json.loads(Path("model/config.json").read_text())
    from safetensors.torch import load_file, save_file

    weights = load_file("model/generator.safetensors")
    first, last = "downs.0.0.weight", f"ups.{max(int(name.split('.')[1]) for name in weights if name.startswith('ups'))}"
    for channels in (2, 4):
        config["data"]["source"]["shape"][0] = channels
        config["data"]["shape"][0] = channels
        Path("model/config.json").write_text(json.dumps(config))
        scaled = dict(weights)
        scaled[first] = weights[first][:, :1].repeat(1, channels, 1, 1)
        scaled[f"{last}.weight"] = weights[f"{last}.weight"][:, :1].repeat(1, channels, 1, 1)
        scaled[f"{last}.bias"] = weights[f"{last}.bias"][:1].repeat(channels)
        save_file(scaled, "model/generator.safetensors")
        if channels == 2:
            says = ("model is of images with 2 channels, and files hold 1, 3 or 4",)
            cli.refused("translate", "model", "pictures", "--out", "new", says=says)
        else:
            cli("translate", "model", "pictures/a.jpg", "pictures/b.png", "--out", "made")
            assert written("made") == {"a.png": ("PNG", "RGBA", (30, 13)), "b.png": ("PNG", "RGBA", (30, 13))}


def test_a_result_too_large_for_its_format(cli: Cli, runs: Path) -> None:
    Image.new("RGB", (8_192, 1)).save("long.webp")
    cli("upscale", runs / "larger", "long.webp", "--out", "made")
    assert written("made") == {"long.png": ("PNG", "RGB", (16_384, 2))}  # WebP ends at 16,383


# ---- models


def test_cards_say_how_to_use_it(cli: Cli, runs: Path) -> None:
    for name, words in {
        "unet": ("It makes 3-channel images from 3-channel images of any size, trained", "ganzoo translate . photo.jpg --out"),
        "larger": ("2 times as large", "ganzoo upscale . photo.jpg --out results"),
        "colour": ("3-channel images from 1-channel images",),
        "domains": ("Domains: cat, dog.", "--to cat", "to='cat'"),
    }.items():
        cli("export", runs / name, "--out", f"card-{name}")
        card = Path(f"card-{name}/README.md").read_text()
        assert all(word in card for word in words), card
        assert "ganzoo sample" not in card
    out, _ = cli("export", runs / "cycle", "--to", "A", "--out", "back")
    assert "the way back" in Path(out.strip(), "README.md").read_text()


def test_a_model_needs_no_game(cli: Cli, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("export", runs / "cycle", "--to", "A", "--out", "back")
    config = json.loads(Path("back/config.json").read_text())
    assert config["data"]["source"]["shape"] == [3, 8, 8]
    from ganzoo.assembly import Plan

    monkeypatch.setattr(Plan, "build", lambda *args: pytest.fail("a game was built"))
    assert ganzoo.load("back").translate(torch.zeros(1, 3, 5, 7)).shape == (1, 3, 5, 7)


def test_where_an_export_goes(cli: Cli, runs: Path) -> None:
    shutil.copytree(runs / "cycle", "cycle")
    for args, place in (((), "cycle/model"), (("--to", "A"), "cycle/model-A")):
        assert cli("export", "cycle", *args)[0] == f"{place}\n"
    assert Path("cycle/model/generator.safetensors").read_bytes() != Path("cycle/model-A/generator.safetensors").read_bytes()


@pytest.mark.parametrize("to", ["A", "B"])
def test_batch_norms_of_both_directions_have_statistics_of_their_own(runs: Path, to: str) -> None:
    """Of the first norm: those of what its convolution makes of the run's images, which is computed here."""
    model = ganzoo.load(runs / "cycle", to=to)
    from ganzoo.assembly import plan_from_table
    from ganzoo.registry import get_registry
    from ganzoo.runs import Run

    dataset = plan_from_table(get_registry(), Run.open(runs / "cycle").config(), "here").dataset
    rows = np.linspace(0, len(dataset) - 1, 256).round().astype(int)
    field = "source" if to == "B" else "real"
    images = torch.from_numpy(np.stack([dataset.decode(int(row))[field] for row in rows])).float() / 127.5 - 1
    convolution, norm = model.network.layers[0], model.network.layers[1]
    torch.testing.assert_close(norm.running_mean, convolution(images).mean((0, 2, 3)), atol=1e-4, rtol=1e-3)


def test_without_the_data_statistics_are_the_training_s(cli: Cli, runs: Path) -> None:
    shutil.copytree(runs / "colour", "colour")
    table = Path("colour/run.toml")
    table.write_text(
        table.read_text().replace(str(runs / "images"), "/nowhere").replace('path = "images"', 'path = "/nowhere"')
    )
    _, err = cli("translate", "colour", "pictures/a.jpg", "--out", "made")
    assert "batch norm keeps the statistics of the training, a little off: the run's data cannot be read" in err
    assert written("made") == {"a.jpg": ("JPEG", "RGB", (30, 13))}


def test_statistics_are_of_the_records_that_can_be_read(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ganzoo.data.files import Folder
    from ganzoo.loading import _records
    from ganzoo.runs import Run

    run, norm, said = Run.open(runs / "domains"), torch.nn.BatchNorm2d(3), list[str]()
    device, decode, lost = torch.device("cpu"), Folder.decode, "dog/5.png"
    whole = _records(run, norm, device, said.append)

    def failing(folder: Folder, index: int) -> dict[str, np.ndarray]:
        if lost in ("all", folder.names[index]):
            raise OSError("image file is truncated")
        return decode(folder, index)

    monkeypatch.setattr(Folder, "decode", failing)
    some = _records(run, norm, device, said.append)
    assert said == []
    left = [i for i, image in enumerate(whole["real"]) if (image == some["real"]).flatten(1).all(1).any()]
    assert len(left) == len(some["real"]) == len(whole["real"]) - 1
    assert torch.equal(some["labels"], whole["labels"][left])
    lost = "all"
    assert _records(run, norm, device, said.append) is None
    assert "cannot be read (OSError: image file is truncated)" in said[0]


def test_pixels_and_alpha_of_a_whole_image(tmp_path: Path) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (5, 7, 4), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels[..., :3]).save(tmp_path / "b.png")
    with (tmp_path / "a.png").open("rb") as stream:
        planes, alpha, _ = decoding.decode_whole(stream, 4)
    assert np.array_equal(planes, pixels.transpose(2, 0, 1))
    assert np.array_equal(alpha, pixels[..., 3])
    with (tmp_path / "b.png").open("rb") as stream:
        planes, alpha, _ = decoding.decode_whole(stream, 1)
    assert planes.shape == (1, 5, 7)
    assert alpha is None
