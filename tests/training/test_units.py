"""Schedules, statistics, averaging, health: each against a computation by hand."""

from __future__ import annotations

import math
from typing import ClassVar

import pytest
import torch
from torch import nn

from ganzoo.config import EmaConfig
from ganzoo.errors import UsageError
from ganzoo.training import trainer
from ganzoo.training.ema import Ema, settle_batch_norm
from ganzoo.training.health import Health
from ganzoo.training.schedules import Schedule
from ganzoo.training.statistics import Statistics


@pytest.mark.parametrize(
    ("text", "kimg", "value"),
    [
        (2e-4, 7, 2e-4),
        ("3e-4", 7, 3e-4),
        ("linear(1, 0)", 25, 0.75),  # over the budget of 100
        ("linear(1, 0)", 200, 0.0),  # the last value stays
        ("linear(1, 0, 50)", 25, 0.5),
        ("constant(2, 50%) then linear(2, 0)", 50, 2.0),
        ("constant(2, 50%) then linear(2, 0)", 75, 1.0),
        ("cosine(1, 0)", 50, 0.5),
        ("cosine(1, 0)", 25, (1 + math.cos(math.pi / 4)) / 2),
        ("exponential(1, 0.01)", 50, 0.1),
        ("linear(0, 1, 10) then constant(3, 10) then cosine(1, 0.5)", 15, 3.0),
        ("linear(0, 1, 10) then constant(3, 10) then cosine(1, 0.5)", 100, 0.5),
    ],
)
def test_schedule(text: float | str, kimg: float, value: float) -> None:
    assert Schedule(text, 100).at(kimg) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize(
    "text",
    [
        "linear(1)",
        "linaer(1, 0)",
        "abc",
        "linear(1, 0) then constant(2)",
        "linear(1, 0, -3)",
        "constant(x)",
        "linear(1,0,5k)",
        "exponential(1, 0)",
    ],
)
def test_no_schedule(text: str) -> None:
    with pytest.raises(UsageError, match=r"G\.lr"):
        Schedule(text, 100, "G.lr")


def test_statistics_are_weighted_means_and_name_the_first_bad_value() -> None:
    statistics = Statistics()
    statistics.add("D/main", {"a": torch.tensor(1.0), "b": torch.tensor(2.0)}, 0.25, 0)
    statistics.add("D/main", {"a": torch.tensor(5.0), "b": torch.tensor(2.0)}, 0.75, 0)
    statistics.add("G/main", {"c": torch.tensor(7.0)}, 1.0, 0)
    assert statistics.fetch() == ({"a": 4.0, "b": 2.0, "c": 7.0}, None)
    assert statistics.fetch() == ({}, None)
    statistics.add("G/main", {"c": torch.tensor(math.inf)}, 1.0, 5)
    statistics.add("D/main", {"a": torch.tensor(1.0), "b": torch.tensor(math.nan)}, 1.0, 4)
    statistics.add("D/main", {"a": torch.tensor(math.nan), "b": torch.tensor(math.nan)}, 1.0, 6)
    bad = statistics.fetch()[1]
    assert bad is not None
    assert (bad.name, bad.phase, bad.round) == ("b", "D/main", 4)


def test_ema_is_the_closed_form_and_copies_buffers() -> None:
    network = nn.BatchNorm1d(1)
    ema = Ema(network, EmaConfig(half_life=0.1, ramp=None), 1.0)
    values, average = [3.0, -1.0, 4.0], 1.0
    for i, value in enumerate(values):
        with torch.no_grad():
            network.weight.fill_(value)
            network.running_mean.fill_(value)
        ema.update(network, batch=50, nimg=50 * (i + 1))
        average += (1 - 0.5 ** (50 / 100)) * (value - average)
    assert ema.network.weight.item() == pytest.approx(average, rel=1e-6)
    assert ema.network.running_mean.item() == 4.0  # copied, not averaged


def test_ema_ramp_forgets_the_first_weights() -> None:
    network = nn.Linear(1, 1, bias=False)
    ema = Ema(network, EmaConfig(half_life=10, ramp=0.05), 1.0)
    with torch.no_grad():
        network.weight.fill_(2.0)
    ema.update(network, batch=64, nimg=64)  # half-life 3.2 images: 2 ** -20 of the start is left
    assert ema.network.weight.item() == pytest.approx(2.0, abs=1e-4)


def test_settling_takes_the_statistics_of_these_weights() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=0.3))
    network[1].running_mean.fill_(9.0)
    batches = [torch.randn(16, 3) for _ in range(4)]
    assert settle_batch_norm(network, lambda i: network(batches[i]), range(4))
    hidden = [network[0](x) for x in batches]
    assert torch.allclose(network[1].running_mean, torch.stack([h.mean(0) for h in hidden]).mean(0), atol=1e-6)
    assert torch.allclose(network[1].running_var, torch.stack([h.var(0) for h in hidden]).mean(0), atol=1e-6)
    assert network[1].momentum == 0.3
    assert not network.training
    assert not settle_batch_norm(nn.Linear(1, 1), lambda i: torch.empty(0), range(4))


class TestHealth:
    fine: ClassVar = {"D/wins": 0.7, "G/grad": 1.0, "diversity": 0.9, "D/real": 1.0, "D/fake": -1.0}

    def said(self, *ticks: dict[str, float], progress: float = 0.5) -> list[str]:
        health = Health()
        return [words for stats in ticks for words in health.look({**self.fine, **stats}, True, progress)]

    def test_nothing_to_say(self) -> None:
        assert self.said(*[{}] * 20) == []

    def test_d_wins(self) -> None:
        (words,) = self.said(*[{"D/wins": 1.0}] * 9)  # once an episode
        assert "D wins outright" in words
        assert "100.0%" in words
        assert len(self.said(*[{"D/wins": 1.0}] * 4, {}, *[{"D/wins": 1.0}] * 4)) == 1
        assert len(self.said(*[{"D/wins": 1.0}] * 4, *[{}] * 12, *[{"D/wins": 1.0}] * 4)) == 2
        assert self.said(*[{"D/wins": 1.0}] * 2, {}, {"D/wins": 1.0}) == []

    def test_the_gradient_of_g_vanishes(self) -> None:
        (words,) = self.said(*[{}] * 10, *[{"G/grad": 1e-5}] * 4)
        assert "gradient vanishes" in words
        assert "1e-05" in words

    def test_diversity_collapses_but_not_that_of_a_new_generator(self) -> None:
        (words,) = self.said(*[{}] * 3, *[{"diversity": 0.2}] * 4, progress=0.1)
        assert "within a class" in words
        assert "0.20" in words
        assert self.said(*[{"diversity": 0.1}] * 9, progress=0.01) == []


@pytest.mark.parametrize(
    ("there", "slow", "fast", "chosen"),
    [(True, 1.0, 0.5, "bf16"), (True, 1.0, 0.9, "fp32"), (True, 1.0, 2.0, "fp32"), (False, 1.0, 0.5, "fp32")],
    ids=["faster", "hardly faster", "slower", "no instructions"],
)
def test_a_cpu_takes_bf16_where_it_is_faster(
    there: bool, slow: float, fast: float, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that each product moves on: by `slow` seconds in fp32, by `fast` in bf16."""
    clock = [0.0]
    product = torch.Tensor.__matmul__

    def timed(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        clock[0] += slow if one.dtype == torch.float32 else fast
        return product(one, other)

    monkeypatch.setattr(torch.Tensor, "__matmul__", timed)
    monkeypatch.setattr(trainer.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: there)
    assert trainer.choose_precision("auto", torch.device("cpu")) == chosen
    assert trainer.choose_precision("bf16", torch.device("cpu")) == "bf16"
