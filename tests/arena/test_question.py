"""How lists, sets and budgets are written, and which combinations follow."""

from __future__ import annotations

from typing import Any

import pytest

from ganzoo.arena.question import Budget, Question, combinations, read_list, reg_specs
from ganzoo.errors import UsageError
from ganzoo.registry import get_registry

SMALL = {"gens": ("dcgan:channels=4", "mlp:width=8"), "data": "emoji", "settings": ("data.res=8", "batch=8"), "budget": "1"}


@pytest.mark.parametrize(
    ("texts", "entries"),
    [
        (["dcgan"], ["dcgan"]),
        (["dcgan,stylegan"], ["dcgan", "stylegan"]),
        (["dcgan:channels=32,stylegan"], ["dcgan:channels=32", "stylegan"]),
        (["dcgan:channels=32,z_dim=64, stylegan:width=8"], ["dcgan:channels=32,z_dim=64", "stylegan:width=8"]),
        (["dcgan:channels=32", "stylegan"], ["dcgan:channels=32", "stylegan"]),
        (["a:pair=[1,2],b", "ganzoo-dcgan/dcgan"], ["a:pair=[1,2]", "b", "ganzoo-dcgan/dcgan"]),
        (['timm:backbone="a,b:c",none'], ['timm:backbone="a,b:c"', "none"]),
        (["x:data=emoji(style=flat,res=8),y"], ["x:data=emoji(style=flat,res=8)", "y"]),
        (["dcgan,mlp,dcgan"], ["dcgan", "mlp"]),
    ],
)
def test_a_comma_begins_an_entry_unless_an_option_follows(texts: list[str], entries: list[str]) -> None:
    assert read_list("--gens", texts) == tuple(entries)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("dcgan,,mlp", "nothing between two commas"),
        ("channels=4,dcgan", "begins with an option"),
        ("dcgan,channels=4", "options follow a colon: dcgan:channels=4"),
        ("a:b=[1,c", "']' is missing"),
        ("", "is empty"),
    ],
)
def test_lists_that_are_none(text: str, says: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_list("--gens", [text])
    assert says in str(refused.value)


def test_a_plus_sign_joins_regularizers_but_no_numbers() -> None:
    specs = reg_specs("r1:gamma=1e+5,every=4+spectral-norm+instance-noise:until=none")
    assert [(spec.name, dict(spec.options)) for spec in specs] == [
        ("r1", {"gamma": "1e+5", "every": "4"}),
        ("spectral-norm", {}),
        ("instance-noise", {"until": "none"}),
    ]
    assert reg_specs("none") == []


@pytest.mark.parametrize(
    ("text", "minutes", "kimg", "again"),
    [("10m", 10, None, "10m"), ("1.5h", 90, None, "90m"), ("40", None, 40, "40"), (" .5 m", 0.5, None, "0.5m")],
)
def test_budgets(text: str, minutes: float | None, kimg: float | None, again: str) -> None:
    budget = Budget.parse(text)
    assert (budget.minutes, budget.kimg) == (minutes, kimg)
    assert str(budget) == again


@pytest.mark.parametrize("text", ["0", "0m", "10x", "-3", "", "m", "1e9", "ten", "10 m 3"])
def test_budgets_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--budget"):
        Budget.parse(text)


def ask(**given: Any) -> Question:
    return Question.ask({**SMALL, **given})


def test_what_fits_is_what_train_would_train_and_the_rest_has_a_reason() -> None:
    question = ask(
        discs=("dcgan:channels=4", "multiscale-patch"), losses=("hinge", "recommended"), regs=("none", "spectral-norm")
    )
    found = combinations(question, get_registry())
    assert len(found) == 2 * 2 * 2 * 2
    fitting = {cell.name: config for cell, config in found if config is not None}
    assert all("8x8" in str(cell.reason) for cell, config in found if config is None and "multiscale" in cell.disc)
    first = next(
        config for cell, config in found if (cell.gen, cell.loss, cell.reg) == ("mlp:width=8", "hinge", "spectral-norm")
    )
    assert first is not None
    assert (first.gen.options["width"], first.loss.name, [reg.name for reg in first.reg]) == (8, "hinge", ["spectral-norm"])
    assert first.settings.kimg == 1
    assert first.settings.batch == 8
    assert fitting


def test_the_same_training_is_listed_once() -> None:
    found = combinations(ask(discs=("dcgan:channels=4",), losses=("non-saturating", "recommended")), get_registry())
    assert [config is None for _, config in found] == [False, True, False, True]
    assert "the same training as dcgan:channels=4 x dcgan:channels=4, non-saturating" in str(found[1][0].reason)
    assert found[1][0].loss == "non-saturating"  # by its name, not "recommended"


def test_a_question_survives_its_file_and_tells_how_another_differs() -> None:
    question = ask(discs=("dcgan",))
    assert Question.from_dict(question.to_dict()) == question
    assert question.differs({}) is None
    assert question.differs({"gens": SMALL["gens"], "budget": "1.0", "seeds": 1}) is None
    assert question.differs({"budget": "2m"}) == "--budget 1 was asked there, not 2m"
    assert question.differs({"settings": ("batch=9",)}) == "--set data.res=8,batch=8 was asked there, not batch=9"
