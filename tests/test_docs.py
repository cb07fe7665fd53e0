"""README and docs: each code block is run as a reader would, in an environment outside the checkout.

Trainings are cut to a round, pip takes nothing from outside, and what cannot be run here is named in ELSEWHERE, with what
runs it.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .conftest import ROOT

PAGES = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md")), *sorted((ROOT / "docs").rglob("*.md"))]
ROUND = "--kimg 0.001 --device cpu"  # the last of two equal options counts
ELSEWHERE = {
    "for p in . plugins/*; do": "tests/test_wheels.py builds every wheel",
    "pip install dist/*.whl": "tests/test_wheels.py installs them",
    "pip install . ./plugins/*": "make does, editable",
}
FENCE = re.compile(r"^(?P<before>[^\n]*)\n\n?```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A fenced block; `file` is where the line before it says that it belongs: `path`:"""

    language: str
    code: str
    file: str | None


def blocks(page: Path) -> Iterator[Block]:
    for found in FENCE.finditer("\n" + page.read_text(encoding="utf-8")):
        named = re.fullmatch(r"`([\w./-]+)`:", found["before"].strip())
        yield Block(found["language"], found["code"], named[1] if named else None)


def lines(code: str) -> Iterator[str]:
    """Commands, without comments and with continued lines joined."""
    for line in code.replace("\\\n", " ").splitlines():
        if bare := re.sub(r"(^|\s)#.*", "", line).strip():
            yield bare


class Reader:
    """Follows a page: a home with photographs, and a working directory that `cd` changes."""

    def __init__(self, python: Path, home: Path) -> None:
        self.python, self.home, self.cwd = python, home, home
        random = np.random.default_rng(0)
        for folder in ("photos/cats", "photos/dogs", "more-photos", "my-pictures"):
            (home / folder).mkdir(parents=True)
            for i in range(6):
                Image.fromarray(random.integers(0, 256, (72, 80, 3), np.uint8)).save(home / folder / f"{i}.png")

    def follow(self, block: Block) -> None:
        if block.file is not None:
            path = self.cwd / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.code, encoding="utf-8")
        elif block.language == "sh":
            for line in lines(block.code):
                self.run(line)
        elif block.language == "python":
            code = re.sub(r'("kimg": )[\d.]+', r"\g<1>0.001", block.code)
            self.shell(f"python -c {shlex.quote(code)}")
        elif block.language == "toml":
            tomllib.loads(block.code)
        else:
            assert block.language in ("text", ""), block.language

    def run(self, line: str) -> None:
        """One command of a page, made short."""
        words = shlex.split(line)
        if any(line.startswith(known) for known in ELSEWHERE):
            return
        if words[0] == "cd":
            self.cwd = self.cwd / words[1]
            assert self.cwd.is_dir()
        elif words[0] == "make":
            subprocess.run(["make", "--dry-run", *words[1:]], cwd=ROOT, check=True, capture_output=True)
        elif words[:2] == ["pip", "install"]:
            editable = "--no-build-isolation" if "--editable" in words else ""
            self.shell(f"python -m {line.replace('[test]', '')} --quiet --no-index --no-deps {editable}")
        elif words[0] == "pytest":
            self.shell("python -m pytest -q -p no:cacheprovider")
        elif words[:3] == ["python", "-m", "build"]:
            self.shell(f"{line} --no-isolation")
        elif words[0] == "python" and words[1].startswith(("docs/", "benchmarks/")):
            compile((ROOT / words[1]).read_text(), words[1], "exec")
            if "argparse" in (ROOT / words[1]).read_text():
                self.shell(f"python {ROOT / words[1]} --help")
        elif words[:2] == ["ganzoo", "train"]:
            narrow = "--batch 8" if words[2:4] == ["--recipe", "dcgan"] else ""  # published width: minutes a round
            self.shell(line if "--dry-run" in words else f"{line} {ROUND} {narrow}")
        elif words[0] == "torchrun":
            self.shell(f"python -m torch.distributed.run {line.partition(' ')[2]} {ROUND if 'train' in words else ''}")
        elif words[:2] == ["ganzoo", "arena"] and "--gens" in words and "--dry-run" not in words:
            self.shell(f"{line} --budget 0.001 --samples 64 --set device=cpu")
        elif words[:3] == ["ganzoo", "anomaly", "fit"]:
            self.shell(f"{line} {ROUND}")
        elif words[:3] == ["ganzoo", "bench", "train"]:
            self.shell(f"{line} --blocks 1")
        elif words[:2] == ["ganzoo", "bench"]:
            self.shell(f"{line} --dry-run")  # tests/cli/test_bench.py plays a short one
        else:
            self.shell(line)

    def shell(self, line: str) -> str:
        keep = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GANZOO", "VIRTUAL_ENV"))}
        path = f"{self.python.parent}{os.pathsep}{os.environ['PATH']}"
        environment = keep | {"PATH": path, "HOME": str(self.home), "GANZOO_CACHE": str(self.home / "cache")}
        done = subprocess.run(
            line, shell=True, cwd=self.cwd, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, f"{line}\n{done.stderr}"
        return done.stdout


@pytest.fixture
def reader(python: Path, tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(python, tmp_path)
    yield reader
    reader.shell("python -m pip uninstall --quiet --yes ganzoo-drift ganzoo-mine")


@pytest.mark.parametrize("page", [p for p in PAGES if p.name != "reference.md"], ids=lambda p: str(p.relative_to(ROOT)))
def test_what_a_page_says_works(page: Path, reader: Reader) -> None:
    found = list(blocks(page))
    if page.name == "README.md":
        reader.shell("ganzoo train --gen stylegan --out runs/style --res 8 " + ROUND)  # which the page takes for granted
    if page.name == "catalogue.md":
        reader.shell("ganzoo new generator mine recipe mine && cp " + str(ROOT / "registry.toml") + " .")
        reader.shell("python -m pip install --quiet --no-index --no-deps --no-build-isolation --editable ganzoo-mine")
    if not any(block.language in ("sh", "python", "toml") for block in found):
        pytest.skip("no code on it")
    for block in found:
        reader.follow(block)


def test_the_tutorial_s_files_are_what_ran(reader: Reader) -> None:
    """Each file that the tutorial gives is a whole one."""
    given = [block for block in blocks(ROOT / "docs/plugins/tutorial.md") if block.file]
    assert len(given) == 3
    for block in given:
        ast.parse(block.code)


def test_the_reference_is_of_this_code() -> None:
    place = ROOT / "docs/plugins/reference.py"
    spec = importlib.util.spec_from_file_location("reference", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = place.with_suffix(".md").read_text(encoding="utf-8")
    assert written == module.page(), "python docs/plugins/reference.py writes it anew"


def test_the_reference_names_every_hook_and_contract() -> None:
    from ganzoo import hookspecs, interfaces

    page = (ROOT / "docs/plugins/reference.md").read_text(encoding="utf-8")
    hooks = [name for name in vars(hookspecs) if name.startswith("ganzoo_")]
    assert hooks
    assert all(f"def {name}(" in page for name in hooks)
    helpers = {"CAPABILITIES", "Batch", "Condition", "DataSpec", "Part", "Parts", "batch_mean", "in_full_precision", "sharing"}
    helpers |= {"trained_classifier"}
    assert all(f"### {name}\n" in page for name in set(interfaces.__all__) - helpers)


COMMANDS = [
    (readme.parent.name, line)
    for readme in sorted(ROOT.glob("plugins/*/README.md"))
    for line in lines("\n".join(found[4:] for found in readme.read_text().splitlines() if found.startswith("    ")))
]


@pytest.mark.parametrize(("plugin", "line"), COMMANDS, ids=[line for _, line in COMMANDS])
def test_commands_of_the_plugins_pages(
    plugin: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ganzoo_here: Callable[..., object]
) -> None:
    """Assembled and rehearsed: trainings of these parts are other tests' matter."""
    words = shlex.split(line)
    if words[0] != "ganzoo" or "RUN" in words:
        pytest.skip("of another program, or of a run")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    Reader(tmp_path, tmp_path)
    done = ganzoo_here(*words[1:], *(["--dry-run"] if words[1] == "train" else []))
    assert done.returncode == 0, done.stderr  # type: ignore[attr-defined]
