"""A project's wheel, built aside: what `ganzoo check ./FOLDER` looks at, and what the packing of files is held against."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata, util
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from ganzoo.errors import GanzooError, UsageError
from ganzoo.testing.contracts import Untried

_LEFT_OUT = shutil.ignore_patterns(
    ".git",
    ".venv",
    ".tox",
    ".nox",
    "*_cache",
    "__pycache__",
    "*.pyc",
    "dist",
    "build",
    "*.egg-info",
    "runs",
    "node_modules",
    "venv",
)


def read_project(folder: Path) -> dict[str, Any]:
    """pyproject.toml as a table. Raises UsageError where the folder holds no project."""
    try:
        return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise UsageError(f"{folder} is no project: its pyproject.toml cannot be read ({err})") from None


def build_wheel(project: Path, place: Path) -> Path:
    """Build the project's wheel into `place`, from a copy: builders leave files behind. GanzooError where that fails."""
    backend = read_project(project).get("build-system", {}).get("build-backend", "setuptools.build_meta")
    here = util.find_spec(backend.partition(".")[0]) is not None  # else pip installs it for the while
    copy = Path(shutil.copytree(project, place / "source", ignore=_LEFT_OUT))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-build-isolation"] if here else []
    done = subprocess.run(
        [*command, "--wheel-dir", str(place), str(copy)], capture_output=True, text=True, timeout=600, check=False
    )
    wheels = list(place.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        said = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        why = next((line for line in reversed(said) if "rror" in line), said[-1] if said else "pip said nothing")
        raise GanzooError(f"{project} could not be built: {why} ('{' '.join(command[:4])} {project}' shows all)")
    return wheels[0]


def names_in(wheel: Path) -> set[str]:
    """The files in it."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def unpack(wheel: Path, place: Path) -> Path:
    """As an installer would, for packages of Python alone: on sys.path, `place` makes it an installed distribution."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place)
    return place


def source_of(distribution: str) -> Path | None:
    """The project folder of an editable installation; None for any other."""
    found = metadata.distribution(distribution)
    try:
        told = json.loads(found.read_text("direct_url.json") or "{}")
    except ValueError:
        return None
    if not told.get("dir_info", {}).get("editable"):
        return None
    return Path(unquote(urlparse(told["url"]).path))


def packed_files(distribution: str, source: Path | None) -> set[str] | None:
    """The names of the files that its wheel holds; None where the wheel's content is what is installed.

    Raises Untried where a wheel must be built for that, and what builds it is not installed.
    """
    if source is None and (source := source_of(distribution)) is None:
        return None
    import tempfile

    backend = read_project(source).get("build-system", {}).get("build-backend", "setuptools.build_meta")
    if util.find_spec(backend.partition(".")[0]) is None:
        raise Untried(f"{backend.partition('.')[0]}, which builds the wheel, is not installed")
    with tempfile.TemporaryDirectory() as place:
        return names_in(build_wheel(source, Path(place)))
