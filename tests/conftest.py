"""Fixtures for all tests of the core."""

from __future__ import annotations

import base64
import hashlib
import importlib
import itertools
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ganzoo import provenance, registry
from ganzoo.catalog import load_catalog
from ganzoo.cli import group

ROOT = Path(__file__).parents[1]
PROJECTS = [ROOT, *sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))]
NAMES = [tomllib.loads((project / "pyproject.toml").read_text())["project"]["name"] for project in PROJECTS]
OBSERVERS = {"ganzoo-tensorboard"}  # first-party plugins that offer no component: each has an extra of its own

_numbers = itertools.count()


class Site:
    """A directory of generated plugin distributions, as pip would have installed them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(
        self,
        dist: str,
        body: str,
        *,
        version: str = "1.0",
        group: str = "ganzoo",
        entry: str = "",
        files: dict[str, str] | None = None,
    ) -> str:
        """One distribution whose entry module holds `body`; returns the module's name, which is its own in every test."""
        module = f"generated_{next(_numbers)}"
        Path(self.root, f"{module}.py").write_text(body)
        for name, text in (files or {}).items():
            Path(self.root, name).write_text(text)
        info = Path(self.root, f"{dist.replace('-', '_')}-{version}.dist-info")
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: {version}\n\nWords.\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{entry or 'main = ' + module}\n".replace("MODULE", module))
        self.record(info, f"{module}.py", *(files or {}), *(f"{info.name}/{path.name}" for path in info.iterdir()))
        return module

    def record(self, info: Path, *names: str) -> None:
        """The RECORD of these files."""
        lines = []
        for name in names:
            content = Path(self.root, name).read_bytes()
            known = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            lines.append(f"{name},sha256={known},{len(content)}\n")
        (info / "RECORD").write_text("".join([*lines, f"{info.name}/RECORD,,\n"]))

    def healthy(self, dist: str, *components: tuple[str, str], target: str = "json:dumps") -> str:
        return self.add(dist, declaring(*components, target=target))

    def discover(self) -> registry.Registry:
        importlib.invalidate_caches()
        return registry.discover()


def declaring(*components: tuple[str, str], target: str = "json:dumps") -> str:
    """The source of an entry module that offers these (kind, name)."""
    lines = "".join(f"    yield Component({kind!r}, {name!r}, {target!r}, summary='generated')\n" for kind, name in components)
    return f"from ganzoo.plugin import Component, hookimpl\nganzoo_api = 1\n@hookimpl\ndef ganzoo_components():\n{lines}"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An empty Site, first on sys.path of this process and of the subprocesses of `ganzoo`."""
    root = tmp_path / "site"
    root.mkdir()
    monkeypatch.syspath_prepend(root)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")])))
    registry.get_registry.cache_clear()
    provenance.digest.cache_clear()
    yield Site(root)
    registry.get_registry.cache_clear()
    provenance.digest.cache_clear()


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GANZOO_PLUGINS", "GANZOO_STRICT", "GANZOO_CATALOG"):
        monkeypatch.delenv(name, raising=False)
    load_catalog.cache_clear()


@pytest.fixture
def ganzoo(tmp_path: Path) -> Ganzoo:
    """Runs the command line in a process of its own: `ganzoo("list", "--json")`."""
    return Ganzoo(tmp_path)


@pytest.fixture
def ganzoo_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The same in this process, for commands that import torch."""

    def call(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
        registry.get_registry.cache_clear()
        capsys.readouterr()
        with monkeypatch.context() as context:
            for name, value in env.items():
                context.setenv(name, value)
            code = group.run(args)
        return subprocess.CompletedProcess(args, code, *capsys.readouterr())

    return call


class Ganzoo:
    def __init__(self, cwd: Path) -> None:
        self.cwd = cwd

    def __call__(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "ganzoo", *args],
            cwd=self.cwd,
            env=os.environ | env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


# ---- outside the checkout


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Built wheels by distribution. Building writes nothing into the checkout."""
    place = tmp_path_factory.mktemp("wheels")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    execute([*pip, "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", place, *PROJECTS], place)
    built = {wheel.name.partition("-")[0].replace("_", "-"): wheel for wheel in place.glob("*.whl")}
    assert sorted(built) == sorted(NAMES)
    return built


@pytest.fixture(scope="session")
def python(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment: the wheels, and links to the third-party packages of the running one."""
    home, links = tmp_path_factory.mktemp("environment"), tmp_path_factory.mktemp("third-party")
    venv.create(home, with_pip=False, symlinks=os.name != "nt")
    paths = {
        name: sysconfig.get_path(name, "venv", {"base": str(home), "platbase": str(home)}) for name in ("scripts", "purelib")
    }
    for site in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(site).iterdir():
            ours = entry.name.lower().startswith(
                ("ganzoo", "__editable__", "_editable_impl_")
            )  # the checkout comes in by these
            if not ours and entry.suffix not in (".pth", ".egg-link") and entry.name != "__pycache__":
                (links / entry.name).symlink_to(entry)
    Path(paths["purelib"], "third-party.pth").write_text(f"{links}\n")
    interpreter = Path(paths["scripts"], "python")
    pip = [sys.executable, "-m", "pip", "--python", interpreter, "install", "--quiet", "--disable-pip-version-check"]
    execute([*pip, "--no-deps", "--no-index", *wheels.values()], home)
    return interpreter


def execute(command: list[str | Path], cwd: Path) -> str:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GANZOO", "VIRTUAL_ENV"))
    }
    environment["GANZOO_CACHE"] = str(cwd / "cache")
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout
