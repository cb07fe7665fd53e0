"""The same training on a CUDA device: skipped where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ganzoo.training.checkpoint import newest
from ganzoo.training.launch import Quiet, resume, train

from .conftest import HARD

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


def test_no_step_waits_for_the_device(tmp_path: Path) -> None:
    from ganzoo.training import trainer

    waited: list[str] = []
    original = trainer.Trainer._round

    def watched(self: trainer.Trainer) -> None:
        if self.round > 2:  # the first rounds allocate and tune
            torch.cuda.set_sync_debug_mode("error")
        try:
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


def test_fp32_convolutions_are_in_fp32(tmp_path: Path) -> None:
    train({**HARD, "device": "cuda", "precision": "fp32", "kimg": 0.02}, tmp_path / "run")
    x, weight = torch.randn(8, 64, 16, 16, device="cuda"), torch.randn(64, 64, 3, 3, device="cuda")
    exact = torch.nn.functional.conv2d(x.double(), weight.double())
    seen = torch.nn.functional.conv2d(x, weight)
    assert ((seen - exact).abs().max() / exact.abs().max()).item() < 2e-5  # in TF32 about 5e-4
