"""The way of a new user: train, look, sample, export, load, fine-tune. One small run serves most of it."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import ganzoo
from ganzoo.cli.group import run

TINY = (
    "--gen", "dcgan:channels=4,z_dim=8,embedding=4", "--disc", "dcgan:channels=4", "--data", "emoji", "--res", "8",
    "--batch", "8", "--kimg", "0.064", "--device", "cpu",
)  # fmt: skip

Call = Callable[..., tuple[str, str]]


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["GANZOO_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "first"
    assert run(["train", *TINY, "--reg", "spectral-norm:player=both", "--out", str(path)]) == 0
    return path


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Call:
    def call(*args: str | Path, code: int = 0) -> tuple[str, str]:
        got = run([str(arg) for arg in args])
        out, err = capfd.readouterr()
        assert got == code, out + err
        return out, err

    return call


def test_what_a_run_holds(trained: Path) -> None:
    table = tomllib.loads((trained / "run.toml").read_text())
    assert table["format"] == 1
    assert table["gen"]["kernel"] == 4  # a default, written out
    assert table["components"]["gen"] == "ganzoo-dcgan 0.1.0"
    assert table["files"].keys() == {"ganzoo-core", *(offer.split()[0] for offer in table["components"].values())}
    assert table["spec"]["shape"] == [3, 8, 8]
    assert sum(table["dataset"]["class_counts"]) == table["dataset"]["records"] == 1898
    ticks = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert ticks[-1]["nimg"] == 64
    assert {"D/loss", "G/loss", "D/real", "D/fake", "D/grad", "G/grad", "diversity", "images_per_second"} <= set(ticks[-1])
    assert [p.name for p in sorted((trained / "samples").iterdir())] == ["000000.064.png", "000000.png"]
    with Image.open(trained / "samples" / "000000.064.png") as sheet:
        assert sheet.size == (16 * 8, 9 * 8)  # a row a class


def test_a_pipe_gets_plain_lines(call: Call, tmp_path: Path) -> None:
    out, err = call("train", *TINY, "--out", tmp_path / "run")
    assert "\x1b" not in out
    assert "images/s on cpu" in out  # the estimate comes before the first round
    assert out.index("images/s on cpu") < out.index("kimg 0.064 of 0.064")
    assert out.strip().endswith("000000.064.png")
    assert err == ""


def test_dry_run_reads_no_image_and_reproduces_the_run(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(*args: object) -> None:
        raise AssertionError("an image was decoded")

    monkeypatch.setattr(Image, "open", decode)
    monkeypatch.chdir(tmp_path)
    out, _ = call("train", *TINY, "--dry-run")
    assert "# G: " in out
    assert "samples [3, 8, 8]" in out
    assert "# command line" in out
    (tmp_path / "dry.toml").write_text(out)
    first = tomllib.loads(out)
    again = tomllib.loads(call("train", "--config", "dry.toml", "--dry-run")[0])
    assert again == first
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dry.toml"]


def test_runs_are_numbered(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        call("train", *TINY, "--kimg", "0.008")
    assert sorted(os.listdir("runs")) == ["00000-dcgan-dcgan", "00001-dcgan-dcgan"]
    rows = json.loads(call("runs", "--json")[0])
    assert [(row["state"], row["kimg"], row["budget"]) for row in rows] == [("done", 0.008, 0.008)] * 2
    assert "00001-dcgan-dcgan  done" in call("runs")[0]
    call("resume", "runs/00000-dcgan-dcgan", "--kimg", "0.016")
    assert json.loads(call("runs", "--json")[0])[0]["kimg"] == 0.016


def test_resuming_what_is_done_is_no_error(call: Call, trained: Path) -> None:
    before = sorted(p.name for p in (trained / "checkpoints").iterdir())
    out, _ = call("resume", trained)
    assert f"ganzoo resume {trained} --kimg" in out
    assert sorted(p.name for p in (trained / "checkpoints").iterdir()) == before


class TestSample:
    def test_a_sheet_a_folder_and_arrays(self, call: Call, trained: Path, tmp_path: Path) -> None:
        call("sample", trained, "--n", "9", "--out", tmp_path / "sheet.png")
        with Image.open(tmp_path / "sheet.png") as sheet:
            assert sheet.size == (24, 24)
        call("sample", trained, "--seeds", "3,17", "--class", "Flags", "--out", tmp_path / "folder")
        assert sorted(p.name for p in (tmp_path / "folder" / "Flags").iterdir()) == ["000003.png", "000017.png"]
        call("sample", trained, "--n", "5", "--seed", "2", "--out", tmp_path / "a.npz")
        with np.load(tmp_path / "a.npz") as arrays:
            assert arrays["samples"].shape == (5, 3, 8, 8)
            assert arrays["samples"].dtype == np.uint8
            assert arrays["seeds"].tolist() == [2, 3, 4, 5, 6]
            assert arrays["labels"].shape == (5,)

    def test_a_sample_is_a_function_of_its_seed(self, trained: Path) -> None:
        model = ganzoo.load(trained)
        many = model.sample(70, seed=5)
        assert torch.allclose(model.sample(seeds=[5, 74]), many[[0, 69]], atol=1e-6)
        assert not torch.allclose(many[0], many[1])
        assert many.abs().max() <= 1

    def test_classes_and_truncation(self, trained: Path) -> None:
        model = ganzoo.load(trained)
        flags = model.sample(4, label="Flags")
        assert torch.equal(flags, model.sample(4, label=model.class_index("Flags")))
        assert not torch.equal(flags, model.sample(4, label="Symbols"))
        spread = [model.sample(8, label="Flags", truncation=psi).std(0).mean() for psi in (1.0, 0.3, 0.0)]
        assert spread[0] > spread[1] > spread[2] == 0


def test_an_exported_model_is_the_run(call: Call, trained: Path, tmp_path: Path) -> None:
    out, _ = call("export", trained, "--out", tmp_path / "model")
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == ["README.md", "config.json", "generator.safetensors"]
    assert out.strip() == str(tmp_path / "model")
    here, there = ganzoo.load(trained), ganzoo.load(tmp_path / "model")
    assert torch.allclose(here.sample(6), there.sample(6), atol=1e-6)
    assert not any("parametrizations" in name for name in there.network.state_dict())
    card = (tmp_path / "model" / "README.md").read_text()
    assert "pip install ganzoo-core ganzoo-dcgan" in card
    assert "0.064 thousand images" in card
    call("sample", tmp_path / "model", "--n", "4", "--out", tmp_path / "s.png")


def test_an_exported_model_needs_the_generators_plugin_alone(trained: Path, tmp_path: Path, ganzoo: object) -> None:
    run(["export", str(trained), "--out", str(tmp_path / "model")])
    done = ganzoo(
        "sample", str(tmp_path / "model"), "--n", "1", "--out", str(tmp_path / "s.png"), GANZOO_PLUGINS="ganzoo-dcgan"
    )  # type: ignore[operator]
    assert done.returncode == 0, done.stderr


def test_fine_tuning_loads_what_fits_and_names_what_does_not(call: Call, trained: Path, tmp_path: Path) -> None:
    out, _ = call("train", *TINY, "--init-from", trained, "--kimg", "0.008", "--out", tmp_path / "same")
    assert "G: 9 of 9 tensors" in out
    out, _ = call(
        "train", *TINY, "--set", "data.labels=false", "--init-from", trained, "--kimg", "0.008", "--out", tmp_path / "other"
    )
    assert "starts anew" in out
    _, err = call("train", *TINY, "--init-from", tmp_path, "--out", tmp_path / "no", code=2)
    assert "neither a run" in err


def test_fine_tuning_starts_where_the_other_run_ended(trained: Path, tmp_path: Path) -> None:
    from ganzoo.loading import plan_of
    from ganzoo.runs import Run
    from ganzoo.training.initial import Initial

    said: list[str] = []
    game = plan_of(Run.open(trained)).build(Initial(trained, said.append))
    from safetensors.torch import load_file

    newest = Run.open(trained).checkpoints()[0]
    source = load_file(newest / "generator.safetensors")
    mine = game.players["G"].state_dict()
    originals = [name for name in source if name.endswith("original")]
    assert originals
    assert all(torch.equal(mine[name], source[name]) for name in originals)


def test_the_library_trains_from_a_mapping(tmp_path: Path) -> None:
    done = ganzoo.train(
        {"gen": "mlp:width=8,z_dim=4", "disc": "mlp:width=8", "data": "ring:n=64", "batch": 8, "kimg": 0.016, "device": "cpu"},
        out=tmp_path / "run",
    )
    assert ganzoo.load(done.path).sample(5).shape == (5, 2)


def test_observers_are_told_and_a_broken_one_is_dropped(site: object, ganzoo: object, tmp_path: Path) -> None:
    site.add(  # type: ignore[attr-defined]
        "ganzoo-watch",
        "from ganzoo.plugin import hookimpl\n"
        + "".join(
            f"@hookimpl\ndef ganzoo_run_{hook}(run, nimg{more}):\n    print('saw {hook}', nimg)\n"
            for hook, more in [
                ("start", ", config"),
                ("tick", ", stats"),
                ("images", ", path"),
                ("checkpoint", ", path"),
                ("end", ", reason"),
            ]
        ),
    )
    site.add(
        "ganzoo-sulk",
        "from ganzoo.plugin import hookimpl\n@hookimpl\ndef ganzoo_run_tick(run, nimg, stats):\n    raise ValueError('no')\n",
    )  # type: ignore[attr-defined]
    done = ganzoo("train", *TINY, "--set", "checkpoint.tick=.016", "--out", str(tmp_path / "run"))  # type: ignore[operator]
    assert done.returncode == 0, done.stderr
    seen = [line for line in done.stdout.splitlines() if line.startswith("saw")]
    assert seen == [
        "saw start 0",
        "saw images 0",
        "saw tick 16",
        "saw tick 32",
        "saw tick 48",
        "saw tick 64",
        "saw checkpoint 64",
        "saw images 64",
        "saw end 64",
    ]
    assert (done.stdout + done.stderr).count("ganzoo-sulk failed and is left out") == 1
