"""`ganzoo anomaly`: fit and score as a user types them, what they print and write, and wrong input."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from ganzoo.anomaly import auroc
from ganzoo.cli import group
from ganzoo.loading import load

if TYPE_CHECKING:
    from conftest import Cli

PLAIN = ("--gen", "dcgan:channels=4,z_dim=8", "--disc", "dcgan:channels=4,norm=none", "--aug", "none", "--reg", "none")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without classes, 8x8 in grey, and its encoder."""
    place = tmp_path_factory.mktemp("fitted")
    random = np.random.default_rng(0)
    np.savez(place / "noise.npz", images=random.integers(0, 256, (32, 8, 8), np.uint8))
    run = str(place / "run")
    args = ["--data", str(place / "noise.npz"), "--batch", "8", "--kimg", "0.032", "--device", "cpu", "--out", run]
    assert group.run(["train", *PLAIN, *args]) == 0
    assert group.run(["anomaly", "fit", run, "--kimg", "0.5", "--device", "cpu"]) == 0
    return place / "run"


@pytest.fixture
def pictures(cli: Cli) -> Path:
    """good/ (three) and bad/ (two, one of them in colour, transparent and large)."""
    random = np.random.default_rng(1)
    for name in ("good/a.png", "good/b.png", "good/c.png", "bad/a.png"):
        Path("test", name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (8, 8), np.uint8)).save(Path("test", name))
    Image.fromarray(random.integers(0, 256, (30, 20, 4), np.uint8)).save("test/bad/b.webp")
    return Path("test")


def table(out: str) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(out)
    return parsed


def test_a_line_an_image(cli: Cli, fitted: Path, pictures: Path) -> None:
    out, err = cli("anomaly", "score", fitted, "test/good", "test/bad/b.webp")
    lines = [line.split("\t") for line in out.splitlines()]
    assert [name for _, name in lines] == ["test/good/a.png", "test/good/b.png", "test/good/c.png", "test/bad/b.webp"]
    assert all(float(score) > 0 for score, _ in lines)
    assert err == ""


def test_json_holds_what_the_lines_say(cli: Cli, fitted: Path, pictures: Path) -> None:
    lines = cli("anomaly", "score", fitted, "test")[0].splitlines()
    found = table(cli("anomaly", "score", fitted, "test", "--json")[0])
    assert [f"{row['score']:.6f}\t{row['name']}" for row in found["images"]] == lines
    assert [row["class"] for row in found["images"]] == ["bad"] * 2 + ["good"] * 3
    for row in found["images"]:
        assert row["score"] == pytest.approx(row["residual"] + found["k"] * row["features"], rel=1e-5)
    assert found["checkpoint"] == "000000.032"
    assert found["auroc"] is None


def test_a_file_is_read_as_the_loader_of_images_does(cli: Cli, fitted: Path, pictures: Path) -> None:
    """A picture of another size and with colours is what the data set `folder` makes of it."""
    out = cli("anomaly", "score", fitted, "test/bad/b.webp", "test/bad")[0]
    file, _, folder = (line.split("\t")[0] for line in out.splitlines())
    assert file == folder


def test_auroc_goes_by_folders(cli: Cli, fitted: Path, pictures: Path) -> None:
    found = table(cli("anomaly", "score", fitted, "test", "--normal", "good", "--json")[0])
    scores = [row["score"] for row in found["images"]]
    want = auroc(scores, [True, True, False, False, False])
    assert found["auroc"]["score"] == {"auroc": want.value, "standard_error": want.error}
    assert (found["auroc"]["n_normal"], found["auroc"]["n_anomalous"]) == (3, 2)
    # Folders given one by one, and files, have the class of where they lie.
    for inputs in (["test/bad", "test/good"], ["test/bad/a.png", "test/bad/b.webp", "test/good"]):
        again = table(cli("anomaly", "score", fitted, *inputs, "--normal", "good", "--json")[0])
        assert again["auroc"] == found["auroc"]
    out = cli("anomaly", "score", fitted, "test", "--normal", "good")[0]
    assert f"{want.value:.4f} ± {want.error:.4f}  score" in out
    assert "mean training image" in out


def test_files_are_written(cli: Cli, fitted: Path, pictures: Path) -> None:
    out, _ = cli("anomaly", "score", fitted, "test", "--normal", "good", "--out", "found", "--heat")
    assert out.splitlines()[0] == "found/scores.csv"
    with Path("found/scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows][:2] == ["test/bad/a.png", "test/bad/b.webp"]
    assert [row["class"] for row in rows] == ["bad", "bad", "good", "good", "good"]
    assert sorted(p.name for p in Path("found").iterdir()) == sorted(["scores.csv", *(row["picture"] for row in rows)])
    with Image.open("test/bad/a.png") as original, Image.open(Path("found", rows[0]["picture"])) as picture:
        assert picture.size == (3 * 128, 128)
        shown = np.asarray(picture)[::16, ::16]
        np.testing.assert_array_equal(shown[:, :8], np.repeat(np.asarray(original)[..., None], 3, 2))
        given, made, heat = (shown[:, 8 * i : 8 * i + 8].astype(float) for i in range(3))
    # From black by red and yellow to white: the three colours together are the difference, 1 of 2 at most.
    difference = np.abs(given - made)[..., 0] / 127.5
    np.testing.assert_allclose(heat.sum(2) / (3 * 255), difference.clip(0, 1), atol=0.02)


def test_a_name_that_is_no_utf8(cli: Cli, fitted: Path, pictures: Path) -> None:
    os.rename(b"test/bad/a.png", b"test/bad/\xff.png")
    cli("anomaly", "score", fitted, "test", "--out", "found")
    with Path("found/scores.csv").open(encoding="utf-8") as file:
        assert r"test/bad/\udcff.png" in [row["name"] for row in csv.DictReader(file)]


def test_the_class_that_fits_best(cli: Cli, run: Path) -> None:
    """A generator with classes is asked for each, and the nearest is named."""
    cli("anomaly", "fit", run, "--kimg", "0.1", "--device", "cpu")
    found = table(cli("anomaly", "score", run, "emoji:style=flat", "--json", "--device", "cpu")[0])
    classes = load(run).data.classes
    assert {row["as"] for row in found["images"]} <= set(classes)
    assert {row["class"] for row in found["images"]} == set(classes)
    out, _ = cli("anomaly", "score", run, "emoji:style=flat", "--device", "cpu")
    assert out.splitlines()[0].split("\t")[2] in classes


def test_one_that_cannot_be_read_among_many(cli: Cli, fitted: Path, pictures: Path) -> None:
    Path("test/good/b.png").write_bytes(b"no image")
    out, err = cli("anomaly", "score", fitted, "test", "test/good/a.png", code=1)
    assert len(out.splitlines()) == 5
    assert err == "ganzoo: test/good/b.png cannot be read: not an image that can be read\n"
    out, _ = cli("anomaly", "score", fitted, "test/good/b.png", "--json", code=1)
    assert table(out)["unreadable"] == [{"name": "test/good/b.png", "error": "not an image that can be read"}]
    cli("anomaly", "score", fitted, "test/good/b.png", "--out", "found", code=1)


def test_a_fit_is_stopped_and_goes_on(cli: Cli, fitted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ganzoo import anomaly

    shutil.copytree(fitted, "run")
    step = anomaly.Fit._step

    def interrupted(self: Any) -> None:
        step(self)
        if self.nimg == 1280:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(anomaly.Fit, "_step", interrupted)
        out, _ = cli("anomaly", "fit", "run", "--kimg", "5", code=130)
    assert out.splitlines()[-1] == "stopped. To go on: ganzoo anomaly fit run"
    _, err = cli("anomaly", "score", "run", fitted.parent / "noise.npz")
    assert "1.344 of 5 kimg" in err
    out, _ = cli("anomaly", "fit", "run")
    assert "from 1.344 of 5 kimg" in out
    assert "loss" in out
    out, _ = cli("anomaly", "fit", "run")  # nothing is left to do
    assert "done" in out
    assert "loss" not in out


def test_wrong_input(cli: Cli, fitted: Path, run: Path, pictures: Path) -> None:
    cli.fails("anomaly", "score", run, "test", code=2, says=("no encoder yet", "ganzoo anomaly fit run"))
    cli.fails("anomaly", "score", "nowhere", "test", code=2, says=("is no run",))
    cli.fails("anomaly", "fit", "nowhere", code=2, says=("is no run",))
    cli.fails("anomaly", "score", fitted, code=2)
    cli.fails("anomaly", "score", fitted, "no-such-thing", code=2, says=("no-such-thing",))
    cli.fails("anomaly", "score", fitted, "ring", code=2, says=("points", "8x8"))
    cli.fails("anomaly", "score", fitted, "test", "--heat", code=2, says=("--out",))
    cli.fails("anomaly", "score", fitted, "test", "--normal", "god", code=2, says=("Did you mean 'good'",))
    cli.fails("anomaly", "score", fitted, "test/good", "--normal", "good", code=2, says=("all images",))
    cli.fails("anomaly", "score", fitted, fitted.parent / "noise.npz", "--normal", "0", code=2, says=("has none",))
    cli.fails("anomaly", "fit", fitted, "--lr", "1e-4", code=2, says=("--restart",))
    cli.fails("anomaly", "fit", run, "--kimg", "0", code=2, says=("--kimg",))
    cli.fails("anomaly", "fit", run, "--device", "cuda:99", code=2, says=("--device",))
    Path("empty").mkdir()
    cli.fails("anomaly", "score", fitted, "empty", code=1, says=("no images",))
    Path("file").write_text("")
    cli.fails("anomaly", "score", fitted, "test", "--out", "file", code=2, says=("--out",))


def test_help(cli: Cli) -> None:
    out, _ = cli("anomaly")
    assert "fit" in out
    assert "score" in out
