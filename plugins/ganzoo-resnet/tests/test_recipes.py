"""The recipes: held to what was published."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import nn

from ganzoo.assembly import make_plan
from ganzoo.config import layer_from_dict, recipe_values
from ganzoo.registry import get_registry

RECIPES = {e.name: e for e in get_registry().select("recipe", "ganzoo-resnet/*")}

# As read in the papers and in their authors' code.
RESNET = {
    "batch": 64,
    "G.lr": "linear(2e-4, 0)",
    "D.lr": "linear(2e-4, 0)",
    "D.betas": [0.0, 0.9],
    "D.steps": 5,
    "gen.z_dim": 128,
}
PUBLISHED = {
    "wgan-gp": {**RESNET, "kimg": 6400, "gen.channels": 128, "disc.pool": "mean", "reg.gradient-penalty.weight": 10.0},
    "sngan": {**RESNET, "kimg": 3200, "gen.channels": 256, "disc.channels": 128, "loss.name": "hinge"},
    "projection": {**RESNET, "kimg": 3200, "disc.name": "projection", "disc.channels": 128, "reg.spectral-norm.player": "D"},
    "sagan": {"batch": 256, "G.lr": 1e-4, "D.lr": 4e-4, "G.betas": [0.0, 0.9], "reg.spectral-norm.player": "both"},
}


@cache
def table_of(name):
    return get_registry().load(RECIPES[name])


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_leaves_nothing_to_what_its_parts_recommend(name):
    plan = make_plan(get_registry(), layer_from_dict({"recipe": name}, "the test"))
    assert [key for key, origin in plan.origins.items() if origin.startswith("recommended")] == []


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_values(name):
    values = {row["key"]: row["value"] for row in recipe_values(table_of(name))}
    assert {key: values[key] for key in PUBLISHED[name]} == PUBLISHED[name]
    assert table_of(name)["number"]


def test_each_published_recipe_has_a_small_one_of_the_same_method():
    assert {name.removesuffix("-small") for name in RECIPES if name.endswith("-small")} == set(PUBLISHED)
    for name in PUBLISHED:
        big, small = table_of(name), table_of(f"{name}-small")
        assert (small["loss"], small["reg"], small["D"]["betas"]) == (big["loss"], big["reg"], big["D"]["betas"])
        assert (small["gen"]["name"], small["disc"]["name"]) == (big["gen"]["name"], big["disc"]["name"])


@pytest.mark.parametrize("disc", ["resnet", "projection", "sagan"])
def test_a_bare_discriminator_plays_the_logistic_loss_under_r1_with_a_small_head(disc):
    plan = make_plan(get_registry(), layer_from_dict({"gen": "resnet", "disc": disc}, "the test"))
    assert (plan.config.loss.name, [reg.name for reg in plan.config.reg]) == ("non-saturating", ["r1"])
    assert plan.config.disc.options["head_gain"] < 1
    assert plan.notices == []


def test_the_spectral_norm_of_sagan_divides_3x3_kernels_not_folded_ones_and_leaves_gates_and_gains():
    small = {"channels": 8, "name": "sagan"}
    table = {"recipe": "sagan-small", "gen": small, "disc": small}
    game = make_plan(get_registry(), layer_from_dict(table, "the test")).build()
    for network in game.players.values():
        layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear | nn.Embedding)]
        sigmas = torch.stack([torch.linalg.svdvals(m.weight.detach().flatten(1))[0] for m in layers])
        assert sigmas.min() > 0.95
        assert sigmas.max() < 1.3  # after a few power iterations
        assert {type(m.weight) for m in layers} == {torch.Tensor}
        assert isinstance(network.attention.gate, nn.Parameter)
    assert isinstance(game.players["G"].blocks[0].norms[0].gain, nn.Parameter)
