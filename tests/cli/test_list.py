from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ganzoo.catalog import get_catalog

if TYPE_CHECKING:
    from conftest import Ganzoo, Site

FIELDS = {"kind", "name", "plugin", "version", "summary", "paper", "installed"}


@pytest.fixture
def some(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    site.healthy("ganzoo-a", ("generator", "net"), ("loss", "r1"), ("regularizer", "r1"), ("regularizer", "r2"))
    monkeypatch.setenv("GANZOO_PLUGINS", "ganzoo-a")
    return site


@pytest.mark.usefixtures("some")
def test_json(ganzoo: Ganzoo) -> None:
    rows = json.loads(ganzoo("list", "--json").stdout)
    assert all(set(row) >= FIELDS and row["installed"] is True for row in rows)
    [net] = [row for row in rows if row["name"] == "net"]
    assert net == {
        "kind": "generator",
        "name": "net",
        "plugin": "ganzoo-a",
        "version": "1.0",
        "summary": "generated",
        "paper": None,
        "installed": True,
    }
    assert rows[0] == net  # by kind: generators first


@pytest.mark.usefixtures("some")
@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("regularizer",), ["regularizer r1", "regularizer r2"]),
        (("regularizers", "*2"), ["regularizer r2"]),
        (("r1*",), ["loss r1", "regularizer r1"]),
        (("*a/r?",), ["loss r1", "regularizer r1", "regularizer r2"]),
        (("loss", "ganzoo-core/*"), []),
    ],
)
def test_filters(args: tuple[str, ...], expected: list[str], ganzoo: Ganzoo) -> None:
    rows = json.loads(ganzoo("list", *args, "--json").stdout)
    assert [f"{row['kind']} {row['name']}" for row in rows] == expected
    text = ganzoo("list", *args)
    assert text.returncode == 0
    assert [" ".join(line.split()[:2]) for line in text.stdout.splitlines()] == expected
    assert ("nothing matches" in text.stderr) is (not expected)


@pytest.mark.usefixtures("some")
def test_all_adds_the_catalogue(ganzoo: Ganzoo) -> None:
    rows = json.loads(ganzoo("list", "loss", "--all", "--json").stdout)
    assert {row["name"]: row["installed"] for row in rows} == {
        "r1": True,
        **dict.fromkeys(get_catalog().names("loss"), False),
    }
    assert {"minimax", "hinge", "relativistic"} <= {row["name"] for row in rows}
    [hinge] = [row for row in rows if row["name"] == "hinge"]
    assert (hinge["plugin"], hinge["version"], hinge["summary"]) == ("ganzoo-objectives", None, None)
    core = json.loads(ganzoo("list", "dataset", "ring", "--all", "--json").stdout)
    assert [row["installed"] for row in core] == [True]  # what is installed is not listed again
    assert "not installed: pip install ganzoo-objectives" in ganzoo("list", "loss", "--all").stdout


@pytest.mark.usefixtures("some")
def test_an_unknown_kind(ganzoo: Ganzoo) -> None:
    done = ganzoo("list", "lossess")
    assert done.returncode == 2
    assert "Did you mean 'loss'?" in done.stderr


def test_a_broken_catalogue_ends_all_only(some: Site, ganzoo: Ganzoo) -> None:
    broken = some.root / "broken.toml"
    broken.write_text("format = [")
    assert ganzoo("list", GANZOO_CATALOG=str(broken)).returncode == 0
    done = ganzoo("list", "--all", GANZOO_CATALOG=str(broken))
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1


def test_names_that_clash_are_written_as_they_are_typed(site: Site, ganzoo: Ganzoo) -> None:
    site.healthy("ganzoo-a", ("encoder", "same"), ("encoder", "other"))
    site.healthy("ganzoo-b", ("encoder", "same"))
    lines = [line.split()[1] for line in ganzoo("list", "encoder", GANZOO_PLUGINS="ganzoo-a,ganzoo-b").stdout.splitlines()]
    assert lines == ["other", "ganzoo-a/same", "ganzoo-b/same"]


def test_a_summary_is_shown_as_it_is(site: Site, ganzoo: Ganzoo) -> None:
    site.add(
        "ganzoo-a",
        "from ganzoo.plugin import Component, hookimpl\n@hookimpl\ndef ganzoo_components():\n"
        "    yield Component('encoder', 'x', 'json:dumps', summary='over [bold]two[/bold]\\n lines')\n",
    )
    assert (
        ganzoo("list", "encoder", GANZOO_PLUGINS="ganzoo-a").stdout == "encoder  x  ganzoo-a 1.0  over [bold]two[/bold] lines\n"
    )
    # On a terminal rich draws, and must not take the brackets for its own.
    program = f"{sys.executable} -m ganzoo list encoder"
    drawn = subprocess.run(["script", "-qec", program, "/dev/null"], capture_output=True, text=True, check=True)
    assert "[bold]" in drawn.stdout


def children_cpu(*command: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdout=subprocess.PIPE, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("each", [1, 5])
def test_list_with_fifty_plugins_is_fast(each: int, site: Site) -> None:
    for n in range(50):
        site.healthy(f"ganzoo-third-{n:02}", *(("encoder", f"e{n}-{k}") for k in range(each)))
    listing = (sys.executable, "-m", "ganzoo", "list")
    shown = subprocess.run(listing, capture_output=True, text=True, check=True)
    assert sum("ganzoo-third-" in line for line in shown.stdout.splitlines()) == 50 * each
    # 60 ms and 1 ms a plugin where the imports take 72 ms. Each beside its own imports: the machine may be shared.
    imports = (sys.executable, "-c", "import click, pluggy, importlib.metadata")
    ratio = statistics.median(children_cpu(*listing) / children_cpu(*imports) for _ in range(9))
    assert ratio <= 1.5 + (60 + 50) / 72, f"{ratio:.2f} times its imports"
    imported = subprocess.run((sys.executable, "-X", "importtime", *listing[1:]), capture_output=True, text=True, check=True)
    modules = {line.rpartition("|")[2].strip() for line in imported.stderr.splitlines()}
    assert "ganzoo.registry" in modules
    assert not {"torch", "timm", "numpy", "rich"} & modules


FITTING = """
from ganzoo.plugin import Component, hookimpl

def part(kind, name, **declared):
    return Component(kind, name, "m:C", **declared)

@hookimpl
def ganzoo_components():
    yield part("generator", "wavy", modality={"signal"})
    yield part("generator", "styled", provides={"style"}, modality={"image"}, resolutions="power of two from 64")
    yield part("discriminator", "pictures", modality={"image"})
    yield part("discriminator", "small", modality={"image"}, resolutions="any to 32")
    yield part("discriminator", "headed", provides={"head"}, labels="required")
    yield part("regularizer", "path", needs={"style"})
    yield part("regularizer", "inserted", needs={"head"})
    yield part("regularizer", "plain", labels="refused")
"""


def _fitting(ganzoo: Ganzoo, *args: str) -> set[str]:
    return {f"{row['kind']} {row['name']}" for row in json.loads(ganzoo("list", *args, "--json").stdout)}


def test_what_goes_with_a_generator_follows_from_what_is_declared(
    site: Site, monkeypatch: pytest.MonkeyPatch, ganzoo: Ganzoo
) -> None:
    site.add("ganzoo-a", FITTING)
    monkeypatch.setenv("GANZOO_PLUGINS", "ganzoo-a")
    assert _fitting(ganzoo, "--fits", "gen=styled") == {
        "discriminator pictures",
        "discriminator headed",
        "regularizer path",
        "regularizer inserted",
        "regularizer plain",
    }
    assert _fitting(ganzoo, "--fits", "gen=wavy") == {"discriminator headed", "regularizer inserted", "regularizer plain"}
    assert _fitting(ganzoo, "regularizer", "--fits", "disc=pictures") == {"regularizer path", "regularizer plain"}
    assert _fitting(ganzoo, "--fits", "disc=headed", "--fits", "gen=wavy") == {"regularizer inserted"}
    assert _fitting(ganzoo, "discriminator", "--fits", "reg=plain") == {"discriminator pictures", "discriminator small"}


@pytest.mark.parametrize(
    ("fits", "said"),
    [
        (["gen"], "write KEY=NAME"),
        (["generator=dcgan"], "write KEY=NAME with a key of gen"),
        (["gen=dcgam"], "Did you mean 'dcgan'"),
        (["data=ring", "gen=dcgan"], "do not go together"),
    ],
)
def test_fits_refuses_what_it_cannot_answer(fits: list[str], said: str, ganzoo: Ganzoo) -> None:
    done = ganzoo("list", *[word for text in fits for word in ("--fits", text)])
    assert done.returncode == 2
    assert said in done.stderr
