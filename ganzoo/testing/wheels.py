"""A project's wheel, built aside: what `ganzoo check ./FOLDER` looks at, and what the packing of files is held against."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from importlib import metadata, util
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from ganzoo.errors import GanzooError, UsageError
from ganzoo.testing.contracts import Untried

_AT_THE_ROOT = {".venv", "venv", ".tox", ".nox", "dist", "build", "runs", "node_modules"}  # large, and made of the rest


def read_project(folder: Path) -> dict[str, Any]:
    """pyproject.toml as a table. Raises UsageError where the folder holds no project."""
    try:
        return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise UsageError(f"{folder} is no project: its pyproject.toml cannot be read ({err})") from None


def backend_of(project: Path) -> str:
    """The package that builds the project's wheel. Raises UsageError."""
    build = read_project(project).get("build-system", {})
    backend = build.get("build-backend", "setuptools.build_meta") if isinstance(build, dict) else None
    if not isinstance(backend, str):
        raise UsageError(f"{project}/pyproject.toml: [build-system] must be a table, and build-backend a name in it")
    return backend.partition(".")[0]


def build_wheel(project: Path, place: Path) -> Path:
    """Build the project's wheel into `place`, from a copy: builders leave files behind. GanzooError where that fails."""
    here = util.find_spec(backend_of(project)) is not None  # else pip installs it for the while

    def left_out(folder: str, names: list[str]) -> set[str]:
        return _AT_THE_ROOT & set(names) if Path(folder) == project else {"__pycache__"} & set(names)

    copy = Path(shutil.copytree(project, place / "source", ignore=left_out, symlinks=True))
    command = [sys.executable, "-m", "pip", "wheel", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-build-isolation"] if here else []
    done = subprocess.run(
        [*command, "--wheel-dir", str(place), str(copy)], capture_output=True, text=True, timeout=600, check=False
    )
    wheels = list(place.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        said = [line.strip(" |>\u2570\u2500") for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.strip()]
        causes = [line for line in said if re.match(r"[\w.]*(Error|Exception)\b", line)]
        why = (causes or said or ["pip said nothing"])[-1]
        raise GanzooError(f"{project} could not be built: {why} ('{' '.join(command)} {project}' shows all)")
    return wheels[0]


def names_in(wheel: Path) -> set[str]:
    """The files in it."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def unpack(wheel: Path, place: Path) -> str:
    """As an installer would, for packages of Python alone: on sys.path, `place` makes it an installed distribution.

    Returns its name. Raises UsageError where the file is no wheel.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(place)
    except (OSError, zipfile.BadZipFile) as err:
        raise UsageError(f"{wheel} is no wheel: {err}") from None
    names = [about.name for about in metadata.distributions(path=[str(place)])]
    if len(names) != 1 or not names[0]:
        raise UsageError(f"{wheel} is no wheel: it has no metadata of one distribution")
    return names[0]


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


def packed_files(project: Path) -> set[str]:
    """The names of the files that the project's wheel holds. Raises Untried where what builds it is not installed."""
    backend = backend_of(project)
    if util.find_spec(backend) is None:
        raise Untried(f"{backend}, which builds the wheel, is not installed")
    with tempfile.TemporaryDirectory() as place:
        return names_in(build_wheel(project, Path(place)))
