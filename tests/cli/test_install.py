from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from subprocess import CompletedProcess

    from conftest import Site

    Here = Callable[..., CompletedProcess[str]]

CATALOGUE = """
format = 1
[[plugin]]
distribution = "Third_Party"
homepage = "https://example.org"
generator = ["net", "same"]
loss = ["net"]
[[plugin]]
distribution = "third-other"
discriminator = ["same", "net-d"]
"""


@pytest.fixture(autouse=True)
def _catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.toml").write_text(CATALOGUE)
    monkeypatch.setenv("GANZOO_CATALOG", str(tmp_path / "mine.toml"))


@pytest.mark.parametrize(
    ("name", "dist"),
    [
        ("Third_Party", "Third_Party"),
        ("third.party", "Third_Party"),
        ("net", "Third_Party"),  # as a generator and as a loss: one plugin all the same
        ("net-d", "third-other"),
        ("third-party/same", "Third_Party"),
        ("third-other/same", "third-other"),
    ],
)
def test_stdout_is_the_bare_command(name: str, dist: str, ganzoo_here: Here) -> None:
    done = ganzoo_here("install", name)
    assert done.returncode == 0
    assert shlex.split(done.stdout) == [sys.executable, "-m", "pip", "install", dist]
    assert done.stdout.count("\n") == 1
    [line] = done.stderr.splitlines()
    assert "its author's code" in line
    assert ("https://example.org" in line) is (dist == "Third_Party")


def test_the_command_is_quoted(ganzoo_here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/with space/python")
    assert ganzoo_here("install", "net").stdout == "'/with space/python' -m pip install Third_Party\n"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("same", "'same' is offered by 2 plugins: write 'ganzoo install Third_Party' or 'ganzoo install third-other'"),
        ("third-othr", "the catalogue has no plugin and no component 'third-othr'. Did you mean 'third-other'?"),
        ("nett", "the catalogue has no plugin and no component 'nett'. Did you mean 'net'?"),
        ("third-other/net", "the catalogue has no plugin and no component 'third-other/net'."),
        ("ganzoo-core", "the catalogue has no plugin and no component 'ganzoo-core'."),  # installed, and not in this catalogue
        ("--index-url=x", "No such option '--index-url'"),
    ],
)
def test_no_command_for_what_is_not_one_plugin_of_the_catalogue(name: str, message: str, ganzoo_here: Here) -> None:
    done = ganzoo_here("install", name)
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"ganzoo: {message}")


def test_a_broken_catalogue_has_no_command(tmp_path: Path, ganzoo_here: Here) -> None:
    (tmp_path / "mine.toml").write_text(CATALOGUE.replace("Third_Party", "--index-url=https://example.org"))
    done = ganzoo_here("install", "net")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no distribution is called '--index-url" in done.stderr


@pytest.mark.parametrize("name", ["third-party", "net"])
def test_what_is_installed_needs_no_command(name: str, site: Site, ganzoo_here: Here) -> None:
    site.add("third-party", "raise ValueError('never loaded')\n", version="2.1")
    done = ganzoo_here("install", name)
    assert (done.returncode, done.stdout) == (0, "")
    upgrade = f"{shlex.quote(sys.executable)} -m pip install --upgrade Third_Party"
    assert done.stderr == f"Third_Party 2.1 is installed; to upgrade it: {upgrade}\n"
