"""The recipes: held to ganzoo's own checks, and to the authors' rule for the averaged generator."""

from __future__ import annotations

import pytest

from ganzoo.assembly import make_plan
from ganzoo.config import layer_from_dict
from ganzoo.registry import get_registry
from ganzoo.testing import CHECKS

RECIPES = {e.name: e for e in get_registry().select("recipe", "ganzoo-projected/*")}
DATA = {"projected": {"name": "emoji", "labels": False, "res": [256, 256]}}


@pytest.mark.parametrize("check", CHECKS["recipe"])
@pytest.mark.parametrize("name", RECIPES)
def test_contract(name, check):
    check(RECIPES[name], DATA.get(name))


def test_the_half_life_goes_by_the_batch():
    plan = make_plan(get_registry(), layer_from_dict({"recipe": "projected", "data": DATA["projected"]}, "the test"))
    assert plan.config.settings.ema.half_life == 20.0  # 64 * 10 / 32
