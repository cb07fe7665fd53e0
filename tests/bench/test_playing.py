"""Paired seeds, one training, and processes side by side."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ganzoo.bench import unfinished
from ganzoo.bench.playing import begin, count_data, play
from ganzoo.bench.protocols import DATA, Training, find_suites
from ganzoo.bench.workers import play_all
from ganzoo.data.points import Ring
from ganzoo.errors import GanzooError


def training(recipe: str, seed: int = 0, steps: int = 20) -> Training:
    [ring] = find_suites("ganzoo", ["ring"], [recipe], steps)
    return replace(ring.training(recipe, seed=seed), samples=500)


@pytest.fixture(autouse=True)
def _random_state() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        yield


def test_seeds_are_paired() -> None:
    """The same seed starts each variant from the same weights, data and noise; another from others."""

    def start(recipe: str, seed: int = 0) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        torch.manual_seed(np.random.default_rng().integers(2**31))  # whatever was drawn before
        trainer, _ = begin(training(recipe, seed))
        players = trainer.game.players
        batches = [trainer._draw() for _ in range(2)]
        return [*players["G"].parameters(), *players["D"].parameters()], [b[k][:128] for b in batches for k in ("real", "x")]

    weights, batches = start("gan")
    for recipe in ("r1", "relativistic", "r3gan", "unrolled"):
        other_weights, other_batches = start(recipe)
        assert all(map(torch.equal, weights, other_weights)), recipe
        assert all(map(torch.equal, batches, other_batches)), recipe
    packed, packed_batches = start("pacgan")
    assert all(map(torch.equal, weights[:6], packed[:6]))  # G's; D's first layer is of packs
    assert torch.equal(batches[0], packed_batches[0])
    others, other_batches = start("gan", 1)
    assert not any(map(torch.equal, weights[::2], others[::2]))
    assert not any(map(torch.equal, batches, other_batches))


def test_a_line_says_what_was_found() -> None:
    told: list[tuple[str, int]] = []
    line = play(training("gan"), lambda *what: told.append(what))
    assert told == [("look", 1)] * 10
    assert [look["steps"] for look in line["looks"]] == list(range(2, 21, 2))
    assert (line["suite"], line["recipe"], line["seed"], line["count"]) == ("ring", "gan", 0, 8)
    assert line["hash"] == training("gan").hash
    assert all(0 <= look["quality"] <= 1 and 0 <= look["kl"] <= np.log(8) + 1e-6 for look in line["looks"])


def test_looking_does_not_change_the_training() -> None:
    often, once = training("gan"), replace(training("gan"), looks=1)
    assert play(often)["looks"][-1] == play(once)["looks"][-1]


def test_modes_are_counted_of_what_g_makes() -> None:
    """A run by hand: the same trainer, the same latents, distances to the centres by a formula of their own."""
    line = play(training("gan", steps=60))
    trainer, _ = begin(training("gan", steps=60))
    trainer.train()
    z = torch.randn(500, 2, generator=torch.Generator().manual_seed(10_000))
    with torch.no_grad():
        made = trainer.game.players["G"].eval()(z, {}).double()
    angles = torch.arange(8) * torch.pi / 4
    apart = torch.cdist(made, torch.stack([angles.cos(), angles.sin()], 1).double())
    share = torch.bincount(apart.argmin(1), minlength=8) / 500
    kl = float((share[share > 0] * (share[share > 0] * 8).log()).sum())
    assert line["looks"][-1]["kl"] == pytest.approx(kl, abs=1e-5)
    assert line["looks"][-1]["quality"] == pytest.approx(float((apart.amin(1) < 0.03).double().mean()), abs=1e-6)


def test_what_diverges_is_a_result() -> None:
    wild = training("gan", steps=60)
    wild = replace(wild, table={**wild.table, "G": {**wild.table["G"], "lr": 1e30}})
    look = play(wild)["looks"][-1]
    assert look["diverged"]
    assert (look["modes"], look["quality"]) == (0, 0)


def test_the_data_reach_their_ceiling() -> None:
    line = count_data(replace(training("gan"), recipe=DATA, samples=20_000))
    [look] = line["looks"]
    assert look["modes"] == 8
    assert look["quality"] == pytest.approx(1 - np.exp(-4.5), abs=0.003)
    assert look["kl"] < 3 * 7 / 40_000


def test_data_without_modes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ring, "modes", lambda self, samples: None)
    with pytest.raises(GanzooError, match="modes of these data cannot be told"):
        count_data(replace(training("gan"), recipe=DATA))


# ---- trainings that are cut off


class Killed(BaseException):
    pass


def cut_off(of: Training, place: Path, after: int) -> None:
    """As where the bench is gone: noticed at the next look, which is not kept."""
    looks = iter(range(1, of.looks))

    def tell(kind: str, count: int) -> None:
        if next(looks) == after + 1:
            raise Killed

    with pytest.raises(Killed):
        play(of, tell, place=place)


@pytest.fixture
def kept_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unfinished, "EVERY", 0.0)


@pytest.mark.usefixtures("kept_always")
@pytest.mark.parametrize("recipe", ["gan", "unrolled", "minibatch"])
def test_what_was_cut_off_goes_on_as_if_it_had_not_been(recipe: str, tmp_path: Path) -> None:
    of = training(recipe)
    cut_off(of, tmp_path, after=4)
    torch.manual_seed(77)
    told: list[tuple[str, int]] = []
    line = play(of, lambda *what: told.append(what), place=tmp_path)
    assert told == [("kept", 4), *[("look", 1)] * 6]
    assert plain(line) == plain(play(of))
    unfinished.Unfinished(tmp_path, of).forget()
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("kept_always")
def test_seconds_are_those_of_all_parts(tmp_path: Path) -> None:
    of = training("gan")
    cut_off(of, tmp_path, after=2)
    [state] = tmp_path.rglob("state.json")
    seconds = json.loads(state.read_text())["seconds"]
    assert seconds > 0
    trainer, _ = begin(of)
    assert unfinished.Unfinished(tmp_path, of).resume(trainer)[1] == seconds
    assert trainer.nimg == 4 * 128


@pytest.mark.usefixtures("kept_always")
def test_what_is_kept_and_damaged_or_of_another_network_is_begun_again(tmp_path: Path) -> None:
    of, other = training("gan"), training("pacgan")
    for place in (tmp_path / "damaged", tmp_path / "other"):
        cut_off(of if place.name == "damaged" else other, place, after=4)
        if place.name == "damaged":
            next(place.rglob("players.safetensors")).write_bytes(b"broken")
        else:
            [there] = (place / "unfinished").iterdir()
            there.rename(there.with_name(f"ring-gan-0-{of.hash}"))
        told: list[tuple[str, int]] = []
        line = play(of, lambda *what: told.append(what), place=place)  # noqa: B023
        assert told == [("look", 1)] * 10
        assert plain(line) == plain(play(of))


@pytest.mark.usefixtures("kept_always")
def test_what_is_damaged_is_not_kept_before_what_is_whole(tmp_path: Path) -> None:
    of = training("gan")
    cut_off(of, tmp_path, after=4)
    next(tmp_path.rglob("players.safetensors")).write_bytes(b"broken")
    cut_off(of, tmp_path, after=2)
    told: list[tuple[str, int]] = []
    play(of, lambda *what: told.append(what), place=tmp_path)
    assert told[0] == ("kept", 2)


@pytest.mark.usefixtures("kept_always")
def test_where_nothing_can_be_kept_it_goes_on(tmp_path: Path) -> None:
    (tmp_path / "unfinished").write_text("a file")
    assert plain(play(training("gan"), place=tmp_path)) == plain(play(training("gan")))


# ---- processes


def plain(line: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in line.items() if key != "seconds"}


def test_processes_find_what_this_one_finds(tmp_path: Path) -> None:
    asked = [training("gan", seed) for seed in range(3)]
    events = list(play_all(asked, ["cpu", "cpu"], tmp_path))
    lines = {of.seed: line for of, kind, line in events if kind == "line"}
    assert sum(kind == "look" for _, kind, _ in events) == 30
    assert not list(tmp_path.iterdir())  # they were short
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert {seed: plain(line) for seed, line in lines.items()} == {t.seed: plain(play(t)) for t in asked}
    finally:
        torch.set_num_threads(threads)


def test_a_failure_is_one_line_and_stops_the_others(tmp_path: Path) -> None:
    broken = replace(training("gan"), table={**training("gan").table, "data": {"name": "spiral"}})
    with pytest.raises(GanzooError, match=r"ring: gan, seed 0: .*cannot be told"):
        list(play_all([broken, training("gan", 1)], ["cpu"], tmp_path))


def test_a_killed_process_is_one_line(tmp_path: Path) -> None:
    import multiprocessing

    playing = play_all([training("gan", steps=5000)], ["cpu"], tmp_path)
    next(playing)
    [process] = multiprocessing.active_children()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(GanzooError, match=r"ring: gan, seed 0: its process was killed.*fewer --jobs"):
        list(playing)
    assert not multiprocessing.active_children()
