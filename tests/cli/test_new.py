"""`ganzoo new`: what it writes, and what it refuses. That the packages work is tests/test_third_party.py's matter."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ganzoo.cli.new import DECLARED, SUMMARIES
from ganzoo.plugin import KINDS

if TYPE_CHECKING:
    from tests.cli.conftest import Cli


def test_every_kind_with_a_contract_can_be_begun() -> None:
    assert set(DECLARED) == set(SUMMARIES) == set(KINDS)


def test_what_it_writes(cli: Cli) -> None:
    out, err = cli("new", "generator", "deep-6", "generator", "deep-7", "loss", "deep-6", "--author", 'An "A" Thor')
    assert not err
    root = Path("ganzoo-deep-6")
    assert "pip install --editable 'ganzoo-deep-6[test]'" in out
    assert "ganzoo train --gen deep-6 --disc dcgan --kimg 1" in out
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert (project["name"], project["license"], project["keywords"]) == ("ganzoo-deep-6", "MIT", ["ganzoo-plugin"])
    assert project["authors"] == [{"name": 'An "A" Thor'}]
    assert project["entry-points"]["ganzoo"] == {"main": "ganzoo_deep_6"}
    assert any(need.startswith("ganzoo-core>=") for need in project["dependencies"])
    source = root / "src" / "ganzoo_deep_6"
    assert {path.name for path in source.iterdir()} == {
        "__init__.py",
        "py.typed",
        "generator.py",
        "generator_deep_7.py",
        "loss.py",
    }
    assert "class Deep7Generator(" in (source / "generator_deep_7.py").read_text()
    assert 'An "A" Thor' in (root / "LICENSE").read_text()
    assert {path.name for path in (root / ".github/workflows").iterdir()} == {"test.yml", "publish.yml"}
    for path in root.rglob("*"):
        text = path.read_text() if path.is_file() else ""
        assert not re.search("@[A-Z_]+@", text)
        assert "Mine" not in text
        if path.suffix == ".py":
            ast.parse(text)
    marked = [path for path in source.glob("[gl]*.py") if "eplace this" in path.read_text()]
    assert len(marked) == 3


def test_another_licence_and_place(cli: Cli) -> None:
    given = ["--distribution", "My.Recipes", "--licence", "apache-2.0", "--homepage", "https://example.org/mine"]
    cli("new", "recipe", "mine", "--dir", "here/there", *given)
    root = Path("here/there")
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert (project["name"], project["license"]) == ("My.Recipes", "Apache-2.0")
    assert project["urls"] == {"Homepage": "https://example.org/mine"}
    assert "license-files" not in project
    assert not (root / "LICENSE").exists()
    assert (root / "src/my_recipes/recipes/mine.toml").is_file()
    assert {"ganzoo-dcgan", "ganzoo-emoji", "ganzoo-objectives"} <= {need.partition(">")[0] for need in project["dependencies"]}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["generator"], "'generator' has no name: write KIND NAME"),
        (["generators", "a", "loss"], "'loss' has no name"),
        (["generater", "a"], "there is no kind 'generater'. Did you mean 'generator'?"),
        (["loss", "My Loss"], "must be lower case"),
        (["loss", "none"], "'none' is reserved"),
        (["loss", "a", "loss", "a"], "loss 'a' is asked for twice"),
        (["loss", "b", "loss", "a-b", "loss", "a.b"], "would share a file"),
        (["loss", "a", "--distribution", "-x y"], "--distribution"),
        (["loss", "a", "--distribution", "3d"], "its package would be '3d'"),
        (["loss", "a", "--dir", "full"], "full has README.md already, which would be written over"),
        (["loss", "a", "--dir", "file"], "file is there already, and no folder"),
        (["generator", "dcgan"], "generator 'dcgan' is what ganzoo-dcgan offers"),
        (["loss", "a", "--distribution", "Ganzoo_DCGAN"], "there is a Ganzoo_DCGAN already"),
        (["loss", "a", "--distribution", "torch"], "there is a torch already"),
        (["loss", "a", "--distribution", "json"], "there is a json already"),
        (["loss", "a", "--licence", "no such"], "no SPDX expression"),
        (["loss", "a", "--homepage", "example.org"], "write an address"),
    ],
)
def test_what_it_refuses(cli: Cli, words: list[str], says: str) -> None:
    Path("full").mkdir()
    Path("full/README.md").touch()
    Path("file").touch()
    cli.refused("new", *words, says=(says,))


def test_a_folder_that_has_none_of_its_files_will_do(cli: Cli) -> None:
    Path("clone/.git").mkdir(parents=True)
    cli("new", "loss", "a", "--dir", "clone", "--author", "One\nTwo \\ three")
    project = tomllib.loads(Path("clone/pyproject.toml").read_text())["project"]
    assert project["authors"] == [{"name": "One Two \\ three"}]
    cli.refused("new", "loss", "a", "--dir", "clone", says=("would be written over",))
