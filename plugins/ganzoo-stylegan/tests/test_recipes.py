"""The recipes as assembly resolves them: each fits, each of its values arrives, and each says where it comes from."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources

import pytest

import ganzoo_stylegan
from ganzoo.assembly import make_plan
from ganzoo.cli.info import recipe_values
from ganzoo.config import RECORDS, layer_from_dict
from ganzoo.registry import get_registry
from ganzoo.rehearsal import rehearse

RECIPES = {c.name: c for c in ganzoo_stylegan.ganzoo_components() if c.kind == "recipe"}

# Configurations paper256 and cifar of the authors' code, as tables of it print them.
PAPER256 = {
    "batch": 64,
    "kimg": 25000,
    "gen.z_dim": 512,
    "gen.channels": 16384 // 256,
    "gen.max_channels": 512,
    "gen.mapping_layers": 8,
    "gen.mixing": 0.9,
    "gen.noise": True,
    "disc.minibatch_stddev": 8,
    "disc.residual": True,
    "reg.r1.gamma": 1.0,
    "reg.r1.every": 16,
    "reg.path-length.weight": 2.0,
    "reg.path-length.every": 4,
    "G.lr": 0.0025,
    "D.betas": [0.0, 0.99],
    "ema.half_life": 20.0,
    "ema.ramp": "none",
}
PUBLISHED = {
    "stylegan": PAPER256,
    "stylegan-ada": {**PAPER256, "aug.name": "ada", "aug.target": 0.6, "aug.kimg": 500.0},
    "stylegan-cifar": {
        "batch": 64,
        "kimg": 100000,
        "gen.channels": 512,
        "gen.max_channels": 512,
        "gen.mapping_layers": 2,
        "gen.mixing": 0.0,
        "gen.noise": True,
        "disc.minibatch_stddev": 32,
        "disc.residual": False,
        "reg.r1.gamma": 0.01,
        "reg.r1.every": 16,
        "G.lr": 0.0025,
        "aug.transforms": "bgc",
        "aug.kimg": 500.0,
        "ema.half_life": 500.0,
        "ema.ramp": 0.05,
    },
}


@cache
def table_of(name):
    package, _, path = RECIPES[name].target.partition(":")
    return tomllib.loads(resources.files(package).joinpath(path).read_text("utf-8"))


def differences(asked, resolved, where=""):
    """What a recipe says and a resolved configuration does not, by dotted key."""
    for key, value in asked.items():
        name = f"{where}{key}"
        if isinstance(value, dict):
            yield from differences(value, resolved[key], f"{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            assert len(value) == len(resolved[key]), name
            for one, other in zip(value, resolved[key], strict=True):
                yield from differences(one, other, f"{name}.")
        elif value != resolved[key]:
            yield name


@pytest.mark.parametrize("name", RECIPES)
def test_all_that_a_recipe_says_arrives(name):
    table = table_of(name)
    assert table["paper"] == RECIPES[name].paper
    plan = make_plan(get_registry(), layer_from_dict({"recipe": name}, "the test"))
    said = {key: value for key, value in table.items() if key not in RECORDS}
    assert list(differences(said, plan.config.to_dict())) == []
    assert plan.notices == []
    rehearse(plan)


@pytest.mark.parametrize("name", RECIPES)
def test_each_value_has_a_source_and_each_source_a_value(name):
    rows = recipe_values(table_of(name))
    assert [row["key"] for row in rows if not row["source"]] == []
    keys = [row["key"] for row in rows]
    sources = table_of(name)["sources"]
    assert [s for s in sources if not any(key == s or key.startswith(f"{s}.") for key in keys)] == []


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_values(name):
    values = {row["key"]: row["value"] for row in recipe_values(table_of(name))}
    assert {key: values[key] for key in PUBLISHED[name]} == PUBLISHED[name]
    assert table_of(name)["number"]


def test_the_tuned_configuration_has_no_path_length():
    assert [reg["name"] for reg in table_of("stylegan-cifar")["reg"]] == ["r1"]


@pytest.mark.parametrize("name", ["stylegan", "stylegan-ada"])
def test_a_small_recipe_is_the_same_method_without_path_length(name):
    big, small = table_of(name), table_of(f"{name}-small")
    assert small["loss"] == big["loss"]
    assert {p: small[p] for p in "GD"} == {p: big[p] for p in "GD"}
    assert [reg["name"] for reg in small["reg"]] == ["r1"]
    assert ("ada" in name) == (small["aug"]["name"] == "ada")
