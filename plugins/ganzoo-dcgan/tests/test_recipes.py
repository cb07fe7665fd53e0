"""The recipes: held to what was published."""

from __future__ import annotations

from functools import cache

import pytest

from ganzoo.config import recipe_values
from ganzoo.registry import get_registry

RECIPES = {e.name: e for e in get_registry().select("recipe", "ganzoo-dcgan/*")}

# What the papers and their authors' code say, as read there: optimizers, priors, steps, and what makes the method.
PUBLISHED = {
    "gan": {"batch": 100, "G.optimizer": "sgd:momentum=0.5", "disc.pieces": 5, "disc.width": 240, "disc.dropout": 0.5},
    "cgan": {"batch": 100, "gen.branches": [200, 1000], "disc.branches": [240, 50], "disc.pieces": 4, "gen.dropout": 0.5},
    "dcgan": {"batch": 128, "G.lr": 2e-4, "G.betas": [0.5, 0.999], "game.prior": "uniform", "gen.init": 0.02},
    "lsgan": {"batch": 64, "loss.name": "lsgan", "G.lr": 1e-3, "gen.z_dim": 1024, "game.prior": "uniform"},
    "wgan": {"batch": 64, "G.optimizer": "rmsprop", "G.lr": 5e-5, "D.steps": 5, "reg.weight-clip.c": 0.01},
    "dragan": {"batch": 128, "G.lr": 1e-4, "D.betas": [0.5, 0.9], "reg.dragan.weight": 10.0, "gen.width": 128},
    "acgan": {"batch": 100, "G.lr": 2e-4, "disc.dropout": 0.5, "gen.embedding": "none", "reg.auxiliary-classifier.g": 1.0},
    "unrolled": {"batch": 512, "G.lr": 1e-3, "D.lr": 1e-4, "reg.unrolled.steps": 5, "loss.name": "minimax", "gen.gain": 1.4},
    "minibatch": {"batch": 100, "G.steps": 3, "reg.minibatch-discrimination.dim": 5, "reg.instance-noise.sigma": 0.2},
    "pacgan": {"batch": 200, "D.betas": [0.8, 0.999], "reg.packing.m": 2, "gen.depth": 4, "disc.depth": 3, "gen.z_dim": 2},
}


@cache
def table_of(name):
    return get_registry().load(RECIPES[name])


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_values(name):
    values = {row["key"]: row["value"] for row in recipe_values(table_of(name))}
    assert {key: values[key] for key in PUBLISHED[name]} == PUBLISHED[name]
    assert table_of(name)["number"]


def test_each_published_recipe_has_a_small_one_that_is_the_same_method():
    assert {name.removesuffix("-small") for name in RECIPES if name.endswith("-small")} == set(PUBLISHED)
    for name in PUBLISHED:
        big, small = table_of(name), table_of(f"{name}-small")
        assert small["loss"]["name"] == big["loss"]["name"]
        assert {reg["name"] for reg in small.get("reg", [])} >= {r["name"] for r in big.get("reg", [])} - {"instance-noise"}
