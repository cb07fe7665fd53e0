"""The recipes: held to the authors' rule for the averaged generator."""

from __future__ import annotations

from ganzoo.assembly import make_plan
from ganzoo.config import layer_from_dict
from ganzoo.registry import get_registry

DATA = {"name": "emoji", "labels": False, "res": [256, 256]}


def test_the_half_life_goes_by_the_batch():
    plan = make_plan(get_registry(), layer_from_dict({"recipe": "projected", "data": DATA}, "the test"))
    assert plan.config.settings.ema.half_life == 20.0  # 64 * 10 / 32
