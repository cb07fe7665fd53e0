"""The wheels of core and plugins: what is in them, what they ask for, and that they work without the checkout."""

from __future__ import annotations

import json
import re
import tomllib
import zipfile
from collections.abc import Callable
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

from .conftest import NAMES, OBSERVERS, PROJECTS, ROOT, execute

# The default recipe, whose TOML and images come from wheels too, made small.
TINY = ["--set", "gen.channels=4", "--set", "disc.channels=4", "--res", "8", "--batch", "8", "--kimg", "0.04"]
MOST_BYTES = 12_000_000  # of the embedded data set

# The bare name belongs to somebody else's package: no text may tell anybody to install it.
BARE = re.compile(r"\bganzoo(?![\w-]|\.\w|/\w|_)")
INSTALLS = re.compile(r"""\bpip3? +(?:install|download|wheel)\b(?P<what>(?: +(?:'[^'\n]*'|"[^"\n]*"|[^\s'"`;&|#()]+))*)""")
REQUIREMENT = re.compile(r"""["']ganzoo(?: *\[[\w, -]*\])? *(?:[<>=!~]=?[^"']*)?["']""")


@pytest.fixture(scope="module")
def outside(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Runs a program of the new environment in an empty directory; returns what it printed."""
    place = tmp_path_factory.mktemp("elsewhere")

    def call(program: str, *args: str | Path) -> str:
        return execute([python.with_name(program), *args], place)

    return call


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_bytes(archive.read(name))


# ---- what is in them


@pytest.mark.parametrize(("name", "project"), list(zip(NAMES, PROJECTS, strict=True)), ids=NAMES)
def test_a_wheel_holds_every_file_of_its_package(name: str, project: Path, wheels: dict[str, Path]) -> None:
    source = project / "src" if (project / "src").is_dir() else project
    (package,) = (path.parent for path in source.glob("ganzoo*/__init__.py"))
    written = {p.relative_to(source).as_posix() for p in package.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    extra = {"ganzoo/registry.toml"} if project == ROOT else set()
    with zipfile.ZipFile(wheels[name]) as archive:
        members = archive.namelist()
    held = {member for member in members if ".dist-info/" not in member}
    assert held == written | extra
    assert any(member.endswith(".dist-info/licenses/LICENSE") for member in members)
    assert f"{package.name}/py.typed" in held


@pytest.mark.parametrize("name", NAMES)
def test_a_wheel_says_what_it_is_and_asks_for_nothing_called_ganzoo(name: str, wheels: dict[str, Path]) -> None:
    about = metadata(wheels[name])
    assert about["Name"] == name
    assert about["License-Expression"]
    assert about["Summary"]
    needs = [re.split(r"[\s;<>=!~\[(]", need)[0].lower().replace("_", "-") for need in about.get_all("Requires-Dist", [])]
    assert "ganzoo" not in needs
    assert name == "ganzoo-core" or "ganzoo-core" in needs
    assert not bare_installs(about.as_string())


def test_the_embedded_data_set_is_small_enough_to_download(wheels: dict[str, Path]) -> None:
    assert wheels["ganzoo-emoji"].stat().st_size <= MOST_BYTES


def test_the_extra_zoo_is_every_first_party_plugin_that_offers_parts(wheels: dict[str, Path]) -> None:
    needs = metadata(wheels["ganzoo-core"]).get_all("Requires-Dist", [])

    def extra(name: str) -> set[str]:
        return {re.split(r"[\s;<>=]", need)[0] for need in needs if re.search(rf"extra == ['\"]{name}['\"]", need)}

    assert extra("zoo") == set(NAMES) - {"ganzoo-core"} - OBSERVERS
    assert all(extra(name.removeprefix("ganzoo-")) == {name} for name in OBSERVERS)


# ---- the bare name


def bare_installs(text: str) -> list[str]:
    """Lines that tell to install the bare name, or that require it."""
    told = [match[0] for match in INSTALLS.finditer(text) if BARE.search(match["what"])]
    return told + [match[0] for match in REQUIREMENT.finditer(text) if re.search(r"[<>=!~\[]", match[0])]


def test_nothing_here_tells_anybody_to_install_the_bare_name() -> None:
    bad = []
    for path in ROOT.rglob("*"):
        inside = path.relative_to(ROOT).parts
        skipped = {".git", ".venv", "runs", "dist", "build", "__pycache__"}.intersection(inside) or inside[0].endswith("_cache")
        if skipped or not path.is_file() or path.suffix in (".png", ".bin", ".webp", ".gz", ".safetensors", ".whl", ".pyc"):
            continue
        text = path.read_text("utf-8", errors="replace")
        bad += [f"{path.relative_to(ROOT)}: {line}" for line in bare_installs(text)]
    assert not bad


def test_no_project_depends_on_the_bare_name() -> None:
    for project in PROJECTS:
        table = tomllib.loads((project / "pyproject.toml").read_text())
        extras = table["project"].get("optional-dependencies", {}).values()
        needs = [*table["project"].get("dependencies", []), *(need for extra in extras for need in extra)]
        needs += table["build-system"]["requires"]
        assert "ganzoo" not in [re.split(r"[\s;<>=!~\[(]", need)[0].lower() for need in needs]


@pytest.mark.parametrize(
    ("text", "bad"),
    [
        ("pip install BARE", True),
        ("python -m pip install --upgrade 'BARE[zoo]'", True),
        ("pip install ganzoo-core BARE", True),
        ("pip install BARE==1.0.", True),
        ('dependencies = ["BARE>=0.1"]', True),
        ("pip install 'ganzoo-core[zoo]'", False),
        ("pip install ganzoo-biggan", False),
        ("pip install . ./plugins/ganzoo-dcgan", False),
        ('assert "pip install ganzoo-objectives" in ganzoo("list")', False),
        ("pip install dist/ganzoo_core-0.1.0-py3-none-any.whl", False),
        ("ganzoo train", False),
        ('dependencies = ["ganzoo-core>=0.1"]', False),
    ],
)
def test_what_counts_as_the_bare_name(text: str, bad: bool) -> None:
    assert bool(bare_installs(text.replace("BARE", "ganzoo"))) == bad  # so that this file does not say it either


# ---- they work


def test_what_is_imported_is_what_was_installed(python: Path, outside: Callable[..., str]) -> None:
    code = (
        "import sys, json, ganzoo, ganzoo.catalog as c, ganzoo_dcgan, ganzoo_emoji, ganzoo_objectives\n"
        "modules = (ganzoo, ganzoo_dcgan, ganzoo_emoji, ganzoo_objectives)\n"
        "print(json.dumps({'files': [m.__file__ for m in modules], 'path': sys.path, 'catalogue': str(c._own()),"
        " 'offers': [o.distribution for o in c.get_catalog().offers]}))"
    )
    seen = json.loads(outside("python", "-c", code))
    home = python.parents[1]
    assert all(Path(file).is_relative_to(home) for file in seen["files"])
    assert Path(seen["catalogue"]).is_relative_to(home)
    assert Path(seen["catalogue"]).is_file()
    assert set(NAMES) <= set(seen["offers"])
    assert not [entry for entry in seen["path"] if entry and Path(entry).is_relative_to(ROOT)]


def test_the_command_lists_every_component(outside: Callable[..., str]) -> None:
    rows = json.loads(outside("ganzoo", "list", "--json"))
    assert {row["plugin"] for row in rows} == set(NAMES) - OBSERVERS
    catalogue = tomllib.loads((ROOT / "registry.toml").read_text())
    offered = {
        (plugin["distribution"], kind, name)
        for plugin in catalogue["plugin"]
        for kind, names in plugin.items()
        if isinstance(names, list)
        for name in names
    }
    assert {(row["plugin"], row["kind"], row["name"]) for row in rows} == offered


AFTERWARDS = """
import json
from pathlib import Path
import ganzoo
from ganzoo.cli.group import run

assert run(["sample", "run", "--n", "6", "--out", "sheet.png"]) == 0
assert run(["export", "run", "--out", "model"]) == 0
model = ganzoo.load("model")
samples = model.sample(5, seed=1)
print(json.dumps({
    "rounds": json.loads(Path("run/log.jsonl").read_text().splitlines()[-1])["round"],
    "shape": samples.shape,
    "finite": bool(samples.isfinite().all()),
    "same": bool((samples == ganzoo.load("run").sample(5, seed=1)).all()),
    "sheet": Path("sheet.png").read_bytes()[:4].hex(),
    "classes": len(model.data.classes),
    "model": sorted(path.name for path in Path("model").iterdir()),
}))
"""


def test_training_sampling_and_export(outside: Callable[..., str]) -> None:
    outside("ganzoo", "train", *TINY, "--device", "cpu", "--out", "run")
    seen = json.loads(outside("python", "-c", AFTERWARDS).splitlines()[-1])
    assert seen == {
        "rounds": 5,
        "shape": [5, 3, 8, 8],
        "finite": True,
        "same": True,
        "sheet": b"\x89PNG".hex(),
        "classes": 9,
        "model": ["README.md", "config.json", "generator.safetensors"],
    }
