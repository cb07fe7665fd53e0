"""The recipes: held to what was published."""

from __future__ import annotations

import pytest

from ganzoo.assembly import make_plan
from ganzoo.config import layer_from_dict, recipe_values
from ganzoo.registry import get_registry
from ganzoo.training.schedules import Schedule

RECIPES = {e.name: e for e in get_registry().select("recipe", "ganzoo-r3gan/*")}
# Table 9 of the paper: batch, widths, gamma, half-life of the averaged G in kimg, probability of augmentation.
PUBLISHED = {
    "r3gan": (512, 768, 0.05, 0.005, 5000, 0.55),
    "r3gan-64": (256, 384, 2, 0.2, 500, 0.3),
    "r3gan-256": (256, 96, 150, 15, 500, 0.3),
}


def table_of(name):
    return get_registry().load(RECIPES[name])


def plan_of(name):
    return make_plan(get_registry(), layer_from_dict({"recipe": name}, "the test"))


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
