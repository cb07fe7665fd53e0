"""Runs on captions: trained, sampled by caption, exported, looked at; and what is refused in one line."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from PIL import Image

import ganzoo
from ganzoo import loading
from ganzoo.cli import group
from ganzoo.registry import create

if TYPE_CHECKING:
    from tests.cli.conftest import Cli

NETWORKS = ("--gen", "text-dcgan:channels=4,z_dim=8,embedding=4", "--disc", "text:channels=4,embedding=4")
SMALL = ("--res", "8", "--batch", "8", "--kimg", "0.032", "--device", "cpu")
DATA = "captioned:data=emoji(labels=false),encoder=hashed-words(width=32)"


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("told") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GANZOO_CACHE", str(tmp_path_factory.getbasetemp() / "cli-cache"))
        assert group.run(["train", *NETWORKS, *SMALL, "--data", DATA, "--out", str(path)]) == 0
    return path


@pytest.fixture
def run(cli: Cli, told: Path) -> Path:
    shutil.copytree(told, "run")
    return Path("run")


def test_a_run_plays_with_wrong_captions_and_says_so(run: Path) -> None:
    table = tomllib.loads((run / "run.toml").read_text())
    assert [reg["name"] for reg in table["reg"]] == ["matching-aware"]
    assert table["spec"]["text"] == 32
    assert table["data"]["encoder"] == {"name": "hashed-words", "width": 32, "pairs": True}
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert all("D/matching-aware" in line for line in lines)
    assert len(list((run / "samples").glob("*.png"))) >= 2


def test_samples_are_of_the_caption_that_is_asked_for(cli: Cli, run: Path) -> None:
    cli("sample", run, "--text", "a red apple", "--n", "4", "--out", "apples.png")
    with Image.open("apples.png") as sheet:
        assert sheet.size == (16, 16)
    model = ganzoo.load(run)
    apples = model.sample(4, text="a red apple")
    vector = create("encoder", "hashed-words", width=32)(["a red apple"])
    x, _ = model.inputs(range(4))
    with torch.no_grad():
        torch.testing.assert_close(apples, model.network(x, {"text": vector.expand(4, -1)}))
    assert not torch.allclose(apples, model.sample(4, text="grinning face"))
    assert torch.equal(apples, model.of("a red apple").sample(4))
    assert model.sample(2, text="").shape == (2, 3, 8, 8)  # no words are a caption too


def test_an_exported_model_knows_its_encoder(cli: Cli, run: Path) -> None:
    cli("export", run)
    config = json.loads((run / "model/config.json").read_text())
    assert config["encoder"] | {"version": ""} == {
        "plugin": "ganzoo-text",
        "version": "",
        "name": "hashed-words",
        "options": {"width": 32, "pairs": True},
    }
    there, here = ganzoo.load(run / "model"), ganzoo.load(run)
    torch.testing.assert_close(there.sample(3, text="flag of Norway"), here.sample(3, text="flag of Norway"))
    card = (run / "model/README.md").read_text()
    assert 'ganzoo sample . --text "a caption" --n 64' in card
    assert 'sample(64, text="a caption")' in card
    assert "encoder 'hashed-words'" in card
    assert "pip install ganzoo-core ganzoo-text\n" in card
    cli("sample", run / "model", "--text", "an apple", "--n", "1", "--out", "one.png")


def test_an_exported_model_needs_neither_data_nor_their_plugins(run: Path, cli: Cli, ganzoo: object) -> None:
    cli("export", run, "--out", "model")
    done = ganzoo(
        "sample", Path("model").absolute(), "--text", "x", "--out", Path("s.png").absolute(), GANZOO_PLUGINS="ganzoo-text"
    )  # type: ignore[operator]
    assert done.returncode == 0, done.stderr


def test_a_run_is_sampled_though_its_data_are_gone(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path("mine")
    folder.mkdir()
    for i in range(8):
        Image.new("RGB", (8, 8), (30 * i, 0, 0)).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(f"red number {i}")
    cli("train", *NETWORKS, *SMALL, "--data", "captioned:path=mine,held_out=0", "--out", "run")
    shutil.rmtree(folder)
    cli("sample", "run", "--text", "red", "--n", "2", "--out", "a.png")
    cli("export", "run")
    cli("sample", "run/model", "--text", "red", "--n", "2", "--out", "b.png")


@pytest.mark.parametrize("of", ["run", "run/model"])
def test_without_a_caption(cli: Cli, run: Path, of: str) -> None:
    cli("export", run)
    cli.refused("sample", of, "--out", "a.png", says=("makes images of captions", '--text "a caption"'))
    cli.refused("synthesize", of, "--n", "2", "--out", "new", says=("makes images of captions", "ganzoo sample --text"))
    for view in ("--interpolate", "--truncation"):
        cli.refused("explore", of, view, "--out", "a.png", says=('--text "a caption"',))
    cli("explore", of, "--interpolate", "--text", "an apple", "--seeds", "0,1", "--steps", "3", "--out", "walk.png")
    with Image.open("walk.png") as sheet:
        assert sheet.size == (24, 8)


def test_the_last_words_of_a_training_say_how_to_sample_it(cli: Cli, run: Path) -> None:
    out, err = cli("train", *NETWORKS, *SMALL, "--data", DATA, "--out", "again")
    assert 'Next: ganzoo sample again --text "a caption" --out samples.png' in out + err


def test_neighbours_of_a_caption(cli: Cli, run: Path) -> None:
    cli("explore", run, "--neighbours", "--text", "an apple", "--seeds", "0,1", "--out", "near.png")
    assert Path("near.png").is_file()


def test_a_caption_for_a_run_without(cli: Cli, finished: Path) -> None:
    for words in (["sample"], ["explore", "--interpolate"]):
        cli.refused(
            *words, finished, "--text", "an apple", "--out", "a.png", says=("trained without captions; leave --text out",)
        )


def test_a_generator_that_looks_at_no_captions_is_not_asked_for_one(cli: Cli) -> None:
    cli("train", *cli.tiny, "--data", DATA, "--out", "plain")
    cli("sample", "plain", "--n", "2", "--out", "a.png")
    cli.refused("sample", "plain", "--text", "an apple", "--out", "b.png", says=("trained without captions",))


def test_encoders_of_another_width_or_that_are_gone(cli: Cli, run: Path) -> None:
    cli("export", run)
    place = run / "model/config.json"
    config = json.loads(place.read_text())
    for change, code, says in (
        ({"options": {"width": 64, "pairs": True}}, 1, ("gives vectors of 64", "was trained with 32")),
        (None, 1, ("is damaged or no exported model", "encoder.options")),
        ({"name": "words"}, 2, ("there is no encoder 'ganzoo-text/words'",)),
        ({"plugin": "ganzoo-else"}, 2, ("there is no encoder 'ganzoo-else/hashed-words'",)),
    ):
        damaged = {"plugin": "ganzoo-text", "version": "1", "name": "hashed-words"}
        place.write_text(json.dumps(config | {"encoder": damaged if change is None else config["encoder"] | change}))
        _, err = cli("sample", run / "model", "--text", "x", "--out", "a.png", code=code)
        assert all(words in err.splitlines()[-1] for words in says), err


def test_an_encoder_that_is_not_the_one_of_the_training_is_named(cli: Cli, run: Path) -> None:
    """Of another plugin than the generator's, which is looked at anyway."""
    cli("export", run)
    place = run / "model/config.json"
    config = json.loads(place.read_text())
    config["encoder"]["plugin"] = "ganzoo-else"
    config["components"]["encoder"] = "ganzoo-else 9.0"
    place.write_text(json.dumps(config))
    says = ("was trained with ganzoo-else 9.0 (which is not loaded here)",)
    cli.refused("sample", run / "model", "--text", "x", "--strict", "--out", "a.png", says=says, code=1)
    _, err = cli("sample", run / "model", "--text", "x", "--out", "a.png", code=2)
    assert says[0] in err


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("--gen", "text-dcgan"), ("needs 'text'", "which dataset 'emoji' does not provide", "dataset 'captioned'")),
        (("--disc", "text"), ("needs 'text'", "which dataset 'emoji' does not provide")),
        (
            ("--gen", "dcgan", "--disc", "dcgan", "--reg", "matching-aware", "--data", DATA),
            ("needs 'matching'", "which discriminator 'dcgan' does not provide; these do: discriminator 'text'"),
        ),
        ((*NETWORKS, "--data", DATA, "--reg", "packing"), ("discriminator 'text'", "no packs of samples")),
        ((*NETWORKS, "--data", "captioned:path=absent"), ("here/absent'",)),
        ((*NETWORKS, "--data", "captioned:path=bare"), ("2 of 2 images have no caption, 0.png, 1.png; write them into 0.txt",)),
    ],
)
def test_what_does_not_fit_is_refused_before_images_are_read(cli: Cli, given: tuple[str, ...], says: tuple[str, ...]) -> None:
    Path("bare").mkdir()
    for i in range(2):
        Image.new("RGB", (8, 8)).save(f"bare/{i}.png")
    cli.refused("train", *SMALL, *given, "--out", "run", says=says)


def test_a_damaged_table_of_captions(cli: Cli) -> None:
    Path("mine").mkdir()
    Image.new("RGB", (8, 8)).save("mine/0.png")
    Path("mine/metadata.jsonl").write_text("no table")
    cli.refused("train", *NETWORKS, *SMALL, "--data", "captioned:path=mine", says=("line 1 is no JSON",), code=1)


def test_the_encoder_is_found_in_a_data_set_within_a_data_set() -> None:
    from ganzoo.registry import get_registry

    registry = get_registry()
    nested = {"name": "captioned", "data": "emoji", "encoder": {"name": "hashed-words", "width": 7}}
    target = registry.load(registry.find("dataset", "derived"))
    found = loading._encoder(registry, target, {"data": nested})
    assert (found["name"], found["options"]) == ("hashed-words", {"width": 7, "pairs": True})
