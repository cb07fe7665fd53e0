from __future__ import annotations

import importlib
import tomllib
from pathlib import Path

import pytest

from ganzoo.catalog import catalog_path, check_catalog, get_catalog, load_catalog
from ganzoo.errors import UsageError
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
    assert check_catalog(catalog_path()) == []
    assert set(catalog.defaults) == {"data", "loss", "game"}
    assert set(catalog.default_recipes) == {"image", "points", "signal"}
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
        ("", "format is missing: write format = 1$"),
        ("format = '1'", "format is '1': write format = 1$"),
        ("format = 0", "format is 0: write format = 1$"),
        ("format = true", "format is True: write format = 1$"),
        ("format = 2", "format is 2, this ganzoo reads 1: pip install --upgrade ganzoo-core$"),
        ("format = 1\nplugins = []", r"unknown key 'plugins'\. Did you mean 'plugin'\?"),
        ("format = 1\nplugin = 3", r"\[plugin\] must be written \[\[plugin\]\]"),
        ("format = 1\n[plugin]\ndistribution = 'x'", r"must be written \[\[plugin\]\]"),
        ("format = 1\nplugin = [3]", r"\[\[plugin\]\] number 1 must be a table"),
        ("format = 1\n[[plugin]]\nloss = ['a']", r"\[\[plugin\]\] number 1: it has no distribution"),
        (PLUGIN + "[[plugin]]\ndistribution = 3", r"\[\[plugin\]\] number 2: distribution must be text, not 3"),
        ("format = 1\n[[plugin]]\ndistribution = '--index-url=x'", "no distribution is called '--index-url=x': letters, "),
        ("format = 1\n[[plugin]]\ndistribution = 'x y'", "no distribution is called 'x y'"),
        ("format = 1\n[[plugin]]\ndistribution = 'x_'", "no distribution is called 'x_'"),
        ("format = 1\n[[plugin]]\ndistribution = 'ganzoo\u0131'", "no distribution is called"),
        ('format = 1\n[[plugin]]\ndistribution = "x\\n"', r"no distribution is called 'x\\n'"),
        (PLUGIN + "generators = ['a']", r"\[\[plugin\]\] x has an unknown key 'generators'\. Did you mean 'generator'\?"),
        (PLUGIN + "generator = 'a'", "x: generator must be a list of names"),
        (PLUGIN + "generator = [1]", "x: generator must be a list of names"),
        (PLUGIN + "homepage = 1", "x: homepage must be text, not 1"),
        (PLUGIN + "summary = 1", "x: summary must be text, not 1"),
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
    [finding] = [found for found in check_catalog(path) if found.grade == "broken"]
    assert finding.message in str(caught.value)  # one rule, for those who read and those who check


def test_an_absent_catalogue(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the catalogue .*gone\.toml cannot be read: No such file"):
        load_catalog(tmp_path / "gone.toml")
    with pytest.raises(UsageError, match="cannot be read"):
        check_catalog(tmp_path / "gone.toml")


FINE = PLUGIN + "summary = 'One line'\n"


@pytest.mark.parametrize(
    ("text", "grade", "message"),
    [
        (PLUGIN, "wrong", "[[plugin]] x: it has no summary: write one line on what it offers"),
        (PLUGIN + "summary = ' '", "wrong", "[[plugin]] x: it has no summary: write one line on what it offers"),
        (PLUGIN + 'summary = "a\\nb"', "wrong", "[[plugin]] x: its summary has 2 lines: write one"),
        (FINE + "homepage = 'ftp://x'", "wrong", "[[plugin]] x: homepage 'ftp://x' is no address: write https://..."),
        (FINE + "homepage = 'https://x y'", "wrong", "[[plugin]] x: homepage 'https://x y' is no address: write https://..."),
        (FINE + "loss = ['a', 'b', 'a']", "wrong", "[[plugin]] x: loss 'a' is listed 2 times"),
        (
            FINE + "loss = ['A b']",
            "wrong",
            "[[plugin]] x: loss: component name 'A b' must be lower case letters, digits, '-', '.' or '+'",
        ),
        (
            FINE + "loss = ['none']",
            "wrong",
            "[[plugin]] x: loss: component name 'none' is reserved: on the command line it means no such part",
        ),
        (
            FINE + "loss = ['a']\n[[plugin]]\ndistribution = 'X'\nsummary = 's'\nloss = ['a']",
            "wrong",
            "[[plugin]] X: it is listed already: join the two",
        ),
        (
            FINE + "loss = ['a']\n[[plugin]]\ndistribution = 'y'\nsummary = 's'\nloss = ['a']\ngame = ['a']",
            "doubtful",
            "loss 'a' is offered by x and y: who has them must write x/a or y/a",
        ),
        *(
            (
                FINE + f"{kind} = ['abc']\ngenerator = ['abd']\n[default]\n{key} = 'abd'",
                "wrong",
                f"[default] {key}: no [[plugin]] offers the {kind} 'abd'. Did you mean 'abc'?",
            )
            for key, kind in {"data": "dataset", "loss": "loss", "game": "game", "recipe.image": "recipe"}.items()
        ),
        (
            FINE + "dataset = ['d']\n[default]\ndata = 'y/d:res=3'",
            "wrong",
            "[default] data: no [[plugin]] offers the dataset 'y/d'.",
        ),
    ],
)
def test_what_misleads_is_found_and_does_not_stop_anybody(text: str, grade: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    [finding] = check_catalog(path)
    assert (finding.grade, finding.message) == (grade, message)
    load_catalog(path)


@pytest.mark.parametrize(
    "text",
    [
        "format = 1",
        FINE,  # it may offer hooks or commands alone
        FINE + "homepage = 'http://example.org/a?b#c'",
        FINE + "dataset = ['d']\nrecipe = ['r']\n[default]\ndata = 'd:res=[3, 4]'\nrecipe.odd = 'X/r'",
    ],
)
def test_nothing_to_find(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    assert check_catalog(path) == []


def test_everything_is_found_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        "formt = 1\n[default]\ndate = 'x'\nloss = 3\nrecipe = 'r'\n[[plugin]]\nloss = 'a'\ngenrator = []\n"
        "[[plugin]]\ndistribution = 'x'\nsummary = 3\nhomepage = ''\ngame = ['G', 4]\n"
    )
    assert [finding.message.partition(": ")[0] for finding in check_catalog(path)] == [
        "format is missing",
        "the file has an unknown key 'formt'. Did you mean 'format'?",
        "[[plugin]] number 1",
        "[[plugin]] number 1 has an unknown key 'genrator'. Did you mean 'generator'?",
        "[[plugin]] number 1",
        "[[plugin]] number 1",
        "[[plugin]] x",
        "[[plugin]] x",
        "[[plugin]] x",
        "[[plugin]] x",
        "[default] has an unknown key 'date'. Did you mean 'data'?",
        "[default] recipe must be a table",
        "[default] loss must be text, not 3",
    ]


def test_a_newer_format_is_not_judged(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("format = 2\nnew = 1\n")
    assert len(check_catalog(path)) == 1
