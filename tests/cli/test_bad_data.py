"""Data that are not there, damaged or hostile."""

from __future__ import annotations

import os
import tomllib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from tests.cli.conftest import Cli


def pictures(folder: str | Path, count: int, side: int = 8) -> Path:
    """Noise, so that no two are alike."""
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(count)
    for i in range(count):
        Image.fromarray(random.integers(0, 256, (side, side, 3), np.uint8)).save(root / f"{i:04d}.png", compress_level=1)
    return root


def dataset(run: Path) -> dict[str, object]:
    table: dict[str, object] = tomllib.loads((run / "run.toml").read_text())["dataset"]
    return table


def test_one_corrupt_image_in_a_thousand_is_named_and_skipped(cli: Cli) -> None:
    broken = pictures("many", 1000) / "0500.png"
    whole = broken.read_bytes()
    for content in (whole[: len(whole) // 2], b"no picture"):
        broken.write_bytes(content)
        out, _ = cli("train", *cli.tiny, "--data", "many", "--out", f"run{len(content)}")
        assert "1 of 1,000 records cannot be read and are left out: 0500.png (" in out
        assert (dataset(Path(f"run{len(content)}"))["records"], dataset(Path(f"run{len(content)}"))["skipped"]) == (999, 1)
    for i in range(10):
        Path(f"many/{i:04d}.png").write_bytes(b"no picture")
    says = ("more than 1% of 1,000 records cannot be read", "repair or remove", "0000.png (not an image", "and 8 more")
    cli.fails("train", *cli.tiny, "--data", "many", "--out", "run", code=1, says=says)
    assert not Path("run").exists()


def test_folders_without_images(cli: Cli) -> None:
    Path("empty").mkdir()
    Path("words").mkdir()
    Path("words/a.txt").write_text("x")
    Path("junk").mkdir()
    Path("junk/a.png").write_bytes(b"no picture")
    for name in ("empty", "./empty", "empty/"):
        cli.refused("train", "--data", name, "--out", "run", says=("holds no images (it is empty)", ".png"), code=1)
    cli.refused("train", "--data", "words", says=("holds no images", "1 other files, endings: .txt"), code=1)
    cli.refused("train", "--data", "junk", says=("none of 1 images can be read: a.png",), code=1)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("absent", ("there is no dataset 'absent'", "Nor is there a file or folder 'absent'")),
        ("./absent", ("there is no './absent'",)),
        ("~/absent/here", ("there is no '~/absent/here'",)),
        ("absent.zip", ("Nor is there a file or folder 'absent.zip'",)),
        ("C:\\Users\\me\\pictures", ("there is no 'C:\\Users\\me\\pictures'",)),
        ("https://example.org/a.zip", ("there is no 'https://example.org/a.zip'",)),
        ("mine/0000.png", ("is no data", "for this image give its folder, mine")),
        ("notes.txt", ("notes.txt is no data", "a folder of images, a .zip of them")),
        ("mine:labels=false", ("options of a path are set beside it", "--data 'mine' --set data.OPTION=VALUE")),
        ("folder", ("dataset 'folder' needs its option 'path'", ":path=")),
        ("folder:path=mine,fit=crop", ("option 'fit' takes cover or contain or stretch",)),
        ("zip:path=mine", ("here/mine is a folder, not a zip: --data folder:path=/",)),
        ("array:path=mine", ("here/mine is a folder", "--data folder:path=/")),
        ("emoji:style=3dd", ("takes flat or 3d or both, not '3dd'", "Did you mean '3d'?")),
        ("emoji:path=x", ("dataset 'emoji' has no option 'path'",)),
    ],
)
def test_what_is_no_data(given: str, says: tuple[str, ...], cli: Cli) -> None:
    pictures("mine", 1)
    Path("notes.txt").write_text("x")
    cli.refused("train", "--data", given, "--out", "run", says=says)


def test_labels_asked_for_and_not_there(cli: Cli) -> None:
    pictures("flat", 8)
    says = ("labels=true, but folder", "has none", "put each class into a sub-folder", "dataset.json")
    cli.refused("train", "--data", "flat", "--set", "data.labels=true", says=says)
    pictures("classes/cat", 8)
    pictures("classes/dog", 8)
    cli("train", "--dry-run", *cli.tiny, "--data", "classes", "--set", "data.labels=true")
    says = ("'packing' does not fit", "has 2 classes", "--set data.labels=false")
    cli.refused("train", *cli.tiny, "--data", "classes", "--reg", "packing", says=says)


def test_a_name_wins_over_a_folder_and_says_so(cli: Cli) -> None:
    pictures("emoji", 8)
    out, _ = cli("train", "--dry-run", *cli.tiny, "--data", "emoji")
    assert tomllib.loads(out)["data"]["name"] == "emoji"
    assert "# notice: --data emoji is the data set of that name; the folder is --data ./emoji" in out
    out, _ = cli("train", "--dry-run", *cli.tiny, "--data", "./emoji")
    assert tomllib.loads(out)["data"]["path"] == str(Path("emoji").absolute())
    assert "notice: --data" not in out


@pytest.mark.parametrize("given", ["it's a folder, isn't it", "ünï/猫 🐈", "a=b:c", "link", "up/../link"])
def test_odd_but_good_paths(given: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures("real place", 8)
    Path("up").mkdir()
    if "link" in given:
        os.symlink("real place", "link")
    else:
        Path(given).parent.mkdir(exist_ok=True)
        Path("real place").rename(given)
    out, _ = cli("train", *cli.tiny, "--data", given, "--out", "my run")
    assert "ganzoo sample 'my run' --out samples.png, ganzoo export 'my run'" in out
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    cli("resume", "../my run", "--kimg", "0.048")  # the data are found from anywhere


def _zip(path: str, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_hostile_zips(cli: Cli) -> None:
    image = next(iter(pictures("mine", 1).iterdir())).read_bytes()
    _zip("escape.zip", {"a.png": image, "../../evil.png": image})
    cli.refused("train", "--data", "escape.zip", says=("escape.zip is refused: ../../evil.png leads out of it",), code=1)
    assert not Path("../../evil.png").exists()
    _zip("bomb.zip", {f"{i}.bmp": bytes(1 << 20) for i in range(80)})
    cli.refused("train", "--data", "bomb.zip", says=("bomb.zip is refused: it unpacks from", "unpack it yourself"), code=1)
    Path("no.zip").write_bytes(b"PK or not")
    cli.refused("train", "--data", "no.zip", says=("is not a zip, or is damaged",), code=1)
    Path("cut.zip").write_bytes(Path("escape.zip").read_bytes()[:-30])
    cli.refused("train", "--data", "cut.zip", says=("is not a zip, or is damaged",), code=1)


def test_a_zip_that_lies_of_its_sizes(cli: Cli) -> None:
    """Only reading a member shows that it unpacks to more than it says, by little or by much."""
    whole = {f"{i:03d}.png": path.read_bytes() for i, path in enumerate(sorted(pictures("mine", 200, 64).iterdir()))}
    _zip("lies.zip", whole)
    with zipfile.ZipFile("lies.zip") as archive:
        sizes = {member.file_size for member in archive.infolist()}
    honest = Path("lies.zip").read_bytes()
    for less in (1, 2000):
        lying = honest
        for size in sizes:  # in the members' own headers and in the directory
            lying = lying.replace(size.to_bytes(4, "little"), (size - less).to_bytes(4, "little"))
        Path("lies.zip").write_bytes(lying)
        says = ("lies.zip is refused: ", ".png unpacks to more than the", "bytes that it says")
        cli.fails("train", *cli.tiny, "--data", "lies.zip", "--out", "run", code=1, says=says)
        assert not Path("run").exists()


def test_arrays(cli: Cli) -> None:
    np.save("pickle.npy", np.array([{}], dtype=object), allow_pickle=True)
    cli.refused("train", "--data", "pickle.npy", says=("cannot read", "a pickle, which can run code"), code=1)
    np.save("good.npy", np.zeros((10, 8, 8, 3), np.uint8))
    Path("cut.npy").write_bytes(Path("good.npy").read_bytes()[:-5])
    cli.refused("train", "--data", "cut.npy", says=("cut.npy is cut short or damaged: 1,920 bytes by its header",), code=1)
    np.save("large.npy", np.full((10, 3, 8, 8), 7, np.float32))
    cli.fails("train", *cli.tiny, "--data", "large.npy", code=1, says=("holds floats from 7 to 7", "scale them before"))
    np.save("nan.npy", np.full((10, 3, 8, 8), np.nan, np.float32))
    cli.fails("train", *cli.tiny, "--data", "nan.npy", code=1, says=("not finite",))
    # All alike: nothing to learn, and no reason to fail. Two of them have no distance that fakes could be measured by.
    cli("train", *cli.tiny, "--data", "good.npy", "--out", "alike")
    cli("train", *cli.tiny, "--data", "good.npy", "--out", "single", "--micro-batch", "1", "--disc", "dcgan:norm=none")


def test_a_folder_whose_name_no_file_could_hold(cli: Cli) -> None:
    place = os.fsdecode(b"p\xe9")
    pictures(place, 4)
    cli.refused("train", *cli.tiny, "--data", place, "--out", "run", says=("option 'path'", "is not UTF-8", "rename it"))


def test_data_that_are_others_by_now(cli: Cli) -> None:
    """A class that has another name has another number: what went on would train dogs as cats."""
    for name in ("cat", "dog"):
        pictures(f"animals/{name}", 8)
    cli("train", *cli.tiny, "--data", "animals", "--out", "run")
    Path("animals/cat").rename("animals/zcat")
    says = ("dataset 'folder' has changed", "classes were ['cat', 'dog'] and are ['dog', 'zcat']", "put it back")
    for command in (
        ("resume", "run", "--kimg", "0.064"),
        ("explore", "run", "--neighbours", "--out", "x.png"),
        ("eval", "run"),
    ):
        if command[0] != "eval":  # which may be held against anything
            cli.refused(*command, code=1, says=says)
    Path("animals/zcat").rename("animals/cat")
    os.replace("animals/cat/0000.png", "animals/dog/cat.png")
    out, _ = cli("resume", "run", "--kimg", "0.064")
    assert "the data of dataset 'folder' have changed since the run began" in out


def test_labels_that_are_others_by_now(cli: Cli) -> None:
    import json

    pictures("animals", 8)

    def label(first: int) -> None:
        labels = [[f"{i:04d}.png", (i + first) % 2] for i in range(8)]
        Path("animals/dataset.json").write_text(json.dumps({"labels": labels}))

    label(0)
    cli("train", *cli.tiny, "--data", "animals", "--out", "run")
    out, _ = cli("resume", "run", "--kimg", "0.064")
    assert "have changed" not in out
    label(1)
    out, _ = cli("resume", "run", "--kimg", "0.096")
    assert "have changed since the run began (another labels)" in out
