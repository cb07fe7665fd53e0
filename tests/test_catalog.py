from __future__ import annotations

import importlib
import tomllib
from pathlib import Path

import pytest

from ganzoo.catalog import get_catalog, load_catalog
from ganzoo.errors import UsageError
from ganzoo.options import parse_spec
from ganzoo.plugin import KINDS

ROOT = Path(__file__).parents[1]
FIRST_PARTY = sorted([ROOT / "pyproject.toml", *ROOT.glob("plugins/*/pyproject.toml")])


@pytest.mark.parametrize("pyproject", FIRST_PARTY, ids=lambda path: path.parent.name)
def test_the_catalogue_says_of_our_plugins_what_they_offer(pyproject: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tomllib.loads(pyproject.read_text())["project"]
    monkeypatch.syspath_prepend(pyproject.parent / "src")
    offered: dict[str, list[str]] = {}
    for module in project["entry-points"]["ganzoo"].values():
        for component in getattr(importlib.import_module(module), "ganzoo_components", list)():  # some only observe
            offered.setdefault(component.kind, []).append(component.name)
    offers = [offer for offer in get_catalog().offers if offer.distribution == project["name"]]
    assert len(offers) == 1, f"registry.toml must have one [[plugin]] of {project['name']}"
    assert {kind: sorted(names) for kind, names in offers[0].names.items()} == {
        k: sorted(names) for k, names in offered.items()
    }


def test_our_catalogue() -> None:
    catalog = get_catalog()
    names = [offer.distribution for offer in catalog.offers]
    assert len(set(names)) == len(names)
    assert all(offer.summary for offer in catalog.offers)
    assert parse_spec(catalog.defaults["data"]).name in catalog.names("dataset")
    assert catalog.defaults["loss"] in catalog.names("loss")
    assert catalog.defaults["game"] in catalog.names("game")
    assert set(catalog.default_recipes) == {"image", "points", "signal"}
    assert set(catalog.default_recipes.values()) <= catalog.names("recipe")
    assert [offer.distribution for offer in catalog.offering("game", "adversarial")] == ["ganzoo-core"]
    assert catalog.offering("loss", "adversarial") == []


def test_another_catalogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        "format = 1\n[default]\ndata = 'd'\nrecipe.image = 'r'\n"
        "[[plugin]]\ndistribution = 'ganzoo-x'\nhomepage = 'https://example.org'\n"
        + "".join(f"{kind} = ['a-{kind}']\n" for kind in KINDS)
    )
    monkeypatch.setenv("GANZOO_CATALOG", str(path))
    catalog = get_catalog()
    [offer] = catalog.offers
    assert (offer.distribution, offer.homepage, offer.summary) == ("ganzoo-x", "https://example.org", "")
    assert offer.names == {kind: (f"a-{kind}",) for kind in KINDS}
    assert (catalog.defaults, catalog.default_recipes) == ({"data": "d"}, {"image": "r"})


PLUGIN = "format = 1\n[[plugin]]\ndistribution = 'x'\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("format = ", r"is broken: Invalid value \(at .*"),
        (b"\xff\xfe", "is broken: .*utf-8"),
        ("", "format is missing, this ganzoo reads 1$"),
        ("format = 'x'", "format is x, this ganzoo reads 1$"),
        ("format = 2", "format is 2, this ganzoo reads 1: pip install --upgrade ganzoo-core$"),
        ("format = 1\nplugins = []", r"unknown key 'plugins'\. Did you mean 'plugin'\?"),
        ("format = 1\nplugin = 3", r"\[plugin\] must be written \[\[plugin\]\]"),
        ("format = 1\n[plugin]\ndistribution = 'x'", r"must be written \[\[plugin\]\]"),
        ("format = 1\nplugin = [3]", r"\[\[plugin\]\] must be a table"),
        ("format = 1\n[[plugin]]\nloss = ['a']", r"a \[\[plugin\]\] has no distribution"),
        (PLUGIN + "generators = ['a']", r"\[\[plugin\]\] x has an unknown key 'generators'\. Did you mean 'generator'\?"),
        (PLUGIN + "generator = 'a'", "x: generator must be a list of names"),
        (PLUGIN + "generator = [1]", "x: generator must be a list of names"),
        (PLUGIN + "homepage = 1", "x: homepage must be text, not 1"),
        ("format = 1\ndefault = 1", r"\[default\] must be a table"),
        ("format = 1\n[default]\nrecipe = 'x'", "recipe must be a table"),
        ("format = 1\n[default]\nrecipe.image = 3", "image must be text, not 3"),
        ("format = 1\n[default]\ndate = 'x'", "unknown key 'date'"),
    ],
)
def test_a_broken_catalogue_is_one_line(text: str | bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError, match=message) as caught:
        load_catalog(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_absent_catalogue(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the catalogue .*gone\.toml cannot be read: No such file"):
        load_catalog(tmp_path / "gone.toml")
