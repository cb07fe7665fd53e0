from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Ganzoo, Site


@pytest.mark.parametrize(
    ("words", "first"),
    [
        (["logistic"], "non-saturating"),  # what StyleGAN's paper calls it
        (["geometric", "GAN"], "hinge"),
        (["PacGAN"], "pacgan"),  # a name before another name
        (["ADA"], "ada"),
        (["r1"], "r1"),
        (["WGAN-GP"], "wgan-gp"),  # a recipe's name before a regularizer's other name
        (["1606.03498", "measure"], "minibatch-discrimination"),
    ],
)
def test_the_best_match_comes_first(words: list[str], first: str, ganzoo: Ganzoo) -> None:
    done = ganzoo("search", *words, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)[0]["name"] == first


def test_other_names_are_shown(ganzoo: Ganzoo) -> None:
    assert "also: logistic" in ganzoo("search", "logistic").stdout


def test_every_word_must_occur(ganzoo: Ganzoo) -> None:
    rows = json.loads(ganzoo("search", "gradient", "reals", "--json").stdout)
    names = [row["name"] for row in rows]
    assert "r1" in names
    assert "r2" not in names


def test_what_is_not_installed_is_found_in_the_catalogue(ganzoo: Ganzoo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANZOO_PLUGINS", "")
    said = ganzoo("search", "hinge").stdout
    assert "not installed: pip install ganzoo-objectives" in said


def test_a_plugin_without_components_is_found_by_its_name(site: Site, ganzoo: Ganzoo) -> None:
    catalogue = site.root / "mine.toml"
    catalogue.write_text("format = 1\n[[plugin]]\ndistribution = 'ganzoo-watch'\nsummary = 'Draws curves of a run'\n")
    shown = "plugin  ganzoo-watch  ganzoo-watch  not installed: pip install ganzoo-watch\n"
    for args in (("search", "watch"), ("search", "curves"), ("list", "--all", "*watch"), ("list", "--all", "ganzoo-watch/*")):
        assert ganzoo(*args, GANZOO_CATALOG=str(catalogue)).stdout == shown, args
    [row] = json.loads(ganzoo("search", "curves", "--json", GANZOO_CATALOG=str(catalogue)).stdout)
    assert (row["kind"], row["name"], row["installed"]) == ("plugin", "ganzoo-watch", False)
    assert "watch" not in ganzoo("list", "loss", "--all", GANZOO_CATALOG=str(catalogue)).stdout
    site.add("ganzoo-watch", "", group="ganzoo.commands", entry="watch = MODULE:command")
    assert ganzoo("search", "curves", GANZOO_CATALOG=str(catalogue)).stdout == ""


def test_nothing_found(ganzoo: Ganzoo) -> None:
    done = ganzoo("search", "zebra")
    assert (done.returncode, done.stdout) == (0, "")
    assert "nothing is known of 'zebra'" in done.stderr
