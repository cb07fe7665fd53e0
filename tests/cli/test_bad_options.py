"""What a user may get wrong on the command line of `train`: one line says what is wrong and what mends it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ganzoo.cli.train import command

if TYPE_CHECKING:
    from conftest import Site

    from tests.cli.conftest import Cli

NAMES = [
    (("--gen", "dcgn"), ("there is no generator 'dcgn'", "Did you mean 'dcgan'?", "Installed: dcgan, fastgan, mlp")),
    (("--gen", "DCGAN"), ("Did you mean 'dcgan'?",)),
    (("--gen", "hinge"), ("'hinge' is a loss",)),
    (("--gen", "ganzoo-dcgn/dcgan"), ("there is no generator 'ganzoo-dcgn/dcgan'", "There is ganzoo-dcgan/dcgan")),
    (("--disc", "dcgna"), ("there is no discriminator", "Did you mean 'dcgan'?")),
    (("--loss", "hinges"), ("there is no loss", "Did you mean 'hinge'?")),
    (("--reg", "r11"), ("there is no regularizer", "Did you mean 'r1'?")),
    (("--aug", "diffaugmnt"), ("there is no augmentation", "Did you mean 'diffaugment'?")),
    (("--game", "adversary"), ("there is no game", "Did you mean 'adversarial'?")),
    (("--recipe", "emojis"), ("there is no recipe", "Did you mean 'emoji'?")),
    (("--data", "emoij"), ("there is no dataset", "Did you mean 'emoji'?", "Nor is there a file or folder")),
    (("--gen", "none"), ("only aug and reg can be none",)),
    (("--gne", "dcgan"), ("No such option '--gne'", "--gen")),
    (("dcgan",), ("unexpected extra argument (dcgan)", "ganzoo train --help")),
]

SPECS = [
    ("dcgan:", ("'dcgan:' has nothing after ':'", "dcgan alone")),
    (":channels=4", ("has no name", "NAME:OPTION=VALUE")),
    ("dcgan,channels=4", ("options follow a colon",)),
    ("dcgan channels=4", ("options follow a colon",)),
    ("dcgan(channels=4)", ("options follow a colon",)),
    ("dcgan:channels", ("'channels' in 'dcgan:channels' is no OPTION=VALUE",)),
    ("dcgan:channels=", ("is no OPTION=VALUE", 'empty text is ""')),
    ("dcgan:channels=4,channels=5", ("option 'channels' is given twice",)),
    ("dcgan:norm='batch", ("a closing ' is missing",)),
    ("dcgan:norm=(batch", ("')' is missing",)),
    ("dcgan:chanels=4", ("generator 'dcgan' has no option 'chanels'", "Did you mean 'channels'?", "It takes z_dim, channels")),
    ("dcgan:channels=many", ("option 'channels' takes a whole number, not 'many'",)),
    ("dcgan:channels=2.5", ("takes a whole number, not '2.5'",)),
    ("dcgan:channels=[4]", ("takes a whole number, not '[4]'",)),
    ("dcgan:channels=0", ("generator 'dcgan': channels=0 must be at least 1",)),
    ("dcgan:z_dim=-1", ("z_dim=-1 must be at least 1",)),
    ("dcgan:init=-1", ("init=-1.0 must be at least 0",)),
    ("dcgan:class_norm=yes", ("takes true or false, not 'yes'",)),
    ("dcgan:norm=bach", ("takes batch or instance or layer or none, not 'bach'", "Did you mean 'batch'?")),
    ("dcgan:norm=none,class_norm=true", ("say norm=batch",)),
    ("mlp:width=0", ("generator 'mlp': width=0 must be at least 1",)),
    ("mlp:depth=-1", ("depth=-1 must be at least 0",)),
]

VALUES = [
    (("--kimg", "0"), ("kimg = 0: it must be greater than 0",)),
    (("--kimg", "-1"), ("kimg = -1: it must be greater than 0",)),
    (("--kimg", "abc"), ("kimg takes a number, not 'abc'",)),
    (("--kimg", "nan"), ("kimg takes a number",)),
    (("--kimg", "inf"), ("kimg = inf", "thousands of images")),
    (("--kimg", "1e-9"), ("kimg = 1e-09", "from 0.001 (one image)")),
    (("--seed", "-1"), ("seed = -1: it must be from 0 to 2147483647",)),
    (("--seed", "2.5"), ("seed takes a whole number",)),
    (("--seed", "99999999999"), ("it must be from 0 to 2147483647",)),
    (("--batch", "0"), ("batch = 0: it must be greater than 0",)),
    (("--batch", "many"), ("batch takes a whole number, not 'many'",)),
    (("--micro-batch", "0"), ("micro_batch = 0: it must be greater than 0",)),
    (("--micro-batch", "16"), ("--micro-batch 16 is larger than --batch 8: give at most 8",)),
    (("--device", "tpu"), ("--device tpu: not on this machine; there is cpu",)),
    (("--device", "cuda:77"), ("--device cuda:77: not on this machine; there is cpu",)),
    (("--precision", "BF16"), ("precision takes fp32 or bf16 or auto, not 'BF16'", "Did you mean 'bf16'?")),
    (("--res", "0"), ("resolution '0' is not understood; write 64, or 64x32",)),
    (("--res", "8x"), ("resolution '8x' is not understood",)),
    (("--reg", "r1:every=0"), ("every=0 must be at least 1 round",)),
    (("--reg", "r1:gamma=[1]"), ("option 'gamma' takes a number or auto, not '[1]'",)),
    (("--reg", "weight-clip:c=-1"), ("c=-1.0 must be positive",)),
    (("--disc", "mlp:dropout=2"), ("discriminator 'mlp'", "dropout")),
    (("--disc", "dcgan:minibatch_stddev=0"), ("minibatch_stddev=0 must be at least 1",)),
]

SETS = [
    ("G.optimizer=adm", ("no optimizer named 'adm'", "Did you mean 'adam'?", "sgd")),
    ("G.optimizer=lbfgs", ("no optimizer named 'lbfgs'",)),
    ("G.optimizer=adam:ep=1e-8", ("'adam' has no option 'ep'", "Did you mean 'eps'?")),
    ("G.optimizer=adam:eps=small", ("eps=small: write a number, true or false",)),
    ("G.optimizer=adam:eps=-1", ("G.optimizer = 'adam:eps=-1'", "epsilon")),
    ("G.optimizer=adam:fused=true,foreach=true", ("`fused` and `foreach`",)),
    ("G.optimizer=sgd", ("G.betas", "optimizer 'sgd' has no betas", "--set G.betas=none")),
    ("D.optimizer=sgd", ("D.betas", "--set D.betas=none")),
    ("G.lr=linear(1)", ("G.lr: 'linear(1)' is no schedule", "linear(2e-4, 0, 500)")),
    ("G.lr=fast", ("G.lr: 'fast' is no schedule; write a number",)),
    ("G.lr=-1", ("G.lr = -1.0: it must stay a number from 0",)),
    ("G.lr=inf", ("G.lr = inf: it must stay",)),
    ("G.lr=linear(1e-3, -1e-3)", ("it must stay a number from 0",)),
    ("G.lr=linear(1e-3, 0, 0)", ("must last longer than 0",)),
    ("G.lr=constant(1e-3) then linear(1e-3, 0)", ("only the last shape may leave out",)),
    ("D.betas=[0]", ("D.betas takes [a number or text, a number or text], not '[0]'",)),
    ("D.betas=[0, 1]", ("D.betas = 1.0", "below 1")),
    ("D.betas=[0, x]", ("D.betas: 'x' is no schedule",)),
    ("G.clip=-1", ("G.clip = -1: it must be greater than 0",)),
    ("D.steps=-1", ("D.steps = -1: it must be at least 0; 0 lets the player rest",)),
    ("G.stps=2", ("unknown key 'G.stps'", "Did you mean 'G.steps'?")),
    ("micro-batch=4", ("unknown key 'micro-batch'", "Did you mean 'micro_batch'?")),
    ("nothing=1", ("unknown key 'nothing'", "Known: D.betas")),
    ("G=1", ("unknown key 'G'",)),
    ("batch", ("--set batch: write KEY=VALUE",)),
    ("batch=", ("--set batch=: write KEY=VALUE",)),
    ("batch=x", ("batch takes a whole number, not 'x'",)),
    ("flip=1", ("flip takes true or false",)),
    ("ema.half_life=-1", ("ema.half_life = -1: it must be a number from 0",)),
    ("ema.ramp=inf", ("ema.ramp = inf",)),
    ("checkpoint.keep=0", ("checkpoint.keep = 0: it must be greater than 0",)),
    ("checkpoint.every=nan", ("checkpoint.every takes a number or none",)),
    ("gen.chanels=4", ("has no option 'chanels'", "Did you mean 'channels'?")),
    ("data.labels=maybe", ("option 'labels' takes true or false",)),
    ("data.res=x", ("resolution 'x' is not understood",)),
    ("game.prior=unifrm", ("takes normal or uniform, not 'unifrm'", "Did you mean 'uniform'?")),
    ("game.d_warmup=-1", ("d_warmup=-1 must be at least 0",)),
    ("reg.r1.gamma=2", ("reg.r1.gamma", "add --reg r1")),
    ("aug.colour=1", ("aug.colour", "add --aug")),
]

MISFITS = [
    (("--data", "ring", "--gen", "dcgan", "--disc", "mlp"), ("generator 'dcgan'", "dataset 'ring' holds points data", "mlp")),
    (("--data", "ring", "--disc", "dcgan"), ("discriminator 'dcgan'", "points data", "discriminators that do: mlp")),
    (("--data", "ring", "--res", "32"), ("dataset 'ring' has no option 'res'",)),
    (("--res", "28", "--gen", "dcgan"), ("generator 'dcgan'", "power of two from 8", "28x28", "--res 32")),
    (("--res", "4", "--disc", "dcgan"), ("discriminator 'dcgan'", "--res 8")),
    (("--reg", "packing"), ("'packing' does not fit", "cannot use labels", "9 classes", "--set data.labels=false")),
    (("--data", "emoji-pairs"), ("emoji-pairs' holds pairs to translate",)),
    (("--batch", "7", "--disc", "dcgan:minibatch_stddev=4"), ("groups of 4 samples, and --batch 7", "use 4 or 8")),
    (("--micro-batch", "6", "--disc", "dcgan:minibatch_stddev=4", "--batch", "8"), ("--micro-batch 6", "use 4 or 8")),
    (("--data", "emoji:labels=false", "--reg", "packing:m=3", "--batch", "64"), ("groups of 3 samples", "use 63 or 66")),
    (  # 12 samples are 6 packs: only together do the two not fit
        ("--data", "emoji:labels=false", "--reg", "packing", "--disc", "dcgan:minibatch_stddev=4", "--batch", "12"),
        ("a batch of 6 is no multiple of minibatch_stddev=4",),
    ),
    (("--reg", "unrolled", "--set", "D.optimizer=rmsprop", "--set", "D.betas=none"), ("--set D.optimizer=adam or sgd",)),
    (("--reg", "spectral-norm", "--reg", "ganzoo-objectives/spectral-norm"), ("computed already", "leave one")),
]  # fmt: skip


@pytest.mark.parametrize(("args", "says"), [*NAMES, *VALUES])
def test_names_and_values(args: tuple[str, ...], says: tuple[str, ...], cli: Cli) -> None:
    cli.refused("train", *cli.tiny, *args, "--out", "run", says=says)


@pytest.mark.parametrize(("spec", "says"), SPECS)
def test_specs(spec: str, says: tuple[str, ...], cli: Cli) -> None:
    cli.refused("train", *cli.tiny, "--gen", spec, "--out", "run", says=says)


@pytest.mark.parametrize(("setting", "says"), SETS)
def test_settings(setting: str, says: tuple[str, ...], cli: Cli) -> None:
    cli.refused("train", *cli.tiny, "--set", setting, "--out", "run", says=says)


@pytest.mark.parametrize(("args", "says"), MISFITS)
def test_misfits(args: tuple[str, ...], says: tuple[str, ...], cli: Cli) -> None:
    cli.refused("train", "--device", "cpu", *args, "--out", "run", says=says)


def test_an_empty_value_is_none(cli: Cli) -> None:
    for option in command.params:
        if not getattr(option, "is_flag", False):
            cli.refused("train", option.opts[0], "", says=(f"nothing after '{option.opts[0]}'",))


def test_a_batch_beyond_all_memory(cli: Cli) -> None:
    says = ("game 'adversarial' of ganzoo-core failed on a batch of 1000000000000: RuntimeError:", "memory")
    cli.refused("train", "--device", "cpu", "--batch", "1000000000000", "--out", "run", code=1, says=says)


def test_an_option_without_its_value(cli: Cli) -> None:
    cli.refused("train", "--gen", says=("Option '--gen' requires an argument",))


def test_a_dry_run_refuses_the_same(cli: Cli) -> None:
    for args, word in ((("--device", "tpu"), "tpu"), (("--set", "G.lr=linear(1)"), "schedule"), (("--gen", "x"), "generator")):
        assert cli.fails("train", "--dry-run", *cli.tiny, *args, code=2, says=(word,))


def test_what_is_not_installed_is_offered(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Path(__file__).parents[2] / "registry.toml"
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(f'{own.read_text()}\n[[plugin]]\ndistribution = "ganzoo-biggan"\ngenerator = ["biggan"]\n')
    monkeypatch.setenv("GANZOO_CATALOG", str(catalog))
    cli.refused("train", "--gen", "biggan", says=("offered by ganzoo-biggan: pip install ganzoo-biggan",))
    cli.refused("train", "--gen", "bigan", says=("Did you mean 'biggan'?",))
    monkeypatch.setenv("GANZOO_PLUGINS", "ganzoo-objectives")
    cli.refused("train", says=("no generator is installed. It is offered by ganzoo-dcgan, which GANZOO_PLUGINS leaves out",))
    catalog.write_text("format = 1\nplugin = 3\n")
    monkeypatch.setenv("GANZOO_CATALOG", str(catalog.rename(tmp_path / "broken.toml")))
    cli.refused("train", "--gen", "biggan", says=("catalogue", "broken"))


def test_what_parts_need_of_each_other(cli: Cli, site: Site) -> None:
    site.add(
        "ganzoo-odd",
        "from ganzoo.plugin import Component, hookimpl\n@hookimpl\ndef ganzoo_components():\n"
        "    yield Component('discriminator', 'once', 'ganzoo_dcgan.dcgan:DCGANDiscriminator', recommends={'gen': 'dcgan'})\n"
        "    yield Component('generator', 'classy', 'ganzoo_dcgan.dcgan:DCGANGenerator', labels='required',\n"
        "                    needs={'classes'}, recommends={'disc': 'dcgan'})\n",
    )
    says = ("regularizer 'r1' does not fit", "needs 'double-backward'", "discriminator 'dcgan', discriminator 'mlp'")
    cli.refused("train", "--disc", "once", "--reg", "r1", says=says)
    says = ("generator 'classy' does not fit", "needs labels", "has none", "sub-folder")
    cli.refused("train", "--gen", "classy", "--disc", "acgan", "--data", "emoji:labels=false", says=says)
    says = ("generator 'classy'", "needs 'classes'", "discriminator 'dcgan'", "these do: discriminator 'acgan'")
    cli.refused("train", "--gen", "classy", says=says)


def test_none_and_repetition(cli: Cli) -> None:
    """`none` empties what was recommended, wherever it stands; what is said twice is merged; the last single option counts."""
    out, _ = cli("train", "--dry-run", "--reg", "none", "--reg", "r1", "--reg", "r1:every=2", "--set", "reg.r1.gamma=7")
    assert out.count("[[reg]]") == 1
    assert "\ngamma = 7.0 " in out
    assert "\nevery = 2 " in out
    out, _ = cli("train", "--dry-run", "--aug", "none", "--reg", "none", "--res", "16", "--res", "8")
    assert '\naug = "none" ' in out
    assert "[[reg]]" not in out
    assert "\nres = [8, 8] " in out
