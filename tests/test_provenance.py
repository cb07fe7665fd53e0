"""Hashes of installed distributions, and what differs from what a run recorded."""

from __future__ import annotations

import hashlib
import importlib
import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ganzoo import provenance
from ganzoo.assembly import make_plan
from ganzoo.config import layer_from_dict
from ganzoo.errors import RunError
from ganzoo.registry import CORE, get_registry

if TYPE_CHECKING:
    from conftest import Site

BIG = 1_000_001


def fresh(distribution: str = "ganzoo-a") -> str | None:
    """Its digest, as a new process would find it."""
    importlib.invalidate_caches()
    provenance.digest.cache_clear()
    return provenance.digest(distribution)


def digest(distribution: str = "ganzoo-a") -> str:
    found = fresh(distribution)
    assert found is not None
    return found


def info(site: Site, dist: str = "ganzoo_a") -> Path:
    return next(site.root.glob(f"{dist}-*.dist-info"))


@pytest.fixture
def code(site: Site) -> Path:
    """A file of ganzoo-a, which has two."""
    site.add("ganzoo-a", "from ganzoo.plugin import hookimpl\n", files={"a_parts.py": "x = 1\n"})
    return site.root / "a_parts.py"


def test_it_is_a_hash_of_names_contents_and_sizes_in_order(site: Site) -> None:
    module = site.add("ganzoo-a", "one\n", files={"z_last.py": "three", "a_first.py": "", "Capital.py": "2"})
    files = {"Capital.py": b"2", "a_first.py": b"", f"{module}.py": b"one\n", "z_last.py": b"three"}
    whole = "".join(f"{name},{hashlib.sha256(files[name]).hexdigest()},{len(files[name])}\n" for name in sorted(files))
    assert digest() == hashlib.sha256(whole.encode()).hexdigest()[:16]


def test_an_edit_shows_and_what_is_not_its_own_does_not(site: Site, code: Path) -> None:
    before = digest()
    (site.root / "a_stranger.py").write_text("y = 2\n")
    assert digest() == before
    code.write_text("x = 2\n")
    edited = digest()
    code.unlink()
    missing = digest()
    assert len({before, edited, missing}) == 3
    code.write_text("x = 1\n")
    assert digest() == before


def test_it_is_read_once_a_process(code: Path) -> None:
    before = digest()
    code.write_text("x = 2\n")
    assert provenance.digest("ganzoo-a") == before


def test_it_is_the_same_whoever_installed_it(site: Site, code: Path) -> None:
    before = digest()
    record = info(site) / "RECORD"
    lines = record.read_text().splitlines()
    for installer, scripts in (("pip", "../../../bin"), ("uv", "bin"), ("other", "../../Scripts"), ("other", "Scripts")):
        (info(site) / "INSTALLER").write_text(installer)
        more = [
            f"{scripts}/a-script,sha256=abc,{len(installer)}",
            f"__pycache__/{code.stem}.cpython-311.pyc,,",
            f"{info(site).name}/INSTALLER,sha256=abc,3",
            f"{info(site).name}/direct_url.json,sha256={installer},9",
        ]
        shuffled = random.Random(installer).sample(lines + more, len(lines + more))
        record.write_text("\r\n".join(shuffled) + "\r\n")
        assert digest() == before


def test_a_big_file_is_not_read(site: Site, code: Path) -> None:
    weights = site.root / "a_weights.bin"
    weights.write_bytes(bytes(BIG))
    site.record(info(site), code.name, weights.name)
    before = digest()
    weights.write_bytes(b"\x01" * BIG)
    assert digest() == before  # that is the price
    weights.write_bytes(bytes(BIG + 1))
    longer = digest()
    weights.write_bytes(bytes(10))
    shorter = digest()
    weights.write_bytes(b"\x01" * BIG)
    site.record(info(site), code.name, weights.name)  # of another build
    assert len({before, longer, shorter, digest()}) == 4


def test_a_big_file_without_a_hash_is_read(site: Site, code: Path) -> None:
    weights = site.root / "a_weights.bin"
    (info(site) / "RECORD").write_text(f"{weights.name},,\n{code.name},,\n")
    weights.write_bytes(bytes(BIG))
    before = digest()
    weights.write_bytes(b"\x01" * BIG)
    assert digest() != before


@pytest.mark.parametrize("told", ["direct_url", "pth"])
def test_an_editable_install_is_its_sources(told: str, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = site.add("ganzoo-a", "raise AssertionError('it was imported')\n")
    package = tmp_path / "checkout" / "src" / f"{module}_package"
    (package / "inner").mkdir(parents=True)
    monkeypatch.syspath_prepend(package.parent)
    (info(site) / "entry_points.txt").write_text(f"[ganzoo]\nmain = {package.name}.inner.entry:hooks\n")
    files = ["__init__.py", "inner/recipe.toml", "inner/index.json"]
    for name in [*files, "notes.md", "inner/weights.bin"]:
        (package / name).write_text("raise AssertionError('it was imported')\n")
    if told == "pth":
        (site.root / "_a.pth").write_text(str(package.parent))
        site.record(info(site), "_a.pth")
    else:
        (info(site) / "direct_url.json").write_text(json.dumps({"url": "file:///x", "dir_info": {"editable": True}}))
    seen = {digest()}
    for name in ("notes.md", "inner/weights.bin"):
        (package / name).write_text("other")
        assert {digest()} == seen
    for name in [*files, "inner/new.py"]:
        (package / name).write_text("other")
        assert digest() not in seen
        seen.add(digest())


def test_an_editable_install_of_one_module(site: Site, tmp_path: Path) -> None:
    module = site.add("ganzoo-a", "x = 1\n")
    (info(site) / "direct_url.json").write_text('{"dir_info": {"editable": true}}')
    before = digest()
    (site.root / f"{module}.py").write_text("x = 2\n")
    assert digest() != before
    (site.root / f"{module}.py").unlink()
    assert fresh() is None


def test_what_says_nothing_of_its_files_has_none(site: Site, code: Path) -> None:
    record = info(site) / "RECORD"
    for damage in (b"", b"\xff\xfe,", f"{info(site).name}/METADATA,,\n".encode()):
        record.write_bytes(damage)
        assert fresh() is None
    record.unlink()
    assert fresh() is None
    assert fresh("ganzoo-absent") is None
    assert list(provenance.record(["ganzoo-a", "ganzoo-absent"])) == [CORE]


def test_what_is_not_as_it_was_recorded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for dist in ("ganzoo-a", "Ganzoo_B", "ganzoo-out"):
        site.healthy(dist, ("loss", dist.lower()[-1:]), target="json:loads")
    monkeypatch.setenv("GANZOO_PLUGINS", "ganzoo-a,ganzoo-b")
    importlib.invalidate_caches()
    a, core = digest("ganzoo-a"), digest(CORE)

    def found(components: dict[str, Any], files: dict[str, Any], only: str | None = None) -> list[str]:
        return provenance.differences({"components": components, "files": files}, only)

    same = {"loss": "ganzoo-a 1.0", "gen": "ganzoo-b 1.0"}
    old = {"loss": "ganzoo-a 0.9", "reg.x": "ganzoo-a 0.9", "gen": "ganzoo-b 1.0"}
    other = "(here is an edited or other build)"
    assert found(same, {"ganzoo-a": a, CORE: core}) == []
    assert found(same, {}) == []
    assert provenance.differences({}) == []
    assert found(old, {"ganzoo-a": "0"}) == ["ganzoo-a 0.9 (here is 1.0)"]  # one line, though two parts and the files differ
    assert found(same, {"ganzoo-a": "0"}) == [f"other files of ganzoo-a 1.0 {other}"]
    assert found(same, {"ganzoo-a": "0"}, only="loss") == [f"other files of ganzoo-a 1.0 {other}"]
    assert found(old, {"ganzoo-a": "0", CORE: "0"}, only="gen") == []
    assert found(same, {CORE: "0", "ganzoo-a": a}) == [f"other files of ganzoo-core {other}"]
    gone = {"disc": "ganzoo-gone 2.0", "loss": "ganzoo-out 1.0"}
    assert found(gone, {}) == ["ganzoo-gone 2.0 (which is not loaded here)", "ganzoo-out 1.0 (which is not loaded here)"]


def test_each_is_said_or_all_are_refused(site: Site) -> None:
    for dist in ("ganzoo-a", "ganzoo-b"):
        site.healthy(dist, ("loss", dist[-1:]))
    importlib.invalidate_caches()
    recorded = {"components": {"loss": "ganzoo-a 0.9", "gen": "ganzoo-b 1.0"}, "files": {"ganzoo-b": "0"}}
    said: list[str] = []
    provenance.check(Path("run"), recorded, said.append)
    assert said == [
        "run was trained with ganzoo-a 0.9 (here is 1.0): results may differ",
        "run was trained with other files of ganzoo-b 1.0 (here is an edited or other build): results may differ",
    ]
    with pytest.raises(RunError) as err:
        provenance.check(Path("run"), recorded, said.append, strict=True)
    assert str(err.value) == (
        "run was trained with ganzoo-a 0.9 (here is 1.0) and other files of ganzoo-b 1.0 (here is an edited or other build): "
        "install what it was trained with, or leave --strict out"
    )
    assert len(said) == 2
    unrecorded = {"components": {"loss": "ganzoo-a 1.0"}}
    provenance.check(Path("run"), unrecorded, said.append)
    assert len(said) == 2
    with pytest.raises(RunError, match="files of ganzoo-a 1.0 that were not recorded"):
        provenance.check(Path("run"), unrecorded, said.append, strict=True)


def test_nested_parts_are_of_the_plan_too(site: Site) -> None:
    body = """
from typing import Annotated
from ganzoo.plugin import Part
def wraps(*, data: Annotated[Part, "dataset"] = Part("inner")): return data.build()
"""
    site.add("ganzoo-a", "from ganzoo.plugin import Component, hookimpl\n@hookimpl\ndef ganzoo_components():\n"
             "    yield Component('dataset', 'outer', 'a_outer:wraps', summary='x', modality='points')\n",
             files={"a_outer.py": body})  # fmt: skip
    site.healthy("ganzoo-b", ("dataset", "inner"), target="ganzoo.data.points:Ring")
    importlib.invalidate_caches()
    table = {"gen": "mlp:width=8,z_dim=4", "disc": "mlp:width=8", "loss": "hinge", "data": "outer"}
    plan = make_plan(get_registry(), layer_from_dict(table, "the test"))
    assert {"ganzoo-a", "ganzoo-b", "ganzoo-dcgan"} <= plan.distributions()
    assert "ganzoo-b" not in " ".join(plan.versions().values())
