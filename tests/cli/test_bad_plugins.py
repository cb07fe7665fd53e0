"""Plugins' parts that fail while they are built or played, and training beside a plugin that is broken."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import safetensors.torch

if TYPE_CHECKING:
    from conftest import Site

    from tests.cli.conftest import Cli

NETWORKS = """
import os, signal
import torch
from torch import nn
from ganzoo.games.adversarial import Adversarial
from ganzoo.interfaces import Loss, Phase, Regularizer

class Plain(nn.Module):
    def __init__(self, data):
        super().__init__()
        self.z_dim, self.shape = 4, data.shape
        self.out = nn.Linear(4, 3 * 8 * 8)

    def forward(self, x, condition):
        return self.out(x).unflatten(1, self.shape).tanh()

class Judge(nn.Module):
    def __init__(self, data):
        super().__init__()
        self.head = nn.Linear(3 * 8 * 8, 1)

    def forward(self, images, condition):
        return self.head(images.flatten(1)).squeeze(1)

class Raises(Plain):
    def __init__(self, data, *, size: int = 3):
        raise RuntimeError("no room for\\n  so many layers")

class Refuses(Plain):
    def __init__(self, data, *, size: int = 3):
        raise ValueError(f"size={size} must be even; try size=4")

class NoWidth(Plain):
    def __init__(self, data):
        super().__init__(data)
        del self.z_dim

class Falls(Plain):
    def forward(self, x, condition):
        raise KeyError("labels")

class Wide(Plain):
    def forward(self, x, condition):
        return torch.cat([super().forward(x, condition)] * 2, 3)

class Named(Plain):
    def __init__(self, data, *, name: str = "resnet50"):
        super().__init__(data)

class Nothing(Plain):
    def forward(self, x, condition):
        return None

class Falling(Judge):
    def forward(self, images, condition):
        return self.head(images)

class Single(Judge):
    def forward(self, images, condition):
        return super().forward(images, condition).mean()[None]

class Silent(Judge):
    def forward(self, images, condition):
        return None

class Hungry(Plain):
    def forward(self, x, condition):
        if x.device.type != "meta":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB")
        return super().forward(x, condition)

class Greedy(Plain):
    def forward(self, x, condition):
        if x.device.type != "meta":
            torch.empty(10**15)
        return super().forward(x, condition)

class Counting(Loss):
    def __init__(self, data, *, after: int = 5):
        super().__init__(data)
        self.after = after
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def d(self, real, fake):
        self.seen += 1
        return self.late(fake.logits - real.logits)

    def g(self, fake, real):
        return -fake.logits

class Poisoned(Counting):
    def late(self, values):
        return torch.where(self.seen > self.after, float("nan"), values)

class Impatient(Counting):
    def late(self, values):
        if int(self.seen) == self.after:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return values

class Patient(Counting):
    def late(self, values):
        if int(self.seen) == self.after:
            os.kill(os.getpid(), signal.SIGTERM)
        return values

class Overreaching(Regularizer):
    def forward(self, play):
        raise RuntimeError("this penalty\\n is not for you")

class Forgetful(Adversarial):
    def phases(self):
        return [Phase("D/main", "D"), Phase("G/main", "G")]
"""

PARTS = {
    "generator": "plain raises refuses no-width falls wide nothing hungry greedy named",
    "discriminator": "judge falling single silent",
    "loss": "poisoned impatient patient",
    "regularizer": "overreaching",
    "game": "forgetful",
}


@pytest.fixture
def odd(site: Site) -> Site:
    """A distribution "ganzoo-odd" with all of them."""
    name = f"odd_networks_{id(site)}"
    (site.root / f"{name}.py").write_text(NETWORKS)
    lines = [
        f"    yield Component({kind!r}, {part!r}, '{name}:{part.title().replace('-', '')}', summary='generated')\n"
        for kind, parts in PARTS.items()
        for part in parts.split()
    ]
    start = "from ganzoo.plugin import Component, hookimpl\n@hookimpl\ndef ganzoo_components():\n"
    site.add("ganzoo-odd", start + "".join(lines))
    return site


def base(*args: str, gen: str = "plain", disc: str = "judge", kimg: str = "0.08") -> list[str]:
    return [
        "train", "--gen", gen, "--disc", disc, "--data", "emoji:labels=false", "--res", "8", "--batch", "8", "--kimg", kimg,
        "--device", "cpu", "--set", "checkpoint.every=0.016", "--set", "checkpoint.tick=0.008", "--out", "run", *args,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("gen", "disc", "code", "says"),
    [
        ("raises", "judge", 1, ("generator 'raises' of ganzoo-odd could not be built: RuntimeError: no room for so many",)),
        ("refuses:size=5", "judge", 2, ("generator 'refuses': size=5 must be even; try size=4",)),
        ("no-width", "judge", 1, ("NoWidth has no z_dim, the width of the noise",)),
        ("falls", "judge", 1, ("generator 'falls' of ganzoo-odd failed on a batch of 8: KeyError: 'labels'",)),
        ("wide", "judge", 1, ("'wide' of ganzoo-odd made [8, 3, 8, 16] from a batch of 8", "'emoji' holds [8, 3, 8, 8]")),
        ("nothing", "judge", 1, ("generator 'nothing' of ganzoo-odd made NoneType",)),
        ("plain", "falling", 1, ("discriminator 'falling' of ganzoo-odd failed on a batch of 8: RuntimeError: ",)),
        ("plain", "single", 1, ("discriminator 'single' of ganzoo-odd gave logits [1] for 8 inputs",)),
        ("plain", "silent", 1, ("discriminator 'silent' of ganzoo-odd failed on a batch of 8",)),
    ],
)
def test_networks_that_do_not_work(gen: str, disc: str, code: int, says: tuple[str, ...], cli: Cli, odd: Site) -> None:
    cli.refused(*base(gen=gen, disc=disc), code=code, says=says)
    cli.fails(*base("--dry-run", gen=gen, disc=disc), code=code, says=says)


@pytest.mark.parametrize("gen", ["hungry", "greedy"])
def test_out_of_memory_names_what_takes_less(gen: str, cli: Cli, odd: Site) -> None:
    says = ("out of memory on cpu with 8 samples a forward pass", "try --micro-batch 4, a smaller --batch or --res, or")
    cli.fails(*base(gen=gen), code=1, says=says)
    out, _ = cli("runs", ".")
    assert out.startswith("run  stopped")  # not held any more
    single = base("--micro-batch", "1", "--out", "one", gen=gen)
    line = cli.fails(*single, code=1, says=("with 1 samples", "try a smaller --batch"))
    assert "--micro-batch" not in line
    grouped = base("--out", "four", "--disc", "dcgan:minibatch_stddev=4,channels=4", gen=gen)
    cli.fails(*grouped, code=1, says=("try --micro-batch 4,",))
    line = cli.fails(*grouped, "--micro-batch", "4", "--out", "other", code=1, says=("try a smaller --batch",))
    assert "--micro-batch" not in line  # 2 would be refused


def test_nan_names_term_and_phase_and_keeps_the_last_good_checkpoint(cli: Cli, odd: Site) -> None:
    args = base("--loss", "poisoned:after=5", "--set", "G.lr=1e-3")
    _, err = cli(*args, code=1)
    [line] = err.splitlines()
    assert line.startswith("ganzoo: D/loss became NaN or infinite in phase D/main of round 5 (0.048 kimg)")
    assert "The last good checkpoint stays" in line
    assert "--set D.lr=" in line
    good = sorted(p.name for p in Path("run/checkpoints").iterdir())
    assert good == ["000000.016", "000000.032"]
    for name, tensor in safetensors.torch.load_file("run/checkpoints/000000.032/players.safetensors").items():
        assert tensor.isfinite().all(), name
    ticks = [json.loads(text) for text in Path("run/log.jsonl").read_text().splitlines()]
    assert [tick["nimg"] for tick in ticks] == [8, 16, 24, 32, 40]
    cli("sample", "run", "--n", "2", "--out", "a.png")
    Path("run/run.toml").write_text(Path("run/run.toml").read_text().replace("after = 5", "after = 99"))
    out, _ = cli("resume", "run")  # mended, it goes on from there
    assert "run run, from 0.032 kimg" in out


def test_a_second_ctrl_c_leaves_at_once(cli: Cli, odd: Site) -> None:
    before = signal.getsignal(signal.SIGINT)
    out, err = cli(*base("--loss", "impatient:after=4"), code=130)
    assert "Ctrl-C again leaves at once" in out
    assert err.strip() == ""
    assert "stopped. To go on" not in out
    assert [p.name for p in Path("run/checkpoints").iterdir()] == ["000000.016"]  # none of the round that was left
    assert signal.getsignal(signal.SIGINT) is before
    Path("run/run.toml").write_text(Path("run/run.toml").read_text().replace("after = 4", "after = 99"))
    out, _ = cli("resume", "run")
    assert "run run, from 0.016 kimg" in out


def test_one_signal_finishes_the_round(cli: Cli, odd: Site) -> None:
    out, _ = cli(*base("--loss", "patient:after=4"), code=130)
    assert "stopped. To go on: ganzoo resume run" in out
    assert sorted(p.name for p in Path("run/checkpoints").iterdir()) == ["000000.016", "000000.032"]
    out, _ = cli("resume", "run")
    assert "run run, from 0.032 kimg" in out
    assert "done: run" in out


def test_training_beside_a_broken_plugin(cli: Cli, odd: Site) -> None:
    odd.add("ganzoo-broken", "import no_such_module\n")
    odd.add("ganzoo-exits", "import sys\nprint('hello')\nsys.exit(3)\n")
    _, err = cli(*base("--gen", "dcgan:channels=4", "--disc", "dcgan:channels=4"))
    lines = [line for line in err.splitlines() if line != "hello"]
    assert len(lines) == 2
    assert lines[0].startswith("ganzoo: plugin ganzoo-broken: ModuleNotFoundError: No module named 'no_such_module'")
    assert lines[1].startswith("ganzoo: plugin ganzoo-exits: SystemExit: 3 ('ganzoo doctor' shows the trace)")


@pytest.mark.parametrize(
    ("body", "error"), [("raise OSError('no network')", "OSError: no network"), ("raise SystemExit(3)", "SystemExit: 3")]
)
def test_an_observer_that_fails_is_dropped_and_the_training_goes_on(body: str, error: str, cli: Cli, odd: Site) -> None:
    odd.add(
        "ganzoo-watch",
        f"from ganzoo.plugin import hookimpl\n@hookimpl\ndef ganzoo_run_tick(run):\n    {body}\n",
    )
    out, _ = cli(*base("--gen", "dcgan:channels=4", "--disc", "dcgan:channels=4"))
    assert out.count(f"observer ganzoo-watch failed and is left out from here on: {error}") == 1
    assert "done: run" in out


def test_an_option_that_would_take_the_parts_own_place(cli: Cli, odd: Site) -> None:
    cli.refused(*base("--gen", "named"), code=1, says=("no option may be called 'name'",))


def test_a_game_that_forgets_a_lazy_phase(cli: Cli, odd: Site) -> None:
    networks = ("--gen", "dcgan:channels=4,z_dim=8", "--disc", "dcgan:channels=4,norm=none", "--game", "forgetful")
    says = ("game 'forgetful'", "no phase of D every 2 rounds, where 'r1' belongs")
    cli.refused(*base(*networks, "--reg", "r1:every=2"), code=1, says=says)
    cli(*base(*networks, "--reg", "r1:every=1"), "--dry-run")


def test_a_regularizer_that_raises_is_an_error_of_one_line(cli: Cli, odd: Site) -> None:
    _, err = cli(*base("--reg", "overreaching"), code=1)
    [line] = err.splitlines()
    assert line == "ganzoo: RuntimeError: this penalty is not for you (run again with --traceback to see where)"
