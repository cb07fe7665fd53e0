"""`ganzoo bench collapse` as a user meets it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import torch

from ganzoo.bench import collapse, unfinished
from ganzoo.bench.playing import play
from ganzoo.bench.protocols import find_suites

from .conftest import Cli

TINY = (
    "bench",
    "collapse",
    "--suite",
    "ring",
    "--recipe",
    "gan",
    "--recipe",
    "r1",
    "--seeds",
    "1",
    "--steps",
    "20",
    "--jobs",
    "1",
)
MARKS = "<!-- bench collapse: ganzoo ring -->\n<!-- end of bench collapse: ganzoo ring -->\n"


def test_a_bench_is_played_shown_and_not_played_again(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("page.md").write_text(f"# Page\n\n{MARKS}")
    out, _ = cli(*TINY, "--page", "page.md")
    assert "2 trainings to do, 1 at once on cpu" in out
    assert "| gan | 1 |" in out
    lines = [json.loads(text) for text in Path("bench/collapse/ring.jsonl").read_text().splitlines()]
    assert [line["recipe"] for line in lines] == ["the data", "gan", "r1"]
    page = Path("page.md").read_text()
    assert "![ring: every seed a dot](bench/collapse/ring.png)" in page
    pictures = {name: Path("bench/collapse", name).read_bytes() for name in ("ring.png", "ring-steps.png")}

    assert not Path("bench/collapse/unfinished").exists()

    monkeypatch.setattr(collapse, "play_all", lambda *args: pytest.fail("it was played again"))
    monkeypatch.setattr(collapse, "count_data", lambda *args: pytest.fail("it was counted again"))
    Path("page.md").write_text(f"# Page\n\n{MARKS}")
    cli(*TINY, "--page", "page.md")
    assert Path("page.md").read_text() == page  # byte for byte, from the lines alone
    assert {name: Path("bench/collapse", name).read_bytes() for name in pictures} == pictures
    out, _ = cli(*TINY, "--report", "--json")
    [suite] = json.loads(out)["suites"]
    assert [row["variant"] for row in suite["rows"]] == ["gan", "r1"]
    assert suite["rows"][0]["modes"]["each"] == [lines[1]["looks"][-1]["modes"]]


def test_a_training_goes_on_from_its_last_look(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept of it is found, told, and deleted once its line is there."""
    place = Path("bench/collapse").absolute()
    [ring] = find_suites("ganzoo", ["ring"], ["gan"], 20)
    training = ring.training("gan", seed=0)
    with torch.random.fork_rng(devices=[]):
        monkeypatch.setattr(unfinished, "EVERY", 0.0)
        whole = play(training, place=place)
    assert [path.parent.name for path in place.rglob("checkpoints")] == [f"ring-gan-0-{training.hash}"]
    out, _ = cli(*TINY)
    assert "ring: gan, seed 0: goes on after 9 of 10 looks" in out
    assert not (place / "unfinished").exists()
    lines = [json.loads(text) for text in (place / "ring.jsonl").read_text().splitlines()]
    [line] = [line for line in lines if line["recipe"] == "gan"]
    assert line["looks"][:9] == whole["looks"][:9]
    assert len(line["looks"]) == 10


def test_json_alone_is_on_stdout(cli: Cli) -> None:
    out, err = cli(*TINY[:4], "--recipe", "gan", *TINY[8:], "--json")
    assert json.loads(out)["suites"][0]["data"]["count"] == 8
    assert "ring: gan, seed 0: " in err


def test_the_page_of_the_docs_is_of_its_lines(cli: Cli, tmp_path: Path) -> None:
    """docs/mode-collapse.md regenerates byte for byte from docs/mode-collapse/."""
    docs = Path(__file__).parents[2] / "docs"
    before = (docs / "mode-collapse.md").read_text()
    copy = tmp_path / "docs"
    (copy / "mode-collapse").mkdir(parents=True)
    (copy / "mode-collapse.md").write_text(before)
    for file in (docs / "mode-collapse").glob("*.jsonl"):
        (copy / "mode-collapse" / file.name).write_bytes(file.read_bytes())
    cli("bench", "collapse", "--report", "--out", copy / "mode-collapse", "--page", copy / "mode-collapse.md")
    assert (copy / "mode-collapse.md").read_text() == before


def test_dry_run_prints_the_protocol(cli: Cli) -> None:
    for protocol in ("ganzoo", "pacgan", "unrolled"):
        out, _ = cli("bench", "collapse", "--protocol", protocol, "--dry-run")
        tables = tomllib.loads(out)
        assert all(table["train"]["batch"] for table in tables.values())
    assert tables["unrolled"]["steps"] == 25_000
    assert tables["unrolled"]["recipes"]["unrolled"] == {"reg": [{"name": "unrolled", "steps": 5}]}
    assert not Path("bench").exists()


def test_stopped_it_goes_on_where_it_was(cli: Cli) -> None:
    """Killed, then stopped by Ctrl-C in a background job, which a shell has ignore it."""
    slow = [*TINY, "--seeds", "3", "--steps", "150"]
    command = [sys.executable, "-m", "ganzoo", *slow]
    file = Path("bench/collapse/ring.jsonl")

    def wait(count: int, running: subprocess.Popen[str]) -> None:
        until = time.monotonic() + 120
        while not file.exists() or len(file.read_text().splitlines()) < count:
            assert running.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)

    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, text=True)
    wait(2, running)
    running.kill()
    running.wait()
    there = file.read_text().splitlines()

    ignoring = f"import os, signal; signal.signal(signal.SIGINT, signal.SIG_IGN); os.execv({sys.executable!r}, {command!r})"
    running = subprocess.Popen([sys.executable, "-c", ignoring], stdout=subprocess.PIPE, text=True)
    wait(len(there) + 1, running)
    running.send_signal(signal.SIGINT)
    out, _ = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "The same command goes on" in out.splitlines()[-1]
    found = file.read_text().splitlines()
    assert found[: len(there)] == there
    assert len(found) < 7

    out, _ = cli(*slow)
    assert f"{7 - len(found)} trainings to do" in out
    assert file.read_text().splitlines()[: len(found)] == found
    assert len(file.read_text().splitlines()) == 7


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--suite", "rnig"), ("'rnig'", "Did you mean 'ring'?")),
        (("--recipe", "pacgn"), ("'pacgn'", "Did you mean 'pacgan'?")),
        (("--protocol", "unroled"), ("'unroled'", "Did you mean 'unrolled'?")),
        (("--protocol", "unrolled", "--suite", "grid"), ("'grid'", "unrolled")),
        (("--seeds", "0"), ("--seeds", "0")),
        (("--jobs", "0"), ("--jobs",)),
        (("--steps", "3"), ("--steps 3", "10 times")),
        (("--device", "cuda:77"), ("--device cuda:77",)),
        (("--page", "none.md"), ("--page none.md", "No such file")),
        (("--suite", "ring", "--report"), ("no training of ring", "leave --report out")),
        (("--suite", "stacked", "--recipe", "gan"), ("stacked, gan, D 1/4", "ganzoo-fashion")),
    ],
)
def test_wrong_input_is_one_line(
    cli: Cli, args: tuple[str, ...], says: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "stacked" in args:
        monkeypatch.setenv("GANZOO_PLUGINS", "ganzoo-core,ganzoo-dcgan,ganzoo-objectives")
    cli.refused("bench", "collapse", *args, says=says)


def test_a_page_without_a_place_is_refused_before_anything_is_played(cli: Cli) -> None:
    Path("page.md").write_text("# Page\n")
    cli.refused(*TINY, "--page", "page.md", says=("no place for the suite ring", "<!-- bench collapse: ganzoo ring -->"))


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_may_not_be_written_to(cli: Cli) -> None:
    Path("locked").mkdir(mode=0o500)
    cli.refused(*TINY, "--out", "locked/here", says=("--out locked/here", "may not be written"))


def test_out_is_a_file(cli: Cli) -> None:
    Path("taken").touch()
    cli.refused(*TINY, "--out", "taken", says=("--out taken", "no directory"))


SMALL = ("--recipe", "dcgan-small", "--set", "gen.channels=4", "--set", "disc.channels=4", "--set", "batch=8")


def test_trainings_are_timed(cli: Cli) -> None:
    before = set(Path().iterdir())
    out, _ = cli(
        "bench", "train", *SMALL, "--recipe", "emoji", "--device", "cpu", "--precision", "fp32", "--blocks", "1", "--json"
    )
    found = json.loads(out)
    assert found["blocks"] == 1
    assert found["machine"]["device"] == "cpu"
    small, emoji = found["recipes"]
    assert (small["recipe"], emoji["recipe"]) == ("dcgan-small", "emoji")
    assert {row["batch"] for row in (small, emoji)} == {8}
    assert set(emoji["round"]) - set(small["round"]) == {"D/every8"}
    for row in (small, emoji):
        assert row["images_per_second"]["median"] > 0
        assert row["start"]["peak"] > row["start"]["imported"]
        assert sum(row["start"]["seconds"].values()) > 0
    assert set(Path().iterdir()) == before  # no run


def test_times_are_shown_as_tables(cli: Cli) -> None:
    out, _ = cli("bench", "train", *SMALL, "--device", "cpu", "--blocks", "1")
    lines = out.splitlines()
    assert any(line.startswith("| dcgan-small | 32x32 |     8 |") for line in lines), out
    for part in ("data", "D/main", "G/main", "optimizer", "EMA", "logging", "rest"):
        assert any(line.startswith(f"| {part} ") for line in lines), part


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--recipe", "wat"), ("no recipe 'wat'",)),
        (("--blocks", "0"), ("--blocks", "0")),
        (("--device", "cuda:77"), ("--device cuda:77", "not on this machine")),
        (("--precision", "fp8"), ("precision", "fp8", "bf16")),
        (("--set", "batch"), ("--set batch", "KEY=VALUE")),
        (("--set", "gen.chanels=4"), ("chanels", "channels")),
    ],
)
def test_what_cannot_be_timed_is_one_line(cli: Cli, args: tuple[str, ...], says: tuple[str, ...]) -> None:
    cli.refused("bench", "train", *args, says=says)
