"""What a third party does, outside the checkout: `ganzoo new`, a wheel, pip, and the new parts in use."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ganzoo.cli.new import DECLARED, TRAIN

from .conftest import execute

SMALL = ["--res", "8", "--batch", "8", "--kimg", "0.016", "--device", "cpu"]
NETWORKS = {"gen": "dcgan:channels=4,z_dim=8", "disc": "dcgan:channels=4"}


class Abroad:
    """A directory of the third party, and the programs of an environment that has ganzoo's wheels."""

    def __init__(self, python: Path, place: Path) -> None:
        self.python, self.place = python, place

    def __call__(self, program: str, *args: str | Path) -> str:
        return execute([self.python.with_name(program), *args], self.place)

    def installs(self, project: Path) -> str:
        """Build the project's wheel and install it; returns the distribution's name."""
        wheels = self.place / "dist" / project.name
        self("python", "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, project)
        (wheel,) = wheels.glob("*.whl")
        self("python", "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel)
        return project.name

    def listed(self, distribution: str) -> set[tuple[str, str]]:
        rows = json.loads(self("ganzoo", "list", "--json"))
        return {(row["kind"], row["name"]) for row in rows if row["plugin"] == distribution}

    def removes(self, distribution: str) -> None:
        self("python", "-m", "pip", "uninstall", "-q", "--yes", distribution)
        assert not self.listed(distribution)


@pytest.fixture
def abroad(python: Path, tmp_path: Path) -> Iterator[Abroad]:
    abroad = Abroad(python, tmp_path)
    yield abroad
    abroad("python", "-m", "pip", "uninstall", "-q", "--yes", "ganzoo-abroad")  # whatever went wrong


def train_options(kind: str, name: str) -> list[str]:
    """Of a short training that uses the new part, beside small networks."""
    words = TRAIN[kind].replace("NAME", name).split()
    if kind == "recipe":
        return [*words, *SMALL, "--set", "gen.channels=4", "--set", "disc.channels=4"]
    if kind == "features":
        words = ["--disc", f"projected:features={name},size=32,channels=4,max_channels=8"]
    chosen = {flag: spec for flag, spec in NETWORKS.items() if f"--{flag}" not in words}
    return [*words, *(word for flag, spec in chosen.items() for word in (f"--{flag}", spec)), *SMALL]


def use(abroad: Abroad, kinds: list[str]) -> None:
    """From nothing to a training, and away again."""
    wanted = {(kind, f"my-{kind}") for kind in kinds}
    abroad("ganzoo", "new", *(word for pair in sorted(wanted) for word in pair), "--distribution", "ganzoo-abroad")
    project = abroad.place / "ganzoo-abroad"
    assert abroad.installs(project) == "ganzoo-abroad"
    assert abroad.listed("ganzoo-abroad") == wanted
    results = json.loads(abroad("ganzoo", "check", "ganzoo-abroad", "--strict", "--json"))
    assert {result["outcome"] for result in results} <= {"passed", "skipped"}
    assert {result["subject"] for result in results} == {"package", *(" ".join(pair) for pair in wanted)}
    said = execute([abroad.python, "-m", "pytest", "-q", "-p", "no:cacheprovider"], project)
    assert " passed" in said
    assert "failed" not in said
    for kind, name in sorted(wanted):
        if kind in TRAIN:
            run = abroad.place / f"run-{kind}"
            abroad("ganzoo", "train", *train_options(kind, name), "--out", run)
            assert (run / "checkpoints").is_dir()
            assert "ganzoo-abroad 0.1.0" in (run / "run.toml").read_text() or kind in ("recipe", "features", "encoder")
    abroad.removes("ganzoo-abroad")


def test_one_package_of_every_kind(abroad: Abroad) -> None:
    use(abroad, list(DECLARED))


@pytest.mark.slow
@pytest.mark.parametrize("kind", DECLARED)
def test_a_package_of_one_kind(kind: str, abroad: Abroad) -> None:
    use(abroad, [kind])


def test_a_project_is_checked_without_being_installed(abroad: Abroad) -> None:
    abroad("ganzoo", "new", "loss", "mine")
    results = json.loads(abroad("ganzoo", "check", "./ganzoo-mine", "--json"))
    assert {result["outcome"] for result in results} == {"passed"}
    assert not abroad.listed("ganzoo-mine")
