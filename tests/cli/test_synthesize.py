"""`ganzoo synthesize`: a data set of samples, and that training reads it back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

import ganzoo
from ganzoo.data.files import open_path
from ganzoo.registry import create
from tests.cli.test_bad_disk import files_up_to

if TYPE_CHECKING:
    from tests.cli.conftest import Cli

N = 3


def read_back(path: str) -> tuple[tuple[str, ...], list[int], np.ndarray]:
    """Classes, labels and pixels [N, C, H, W] by what `--data PATH` means."""
    name, options = open_path(path)
    dataset = create("dataset", name, **options)
    arrays = dataset.arrays()
    pixels = arrays["real"] if arrays else np.stack([dataset.decode(i)["real"] for i in range(len(dataset))])
    return dataset.spec.classes, [] if dataset.labels is None else dataset.labels.tolist(), pixels


def renamed(run: Path, classes: list[str], dataset: str = "folder") -> Path:
    """An exported model whose classes have other names."""
    place = run / "renamed"
    config = json.loads((run / "model/config.json").read_text())
    config["data"]["classes"] = classes + config["data"]["classes"][len(classes) :]
    config["dataset"] = dataset
    shutil.copytree(run / "model", place, dirs_exist_ok=True)
    (place / "config.json").write_text(json.dumps(config))
    return place


@pytest.mark.parametrize(("out", "options"), [
    ("new", ()), ("deep/er/new", ("--format", "webp")), ("new.zip", ()), ("new", ("--layout", "zip")), ("new.npz", ()),
    ("new", ("--layout", "npz")),
])  # fmt: skip
def test_training_reads_it_back(cli: Cli, run: Path, out: str, options: tuple[str, ...]) -> None:
    words, _ = cli("synthesize", run, "--out", out, "--per-class", str(N), "--seed", "40", *options)
    ending = f".{options[1]}" if "--layout" in options else ""
    assert words.splitlines()[-1] == out + ending
    classes, labels, pixels = read_back(out + ending)
    model = ganzoo.load(run)
    assert sorted(classes) == sorted(model.data.classes)  # "Smileys & Emotion", too
    assert sorted(labels) == [k for k in range(len(classes)) for _ in range(N)]
    for k, name in enumerate(model.data.classes):
        expected = model.sample(seeds=range(40 + k * N, 40 + (k + 1) * N), label=name)
        found = pixels[[i for i, label in enumerate(labels) if classes[label] == name]]
        assert np.array_equal(found, ((expected + 1) * 127.5).round().byte().numpy())
    out_of_it, _ = cli("train", "--data", out + ending, *cli.tiny, "--out", "trained")
    assert "done: trained" in out_of_it
    assert f"{len(labels)}" in Path("trained/run.toml").read_text()


def test_names_are_seeds_and_jpegs_are_good(cli: Cli, run: Path) -> None:
    cli("synthesize", run, "--out", "new", "--per-class", "2", "--format", "jpg", "--truncation", "0.5")
    assert sorted(p.name for p in Path("new/People & Body").iterdir()) == ["000002.jpg", "000003.jpg"]
    cli("sample", run, "--seeds", "2,3", "--class", "People & Body", "--truncation", "0.5", "--out", "beside")
    with Image.open("new/People & Body/000003.jpg") as image, Image.open("beside/People & Body/000003.png") as same:
        assert image.format == "JPEG"
        assert np.abs(np.asarray(image).astype(int) - np.asarray(same)).mean() < 8


@pytest.mark.parametrize(("dataset", "made"), [("folder", "new"), ("zip", "new.zip"), ("array", "new.npz"), ("emoji", "new")])
def test_the_layout_is_that_of_the_run_s_data(cli: Cli, run: Path, dataset: str, made: str) -> None:
    cli("export", run)
    words, _ = cli("synthesize", renamed(run, [], dataset), "--out", "new", "--per-class", "1")
    assert words == f"{made}\n"
    assert Path(made).exists()


def test_a_run_knows_its_data_s_layout(cli: Cli, run: Path) -> None:
    cli("synthesize", run, "--out", "a.npz", "--per-class", "2")
    cli("train", "--data", "a.npz", *cli.tiny, "--out", "of-arrays")
    words, _ = cli("synthesize", "of-arrays", "--out", "b", "--per-class", "1")
    assert words == "b.npz\n"
    assert sorted(read_back("b.npz")[0]) == sorted(read_back("a.npz")[0])


def test_numbers_as_classes_keep_their_order(cli: Cli, run: Path) -> None:
    cli("export", run)
    config = json.loads((run / "model/config.json").read_text())
    count = len(config["data"]["classes"])
    place = renamed(run, [str(k) for k in range(count)])
    cli("synthesize", place, "--out", "new.npz", "--per-class", "1")
    with np.load("new.npz") as arrays:
        assert arrays["labels"].tolist() == list(range(count))
        assert arrays["images"].dtype == np.uint8
        assert arrays["seeds"].tolist() == list(range(count))


def test_names_that_are_no_folders(cli: Cli, run: Path) -> None:
    cli("export", run)
    odd = ["either/or", "either_or", ".hidden", "__MACOSX", "ünïcode 漢字", " space ", "C:back\\slash"]
    place = renamed(run, odd)
    count = len(ganzoo.load(place).data.classes)
    for out, folders in (
        ("new", ["either_or_", "either_or", "_.hidden", "___MACOSX", "ünïcode 漢字", " space ", "C:back\\slash"]),
        ("new.zip", ["either_or_", "either_or", "_.hidden", "___MACOSX", "ünïcode 漢字", " space ", "C_back_slash"]),
    ):
        _, err = cli("synthesize", place, "--out", out, "--per-class", "2")
        said = [line for line in err.splitlines() if "is no folder's name" in line]
        assert len(said) == sum(a != b for a, b in zip(odd, folders, strict=True))
        assert "ganzoo: class 'either/or' is no folder's name: it becomes 'either_or_'" in said
        classes, labels, _ = read_back(out)
        assert set(folders) <= set(classes)
        assert len(classes) == count
        assert sorted(labels) == [k for k in range(count) for _ in range(2)]
    cli("synthesize", place, "--out", "new.npz", "--per-class", "1")
    assert set(odd) <= set(read_back("new.npz")[0])  # an array keeps any name


def test_without_classes(cli: Cli) -> None:
    cli("train", *cli.tiny, "--data", "emoji:labels=false", "--out", "plain")
    cli("synthesize", "plain", "--out", "new", "--n", "70")
    assert len(list(Path("new").iterdir())) == 70
    assert read_back("new")[0] == ()
    cli.refused("synthesize", "plain", "--out", "other", "--per-class", "3", says=("without classes", "--n N"))
    cli.refused("synthesize", "plain", "--out", "other", says=("without classes", "--n N"))


def test_points_are_arrays(cli: Cli) -> None:
    args = (
        "--data",
        "ring:n=64",
        "--gen",
        "mlp:width=8,depth=1",
        "--disc",
        "mlp:width=8,depth=1",
        "--batch",
        "8",
        "--kimg",
        "0.016",
    )
    cli("train", *args, "--device", "cpu", "--out", "points")
    words, _ = cli("synthesize", "points", "--out", "new", "--n", "9")
    assert words == "new.npz\n"
    np.testing.assert_allclose(read_back("new.npz")[2], ganzoo.load("points").sample(9).numpy(), rtol=1e-5, atol=1e-6)
    cli.refused(
        "synthesize", "points", "--out", "other", "--n", "9", "--layout", "zip", says=("points data are no image files",)
    )


def test_what_is_refused(cli: Cli, run: Path) -> None:
    Path("full").mkdir()
    Path("full/mine").write_text("x")
    Path("file").write_text("x")
    Path("taken.zip").write_text("x")
    for args, says in (
        (("--out", "new"), "--per-class N"),
        (("--out", "new", "--n", "5"), "of the 9 classes with --per-class N"),
        (("--out", "new", "--n", "5", "--per-class", "5"), "leave --n out"),
        (("--out", "full", "--per-class", "5"), "--out full: it exists and is no empty folder"),
        (("--out", "file", "--per-class", "5"), "--out file: it exists"),
        (("--out", "taken", "--layout", "zip", "--per-class", "5"), "--out taken.zip: it exists"),
        (("--out", "file/new", "--per-class", "5"), "/file is no directory"),
        (("--out", "new.zip", "--layout", "npz", "--per-class", "5"), "--layout npz and --out new.zip are two things"),
        (("--out", "new.npz", "--format", "jpg", "--per-class", "5"), "--format jpg means nothing to an .npz"),
        (("--out", "new", "--per-class", "0"), "--per-class"),
        (("--out", "new", "--per-class", "2", "--truncation", "nan"), "--truncation nan"),
    ):
        cli.refused("synthesize", run, *args, says=(says,))
    Path("empty").mkdir()
    cli("synthesize", run, "--out", "empty", "--per-class", "1")
    assert len(list(Path("empty").iterdir())) == 9


def test_the_folder_that_one_is_in_stays(cli: Cli, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run.absolute()
    Path("empty").mkdir()
    monkeypatch.chdir("empty")
    for layout in ("folder", "zip"):
        says = ("--out .: the folder that you are in cannot be replaced",)
        cli.refused("synthesize", run, "--out", ".", "--layout", layout, "--per-class", "1", says=says)


def test_webp_has_no_grey(cli: Cli) -> None:
    np.savez("grey.npz", images=np.zeros((16, 8, 8), np.uint8))
    cli("train", *cli.tiny, "--data", "grey.npz", "--out", "plain")
    args = ("--layout", "folder", "--n", "2")
    says = ("--format webp has no grey, and these images are: take png or jpg",)
    cli.refused("synthesize", "plain", "--out", "new", "--format", "webp", *args, says=says)
    cli("synthesize", "plain", "--out", "new", "--format", "jpg", *args)
    assert read_back("new")[2].shape == (2, 1, 8, 8)


@pytest.mark.parametrize("out", ["new", "new.zip", "new.npz"])
def test_a_full_disk_leaves_nothing(cli: Cli, run: Path, out: str) -> None:
    before = sorted(os.listdir())
    with files_up_to(100):
        says = (f"--out {out} could not be written: File too large; free some space",)
        cli.fails("synthesize", run, "--out", out, "--per-class", "9", code=1, says=says)
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize(("out", "number"), [("new", signal.SIGINT), ("new.zip", signal.SIGINT), ("new", signal.SIGKILL)])
def test_what_was_stopped_does_not_look_whole(cli: Cli, run: Path, out: str, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "ganzoo", "synthesize", str(run), "--out", out, "--per-class", "20000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    while not any(name.startswith(".new") for name in os.listdir()):
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.5)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    assert b"Traceback" not in err
    assert not Path(out).exists()
    if number == signal.SIGINT:
        assert os.listdir() == ["run"]
    cli("synthesize", run, "--out", out, "--per-class", "1")  # nothing is in the way


def test_a_zip_holds_no_more_than_it_says(cli: Cli, run: Path) -> None:
    cli("synthesize", run, "--out", "new.zip", "--per-class", "2")
    with zipfile.ZipFile("new.zip") as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == 18
