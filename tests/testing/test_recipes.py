"""The recipe checks: plugins hold their recipes to them, and each catches one that breaks its contract."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from ganzoo.plugin import Component
from ganzoo.registry import Entry
from ganzoo.testing import Check, recipes
from ganzoo.testing.recipes import CHECKS

SOUND = """
summary = "Made for a test"
paper = "arXiv:1406.2661"
gen = { name = "mlp", z_dim = 8 }
loss = "non-saturating"
disc = "mlp"
data = "ring"
reg = [{ name = "r1", gamma = 0.5 }]
kimg = 5
G = { optimizer = "adam", lr = 1e-3, betas = [0.5, 0.999] }
[sources]
gen = "the test"
disc = "the test"
loss = "section 3"
reg = "another paper"
data = "the test"
kimg = "the test"
G = "the test"
"""
PARTS = SOUND[SOUND.index("disc") : SOUND.index("kimg")]
# The check that is meant for it, what is written for what, and words of what the check says.
FAULTS = [
    (recipes.check_recipe_arrives, "1406.2661", "1411.1784", "paper = 'arXiv:1406.2661', as declared; seen: arXiv:1411.1784"),
    (recipes.check_recipe_arrives, "kimg = 5", 'kimg = "5"', "kimg"),
    (recipes.check_recipe_arrives, "z_dim = 8", "z_dims = 8", "z_dim"),
    (recipes.check_recipe_arrives, 'disc = "mlp"', 'disc = "projection"', "no exception; seen: .*'projection'.*'ring'"),
    (
        recipes.check_recipe_arrives,
        '"mlp"\ndata = "ring"',
        '"projection"\ndata = "emoji:labels=false"',
        "no notice; .*no labels",
    ),
    (recipes.check_recipe_arrives, PARTS, 'disc = "stylegan"\ndata = "emoji"\n', r"the regularizers \[\] alone; seen: \['r1"),
    (recipes.check_recipe_sources, 'kimg = "the test"\n', "", "a source in .sources. for each value; seen: none for kimg"),
    (recipes.check_recipe_sources, 'reg = "another paper"\n', "", "none for reg.r1.name, reg.r1.gamma"),
    (recipes.check_recipe_sources, SOUND[SOUND.index("[sources]") :], "", "none for gen.name, .*"),
    (recipes.check_recipe_sources, 'kimg = "the test"', 'kimg = "the test"\nD = "nothing"', "seen: D of none"),
]


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Entry]:
    """A recipe's text as an entry of a package that can be imported."""

    def write(text: str) -> Entry:
        package = tmp_path / f"tried_{uuid4().hex}"  # the registry loads a target once
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "tried.toml").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        component = Component(
            "recipe", "tried", f"{package.name}:tried.toml", summary="Made for a test", paper="arXiv:1406.2661"
        )
        return Entry(component, "the-tests", "1.0")

    return write


@pytest.mark.parametrize("check", CHECKS)
def test_a_sound_recipe_passes(recipe: Callable[[str], Entry], check: Check) -> None:
    check(recipe(SOUND))


@pytest.mark.parametrize("check", CHECKS)
def test_a_recipe_for_any_data_is_tried_on_what_is_given(recipe: Callable[[str], Entry], check: Check) -> None:
    check(recipe(SOUND.replace('data = "ring"\n', "").replace('data = "the test"\n', "")), {"name": "grid"})


@pytest.mark.parametrize(("check", "said", "instead", "words"), FAULTS)
def test_faults_are_caught(recipe: Callable[[str], Entry], check: Check, said: str, instead: str, words: str) -> None:
    assert said in SOUND
    with pytest.raises(AssertionError, match=words) as caught:
        check(recipe(SOUND.replace(said, instead, 1)))
    assert str(caught.value).startswith("recipe 'tried' of the-tests: expected")


def test_each_check_catches_something() -> None:
    assert {check for check, *_ in FAULTS} == set(CHECKS)
