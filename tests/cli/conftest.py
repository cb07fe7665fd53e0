"""The command line in this process, from a directory of its own (a process costs seconds, most of them for importing torch)."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path

import pytest

from ganzoo import provenance, registry
from ganzoo.cli import group
from ganzoo.training import launch

NETWORKS = ("--gen", "dcgan:channels=4,z_dim=8,embedding=4", "--disc", "dcgan:channels=4")
TINY = (*NETWORKS, "--res", "8", "--batch", "8", "--kimg", "0.032", "--device", "cpu")


class Cli:
    """`cli("sample", run, "--out", "x.png")`: the exit code is checked; (stdout, stderr) come back."""

    tiny = TINY
    networks = NETWORKS

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capfd = monkeypatch, capfd

    def __call__(self, *args: str | Path, code: int = 0) -> tuple[str, str]:
        importlib.invalidate_caches()
        registry.get_registry.cache_clear()
        provenance.digest.cache_clear()
        self._capfd.readouterr()
        got = group.run([str(arg) for arg in args])
        out, err = self._capfd.readouterr()
        assert got == code, out + err
        assert "Traceback" not in out + err
        return out, err

    def fails(self, *args: str | Path, code: int, says: tuple[str, ...] = ()) -> str:
        """It ends with this code and one line on stderr, which holds all of `says`."""
        _, err = self(*args, code=code)
        [line] = err.splitlines()
        assert line.startswith("ganzoo: ")
        assert all(words in line for words in says), line
        assert "--traceback" not in line, line  # that is the last resort, for errors that nobody foresaw
        return line

    def refused(self, *args: str | Path, says: tuple[str, ...] = (), code: int = 2) -> str:
        """It fails before anything is decoded, and leaves nothing behind."""
        before = _files()
        with self._monkeypatch.context() as patch:
            patch.setattr(launch, "materialise", lambda *args, **kwargs: pytest.fail("images were decoded"))
            line = self.fails(*args, code=code, says=says)
        assert _files() == before
        return line


def _files() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}


@pytest.fixture
def cli(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Cli:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path_factory.getbasetemp() / "cli-cache"))
    return Cli(monkeypatch, capfd)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is done, with two checkpoints, of more than a sheet's size each."""
    path = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GANZOO_CACHE", str(tmp_path_factory.getbasetemp() / "cli-cache"))
        args = [*TINY, "--disc", "mlp:width=128,depth=1", "--data", "emoji", "--set", "checkpoint.every=0.016"]
        assert group.run(["train", *args, "--out", str(path)]) == 0
    return path


@pytest.fixture
def run(cli: Cli, finished: Path) -> Path:
    """A copy of it to damage, at "run"."""
    shutil.copytree(finished, "run")
    return Path("run")
