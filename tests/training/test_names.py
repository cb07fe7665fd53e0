"""The trainer knows no GAN: not by name, not by type, and its loop fits on one screen."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import ganzoo.training
from ganzoo.registry import get_registry

FILES = sorted(Path(ganzoo.training.__file__).parent.glob("*.py"))
NETWORKS_AND_LOSSES = ("generator", "discriminator", "loss", "regularizer", "augmentation")


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_no_part_of_the_zoo_is_named(file: Path) -> None:
    text = file.read_text()
    names = {entry.name for entry in get_registry().entries if entry.kind in NETWORKS_AND_LOSSES} | {"emoji"}
    names -= {"timm"}  # the library, whose optimizers are asked for by name
    names -= {"text"}  # a plain word too: what a schedule or a file is written in
    assert not re.search(r"(spec|data|batch|condition)(\.text\b|\W+text\b)", text)
    assert names
    assert [name for name in sorted(names) if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text, re.IGNORECASE)] == []
    assert "import ganzoo_" not in text
    assert "from ganzoo_" not in text


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_nothing_is_asked_for_its_type(file: Path) -> None:
    asked = [
        ast.unparse(call.args[1])
        for call in ast.walk(ast.parse(file.read_text()))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id in ("isinstance", "hasattr", "issubclass")
    ]
    # torch's own layers and Python's own types only
    ours = [
        what
        for what in asked
        if re.search(r"\b(Game|Match|Loss|Regularizer|Augment|Dataset|Score)\b", what) or what.startswith("'")
    ]
    assert ours == []


def test_the_loop_fits_on_one_screen() -> None:
    tree = ast.parse(next(file for file in FILES if file.name == "trainer.py").read_text())
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    lines = sum((functions[name].end_lineno or 0) - functions[name].lineno + 1 for name in ("train", "_round", "_step"))
    assert lines <= 50
