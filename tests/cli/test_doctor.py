from __future__ import annotations

import json
import platform
import sys
from typing import TYPE_CHECKING

import pytest
import torch

from ganzoo import __version__

if TYPE_CHECKING:
    from conftest import Ganzoo, Site


@pytest.fixture
def only(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    site.healthy("ganzoo-a", ("loss", "x"), ("loss", "y"), target="json:JSONDecodeError")
    monkeypatch.setenv("GANZOO_PLUGINS", "ganzoo-a")
    return site


@pytest.mark.usefixtures("only")
def test_all_is_well(ganzoo_here: Ganzoo) -> None:
    done = ganzoo_here("doctor", "--json")
    report = json.loads(done.stdout)
    assert report["problems"] == []
    assert done.returncode == 0
    assert (report["ganzoo"], report["python"]) == (__version__, platform.python_version())
    assert (report["executable"], report["torch"]) == (sys.executable, torch.__version__)
    assert report["devices"][0].startswith("cpu: ")
    assert {"plugin": "ganzoo-a", "version": "1.0", "components": 2, "observes_runs": False} in report["plugins"]
    assert "ganzoo-core" in [plugin["plugin"] for plugin in report["plugins"]]


def test_every_problem_with_its_trace(only: Site, ganzoo_here: Ganzoo) -> None:
    only.add("bad-load", "def broken(): raise ValueError('at load')\nprint('printed')\nbroken()\n")
    only.healthy("bad-target", ("loss", "gone"), target="no_such_module:x")
    only.add(
        "bad-option",
        "from ganzoo.plugin import Component, hookimpl\n@hookimpl\ndef ganzoo_components():\n"
        "    yield Component('metric', 'untyped', __name__ + ':untyped')\ndef untyped(*, x=1): pass\n",
    )
    only.add("bad-command", "raise SystemExit\n", group="ganzoo.commands", entry="bad = MODULE:x")
    catalog = only.root / "catalog.toml"
    catalog.write_text("format = 9")
    names = "bad-load,bad-target,bad-option,bad-command,ganzoo-a"
    env = {"GANZOO_PLUGINS": names, "GANZOO_CATALOG": str(catalog), "GANZOO_STRICT": "1"}
    done = ganzoo_here("doctor", "--json", **env)
    assert done.returncode == 1
    found = json.loads(done.stdout)["problems"]
    problems = {problem["plugin"]: problem for problem in found}
    assert len(found) == len(problems) == 5
    for plugin, message, traced in (
        ("bad-load", "ValueError: at load", "in broken"),
        ("bad-target", "loss 'gone' of bad-target could not be loaded from no_such_module:x", "ModuleNotFoundError"),
        ("bad-option", "option 'x' of", "has no annotation"),
        ("bad-command", "the command 'bad' of bad-command could not be loaded: SystemExit", "SystemExit"),
        ("ganzoo-core", "this ganzoo reads 1", ""),
    ):
        assert message in problems[plugin]["message"]
        assert traced in problems[plugin]["traceback"]
    text = ganzoo_here("doctor", **env)
    assert text.returncode == 1
    assert "PROBLEM bad-load: ValueError: at load\n    Traceback (most recent call last):" in text.stdout
    assert text.stdout.rstrip().endswith("problems")
