"""The recipes: held to what was published."""

from __future__ import annotations

from functools import cache

import pytest

from ganzoo.config import recipe_values
from ganzoo.registry import get_registry

RECIPES = {e.name: e for e in get_registry().select("recipe", "ganzoo-stylegan/*")}

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
    return get_registry().load(RECIPES[name])


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
