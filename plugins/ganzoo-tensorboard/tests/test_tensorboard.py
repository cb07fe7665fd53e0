"""Event files of real trainings, read back by TensorBoard and held against log.jsonl, the sheets and run.toml."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.plugin_event_accumulator import TENSORS, EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

import ganzoo
import ganzoo_tensorboard
from ganzoo.runs import Run, images_at
from ganzoo.training import launch
from ganzoo.training.display import Quiet

CONFIG = {
    "gen": "mlp:width=8,z_dim=4",
    "disc": "mlp:width=8",
    "data": "ring:n=64",
    "batch": 8,
    "kimg": 0.064,
    "device": "cpu",
    "checkpoint": {"tick": 0.016, "images": 0.032, "every": 0.032},
}


class Watcher(Quiet):
    """Keeps what is said, and calls `then(trainer)` at the first tick from `nimg` images on, before the plugin hears of it."""

    def __init__(self, nimg: int = 0, then: Callable[[Any], None] | None = None) -> None:
        self.said: list[str] = []
        self._nimg, self._then = nimg, then

    def say(self, words: str) -> None:
        self.said.append(words)

    def watch(self, trainer: Any) -> Any:
        self._trainer = trainer
        return super().watch(trainer)

    def ganzoo_run_tick(self, run: Path, nimg: int, stats: object) -> None:
        if self._then and nimg >= self._nimg:
            then, self._then = self._then, None
            then(self._trainer)


def stop(trainer: Any) -> None:
    trainer.stopping = True


def interrupt(trainer: Any) -> None:
    raise KeyboardInterrupt


def go_on(run: Path, watcher: Watcher, kimg: float | None = None) -> None:
    time.sleep(1 - time.time() % 1)  # event files are read in the order of their names, which tell the second
    launch.resume(run, watcher, kimg).play()


class Events:
    """What TensorBoard shows of a run: (step, value) by tag."""

    def __init__(self, run: Path) -> None:
        self._read = EventAccumulator(str(run / "tensorboard"), size_guidance={TENSORS: 0}).Reload()
        self.scalars = {tag: self._get(tag, float) for tag in self._read.PluginTagToContent("scalars")}
        self.sheets = self._get("samples", lambda value: Image.open(io.BytesIO(value[2])))  # width, height, PNG
        self.texts = self._get("run.toml/text_summary", lambda value: value.item().decode())

    def _get(self, tag: str, of: Callable[[Any], Any]) -> list[tuple[int, Any]]:
        return [(event.step, of(make_ndarray(event.tensor_proto))) for event in self._read.Tensors(tag)]


def agree(run: Path) -> list[int]:
    """The event files hold what the run holds, each step once; returns the steps of the ticks."""
    shown, ticks = Events(run), Run(run).log()
    assert shown.scalars == {
        name: [(tick["nimg"], float(np.float32(tick[name]))) for tick in ticks if name in tick]
        for name in {name for tick in ticks for name in tick}
    }
    for (step, image), path in zip(shown.sheets, Run(run).samples()[::-1], strict=True):
        assert step == images_at(path.stem)
        np.testing.assert_array_equal(np.asarray(image), np.asarray(Image.open(path).convert("RGB")))
    assert shown.texts[-1][1] == f"```toml\n{(run / 'run.toml').read_text()}```"
    return [tick["nimg"] for tick in ticks]


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Grey images, whose sheets are grey too."""
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    np.save(tmp_path / "grey.npy", np.random.default_rng(0).integers(0, 256, (32, 8, 8, 1), np.uint8))
    return str(tmp_path / "grey.npy")


def test_points(tmp_path: Path) -> None:
    run = ganzoo.train(CONFIG, tmp_path / "run")
    assert agree(run.path) == [16, 32, 48, 64]
    assert {"D/loss", "G/loss", "G/lr", "images_per_second"} <= set(Events(run.path).scalars)
    assert [step for step, _ in Events(run.path).texts] == [0]


def test_images(pictures: str, tmp_path: Path) -> None:
    run = ganzoo.train({**CONFIG, "data": pictures}, tmp_path / "run")
    assert agree(run.path) == [16, 32, 48, 64]
    assert [step for step, _ in Events(run.path).sheets] == [0, 32, 64]


def test_a_run_that_is_stopped_and_goes_on_further(tmp_path: Path) -> None:
    launch.train(CONFIG, tmp_path / "run", Watcher(48, stop))
    assert agree(tmp_path / "run") == [16, 32, 48]
    go_on(tmp_path / "run", Watcher(), kimg=0.096)
    assert agree(tmp_path / "run") == [16, 32, 48, 64, 80, 96]
    was, now = Events(tmp_path / "run").texts
    assert (was[0], now[0]) == (0, 49)
    assert "kimg = 0.064" in was[1]
    assert "kimg = 0.096" in now[1]


KILLED = """
import os, sys
sys.path.insert(0, sys.argv[1])
from test_tensorboard import CONFIG, Watcher, launch
launch.train(CONFIG, sys.argv[2], Watcher(int(sys.argv[3]), lambda trainer: os._exit(9)))
"""


@pytest.mark.parametrize(("at", "kept", "start"), [(64, [16, 32, 48], 33), (32, [16], 0)])
def test_a_run_that_is_killed(at: int, kept: list[int], start: int, tmp_path: Path) -> None:
    """It keeps its events; those after the newest checkpoint vanish when it goes on. Nothing is said beside."""
    command = [sys.executable, "-c", KILLED, Path(__file__).parent, tmp_path / "run", str(at)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (9, "", "")
    assert [step for step, _ in Events(tmp_path / "run").scalars["D/loss"]] == kept
    with pytest.raises(KeyboardInterrupt):
        go_on(tmp_path / "run", Watcher(at, interrupt))  # from the same checkpoint to the same tick
    go_on(tmp_path / "run", Watcher(), kimg=0.08)
    assert agree(tmp_path / "run") == [16, 32, 48, 64, 80]
    assert [step for step, _ in Events(tmp_path / "run").texts] == sorted({0, start})


def test_a_run_within_a_run(tmp_path: Path) -> None:
    """Two at a time do not mix, and nothing of them is left, however they end."""
    threads = threading.active_count()

    def another(trainer: Any) -> None:
        assert threading.active_count() == threads + 1
        ganzoo.train({**CONFIG, "seed": 1, "checkpoint": {"tick": 0.008, "images": 0.016}}, tmp_path / "inner")
        with pytest.raises(KeyboardInterrupt):
            launch.train(CONFIG, tmp_path / "failed", Watcher(32, interrupt))

    watcher = Watcher(32, another)
    launch.train(CONFIG, tmp_path / "outer", watcher)
    assert agree(tmp_path / "outer") == [16, 32, 48, 64]
    assert agree(tmp_path / "inner") == [8, 16, 24, 32, 40, 48, 56, 64]
    assert not [words for words in watcher.said if "tensorboard" in words]
    assert not ganzoo_tensorboard._writers
    assert threading.active_count() == threads


class Clashing(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        raise TypeError("Descriptors cannot be created directly.\nIf this call came from a _pb2.py file, ...")


@pytest.mark.parametrize(
    ("module", "cause"),
    [
        (None, "ModuleNotFoundError: import of torch.utils.tensorboard halted; None in sys.modules"),
        (Clashing("tensorboard"), "TypeError: Descriptors cannot be created directly."),
    ],
    ids=["absent", "clashing"],
)
def test_without_tensorboard_the_training_goes_on(
    module: types.ModuleType | None, cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)  # type: ignore[arg-type]
    watcher = Watcher()
    run = launch.train(CONFIG, tmp_path / "run", watcher)
    [line] = [words for words in watcher.said if "tensorboard" in words]
    assert line.startswith(
        "observer ganzoo-tensorboard failed and is left out from here on: "
        f"ImportError: TensorBoard cannot be imported ({cause}): pip install --upgrade tensorboard ("
    )
    assert "\n" not in line
    assert len(run.log()) == 4
    assert not (run.path / "tensorboard").exists()


def test_the_entry_module_is_light() -> None:
    code = "import sys, ganzoo_tensorboard; print({'tensorboard', 'torch', 'numpy', 'PIL'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
