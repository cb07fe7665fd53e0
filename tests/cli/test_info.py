from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Ganzoo, Site

MODULE = '''
from typing import Annotated, Literal
from ganzoo.plugin import Component, Part, hookimpl

class Net:
    """A network.

    Options:
        width: channels of the first layer
        betas: what Adam takes
    """

    def __init__(self, data, *, width: int = 48, betas: tuple[float, float] = (0, 0.9), mode: Literal["a", "b"] | None = None):
        pass

def data(*, path: str, of: Annotated[Part, "dataset"] = Part("emoji", {"style": "flat"})): pass

@hookimpl
def ganzoo_components():
    yield Component(
        "generator", "net", __name__ + ":Net", summary="A net, for [tests]", paper="arXiv:1406.2661", licence="MIT",
        provides={"style"}, needs={"head"}, modality={"image"}, resolutions="power of two from 8", labels="used",
        min_group="group", couples="batch norm", recommends={"D.lr": 4e-4, "reg": ["r1"]}, aliases=("network",))
    yield Component("dataset", "data", __name__ + ":data")
    yield Component("loss", "bare", "json:JSONDecodeError")
    yield Component("loss", "gone", "no_such_module:x")
    yield Component("recipe", "mix", "info_recipes:mix.toml")
'''


@pytest.fixture(autouse=True)
def some(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.add("ganzoo-a", MODULE)
    package = site.root / "info_recipes"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "mix.toml").write_text(
        'gen = "net"\nreg = ["r1:gamma=1"]\n[G]\nlr = 2e-4\n[sources]\nG = "table 2"\n"reg.r1.gamma" = "here"\n'
    )
    monkeypatch.setenv("GANZOO_PLUGINS", "ganzoo-a")


def test_json(ganzoo_here: Ganzoo) -> None:
    facts = json.loads(ganzoo_here("info", "generator", "net", "--json").stdout)
    options = facts.pop("options")
    assert facts == {
        "kind": "generator",
        "name": "net",
        "plugin": "ganzoo-a",
        "version": "1.0",
        "summary": "A net, for [tests]",
        "paper": "arXiv:1406.2661",
        "licence": "MIT",
        "aliases": ["network"],
        "modality": ["image"],
        "resolutions": "power of two from 8",
        "labels": "used",
        "min_group": "group",
        "couples": "batch norm",
        "provides": {"style": facts["provides"]["style"]},
        "needs": {"head": "D.head is the last Linear or Conv2d, called once, on the features"},
        "recommends": {"D.lr": 4e-4, "reg": ["r1"]},
        "target": facts["target"],
    }
    assert options == [
        {"name": "width", "type": "int", "default": 48, "required": False, "meaning": "channels of the first layer"},
        {"name": "betas", "type": "[float, float]", "default": [0, 0.9], "required": False, "meaning": "what Adam takes"},
        {"name": "mode", "type": "a or b or none", "default": "none", "required": False, "meaning": ""},
    ]


def test_text(ganzoo_here: Ganzoo) -> None:
    done = ganzoo_here("info", "generators", "ganzoo-a/net")
    assert (done.returncode, done.stderr) == (0, "")
    for text in (
        "generator net  (ganzoo-a 1.0)",
        "A net, for [tests]",
        "paper       arXiv:1406.2661",
        "needs       head: D.head is the last",
        "recommends  D.lr = 0.0004",
        'recommends  reg = ["r1"]',
        "min_group   group",
        "width = 48  (int)\n    channels of the first layer",
        "mode = none  (a or b or none)",
    ):
        assert text in done.stdout


def test_required_and_nested_options(ganzoo_here: Ganzoo) -> None:
    text = ganzoo_here("info", "dataset", "data").stdout
    assert "path required  (str)" in text
    assert "of = emoji(style=flat)  (a dataset)" in text
    facts = json.loads(ganzoo_here("info", "dataset", "data", "--json").stdout)
    assert facts["options"][0]["required"] is True
    assert facts["options"][1]["default"] == {"name": "emoji", "style": "flat"}


def test_a_recipe_shows_its_table(ganzoo_here: Ganzoo) -> None:
    text = ganzoo_here("info", "recipe", "mix").stdout
    lines = [line.split(maxsplit=3) for line in text.splitlines()]
    assert [(line[0], line[3:]) for line in lines[-4:]] == [
        ("gen.name", []),
        ("G.lr", ["table 2"]),
        ("reg.r1.name", []),
        ("reg.r1.gamma", ["here"]),
    ]
    facts = json.loads(ganzoo_here("info", "recipe", "mix", "--json").stdout)
    assert facts["values"][1] == {"key": "G.lr", "value": 2e-4, "source": "table 2"}
    assert facts["table"] == {
        "gen": "net",
        "reg": ["r1:gamma=1"],
        "G": {"lr": 2e-4},
        "sources": {"G": "table 2", "reg.r1.gamma": "here"},
    }
    assert "options" not in facts


def test_no_options(ganzoo_here: Ganzoo) -> None:
    assert ganzoo_here("info", "loss", "bare").stdout.endswith("takes no options\n")


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("generator", "nte"), 2, "there is no generator 'nte'. Did you mean 'net'?"),
        (("loss", "hinge"), 2, "It is offered by ganzoo-objectives"),
        (("loss", "gone"), 1, "loss 'gone' of ganzoo-a could not be loaded from no_such_module:x: ModuleNotFoundError"),
    ],
)
def test_what_cannot_be_shown(args: tuple[str, str], code: int, message: str, ganzoo_here: Ganzoo) -> None:
    done = ganzoo_here("info", *args)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
