from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ganzoo as library
from ganzoo import registry
from ganzoo.errors import GanzooError, PluginError, UsageError
from ganzoo.plugin import KINDS, DataSpec, Part

if TYPE_CHECKING:
    from conftest import Ganzoo, Site

START = "from ganzoo.plugin import Component, hookimpl\nganzoo_api = 1\n"
OFFER = "    yield Component('generator', 'lame', 'json:dumps')\n"
HOOK = f"@hookimpl\ndef ganzoo_components():\n{OFFER}"
NAMES = ("bad-plugin", "ganzoo-a", "ganzoo-b", "ganzoo-healthy")

GOOD = START + HOOK


def giving(component: str) -> str:
    """An entry module that offers one component in order and then this."""
    return GOOD + f"    yield Component({component})\n"


# What a bad plugin does, its entry module, and what its problem says.
BAD = {
    "fails": ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'"),
    "syntax": ("def ganzoo_components(:\n", "SyntaxError"),
    "exits": ("import sys\nsys.exit(3)\n", "SystemExit: 3"),
    "base-exception": ("raise BaseException('gone')\n", "BaseException: gone"),
    "newer-api": (GOOD + "ganzoo_api = 2\n", "asks for plugin API 2, this ganzoo has 1: pip install --upgrade ganzoo-core"),
    "odd-api": (GOOD + "ganzoo_api = '1'\n", "plugin API 1"),
    "no-hook": (GOOD.replace("@hookimpl", ""), "has no hook: decorate ganzoo_components with ganzoo.plugin.hookimpl"),
    "wrong-signature": (GOOD.replace("()", "(more)", 1), "hook of another signature or name: .*ganzoo_components.*more"),
    "unknown-hook": (GOOD + "@hookimpl\ndef ganzoo_run_strat(): pass\n", "unknown hook 'ganzoo_run_strat'"),
    "raises-half-way": (GOOD + "    raise RuntimeError('half\\n  way')\n", "RuntimeError: half way"),
    "exits-half-way": (GOOD + "    raise SystemExit\n", "SystemExit"),
    "junk": (GOOD + "    yield 'dcgan'\n", "gave 'dcgan', which is no Component"),
    "not-iterable": (START + "@hookimpl\ndef ganzoo_components(): return 7\n", "TypeError: 'int' object is not iterable"),
    "unknown-kind": (giving("'generatr', 'b', 'json:dumps'"), "unknown kind 'generatr'. Did you mean 'generator'?"),
    "odd-kind": (giving("['x'], 'b', 'json:dumps'"), "of unknown kind"),
    "bad-name": (giving("'loss', 'A B', 'json:dumps'"), "ValueError: component name 'A B'"),
    "bad-target": (giving("'loss', 'b', 'json'"), "target 'json' must be 'module:attribute'"),
    "odd-summary": (giving("'loss', 'b', 'json:dumps', summary=None"), "loss 'b': None must be text"),
    "twice": (GOOD + OFFER, "generator 'lame' is offered twice"),
}


@pytest.fixture
def healthy(site: Site) -> Site:
    site.healthy("ganzoo-healthy", ("generator", "fit"), ("loss", "fine"))
    return site


def problems_of(found: registry.Registry) -> list[registry.Problem]:
    return [problem for problem in found.problems if problem.distribution in NAMES]


def names_of(found: registry.Registry, *dists: str) -> list[str]:
    return [entry.qualified for entry in found.entries if entry.dist in dists]


@pytest.mark.parametrize("case", BAD)
def test_a_bad_plugin_costs_itself_alone(case: str, healthy: Site) -> None:
    body, message = BAD[case]
    healthy.add("bad-plugin", body)
    found = healthy.discover()
    [problem] = problems_of(found)
    assert problem.distribution == "bad-plugin"
    assert re.search(message, problem.message)
    assert "\n" not in problem.message
    assert "Traceback (most recent call last)" in problem.traceback
    assert names_of(found, *NAMES) == ["ganzoo-healthy/fit", "ganzoo-healthy/fine"]  # whole, or not at all
    assert "bad-plugin" not in [plugin.distribution for plugin in found.plugins]


def test_a_keyboard_interrupt_is_the_users(healthy: Site) -> None:
    healthy.add("bad-plugin", "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        healthy.discover()


def test_all_bad_plugins_at_once_leave_list_whole(healthy: Site, ganzoo: Ganzoo) -> None:
    for case, (body, _) in BAD.items():
        healthy.add(f"bad-{case}", body)
    healthy.add(
        "bad-prints",
        START
        + "print('hello from import')\n@hookimpl\ndef ganzoo_components():\n    print('hello from hook')\n    return []\n",
    )
    healthy.add("bad-heavy", START + "import numpy\n" + HOOK.replace("lame", "heavy"))
    done = ganzoo("list", "--json")
    assert done.returncode == 0
    rows = json.loads(done.stdout)  # nothing that a plugin printed is in it
    assert {"ganzoo-healthy", "ganzoo-core", "bad-heavy"} <= {row["plugin"] for row in rows}
    assert "lame" not in {row["name"] for row in rows}
    assert "hello from import" in done.stderr
    assert "hello from hook" in done.stderr
    for case in (*BAD, "heavy"):
        [line] = [line for line in done.stderr.splitlines() if line.startswith(f"ganzoo: plugin bad-{case}: ")]
        assert line.endswith("('ganzoo doctor' shows the trace)") is (case != "heavy")


@pytest.mark.parametrize("heavy", ["torch", "numpy"])
def test_a_heavy_import_at_load_is_named_and_works(heavy: str, healthy: Site) -> None:
    # A stand-in for torch, which takes seconds: what counts is the name in sys.modules.
    files = {"torch.py": ""} if heavy == "torch" else None
    healthy.add("bad-plugin", f"import {heavy}\n{START}{HOOK}", files=files)
    code = "import ganzoo.registry as r; f = r.discover(); print([p.message for p in f.problems], [e.name for e in f.entries])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"it imports {heavy} when it is loaded" in done.stdout
    assert "'lame'" in done.stdout


def test_a_clash_has_no_winner_and_costs_nothing_else(site: Site) -> None:
    site.healthy("ganzoo-a", ("generator", "same"), ("generator", "only-a"))
    site.healthy("ganzoo-b", ("generator", "same"), ("loss", "same"), target="json:loads")
    found = site.discover()
    assert [problem.message for problem in problems_of(found)] == [
        "generator 'same' is also offered by ganzoo-b: write ganzoo-a/same for this one",
        "generator 'same' is also offered by ganzoo-a: write ganzoo-b/same for this one",
    ]
    with pytest.raises(UsageError, match=r"^generator 'same' is offered by 2 plugins: write ganzoo-a/same or ganzoo-b/same$"):
        found.find("generator", "same")
    assert found.load(found.find("generator", "ganzoo-a/same")) is json.dumps
    assert found.load(found.find("generator", "Ganzoo_B/same")) is json.loads
    assert found.find("generator", "only-a").dist == "ganzoo-a"
    assert found.find("loss", "same").dist == "ganzoo-b"


def test_one_distribution_twice_on_the_path_is_one(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site.healthy("ganzoo-a", ("generator", "same"))
    again = tmp_path / "again"
    shutil.copytree(site.root, again)
    shutil.move(again / "ganzoo_a-1.0.dist-info", again / "ganzoo_a-2.0.dist-info")
    (again / "ganzoo_a-2.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: Ganzoo.A\nVersion: 2.0\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(again)])
    found = site.discover()
    assert problems_of(found) == []
    assert found.find("generator", "same").version == "1.0"


def test_broken_metadata_costs_that_distribution_alone(healthy: Site) -> None:
    info = healthy.root / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ganzoo]\nthis is no entry point\n")
    nameless = healthy.root / "nameless-1.0.dist-info"
    nameless.mkdir()
    (nameless / "entry_points.txt").write_text("[ganzoo]\nmain = json\n")
    undecodable = healthy.root / "undecodable-1.0.dist-info"
    undecodable.mkdir()
    (undecodable / "entry_points.txt").write_bytes(b"[ganzoo]\nmain = \xff\n")
    found = healthy.discover()
    messages = [problem.message for problem in found.problems if problem.distribution == f"{healthy.root.name}/?"]
    assert len(messages) == 3
    assert names_of(found, "ganzoo-healthy") == ["ganzoo-healthy/fit", "ganzoo-healthy/fine"]


def test_two_entry_points_of_one_distribution_are_one_plugin(site: Site) -> None:
    site.add("ganzoo-a", START + HOOK, entry="one = MODULE\ntwo = MODULE")
    assert names_of(site.discover(), "ganzoo-a") == ["ganzoo-a/lame"]
    second = site.healthy("spare", ("loss", "x"))
    site.add("ganzoo-b", START + HOOK, entry=f"one = MODULE\ntwo = {second}\nthree = no_such_module")
    found = site.discover()
    assert names_of(found, "ganzoo-b") == []
    assert problems_of(found)[0].message == "ModuleNotFoundError: No module named 'no_such_module'"


def test_an_entry_point_may_be_an_object(site: Site) -> None:
    method = "    @hookimpl\n    def ganzoo_components(self): yield Component('loss', 'x', 'json:dumps')\n"
    body = f"{START}class Plugin:\n{method}plugin = Plugin()\n"
    site.add("ganzoo-a", body, entry="main = MODULE:plugin")
    assert names_of(site.discover(), "ganzoo-a") == ["ganzoo-a/x"]


@pytest.mark.parametrize(
    ("setting", "expected", "left_out"),
    [
        (None, {"ganzoo-core", "ganzoo-a", "ganzoo-b"}, set()),
        ("", {"ganzoo-core"}, {"ganzoo-a", "ganzoo-b"}),
        ("ganzoo-b", {"ganzoo-core", "ganzoo-b"}, {"ganzoo-a"}),
        (" Ganzoo_A , ganzoo-b,", {"ganzoo-core", "ganzoo-a", "ganzoo-b"}, set()),
    ],
)
def test_ganzoo_plugins(
    setting: str | None, expected: set[str], left_out: set[str], site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.healthy("ganzoo-a", ("loss", "a"))
    site.healthy("ganzoo-b", ("loss", "b"))
    if setting is not None:
        monkeypatch.setenv("GANZOO_PLUGINS", setting)
    found = site.discover()
    loaded = {plugin.distribution for plugin in found.plugins}
    assert loaded & {"ganzoo-core", *NAMES} == expected
    assert setting is None or loaded == expected
    assert set(found.left_out) & set(NAMES) == left_out
    assert problems_of(found) == []


def test_ganzoo_plugins_names_what_is_not_there(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANZOO_PLUGINS", "ganzoo-misspelt")
    [problem] = site.discover().problems
    assert (problem.distribution, problem.message) == (
        "ganzoo-misspelt",
        "GANZOO_PLUGINS names it, but no plugin of that name is installed",
    )


@pytest.mark.parametrize(("setting", "code"), [("1", 1), ("0", 0), ("", 0)])
def test_ganzoo_strict(setting: str, code: int, healthy: Site, ganzoo: Ganzoo) -> None:
    healthy.add("bad-plugin", "raise ValueError('first')\n")
    healthy.add("bad-too", "raise ValueError('second')\n")
    done = ganzoo("list", GANZOO_STRICT=setting)
    assert done.returncode == code
    assert "ganzoo: plugin bad-plugin: ValueError: first" in done.stderr
    assert ("second" in done.stderr) is (code == 0)
    assert bool(done.stdout) is (code == 0)


# ---- looking up


@pytest.fixture
def found(site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> registry.Registry:
    site.add(
        "ganzoo-a",
        START + "@hookimpl\ndef ganzoo_components():\n"
        "    yield Component('generator', 'stylegan', 'json:dumps', aliases=('stylegan2',))\n"
        "    yield Component('loss', 'hinge', 'no_such_module:x')\n"
        "    yield Component('loss', 'number', 'math:pi')\n"
        "    yield Component('loss', 'nested', 'pathlib:Path.cwd')\n"
        "    yield Component('loss', 'absent', 'json:nothing')\n"
        "    yield Component('loss', 'exits', 'exits_at_import:x')\n"
        "    yield Component('recipe', 'good', 'recipes_here:good.toml')\n"
        "    yield Component('recipe', 'gone', 'recipes_here:gone.toml')\n"
        "    yield Component('recipe', 'broken', 'recipes_here:broken.toml')\n",
        files={"exits_at_import.py": "raise SystemExit(4)\n"},
    )
    package = site.root / "recipes_here"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "good.toml").write_text("gen = 'stylegan'\n[G]\nlr = 2e-4\n")
    (package / "broken.toml").write_text("gen = \n")
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(
        "format = 1\n[[plugin]]\ndistribution = 'ganzoo-biggan'\ngenerator = ['biggan']\n"
        "[[plugin]]\ndistribution = 'ganzoo-b'\nloss = ['left-out']\n[[plugin]]\ndistribution = 'bad-plugin'\nloss = ['lost']\n"
    )
    site.healthy("ganzoo-b", ("loss", "left-out"))
    site.add("bad-plugin", "raise ValueError\n")
    monkeypatch.setenv("GANZOO_CATALOG", str(catalog))
    monkeypatch.setenv("GANZOO_PLUGINS", "ganzoo-a, bad-plugin")
    return site.discover()


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("generator", "stylgan", r"^there is no generator 'stylgan'\. Did you mean 'stylegan'\? Installed: stylegan\.$"),
        ("generator", "bigan", r"Did you mean 'biggan'\?"),
        ("generator", "biggan", r"Installed: stylegan\. It is offered by ganzoo-biggan: pip install ganzoo-biggan$"),
        ("generators", "ganzoo-biggan/biggan", r"pip install ganzoo-biggan$"),
        ("generator", "stylegan2", r"The generator 'stylegan' is also known as 'stylegan2'\."),
        ("generator", "hinge", r"'hinge' is a loss\."),
        ("generator", "ganzoo-b/stylegan", r"^there is no generator 'ganzoo-b/stylegan'\."),
        ("loss", "left-out", r"It is offered by ganzoo-b, which GANZOO_PLUGINS leaves out\.$"),
        ("loss", "lost", r"It is offered by bad-plugin, which could not be loaded: see 'ganzoo doctor'\.$"),
        ("metric", "fid", r"^there is no metric 'fid'\. Did you mean 'fd'\? Installed: accuracy, "),
        ("encoder", "braille", r"^there is no encoder 'braille'\. Installed: none\.$"),
        ("generatro", "x", r"^there is no kind 'generatro'\. Did you mean 'generator'\? Kinds: generator, "),
    ],
)
def test_what_is_not_there_is_answered_with_what_is(kind: str, name: str, message: str, found: registry.Registry) -> None:
    with pytest.raises(UsageError) as caught:
        found.find(kind, name)
    assert re.search(message, str(caught.value)), str(caught.value)


def test_a_broken_catalogue_does_not_hide_the_error(found: registry.Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(os.environ["GANZOO_CATALOG"]).write_text("format = 1\nplugin = 3\n")
    with pytest.raises(UsageError, match=r"^there is no generator 'stylgan'.*Did you mean 'stylegan'.*catalogue .* is broken"):
        found.find("generator", "stylgan")


def test_many_names_are_cut_short(site: Site) -> None:
    site.healthy("ganzoo-a", *(("encoder", f"e{n:02}") for n in range(30)))
    with pytest.raises(UsageError, match=r"Installed: e00, .*e19\.\.\., all by 'ganzoo list'\.$"):
        site.discover().find("encoder", "zzz")


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("hinge", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("absent", "AttributeError: "),
        ("number", "TypeError: it is no class or function but float"),
        ("exits", "SystemExit: 4"),
    ],
)
def test_a_target_that_cannot_be_loaded(name: str, cause: str, found: registry.Registry) -> None:
    with pytest.raises(PluginError, match=rf"^loss '{name}' of ganzoo-a could not be loaded from \S+: {cause}"):
        found.load(found.find("loss", name))


def test_targets_and_recipes_are_loaded(found: registry.Registry) -> None:
    assert found.load(found.find("loss", "nested")) == Path.cwd
    assert found.load(found.find("recipe", "good")) == {"gen": "stylegan", "G": {"lr": 2e-4}}
    with pytest.raises(PluginError, match=r"recipe 'gone' .*FileNotFoundError"):
        found.load(found.find("recipe", "gone"))
    with pytest.raises(PluginError, match=r"recipe 'broken' .*TOMLDecodeError"):
        found.load(found.find("recipe", "broken"))


def test_select(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.healthy("ganzoo-a", ("loss", "r1"), ("regularizer", "r2"), ("regularizer", "r1"))
    monkeypatch.setenv("GANZOO_PLUGINS", "ganzoo-a")
    found = site.discover()
    assert [(e.kind, e.name) for e in found.select(pattern="r?")] == [
        ("loss", "r1"),
        ("regularizer", "r1"),
        ("regularizer", "r2"),
    ]
    assert [e.name for e in found.select("regularizers", "*1")] == ["r1"]
    assert {e.dist for e in found.select(pattern="ganzoo-c*/*")} == {"ganzoo-core"}
    assert [KINDS.index(e.kind) for e in found.select()] == sorted(KINDS.index(e.kind) for e in found.select())
    assert found.select("loss", "R1") == []


def test_observers_are_called_one_by_one(site: Site) -> None:
    hook = "@hookimpl\ndef ganzoo_run_tick(stats): stats['seen'].append('{}')\n"
    site.add("ganzoo-a", START + hook.format("a"))
    site.add("ganzoo-b", START + hook.format("b"))
    site.healthy("ganzoo-healthy", ("loss", "x"))
    observers = [pair for pair in site.discover().observers() if pair[0] in NAMES]
    assert [dist for dist, _ in observers] == ["ganzoo-a", "ganzoo-b"]
    seen: list[str] = []
    observers[1][1].ganzoo_run_tick(run=Path(), nimg=1, stats={"seen": seen})
    assert seen == ["b"]


# ---- building

PARTS = """
class Net:
    def __init__(self, data, *, width: int = 4, gamma: "float | str" = 1.0):
        self.data, self.width, self.gamma = data, width, gamma
        if width < 0: raise ValueError("width must not\\n be negative")
    @classmethod
    def auto(cls, data, batch): return {"gamma": float(data.channels * batch)}

def points(*, res: "tuple[int, int] | None" = None): return ("points", res)

from typing import Annotated
from ganzoo.plugin import Part
def smaller(*, data: Annotated[Part, "dataset"] = Part("ganzoo-a/points"), by: int = 2): return (data.build(), by, data)
"""


@pytest.fixture
def built(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.add(
        "ganzoo-a",
        START + PARTS + "@hookimpl\ndef ganzoo_components():\n"
        "    yield Component('generator', 'net', __name__ + ':Net')\n"
        "    yield Component('dataset', 'points', __name__ + ':points')\n"
        "    yield Component('dataset', 'smaller', __name__ + ':smaller')\n"
        "    yield Component('recipe', 'r', 'x:y.toml')\n",
    )
    monkeypatch.setenv("GANZOO_PLUGINS", "ganzoo-a")


DATA = DataSpec("image", (3, 8, 8))


@pytest.mark.usefixtures("built")
def test_create() -> None:
    net = library.create("generator", "net:width=8", DATA)
    assert (net.data, net.width, net.gamma) == (DATA, 8, 1.0)
    assert library.create("generator", "net:width=8", DATA, width="9").width == 9
    assert library.create("generator", "ganzoo-a/net", DATA, gamma="auto").gamma == 3 * 64
    assert library.create("dataset", "points:res=[2, 3]") == ("points", (2, 3))
    assert library.create("dataset", "smaller")[:2] == (("points", None), 2)
    found, by, part = library.create("dataset", "smaller:data=points(res=[4, 4]),by=3")
    assert (found, by, part.options) == (("points", (4, 4)), 3, {"res": (4, 4)})
    assert library.create("dataset", "smaller", data=None, by=5)[1] == 5


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize(
    ("kind", "name", "data", "error", "message"),
    [
        ("generator", "net", None, UsageError, "generator 'net' is built for data"),
        ("generator", "net:widht=3", DATA, UsageError, "Did you mean 'width'"),
        ("generator", "net:width=-1", DATA, PluginError, "failed while it was built: ValueError: width must not be negative"),
        ("recipe", "r", DATA, UsageError, "a recipe is not built alone"),
        ("game", "adversarial", DATA, UsageError, "a game is not built alone"),
        ("dataset", "smaller:data=pionts", None, UsageError, "there is no dataset 'pionts'. Did you mean 'points'"),
        ("dataset", "smaller:data=points(res=4)", None, UsageError, r"dataset 'points': option 'res' takes"),
    ],
)
def test_create_refuses(kind: str, name: str, data: DataSpec | None, error: type[GanzooError], message: str) -> None:
    with pytest.raises(error, match=message):
        library.create(kind, name, data)


@pytest.mark.usefixtures("built")
def test_parts_resolve_to_parts_that_can_be_written() -> None:
    found = registry.get_registry()
    options: dict[str, Any] = found.resolve(found.find("dataset", "smaller"), {})
    assert options["by"] == 2
    assert isinstance(options["data"], Part)
    assert (options["data"].name, options["data"].options) == ("ganzoo-a/points", {"res": None})


@pytest.mark.usefixtures("built")
def test_list_components_of_the_library() -> None:
    assert [entry.name for entry in library.list_components("generator")] == ["net"]
    assert {entry.kind for entry in library.list_components(pattern="ri*")} == {"dataset"}


def test_the_core_declares_what_can_be_loaded() -> None:
    found = registry.discover()
    own = [entry for entry in found.entries if entry.dist == registry.CORE]
    assert own
    for entry in own:
        assert entry.component.summary
        assert found.resolve(entry, {}, fill=False) == {}
