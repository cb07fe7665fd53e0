"""The recipes as assembly resolves them: each fits, each of its values arrives, and each says where it comes from."""

from __future__ import annotations

import tomllib
from importlib import resources

import pytest

import ganzoo_r3gan
from ganzoo.assembly import make_plan
from ganzoo.cli.info import recipe_values
from ganzoo.config import RECORDS, layer_from_dict
from ganzoo.registry import get_registry
from ganzoo.rehearsal import rehearse
from ganzoo.training.schedules import Schedule

RECIPES = {c.name: c for c in ganzoo_r3gan.ganzoo_components() if c.kind == "recipe"}
# Table 9 of the paper: batch, widths, gamma, half-life of the averaged G in kimg, probability of augmentation.
PUBLISHED = {
    "r3gan": (512, 768, 0.05, 0.005, 5000, 0.55),
    "r3gan-64": (256, 384, 2, 0.2, 500, 0.3),
    "r3gan-256": (256, 96, 150, 15, 500, 0.3),
}


def table_of(name):
    package, _, path = RECIPES[name].target.partition(":")
    return tomllib.loads(resources.files(package).joinpath(path).read_text("utf-8"))


def plan_of(name):
    return make_plan(get_registry(), layer_from_dict({"recipe": name}, "the test"))


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
    assert (table["paper"], table["summary"]) == (RECIPES[name].paper, RECIPES[name].summary)
    plan = plan_of(name)
    said = {key: value for key, value in table.items() if key not in RECORDS}
    assert list(differences(said, plan.config.to_dict())) == []
    assert plan.notices == []
    rehearse(plan)


@pytest.mark.parametrize("name", RECIPES)
def test_each_value_has_a_source_and_each_source_a_value(name):
    table = table_of(name)
    rows = recipe_values(table)
    assert [row["key"] for row in rows if not row["source"]] == []
    keys = [row["key"] for row in rows]
    assert [s for s in table["sources"] if not any(key == s or key.startswith(f"{s}.") for key in keys)] == []


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_values(name):
    batch, channels, gamma, gamma_end, half_life, p = PUBLISHED[name]
    values = {row["key"]: row["value"] for row in recipe_values(table_of(name))}
    assert (values["batch"], values["gen.channels"], values["disc.channels"]) == (batch, channels, channels)
    assert (values["aug.p"], values["aug.ramp"]) == (p, 20000)
    for reg in ("r1", "r2"):
        assert (values[f"reg.{reg}.gamma"], values[f"reg.{reg}.gamma_end"]) == (gamma, gamma_end)
        assert values[f"reg.{reg}.ramp"] == 20000
    settings = plan_of(name).config.settings
    for player in (settings.G, settings.D):
        lr = Schedule(player.lr, settings.kimg)
        assert (lr.at(0), lr.at(20000), lr.at(50000)) == pytest.approx((2e-4, 5e-5, 5e-5))
        beta = Schedule(player.betas[1], settings.kimg)
        assert (player.betas[0], beta.at(0), beta.at(20000)) == pytest.approx((0, 0.9, 0.99))
    ema = Schedule(settings.ema.half_life, settings.kimg)
    assert (ema.at(0), ema.at(10000), ema.at(20000)) == pytest.approx((0, half_life / 2, half_life))


def test_the_small_recipe_is_the_same_method():
    big, small = table_of("r3gan"), table_of("r3gan-small")
    assert small["loss"] == big["loss"]
    assert [reg["name"] for reg in small["reg"]] == ["r1", "r2"]
    for reg in small["reg"]:
        assert reg["gamma"] == pytest.approx(10 * reg["gamma_end"])  # as in table 9
        assert reg["every"] == 1


@pytest.mark.parametrize("part", ["gen", "disc"])
def test_either_network_alone_takes_the_other_with_the_paper_s_loss(part):
    config = make_plan(get_registry(), layer_from_dict({part: "r3gan"}, "the test")).config
    assert (config.gen.name, config.disc.name, config.loss.name) == ("r3gan", "r3gan", "relativistic")
    assert [(spec.name, spec.options["gamma"], spec.options["gamma_end"]) for spec in config.reg] == [
        ("r1", 1.0, 0.1),
        ("r2", 1.0, 0.1),
    ]
    assert config.settings.D.betas == (0.0, 0.99)
