"""Run directories: in use, damaged, not there, in the way; what is asked of a run that it does not have."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest

from ganzoo.data.cache import materialise
from ganzoo.training import launch

if TYPE_CHECKING:
    from tests.cli.conftest import Cli

FILES = ("generator", "players", "game", "optimizers", "random")
STAMPS = ("000000.016", "000000.032")


def test_an_out_that_is_taken(cli: Cli, run: Path) -> None:
    Path("file").write_text("x")
    Path("full").mkdir()
    Path("full/mine").write_text("x")
    os.symlink("nowhere", "dangling")
    for out, says in [
        ("run", "run already holds a run: go on with 'ganzoo resume run', or choose another --out"),
        ("file", "--out file: it exists and is no empty directory"),
        ("full", "--out full: it exists and is no empty directory"),
        ("dangling", "--out dangling: it exists and is no empty directory"),
        ("file/run", "/file is no directory; choose another"),
    ]:
        cli.refused("train", *cli.tiny, "--out", out, says=(says,))
    Path("empty").mkdir()
    cli("train", *cli.tiny, "--out", "empty")
    assert Path("empty/run.toml").exists()


def test_a_tilde_that_the_shell_left_alone(cli: Cli, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(Path("home").absolute()))
    Path("home").mkdir()
    cli("train", *cli.tiny, "--out=~/mine", "--init-from=~/../run", "--config=~/../run/run.toml")
    cli("resume", "~/mine", "--kimg", "0.04")
    cli("export", "~/mine", "--out=~/model")
    cli("sample", "~/model", "--n", "1", "--out=~/a.png")
    out, _ = cli("runs", "~/")
    assert "home/mine  done" in out
    assert not Path("~").exists()


def test_two_runs_that_start_at_once_take_two_numbers(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one takes this one's number while this one reads its data."""

    def slow(*args: object, **kwargs: object) -> object:
        Path("runs/00000-dcgan-dcgan").mkdir(parents=True)
        return materialise(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(launch, "materialise", slow)
    out, _ = cli("train", *cli.tiny)
    assert "done: runs/00001-dcgan-dcgan" in out


def test_an_out_that_may_not_be_written(cli: Cli, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.access  # root may write anywhere: ask as if it might not
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "locked" and real(path, mode))
    Path("locked").mkdir()
    cli.refused("train", *cli.tiny, "--out", "locked/a/b", says=("--out locked/a/b", "/locked may not be written to"))
    cli.refused("sample", run, "--out", "locked/a.png", says=("/locked may not be written to",))
    cli.refused("export", run, "--out", "locked/model", says=("/locked may not be written to",))


def test_what_is_no_run(cli: Cli, run: Path) -> None:
    Path("file").write_text("x")
    for place in ("absent", "file", ".", run / "run.toml", run / "checkpoints"):
        for command in (("resume", place), ("export", place)):
            cli.refused(*command, says=(f"{place} is no run", "'ganzoo runs' lists"))
        cli.refused("sample", place, "--out", "a.png", says=(f"{place} is neither a run (run.toml) nor an exported model",))
        says = (f"--init-from {place}: neither a run (run.toml) nor an exported model",)
        cli.refused("train", *cli.tiny, "--init-from", place, "--out", "new", says=says)
    cli.refused("runs", "absent", says=("there is no directory 'absent'",))


def test_fine_tuning_of_something_else_is_refused_before_data_are_read(cli: Cli, run: Path) -> None:
    says = ("--init-from run: not one tensor fits G", "--gen")
    cli.refused("train", *cli.tiny, "--gen", "mlp", "--disc", "mlp", "--init-from", run, "--out", "new", says=says)


def test_a_run_in_use(cli: Cli, run: Path) -> None:
    fcntl = pytest.importorskip("fcntl", reason="another lock on Windows")
    with (run / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        cli.refused("resume", run, says=("run is in use by another process", "wait for it"), code=1)
        out, _ = cli("runs", ".")
        assert out.startswith("run  running ")
        cli("sample", run, "--n", "1", "--out", "a.png")  # looking on is no harm
    cli("resume", run, "--kimg", "0.04")


def test_a_run_of_another_user(cli: Cli, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl", reason="another lock on Windows")
    shutil.copytree(run, "theirs")
    real = Path.open  # root may open anything: as if it might read run's lock, and not even that of theirs

    def guarded(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> IO[Any]:
        if path.name == ".lock" and (mode != "r" or path.parent.name == "theirs"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", guarded)
    done, damaged = cli("runs", ".")[0].splitlines()
    assert done.startswith("run  done ")
    assert damaged.startswith("theirs  damaged ")
    with real(run / ".lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert cli("runs", ".")[0].startswith("run  running ")


def test_the_budget_of_a_run_that_is_done(cli: Cli, run: Path) -> None:
    before = (run / "checkpoints/000000.032/state.json").read_bytes()
    out, _ = cli("resume", run)
    assert "run has its 0.032 kimg already; to go on: ganzoo resume run --kimg 0.064" in out
    assert (run / "checkpoints/000000.032/state.json").read_bytes() == before
    for kimg in ("0", "-1", "abc"):
        cli.refused("resume", run, "--kimg", kimg, says=("Invalid value for '--kimg'", "ganzoo resume --help"))
    for kimg in ("nan", "inf"):
        cli.refused("resume", run, "--kimg", kimg, says=("kimg",))
    assert [p.name for p in sorted((run / "checkpoints").iterdir())] == list(STAMPS)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _another_round(path: Path) -> None:
    """A single digit of the sampler's position: no less a damage than one in a weight."""
    text = path.read_text()
    assert '"round": 4' in text
    path.write_text(text.replace('"round": 4', '"round": 5'))


DAMAGES: list[tuple[str, Callable[[Path], None]]] = [
    *((f"{name}.safetensors", _cut) for name in FILES),
    ("players.safetensors", _flip),
    ("game.safetensors", Path.unlink),
    ("state.json", _cut),
    ("state.json", _another_round),
    ("state.json", Path.unlink),
    ("state.json", lambda path: path.write_text("[]") and None),
    ("state.json", lambda path: path.write_text(json.dumps({"format": 1, "nimg": 32, "sha256": {}})) and None),
]


@pytest.mark.parametrize(("file", "damage"), DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_used(
    file: str, damage: Callable[[Path], None], cli: Cli, run: Path
) -> None:
    old, new = (run / "checkpoints" / stamp for stamp in STAMPS)
    damage(new / file)
    said = f"checkpoint {new} is damaged: {file} "
    out, err = cli("sample", run, "--n", "1", "--out", "a.png")
    assert said in err
    assert f"trying the one before it, {old.name}" in err
    cli.fails("sample", run, "--out", "b.png", "--checkpoint", "0.032", code=1, says=(said,))
    out, _ = cli("resume", run)
    assert said in out
    assert "run run, from 0.016 kimg" in out
    out, err = cli("sample", run, "--n", "1", "--out", "a.png")  # trained again, whole again
    assert err == ""
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == [*STAMPS, f"{STAMPS[1]}.damaged"]


def test_the_checkpoint_trained_again_is_the_one_that_was_lost(cli: Cli, run: Path, finished: Path) -> None:
    lost = run / "checkpoints" / STAMPS[1]
    _flip(lost / "players.safetensors")
    cli("resume", run)
    for file in (*(f"{name}.safetensors" for name in FILES), "state.json"):
        assert (lost / file).read_bytes() == (finished / "checkpoints" / STAMPS[1] / file).read_bytes()


def test_a_damaged_newest_does_not_outlive_what_is_trained_after_it(cli: Cli, run: Path) -> None:
    """With one checkpoint kept, the one just written would otherwise be deleted in favour of the damaged one."""
    text = (run / "run.toml").read_text()
    (run / "run.toml").write_text(text.replace("keep = 2", "keep = 1").replace("every = 0.016", "every = 0.008"))
    _flip(run / "checkpoints" / STAMPS[1] / "players.safetensors")
    cli("resume", run, "--kimg", "0.024")
    _, err = cli("sample", run, "--n", "1", "--out", "a.png")
    assert err == ""
    assert [p.name for p in sorted((run / "checkpoints").iterdir())] == ["000000.024", f"{STAMPS[1]}.damaged"]


def test_all_checkpoints_damaged_or_gone(cli: Cli, run: Path) -> None:
    for stamp in STAMPS:
        (run / "checkpoints" / stamp / "players.safetensors").write_bytes(b"")
    again = "ganzoo train --config run/run.toml --out DIR"
    last = (f"checkpoint run/checkpoints/{STAMPS[0]} is damaged", "no other is left", again)
    cli.refused("resume", run, code=1, says=last)
    for command in (("sample", run, "--out", "a.png"), ("export", run)):
        _, err = cli(*command, code=1)
        first, second = err.splitlines()
        assert "trying the one before it" in first
        assert all(words in second for words in last)
    shutil.rmtree(run / "checkpoints")
    cli.fails("sample", run, "--out", "a.png", code=1, says=("run has no checkpoint yet: train it first",))
    cli.fails("train", *cli.tiny, "--init-from", run, "--out", "new", code=1, says=("has no checkpoint yet",))
    out, _ = cli("resume", run)  # it was stopped before its first one
    assert "run run, from 0 kimg" in out


TABLES = [
    (lambda text: text[:100] + "\n = ", 1, ("run/run.toml cannot be read", "line ")),
    (lambda text: "\x00", 1, ("run/run.toml cannot be read",)),
    (lambda text: "", 1, ("run/run.toml is damaged: its [gen] is not there",)),
    (lambda text: text.partition("[spec]")[0], 1, ("run/run.toml is damaged: its [spec] is not there",)),
    (lambda text: "colour = 1\n" + text, 2, ("run/run.toml: unknown key 'colour'",)),
    (lambda text: text.replace("format = 1", "format = 2", 1), 2, ("run/run.toml: format = 2", "upgrade ganzoo-core")),
    (lambda text: text.replace('[gen]\nname = "dcgan"', '[gen]\nname = "dcgna"'), 2, ("Did you mean 'dcgan'?",)),
    (lambda text: text.replace("z_dim = 8", "z_dim = 9"), 1, ("of another", "than run.toml describes", "size mismatch")),
]


@pytest.mark.parametrize(("change", "code", "says"), TABLES)
def test_a_broken_run_toml(change: Callable[[str], str], code: int, says: tuple[str, ...], cli: Cli, run: Path) -> None:
    text = (run / "run.toml").read_text()
    (run / "run.toml").write_text(change(text))
    assert change(text) != text
    cli.fails("resume", run, "--kimg", "0.04", code=code, says=says)
    cli.fails("sample", run, "--out", "a.png", code=code, says=says)
    assert change(text) == (run / "run.toml").read_text()
    out, _ = cli("runs", ".")
    assert out.startswith("run  ")
    (run / "run.toml").write_text(text)
    cli("resume", run, "--kimg", "0.04")


def test_records_of_a_run_that_do_not_fit_each_other(cli: Cli, run: Path) -> None:
    text = (run / "run.toml").read_text()
    (run / "run.toml").write_text(text.replace("shape = [3, 8, 8]", "shape = 3"))
    cli.fails("sample", run, "--out", "a.png", code=1, says=("run.toml does not say what its data were", "[spec]"))
    (run / "run.toml").write_text(text.replace("class_counts = [", "class_counts = ['x', "))
    cli.fails("sample", run, "--out", "a.png", code=1, says=("class_counts must be the images of each of the 9 classes",))


def test_a_damaged_log_is_no_reason_to_fail(cli: Cli, run: Path) -> None:
    log = run / "log.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole + b'[1]\n"x"\n\xff\xfe\n{"nimg": 3')
    out, _ = cli("runs", ".", "--json")
    assert json.loads(out)[0]["state"] == "done"
    cli("resume", run, "--kimg", "0.04")
    ticks = [json.loads(line) for line in log.read_text().splitlines()]
    assert [tick["nimg"] for tick in ticks] == sorted({tick["nimg"] for tick in ticks})


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--out", "a.jpg"), ("--out a.jpg: write FILE.png", "FILE.npz", "a folder's name")),
        (("--out", "v1.5"), ("--out v1.5", "(DIR/)")),
        (("--out", "file"), ("--out file: write",)),
        (("--out", "file/a.png"), ("/file is no directory",)),
        ((), ("Missing option '--out'",)),
        (("--out", "a.png", "--class", "Fod & Drink"), ("no class", "Did you mean 'Food & Drink'?", "Classes: Smil")),
        (("--out", "a.png", "--class", "9"), ("there is no class '9'",)),
        (("--out", "a.png", "--class", "-1"), ("there is no class '-1'",)),
        (("--out", "a.png", "--seeds", "3,x"), ("--seeds 3,x: write whole numbers from 0",)),
        (("--out", "a.png", "--seeds", "1,,2"), ("--seeds 1,,2",)),
        (("--out", "a.png", "--seeds", "-1"), ("--seeds -1",)),
        (("--out", "a.png", "--seeds", "9" * 30), ("2^63 - 1",)),
        (("--out", "a.png", "--seed", "-1"), ("Invalid value for '--seed'",)),
        (("--out", "a.png", "--n", "0"), ("Invalid value for '--n'",)),
        (("--out", "a.png", "--checkpoint", "9"), ("run has no checkpoint '9'; there are: 000000.016, 000000.032",)),
        (("--out", "a.png", "--checkpoint", "last"), ("run has no checkpoint 'last'",)),
        (("--out", "a.png", "--checkpoint", "inf"), ("run has no checkpoint 'inf'",)),
        (("--out", "a.png", "--truncation", "nan"), ("--truncation nan: give a number",)),
        (("--out", "a.png", "--device", "tpu"), ("--device tpu: not on this machine",)),
    ],
)
def test_what_cannot_be_sampled(args: tuple[str, ...], says: tuple[str, ...], cli: Cli, run: Path) -> None:
    Path("file").write_text("x")
    cli.refused("sample", run, *args, says=says)


def test_folders_with_dots_and_endings_in_capitals(cli: Cli, run: Path) -> None:
    cli("sample", run, "--n", "2", "--out", "v1.5/")
    cli("sample", run, "--n", "2", "--out", "v1.5")  # now that it is a folder
    cli("sample", run, "--n", "2", "--out", "A.PNG")
    cli("sample", run, "--n", "2", "--out", "A.PNG")  # again
    assert len(list(Path("v1.5").rglob("*.png"))) == 2
    assert Path("A.PNG").is_file()


def test_exports_and_what_they_cannot_do(cli: Cli, run: Path) -> None:
    Path("project").mkdir()
    Path("project/README.md").write_text("mine")
    cli.refused("export", run, "--out", "project", says=("--out project: it exists, and is neither a model nor an empty",))
    cli.refused("export", run, "--checkpoint", "9", says=("run has no checkpoint '9'",))
    cli("export", run, "--checkpoint", "0.016")
    cli("export", run)  # in its place
    cli.refused("export", run / "model", says=("is no run",))
    model = run / "model"
    cli.refused("sample", model, "--out", "a.png", "--checkpoint", "0.016", says=("one state alone: leave --checkpoint out",))
    cli.refused("sample", model, "--out", "a.png", "--class", "9", says=("there is no class '9'",))
    _cut(model / "generator.safetensors")
    cli.refused("sample", model, "--out", "a.png", says=("model is damaged or no exported model",), code=1)
    (model / "config.json").write_text("{")
    cli.refused("sample", model, "--out", "a.png", says=("model is damaged or no exported model",), code=1)


def test_a_class_of_a_run_without_labels(cli: Cli) -> None:
    cli("train", *cli.tiny, "--data", "emoji:labels=false", "--out", "plain")
    cli.refused("sample", "plain", "--class", "Flags", "--out", "a.png", says=("without classes; leave --class out",))
