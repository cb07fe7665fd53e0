"""`ganzoo bench train`: clocks, the split of a round, and a start in a process of its own."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

from ganzoo.assembly import Plan, make_plan
from ganzoo.bench.startup import STAGES, start
from ganzoo.bench.timing import Spent, Spread, interleaved, peak_memory
from ganzoo.bench.training import Contender, Split, make_trainer, play
from ganzoo.cli.train import layer_of
from ganzoo.errors import GanzooError
from ganzoo.registry import get_registry

CPU = torch.device("cpu")
TINY = ("gen.channels=4", "disc.channels=4", "batch=8", "precision=fp32")


def plan(*sets: str, recipe: str = "emoji") -> Plan:
    return make_plan(get_registry(), layer_of(get_registry(), {"recipe": recipe, "sets": (*TINY, *sets)}))


@pytest.mark.parametrize(
    ("values", "expected"),
    [([7.0], (7, 7, 7)), ([5, 1, 4, 2, 3], (2, 3, 4)), ([1.0, 2.0], (1.25, 1.5, 1.75))],
)
def test_median_and_quartiles(values: list[float], expected: tuple[float, float, float]) -> None:
    spread = Spread.of(values)
    assert (spread.low, spread.median, spread.high) == expected
    assert spread.to_dict() == {"low": expected[0], "median": expected[1], "high": expected[2]}


def test_what_is_compared_is_cpu_time_on_a_cpu_alone() -> None:
    assert Spent(wall=3.0, cpu=2.0).on(CPU) == 2.0
    assert Spent(wall=3.0, cpu=2.0).on(torch.device("meta")) == 3.0


def test_blocks_alternate_and_the_first_of_each_is_not_timed() -> None:
    called: list[str] = []
    told: list[int] = []
    contenders = {name: lambda name=name: called.append(name) for name in "abc"}
    spent = interleaved(contenders, 3, CPU, told.append)
    assert "".join(called) == "abc" + "abc" + "bca" + "cab"
    assert told == list(range(1, 13))
    assert {name: len(blocks) for name, blocks in spent.items()} == {"a": 3, "b": 3, "c": 3}


def test_the_peak_is_of_this_process() -> None:
    before = peak_memory(CPU)
    held = torch.ones(2**26)  # 256 MiB
    assert peak_memory(CPU) >= held.nbytes
    assert peak_memory(CPU) >= before


def test_a_split_counts_each_moment_once_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, other = make_trainer(plan(), CPU), make_trainer(plan(), CPU)
    clock = itertools.count()
    monkeypatch.setattr(Split, "_now", lambda self: float(next(clock)))
    split = Split(trainer)
    torch.manual_seed(0)
    with split.running():
        play(trainer, 8)
    # The clock goes one further each time that it is read: seconds are borders between parts, counted by hand.
    steps = {"D/main": 8, "D/every8": 1, "G/main": 8}
    whole = sum(steps.values())
    logged = dict.fromkeys(steps, 2)  # statistics of the losses, and the gradient's norm
    assert split.seconds["data"] == 8
    assert split.seconds["EMA"] == 8
    assert split.seconds["logging"] == sum(logged[name] * count for name, count in steps.items()) + 1
    assert split.seconds["optimizer"] >= 2 * whole
    assert all(split.seconds[name] > 0 for name in (*steps, "rest"))
    assert sum(split.seconds.values()) == next(clock) - 1  # from the first reading to the last: nothing is lost
    torch.manual_seed(0)
    play(other, 8)
    assert not {"_draw", "_step"} & set(vars(trainer))
    for one, two in zip(trainer.game.parameters(), other.game.parameters(), strict=True):
        assert torch.equal(one, two)  # the clock changed nothing


def test_a_block_holds_every_lazy_phase_equally_often() -> None:
    own = plan("reg.r1.every=3")
    contender = Contender("emoji", own, make_trainer(own, CPU), {})
    contender.warm_up()
    assert contender.rounds % 3 == 0
    for _ in range(3):
        contender.split_block()
    row = contender.result([Spent(wall=2.0, cpu=1.0), Spent(wall=4.0, cpu=1.0)])
    assert row["images_per_cpu_second"]["median"] == contender.rounds * 8
    assert row["images_per_second"]["median"] == pytest.approx(contender.rounds * 8 * 0.375)
    assert set(row["round"]) == {"data", "D/main", "D/every3", "G/main", "optimizer", "EMA", "logging", "rest"}


def test_a_start_is_timed_in_a_process_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = start(["--recipe", "emoji", *(word for text in TINY for word in ("--set", text))])
    assert tuple(found["seconds"]) == STAGES
    assert all(seconds >= 0 for seconds in found["seconds"].values())
    assert all(found["seconds"][stage] > 0 for stage in ("import torch", "rehearsal", "data", "estimate", "first round"))
    assert found["cpu"] > 0
    assert found["peak"] > found["imported"] > 2**20
    assert not list(tmp_path.iterdir())  # the run was elsewhere


def test_a_start_that_fails_says_why() -> None:
    with pytest.raises(GanzooError, match="there is no recipe 'wat'"):
        start(["--recipe", "wat"])
