"""The recipes as assembly resolves them: each fits, each of its values arrives, and each says where it comes from."""

from __future__ import annotations

import tomllib
from importlib import resources

import pytest

import ganzoo_projected
from ganzoo.assembly import make_plan
from ganzoo.cli.info import recipe_values
from ganzoo.config import layer_from_dict
from ganzoo.registry import get_registry

RECIPES = {c.name: c for c in ganzoo_projected.ganzoo_components() if c.kind == "recipe"}
RECORDS = {"summary", "paper", "number", "note", "sources"}
DATA = {"projected": {"name": "emoji", "labels": False, "res": [256, 256]}}
AUTO = {("projected", "ema.half_life"): 20.0}  # 64 * 10 / 32


@pytest.fixture(params=RECIPES)
def recipe(request):
    name = request.param
    package, _, path = RECIPES[name].target.partition(":")
    return name, tomllib.loads(resources.files(package).joinpath(path).read_text())


def differences(name, asked, resolved, where=""):
    for key, value in asked.items():
        full = f"{where}{key}"
        if isinstance(value, dict):
            yield from differences(name, value, resolved[key], f"{full}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            assert len(value) == len(resolved[key]), full
            for one, other in zip(value, resolved[key], strict=True):
                yield from differences(name, one, other, f"{full}.")
        elif AUTO.get((name, full), value) != resolved[key]:
            yield full


def test_all_that_a_recipe_says_arrives(recipe):
    name, table = recipe
    data = DATA.get(name)
    plan = make_plan(get_registry(), layer_from_dict({"recipe": name, **({"data": data} if data else {})}, "the test"))
    said = {key: value for key, value in table.items() if key not in RECORDS}
    assert list(differences(name, said, plan.config.to_dict())) == []
    assert plan.notices == []
    assert table["paper"] == RECIPES[name].paper


def test_each_value_of_a_recipe_has_a_source(recipe):
    _, table = recipe
    assert [row["key"] for row in recipe_values(table) if row["source"] is None] == []
    used = {row["source"] for row in recipe_values(table)}
    assert set(table["sources"].values()) <= used  # and no source is of nothing
