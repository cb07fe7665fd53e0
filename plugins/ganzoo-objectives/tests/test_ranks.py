"""What is a mean over the batch is one over the ranks that share it: two processes with half a batch each."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os
import torch
import torch.distributed as dist
from types import SimpleNamespace

from ganzoo.interfaces import Score
from ganzoo.plugin import DataSpec
from ganzoo_objectives.features import FeatureMatching
from ganzoo_objectives.losses import RelativisticAverage
from ganzoo_objectives.minibatch import Closeness
from ganzoo_objectives.outputs import LeCam
from ganzoo_objectives.penalties import Dragan

rank, data = int(os.environ["RANK"]), DataSpec("points", (3,))
torch.manual_seed(0)
whole = {name: torch.randn(8, 3, dtype=torch.float64) + i for i, name in enumerate(("real", "fake"))}
w = torch.randn(3, dtype=torch.float64)

def loss(of, part):
    r, f = whole["real"][part] @ w, whole["fake"][part] @ of
    return RelativisticAverage(data).d(Score(r * of[0]), Score(f)).mean()

def features(of, part):
    real, fake = (Score(x.sum(1), ((x * of).tanh(),)) for x in (whole["real"][part], whole["fake"][part]))
    return FeatureMatching(data)(SimpleNamespace(real_score=real, fake_score=fake))

def sigma(of, part):
    torch.manual_seed(1)
    reg = Dragan(data, scale=1.0)
    shift = reg.perturbed(whole["real"][part])[0, 0] - whole["real"][part][0, 0]
    torch.manual_seed(1)
    drawn = torch.rand(len(whole["real"][part]), 1, dtype=torch.float64)[0, 0]
    return shift / drawn / torch.rand_like(whole["real"][part])[0, 0] * of.sum()

def anchors(of, part):
    reg = LeCam(data).double()
    reg(SimpleNamespace(real_score=Score(whole["real"][part] @ w), fake_score=Score(whole["fake"][part] @ w)))
    reg.after_step("D", None)
    return (reg.anchors * of[:2]).sum()

CASES = (loss, features, sigma, anchors)

def gradient(case, part):
    of = torch.ones(3, dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(case(of, part), of)[0]

expected = [gradient(case, slice(0, 8)) for case in CASES]
dist.init_process_group("gloo", init_method="file://" + os.environ["MEET"], rank=rank, world_size=2)
for case, answer in zip(CASES, expected):
    mean = gradient(case, slice(4 * rank, 4 * rank + 4))
    dist.all_reduce(mean)
    torch.testing.assert_close(mean / 2, answer, msg=lambda text: case.__name__ + ": " + text)

torch.manual_seed(2)
layer = Closeness(torch.zeros((), dtype=torch.float64), features=3, kernels=4, dim=5)
layer(whole["real"][4 * rank : 4 * rank + 4])
units = [torch.empty_like(layer.unit) for _ in range(2)]
dist.all_gather(units, layer.unit)
assert torch.equal(*units), "minibatch-discrimination: D differs between ranks"
dist.destroy_process_group()
"""


def test_two_ranks_with_half_a_batch_each_are_one_with_all(tmp_path: Path) -> None:
    environment = {**os.environ, "MEET": str(tmp_path / "meet"), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", PROGRAM],
            env={**environment, "RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [rank.communicate(timeout=120)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(said)
