from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest

from ganzoo.catalog import check_catalog
from ganzoo.cli.catalog import command, entry_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from subprocess import CompletedProcess

    from conftest import Site

    Here = Callable[..., CompletedProcess[str]]

ROOT = Path(__file__).parents[2]
OURS = tomllib.loads((ROOT / "registry.toml").read_text())["plugin"]
DOUBTFUL = (
    "[[plugin]]\ndistribution = 'x'\nsummary = 's'\nloss = ['a']\n[[plugin]]\ndistribution = 'y'\nsummary = 's'\nloss = ['a']\n"
)
WATCHES = "from ganzoo.plugin import hookimpl\n@hookimpl\ndef ganzoo_run_tick(stats): pass\n"


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return tmp_path / "mine.toml"


def test_every_sub_command_has_its_help(ganzoo_here: Here) -> None:
    assert isinstance(command, click.Group)
    shown = ganzoo_here("catalog")
    assert shown.returncode == 0
    for name, sub in command.commands.items():
        assert sub.help
        assert f"  {name}  " in shown.stdout


def test_our_catalogue_is_right(ganzoo_here: Here) -> None:
    for args in ((), (str(ROOT / "registry.toml"),)):
        done = ganzoo_here("catalog", "check", *args)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.endswith("registry.toml: 0 problems, 0 warnings\n")


def test_a_line_for_each_problem(mine: Path, ganzoo_here: Here) -> None:
    mine.write_text("format = 1\n[default]\ngame = 'x'\n" + DOUBTFUL + "metric = 'm'\n")
    done = ganzoo_here("catalog", "check", str(mine))
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines() == [
        "[[plugin]] y: metric must be a list of names",
        "[default] game: no [[plugin]] offers the game 'x'.",
        "warning: loss 'a' is offered by x and y: who has them must write x/a or y/a",
        f"{mine}: 2 problems, 1 warning",
    ]
    told = json.loads(ganzoo_here("catalog", "check", str(mine), "--json").stdout)
    assert told["catalogue"] == str(mine)
    assert (len(told["problems"]), len(told["warnings"])) == (2, 1)


def test_a_warning_is_no_failure(mine: Path, ganzoo_here: Here) -> None:
    mine.write_text("format = 1\n" + DOUBTFUL)
    done = ganzoo_here("catalog", "check", GANZOO_CATALOG=str(mine))
    assert done.returncode == 0
    assert done.stdout.endswith(f"{mine}: 0 problems, 1 warning\n")


@pytest.mark.parametrize("broken", [b"format = ", b"\xff"])
def test_what_is_no_toml_is_one_problem(broken: bytes, mine: Path, ganzoo_here: Here) -> None:
    mine.write_bytes(broken)
    done = ganzoo_here("catalog", "check", str(mine))
    assert done.returncode == 1
    assert done.stdout.endswith("mine.toml: 1 problem, 0 warnings\n")


def test_no_file(tmp_path: Path, ganzoo_here: Here) -> None:
    for path in (tmp_path, tmp_path / "gone.toml"):
        done = ganzoo_here("catalog", "check", str(path))
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"ganzoo: the catalogue {path} cannot be read: ")


# ---- the entry of an installed plugin


def installed(site: Site, dist: str, more: str, *components: tuple[str, str]) -> None:
    """A healthy plugin whose metadata has these lines too."""
    site.healthy(dist, *components)
    with Path(site.root, f"{dist.replace('-', '_')}-1.0.dist-info", "METADATA").open("r+") as file:
        head, words = file.read().split("\n\n", 1)
        file.seek(0)
        file.write(f"{head}\n{more}\n{words}")


def written(done: CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    [table] = tomllib.loads(done.stdout)["plugin"]
    return dict(table)


@pytest.mark.parametrize("ours", OURS, ids=lambda table: table["distribution"])
def test_the_entry_of_our_plugins(ours: dict[str, Any]) -> None:
    table = entry_of(ours["distribution"])
    assert table.pop("summary")  # that of the catalogue is written for the catalogue
    assert list(table.items()) == [(key, value) for key, value in ours.items() if key != "summary"]


def test_an_entry_is_ready_to_paste(site: Site, mine: Path, ganzoo_here: Here) -> None:
    urls = "Project-URL: Source, https://example.org/source\nProject-URL: homepage, https://example.org\n"
    names = [f"a-name-of-some-length-{n}" for n in range(9)]
    components = [("loss", "b"), ("loss", "a"), ("generator", "c"), *(("encoder", name) for name in reversed(names))]
    installed(site, "Third_Party", f'Summary: Some "words"\n{urls}', *components)
    done = ganzoo_here("catalog", "entry", "third-party")
    assert list(written(done).items()) == [
        ("distribution", "Third_Party"),
        ("summary", 'Some "words"'),
        ("homepage", "https://example.org"),
        ("generator", ["c"]),
        ("loss", ["a", "b"]),
        ("encoder", names),
    ]
    assert done.stderr == ""
    assert max(map(len, done.stdout.splitlines())) <= 128
    mine.write_text("format = 1\n" + done.stdout)
    assert check_catalog(mine) == []


def test_the_first_address_where_none_is_called_homepage(site: Site, ganzoo_here: Here) -> None:
    installed(
        site, "third", "Summary: s\nProject-URL: Code, https://a.example\nProject-URL: Docs, https://b.example\n", ("loss", "a")
    )
    assert written(ganzoo_here("catalog", "entry", "third"))["homepage"] == "https://a.example"


def test_an_entry_without_a_summary_asks_for_one(site: Site, ganzoo_here: Here) -> None:
    site.healthy("third", ("loss", "a"))
    done = ganzoo_here("catalog", "entry", "third")
    assert written(done) == {"distribution": "third", "summary": "", "loss": ["a"]}
    assert "no summary" in done.stderr


def test_hooks_or_commands_are_an_offer_too(site: Site, ganzoo_here: Here) -> None:
    site.add("watching", WATCHES)
    site.add("commanding", "", group="ganzoo.commands", entry="go = MODULE:go")
    for dist in ("watching", "commanding"):
        assert written(ganzoo_here("catalog", "entry", dist)) == {"distribution": dist, "summary": ""}


@pytest.mark.parametrize(
    ("dist", "env", "message"),
    [
        ("ganzoo-cor", {}, "no distribution 'ganzoo-cor' is installed. Did you mean 'ganzoo-core'?"),
        ("click", {}, "offers nothing to ganzoo: no component, no observer of runs, no command"),
        ("empty", {}, "empty 1.0 offers nothing to ganzoo"),
        ("broken", {}, "broken could not be loaded: see 'ganzoo doctor'"),
        ("Third", {"GANZOO_PLUGINS": "empty"}, "Third is left out by GANZOO_PLUGINS: name it there"),
    ],
)
def test_no_entry(dist: str, env: dict[str, str], message: str, site: Site, ganzoo_here: Here) -> None:
    site.healthy("third", ("loss", "a"))
    site.add("empty", "from ganzoo.plugin import hookimpl\n@hookimpl\ndef ganzoo_components(): return []\n")
    site.add("broken", "raise ValueError\n")
    done = ganzoo_here("catalog", "entry", dist, **env)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr.splitlines()[-1]
