"""The recipes as assembly resolves them: each fits, and each of its values arrives."""

from __future__ import annotations

import tomllib
from importlib import resources

import numpy as np
import pytest

import ganzoo_dcgan
from ganzoo.assembly import make_plan
from ganzoo.config import layer_from_dict
from ganzoo.registry import get_registry

RECIPES = {c.name: c for c in ganzoo_dcgan.ganzoo_components() if c.kind == "recipe"}
RECORDS = {"summary", "paper", "number", "note"}  # of the recipe, not of a run


@pytest.fixture
def data(request, tmp_path):
    """What a recipe that names no data set is tried on."""
    np.save(tmp_path / "waves.npy", np.zeros((8, 1, 32), np.float32))
    tables = {"signal": {"name": "array", "path": str(tmp_path / "waves.npy")}, "dcgan": {"name": "emoji", "labels": False}}
    return tables.get(request.node.callspec.params["name"])


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
def test_all_that_a_recipe_says_arrives(name, data):
    package, _, path = RECIPES[name].target.partition(":")
    table = tomllib.loads(resources.files(package).joinpath(path).read_text())
    assert table["paper"] == RECIPES[name].paper
    plan = make_plan(get_registry(), layer_from_dict({"recipe": name, **({"data": data} if data else {})}, "the test"))
    said = {key: value for key, value in table.items() if key not in RECORDS and not (data and key == "data")}
    assert list(differences(said, plan.config.to_dict())) == []
    assert plan.notices == []
