"""`ganzoo eval`: what it prints and keeps, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from ganzoo.metrics import evaluation, looks
from ganzoo.runs import Run

if TYPE_CHECKING:
    from tests.cli.conftest import Cli

FEW = ("--samples", "40", "--reals", "60", "--device", "cpu")


@pytest.fixture
def refused(cli: Cli, monkeypatch: pytest.MonkeyPatch):
    """Refused before an image is read."""

    def call(*args: str | Path, says: tuple[str, ...]) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(evaluation, "materialise", lambda *args, **kwargs: pytest.fail("images were decoded"))
            cli.fails("eval", *args, code=2, says=says)

    return call


def test_a_run_s_figures_are_printed_and_kept_with_their_protocol(cli: Cli, run: Path) -> None:
    out, _ = cli("eval", run, "--metric", "kid-raw", "--metric", "diversity-raw", *FEW, "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["metric"] for line in lines] == ["kid-raw", "diversity-raw", "coverage-raw", "memorization-raw"]
    assert [line["asked"] for line in lines] == [True, True, False, False]
    protocol = lines[0]["protocol"]
    assert (protocol["reals"], protocol["fakes"], protocol["seed"], protocol["ema"]) == (60, 40, 0, True)
    assert protocol["reals from"].startswith("emoji")
    assert {"torch", "ganzoo"} <= protocol["versions"].keys()
    assert lines[0]["error"] > 0
    assert Run.open(run).metrics() == lines
    again, _ = cli("eval", run, "--metric", "kid-raw", *FEW)
    value = f"{lines[0]['value']:.5g}"
    assert value in again, "the same seed gives the same figure"
    assert "protocol: reals 60" in again
    other, _ = cli("eval", run, "--metric", "kid-raw", *FEW, "--seed", "7", "--json")
    assert json.loads(other.splitlines()[0])["value"] != lines[0]["value"]


def test_the_reals_are_looked_at_once(cli: Cli, run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "empty"))
    seen = []
    see = looks.Look.see
    monkeypatch.setattr(looks.Look, "see", lambda look, samples: seen.append(len(samples)) or see(look, samples))
    cli("eval", run, "--metric", "fd-raw", *FEW)
    assert sum(seen) == 60 + 40
    seen.clear()
    first, _ = cli("eval", run, "--metric", "fd-raw", *FEW, "--json")
    assert sum(seen) == 40
    for kept in (tmp_path / "empty/features").iterdir():
        kept.write_bytes(b"damaged")
    second, _ = cli("eval", run, "--metric", "fd-raw", *FEW, "--json")
    assert json.loads(first.splitlines()[0])["value"] == json.loads(second.splitlines()[0])["value"]


def test_an_exported_model_wants_to_be_told_the_reals(cli: Cli, run: Path) -> None:
    cli("export", run)
    model = run / "model"
    shutil.move(run / "run.toml", run / "was.toml")
    cli.fails("eval", model, "--metric", "kid-raw", code=2, says=("--against",))
    out, _ = cli("eval", model, "--metric", "kid-raw", *FEW, "--against", "emoji:res=[8,8],labels=false")
    assert "kid-raw" in out
    assert not (run / "metrics.jsonl").exists()


@pytest.fixture
def pictures(cli: Cli) -> Path:
    random = np.random.default_rng(0)
    for i in range(12):
        Path("made").mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(f"made/{i}.png")
    return Path("made")


def test_a_folder_against_a_data_set_and_a_picture_of_the_nearest(cli: Cli, pictures: Path) -> None:
    args = ("--against", "emoji:res=[8,8],labels=false", "--metric", "memorization-raw", *FEW, "--picture", "near/est.png")
    out, _ = cli("eval", pictures, *args)
    assert out.splitlines()[-1] == "near/est.png"
    with Image.open("near/est.png") as sheet:
        assert sheet.width >= 8 * 8
    same, _ = cli("eval", pictures, "--against", pictures, "--metric", "memorization-raw", "--json", *FEW)
    assert json.loads(same)["value"] == 1.0


def test_halves_of_one_data_set_are_as_good_as_each_other(cli: Cli) -> None:
    random = np.random.default_rng(1)
    both = random.integers(0, 255, (400, 3, 8, 8), dtype=np.uint8)
    np.savez("one.npz", samples=both[:200])
    np.savez("other.npz", samples=both[200:])
    out, _ = cli("eval", "one.npz", "--against", "other.npz", "--metric", "kid-raw", "--json")
    figure = json.loads(out.splitlines()[0])
    assert abs(figure["value"]) < 2 * figure["error"]


def test_what_there_is_not(refused, cli: Cli, run: Path) -> None:
    refused(run, "--metric", "kidd", says=("no metric 'kidd'", "kid"))
    refused(run, "--metric", "kid-lite", says=("no features 'lite'",))
    refused(run, "--metric", "kid-raw:size=3", says=("kid", "size"))
    refused(run, "--metric", "precision-raw:k=0", says=("k=0",))
    refused(run, "--metric", "kid-raw", "--split", "tests", says=("split",))
    refused("nowhere", "--against", "emoji", says=("nowhere",))
    refused("nowhere", says=("Nor is there a file or folder 'nowhere'",))
    refused(run, "--metric", "is-lite0", says=("classifies", "inception"))
    refused(run, "--metric", "ppl", says=("style", "does not provide"))
    refused(run, "--against", "ring", "--metric", "kid-raw", says=("points", "--against"))
    refused(run, "--against", "fashion", "--metric", "kid-raw", says=("of 1:", "--against"))
    refused(run, "--metric", "kid-raw", "--picture", "x.gif", says=("FILE.png",))


def test_what_files_cannot_answer(refused, cli: Cli, pictures: Path) -> None:
    against = ("--against", "emoji:res=[8,8],labels=false")
    refused(pictures, *against, "--metric", "ppl", says=("generator", "not its images"))
    refused(pictures, *against, "--metric", "class-fd-raw", says=("labels",))
    cli.fails("eval", pictures, *against, "--metric", "kid-raw", "--truncation", "0.5", code=2, says=("no generator",))
    cli.fails("eval", pictures, *against, "--metric", "precision-raw:k=50", *FEW, code=2, says=("50", "12"))


def test_weights_that_are_not_there(refused, run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torch

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *a, **k: (_ for _ in ()).throw(OSError("no network")))
    refused(run, "--metric", "fid", *FEW, says=("could not be fetched", str(tmp_path), "weights=FILE"))


def test_a_folder_of_images_of_several_sizes(cli: Cli, pictures: Path) -> None:
    Image.new("RGB", (16, 20)).save(pictures / "large.png")
    cli("eval", pictures, "--against", "emoji:res=[8,8],labels=false", "--metric", "kid-raw", *FEW)
