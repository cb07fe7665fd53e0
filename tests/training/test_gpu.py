"""The same training on a CUDA device: skipped where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ganzoo.games.match import Match
from ganzoo.interfaces import Phase
from ganzoo.training.checkpoint import newest
from ganzoo.training.display import Quiet
from ganzoo.training.launch import resume, train

from .conftest import HARD
from .small import GP, STYLE, images, same, trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]


@pytest.mark.parametrize("in_memory", [True, False], ids=["resident", "memory map"])
def test_a_hard_training_runs_and_resumes(tmp_path: Path, in_memory: bool) -> None:
    table: dict[str, Any] = {**HARD, "device": "cuda", "in_memory": in_memory, "kimg": 0.1}
    straight = train(table, tmp_path / "straight")
    half = train({**table, "kimg": 0.05}, tmp_path / "half")
    resume(half.path, Quiet(), 0.1).play()
    one, two = (newest(run, print) for run in (straight, half))
    assert one is not None
    assert two is not None
    assert one.nimg == two.nimg == 104
    for name, value in one.tensors("generator").items():
        assert value.isfinite().all(), name
        # Kernels that add in any order make this a tolerance and no equality.
        assert torch.allclose(value, two.tensors("generator")[name], rtol=0.05, atol=0.02), name


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_no_step_waits_for_the_device(tmp_path: Path) -> None:
    from ganzoo.training import trainer

    waited: list[str] = []
    original = trainer.Trainer._round

    def watched(self: trainer.Trainer) -> None:
        try:
            if self.round > 2:  # the first rounds allocate and tune
                torch.cuda.set_sync_debug_mode("error")
            original(self)
        except RuntimeError as err:
            waited.append(str(err))
            raise
        finally:
            torch.cuda.set_sync_debug_mode("default")

    trainer.Trainer._round = watched  # type: ignore[method-assign]
    try:
        train({**HARD, "device": "cuda", "kimg": 0.08}, tmp_path / "run")
    finally:
        trainer.Trainer._round = original  # type: ignore[method-assign]
    assert waited == []


def _error(device: str = "cuda") -> float:
    """Relative error of a convolution as the process is set now."""
    x, weight = torch.randn(8, 64, 16, 16, device=device), torch.randn(64, 64, 3, 3, device=device)
    exact = torch.nn.functional.conv2d(x.double(), weight.double())
    seen = torch.nn.functional.conv2d(x, weight)
    return ((seen - exact).abs().max() / exact.abs().max()).item()


@pytest.mark.skipif(torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 0), reason="this device has no TF32")
@pytest.mark.parametrize("tf32", [True, False])
def test_tf32_where_nothing_is_differentiated_twice(tmp_path: Path, tf32: bool) -> None:
    errors: dict[str, float] = {}
    plain = Match.losses

    def watched(self: Match, phase: Phase, *given: Any) -> Any:
        errors[phase.name] = _error()
        return plain(self, phase, *given)

    Match.losses = watched  # type: ignore[method-assign]
    try:
        train({**HARD, "device": "cuda", "precision": "fp32", "kimg": 0.08, "tf32": tf32}, tmp_path / "run")
    finally:
        Match.losses = plain  # type: ignore[method-assign]
    coarse = {name for name, error in errors.items() if error > 5e-5}  # about 5e-4 in TF32, below 1e-6 in fp32
    assert coarse == ({name for name in errors if name.endswith("main")} if tf32 else set())


@pytest.mark.parametrize("parts", [STYLE, GP], ids=["stylegan", "gp"])
@pytest.mark.parametrize("how", ["compile", "graphs"])
def test_compiled_and_recorded_steps_play_the_same_training(tmp_path: Path, parts: dict[str, Any], how: str) -> None:
    path, values = images(tmp_path), {**parts, "device": "cuda", "tf32": False}
    plain, quick = (trainer(path, 6, **values, **more) for more in ({}, {how: True}))
    for playing in (plain, quick):
        if playing.settings.graphs:
            assert playing.record() is None
            assert set(playing.graphs) == {phase.name for phase in playing.phases}
        torch.manual_seed(1)
        with torch._inductor.config.patch(fallback_random=True):  # else compiled networks draw numbers of their own
            playing.train()
    same(plain, quick, rtol=1e-2, atol=1e-4)
