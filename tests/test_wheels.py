"""The wheels work outside the checkout: the catalogue, the recipes and the embedded images are inside them."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECTS = [ROOT, *sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))]


def run(*command: str | Path, cwd: Path, **env: str) -> str:
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(command, cwd=cwd, env=clean | env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    out = tmp_path_factory.mktemp("wheels")
    for project in PROJECTS:
        run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, project, cwd=out)
    return sorted(out.glob("*.whl"))


@pytest.fixture(scope="module")
def elsewhere(wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment that has the wheels, and of this one everything but ganzoo and its plugins."""
    root = tmp_path_factory.mktemp("elsewhere")
    venv.create(root / "env", symlinks=True)
    shared = root / "shared"
    shared.mkdir()
    for directory in reversed([sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()]):
        for path in Path(directory).iterdir():
            ours = path.name.lower().startswith(("ganzoo", "_ganzoo")) or path.suffix == ".pth"
            if not ours and not (shared / path.name).exists():
                (shared / path.name).symlink_to(path)
    [packages] = (root / "env").glob("lib/python*/site-packages")
    (packages / "shared.pth").write_text(f"{shared}\n")
    python = root / "env" / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", *wheels, cwd=root)
    return python.parent


def test_what_is_in_the_wheels(wheels: list[Path]) -> None:
    assert len(wheels) == len(PROJECTS)
    for wheel in wheels:
        names = zipfile.ZipFile(wheel).namelist()
        package = wheel.name.partition("-")[0].removesuffix("_core")
        assert f"{package}/py.typed" in names
        assert any(name.endswith("/licenses/LICENSE") for name in names)
        assert {name.partition("/")[0].partition("-")[0].removesuffix("_core") for name in names} == {package}
        assert ("ganzoo/registry.toml" in names) is (package == "ganzoo")


def test_the_wheels_work_outside_the_checkout(elsewhere: Path, tmp_path: Path) -> None:
    where = run(
        elsewhere / "python", "-c", "import ganzoo, ganzoo_dcgan; print(ganzoo.__file__, ganzoo_dcgan.__file__)", cwd=tmp_path
    )
    assert str(ROOT) not in where
    rows = json.loads(run(elsewhere / "ganzoo", "list", "--all", "--json", cwd=tmp_path))
    assert {row["plugin"] for row in rows if row["installed"]} >= {"ganzoo-core", *(project.name for project in PROJECTS[1:])}
    # Five rounds of the default recipe: its TOML and the images come from wheels too.
    env = {"GANZOO_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    run(
        elsewhere / "ganzoo",
        "train",
        "--batch",
        "16",
        "--kimg",
        "0.08",
        "--device",
        "cpu",
        "--out",
        "five",
        cwd=tmp_path,
        **env,
    )
    state = json.loads(next(iter(tmp_path.glob("five/checkpoints/*/state.json"))).read_text())
    assert state["nimg"] == 80
    run(elsewhere / "ganzoo", "sample", "five", "--n", "4", "--out", "four.png", cwd=tmp_path, **env)
    assert (tmp_path / "four.png").stat().st_size > 0
