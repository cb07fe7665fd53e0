"""Configuration files: what is wrong in them is named; what a dry run prints is read back as the same plan."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

if TYPE_CHECKING:
    from tests.cli.conftest import Cli

BROKEN = [
    ("gen = ", ("not TOML: Invalid value",)),
    ("gen = 'dcgan'\n[gen]\nname = 'mlp'", ("not TOML",)),
    ("format = 2", ("format = 2: this ganzoo reads format 1; upgrade ganzoo-core",)),
    ("colour = 1", ("unknown key 'colour'", "Known: D.betas")),
    ("[G]\nstps = 2", ("unknown key 'G.stps'", "Did you mean 'G.steps'?")),
    ("[Gen]\nlr = 2", ("unknown key 'Gen'", "Did you mean 'gen'?")),
    ("G = 3", ("'G' must be a table, as in [G]",)),
    ("[gen]\nchannels = 3", ("gen = {'channels': 3}: write \"NAME:option=value\" or a table with name",)),
    ("[[gen]]\nname = 'dcgan'", ("gen = [{'name': 'dcgan'}]: write",)),
    ("reg = [3]", ("reg = 3: write",)),
    ("aug = false", ("aug = False: write",)),
    ("[gen]\nname = 'dcgan'\nchannels = 'many'", ("option 'channels' takes a whole number, not 'many'",)),
    ("[data]\nname = 'emoji'\nres = [8, 8, 8]", ("option 'res' takes [a whole number, a whole number]",)),
    ("batch = 8.5", ("batch takes a whole number, not 8.5",)),
    ("device = 3", ("device takes text, not 3",)),
    ("[G]\nlr = 'linear(1)'", ("G.lr: 'linear(1)' is no schedule",)),
    ("[G]\nlr = [1]", ("G.lr takes a number or text, not [1]",)),
    ("data = './nowhere'", ("there is no './nowhere'",)),
    ("loss = 'hing'", ("there is no loss 'hing'", "Did you mean 'hinge'?")),
]

PLANS = [
    (),
    ("--recipe", "dcgan", "--data", "ring", "--gen", "mlp", "--disc", "mlp"),
    ("--data", "pictures in ünusual places", "--res", "8", "--aug", "none", "--reg", "none", "--gen", "dcgan:channels=4"),
    (
        "--reg", "r1:every=2", "--reg", "spectral-norm", "--micro-batch", "32",
        "--batch", "64", "--set", "G.lr=constant(1e-3, 50%) then cosine(1e-3, 0)", "--set", "D.betas=[linear(0, .5), .9]",
        "--set", "G.optimizer=sgd:momentum=.5", "--set", "G.betas=none",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "says"), BROKEN)
def test_what_is_wrong_in_a_file(text: str, says: tuple[str, ...], cli: Cli) -> None:
    Path("c.toml").write_text(text)
    cli.refused("train", "--config", "c.toml", "--out", "run", says=says)


def test_files_that_cannot_be_read(cli: Cli) -> None:
    cli.refused("train", "--config", "absent.toml", says=("--config absent.toml cannot be read: No such file",))
    cli.refused("train", "--config", ".", says=("--config . cannot be read: Is a directory",))
    Path("c.toml").write_bytes(b"\xff\xfe")
    cli.refused("train", "--config", "c.toml", says=("--config c.toml cannot be read", "utf-8"))


@pytest.mark.parametrize("args", PLANS)
def test_a_dry_run_is_read_back_byte_for_byte(args: tuple[str, ...], cli: Cli) -> None:
    folder = Path("pictures in ünusual places")
    folder.mkdir()
    for i in range(8):
        Image.new("RGB", (9, 9), (i, i, i)).save(folder / f"{i}.png")
    first, _ = cli("train", "--dry-run", "--device", "cpu", *args)
    Path("a.toml").write_text(first)
    second, _ = cli("train", "--dry-run", "--config", "a.toml")
    Path("a.toml").write_text(second)
    third, _ = cli("train", "--dry-run", "--config", "a.toml")
    assert second == third
    assert tomllib.loads(first) == tomllib.loads(second)
    for name in ("# G: ", "# D: "):
        assert [line for line in first.splitlines() if line.startswith(name)] == [
            line for line in second.splitlines() if line.startswith(name)
        ]


def test_a_path_in_a_file_is_a_path(cli: Cli) -> None:
    Path("pictures").mkdir()
    for i in range(8):
        Image.new("RGB", (8, 8), (i, i, i)).save(f"pictures/{i}.png")
    Path("c.toml").write_text("data = './pictures'")
    for args in (("--config", "c.toml"), ("--set", "data=pictures"), ("--data", "pictures/")):
        out, _ = cli("train", "--dry-run", "--device", "cpu", "--gen", "dcgan", *args)
        assert tomllib.loads(out)["data"]["path"] == str(Path("pictures").absolute())


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--set", "ema.half_life=often"), ("ema.half_life", "often")),
        (
            ("--data", "grid", "--gen", "mlp", "--disc", "mlp", "--set", "flip=true"),
            ("flip=true", "dataset 'grid' holds points"),
        ),
        (("--eval", "nosuch"), ("no metric 'nosuch'",)),
        (("--set", "D.optimizer=adahessian"), ("D.optimizer = 'adahessian' does not step",)),
    ],
)
def test_what_a_dry_run_refuses_as_the_training_does(args: tuple[str, ...], says: tuple[str, ...], cli: Cli) -> None:
    args = ("train", "--gen", "dcgan:channels=4", "--disc", "dcgan:channels=4", "--data", "emoji:res=8", *args)
    assert cli.refused(*args, "--out", "run", says=says) == cli.refused(*args, "--dry-run", says=says)
