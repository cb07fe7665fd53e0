"""Figures on the way: taken when due, of the training data, without a trace in the training; the best state is kept."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from ganzoo.data.sampling import Sampler
from ganzoo.games.adversarial import Adversarial
from ganzoo.games.match import Parts
from ganzoo.interfaces import Loss
from ganzoo.loading import load
from ganzoo.runs import Run
from ganzoo.training import launch
from ganzoo.training.checkpoint import Checkpoint
from ganzoo.training.display import Quiet
from ganzoo.training.evaluating import Evaluator, held_out
from tests.data.test_sampling import store_of

SPEC = store_of(1).spec
TINY = {
    "gen": "dcgan:channels=4,z_dim=8,embedding=4",
    "disc": "dcgan:channels=4",
    "data": {"name": "emoji", "res": [8, 8]},
    "batch": 8,
    "kimg": 0.16,
    "device": "cpu",
    "checkpoint": {"every": 0.032, "keep": 1},
}
EVAL = {"metrics": ["kid-raw"], "every": 0.04, "samples": 32, "reals": 64}


def trained(out: Path, **more) -> Run:
    return launch.train({**TINY, **more}, out, Silent())


class Silent(Quiet):
    def __init__(self):
        self.said = []

    def say(self, words):
        self.said.append(words)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("runs") / "measured", eval={**EVAL, "hold_out": 0.0})


def test_it_leaves_no_trace_in_the_training(measured, tmp_path):
    plain = trained(tmp_path / "plain")
    one, other = (Checkpoint(run.checkpoints()[0]) for run in (measured, plain))
    for name in ("players", "generator", "optimizers", "random"):
        for key, value in one.tensors(name).items():
            assert torch.equal(value, other.tensors(name)[key]), key


def test_figures_are_taken_when_due_and_logged(measured):
    lines = measured.metrics()
    assert [line["nimg"] for line in lines if line["metric"] == "kid-raw"] == [40, 80, 120, 160]
    assert {line["metric"] for line in lines} == {"kid-raw", "coverage-raw", "memorization-raw"}
    assert lines[0]["protocol"]["fakes"] == 32
    assert lines[0]["protocol"]["reals"] == 64
    logged = {line["nimg"]: line["kid-raw"] for line in measured.log() if "kid-raw" in line}
    assert logged == {line["nimg"]: pytest.approx(line["value"], rel=1e-5) for line in lines if line["metric"] == "kid-raw"}


def test_the_best_is_kept_and_opened_by_that_name(measured):
    values = {line["nimg"]: line["value"] for line in measured.metrics() if line["metric"] == "kid-raw"}
    best = min(values, key=lambda nimg: values[nimg])
    assert measured.best() == f"{0:06d}.{best:03d}"
    names = {path.name for path in measured.checkpoints()}
    assert measured.best() in names
    assert "000000.160" in names
    assert load(measured.path, at="best").config["kimg"] == best / 1000


def test_a_run_that_goes_on_knows_its_best(measured, tmp_path):
    whole = tmp_path / "whole"
    shorter = launch.start(launch_plan({**TINY, "eval": {**EVAL, "hold_out": 0.1}}), whole, Silent())
    shorter.trainer.total = 88
    shorter.play()
    assert [line["nimg"] for line in Run.open(whole).metrics()][-1] == 88  # the end of what it took for its budget
    session = launch.resume(whole, Silent())
    first = session.writer._evaluator.best
    taken = [(line["value"], line["nimg"]) for line in Run.open(whole).metrics() if line["metric"] == "kid-raw"]
    assert first == min(taken)
    session.play()
    assert [line["nimg"] for line in Run.open(whole).metrics() if line["metric"] == "kid-raw"] == [40, 80, 88, 120, 160]


def test_a_mark_that_was_lost_is_made_again(measured, tmp_path):
    """A kill between a checkpoint and its mark."""
    place = tmp_path / "run"
    shutil.copytree(measured.path, place)
    best = measured.best()
    (place / "checkpoints/best").unlink()
    session = launch.resume(place, Silent())
    session.run.unlock()
    assert Run.open(place).best() == best


def launch_plan(table):
    from ganzoo.assembly import make_plan
    from ganzoo.config import Layer, layer_from_dict
    from ganzoo.registry import get_registry

    return make_plan(get_registry(), Layer("the command line"), layer_from_dict(table, "the test"))


def test_it_ends_where_nothing_gets_better(tmp_path):
    display = Silent()
    # D rests and G learns nothing of a rate of 1e-12: no figure is better than the first.
    still = {"lr": 1e-12}
    run = launch.train(
        {**TINY, "G": still, "D": still, "ema": {"half_life": 0.0}, "eval": {**EVAL, "patience": 0.08, "hold_out": 0.0}},
        tmp_path / "run",
        display,
    )
    assert run.log()[-1]["nimg"] < 160
    assert any("no better kid-raw" in words for words in display.said)


def test_what_is_held_out_is_never_drawn_but_judged(tmp_path):
    rows, held = held_out(50, 0.1, 3)
    assert len(held) == 5
    assert sorted([*rows, *held]) == list(range(50))
    for in_memory in (True, False):
        store = store_of(50)
        sampler = Sampler(store, batch=9, seed=3, in_memory=in_memory, rows=rows)
        first = sampler.pick(np.arange(50))["real"]
        where = {tuple(value.flatten().tolist()): i for i, value in enumerate(first)}
        drawn = [where[tuple(value.flatten().tolist())] for _ in range(5) for value in sampler.draw()["real"]]
        assert sorted(drawn) == rows.tolist()
    run = trained(tmp_path / "run", eval=EVAL)
    gaps = [line["D/gap"] for line in run.log() if "kid-raw" in line]
    assert len(gaps) == 4
    assert all(np.isfinite(gaps))


class ByHeart(torch.nn.Module):
    """Rates what it has seen 1 above the rest; noise of deviation 1/2 keeps the spread from 0."""

    def __init__(self, data):
        super().__init__()
        self.one = torch.nn.Parameter(torch.ones(()))
        self.seen = torch.empty(0)

    def forward(self, images, condition):
        apart = (images.flatten(1)[:, None] - self.seen.flatten(1)[None]).abs().sum(2).amin(1)
        return self.one * (apart < 1e-3).float() + torch.arange(len(images)) % 2 - 0.5


def test_d_that_learns_by_heart_shows_in_the_gap():
    rows, held = held_out(60, 0.4, 0)
    sampler = Sampler(store_of(60), batch=4, seed=0, in_memory=True, rows=rows)
    game = Adversarial(SPEC, Parts(lambda data: Still(), ByHeart, Nothing))
    game.matches[0].disc.seen = sampler.pick(rows)["real"]
    evaluator = Evaluator.__new__(Evaluator)
    evaluator._sampler, evaluator._rows, evaluator._held = sampler, rows, held
    evaluator._device, evaluator._group = torch.device("cpu"), 4
    spread = (24 * 0.25 * 2 / 47) ** 0.5  # 24 of each kind, each half above and half below its mean
    assert evaluator._gap(game, 0) == pytest.approx(1 / spread, rel=1e-4)


class Still(torch.nn.Module):
    z_dim = 2

    def __init__(self):
        super().__init__()
        self.one = torch.nn.Parameter(torch.ones(()))


class Nothing(Loss):
    def d(self, real, fake):
        return real.logits - fake.logits


def test_what_cannot_be_taken_is_refused_before_data_are_read(tmp_path, monkeypatch):
    from ganzoo.errors import UsageError

    monkeypatch.setattr(launch, "materialise", lambda *a, **k: pytest.fail("images were decoded"))
    for metrics, words in ((["kidd"], "no metric"), (["ppl"], "generator"), (["fd-inception:infinity=maybe"], "infinity")):
        with pytest.raises(UsageError, match=words):
            trained(tmp_path / "run", eval={**EVAL, "metrics": metrics})
    assert not (tmp_path / "run").exists()
