"""What torchrun starts twice in test_ranks.py: `ranks_program.py DIR` holds two ranks against one process and trains in DIR.

Writes DIR/RANK.json: by case the largest difference of a gradient, of all gradients' largest, and what else the tests look at.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

import ganzoo
from ganzoo.assembly import make_plan
from ganzoo.config import Layer, layer_from_dict
from ganzoo.data.cache import materialise
from ganzoo.data.sampling import Sampler
from ganzoo.interfaces import Batch, alone
from ganzoo.registry import get_registry
from ganzoo.training.display import Mute
from ganzoo.training.distributed import Ranks, join, sync_batch_norm
from ganzoo.training.launch import resume
from ganzoo.training.trainer import Trainer

BATCH = 16
PLAYER = {"optimizer": "adam", "lr": 1e-2, "betas": [0.5, 0.9]}
PLAIN = {
    "batch": BATCH,
    "kimg": 1.0,
    "seed": 5,
    "device": "cpu",
    "precision": "fp32",
    "channels_last": False,
    "flip": True,
    "gen": "dcgan:channels=4,z_dim=8,norm=none",
    "disc": "dcgan:channels=4,norm=none",
    "loss": "non-saturating",
    "aug": "none",
    "data": "emoji:res=8",
    "G": PLAYER,
    "D": PLAYER,
}
STYLE = {
    "gen": "stylegan:z_dim=8,w_dim=8,mapping_layers=1,max_channels=8,noise=true",
    "disc": "stylegan:max_channels=8",
    "reg": ["r1:gamma=1,every=2", "path-length:share=1,every=2"],  # of a part each rank would take its own
}
CASES: dict[str, dict[str, Any]] = {
    "dcgan": {"reg": ["r1:gamma=1,every=2"]},
    "stylegan": STYLE,
    "gradient-penalty": {"loss": "wasserstein", "reg": ["gradient-penalty", "weight-clip:c=0.1"]},
    "relativistic-average": {"loss": "relativistic-average", "reg": ["dragan", "feature-matching:replace=false"]},
    "lecam": {"loss": "hinge", "reg": ["lecam:start=1,weight=3"]},
    "sync-bn": {"gen": "dcgan:channels=4,z_dim=8", "disc": "dcgan:channels=4", "reg": ["gradient-penalty:every=2"]},
    "micro-batch": {"micro_batch": 4, "reg": ["r1:gamma=1,every=2"]},
}
STRAIGHT = {**PLAIN, **STYLE, "kimg": 0.192, "aug": "ada:kimg=1,target=0", "checkpoint": {"tick": 0.032, "every": 0.096}}


class Fixed(TorchFunctionMode):
    """The k-th draw of a layer is the same for each sample of the batch, whoever computes it."""

    def __init__(self, whole: int, part: slice) -> None:
        super().__init__()
        self.whole, self.part, self.count = whole, part, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        drawn = func(*args, **(kwargs or {}))
        kinds = {torch.rand: "u", torch.rand_like: "u", torch.randn: "n", torch.randn_like: "n", torch.randint: "i"}
        if func not in kinds or not drawn.ndim or len(drawn) != len(range(self.whole)[self.part]):
            return drawn
        self.count += 1
        generator, shape = torch.Generator().manual_seed(self.count), (self.whole, *drawn.shape[1:])
        if kinds[func] == "i":
            low, high = args[:2] if len(args) > 2 else (0, args[0])
            return torch.randint(low, high, shape, generator=generator)[self.part].to(drawn.dtype)
        make = torch.randn if kinds[func] == "n" else torch.rand
        return make(shape, generator=generator, dtype=torch.float64)[self.part].to(drawn.dtype)


def trainer_of(table: dict[str, Any], ranks: Ranks) -> Trainer:
    plan = make_plan(get_registry(), Layer("the test"), layer_from_dict({**PLAIN, **table}, "the test"))
    settings = plan.config.settings
    game = plan.build().double()
    store = materialise(plan.dataset)
    sampler = Sampler(
        store, batch=BATCH, seed=settings.seed, rank=ranks.rank, world=ranks.world, flip=settings.flip, in_memory=True
    )
    return Trainer(game, sampler, settings, torch.device("cpu"), None, ranks)


def gradients(trainer: Trainer, mode: Fixed) -> Iterator[tuple[str, torch.Tensor]]:
    """Of every step of three rounds, by round, phase and parameter; and the buffers at the end."""
    for _ in range(3):
        batch: Batch = {k: v.double() if v.is_floating_point() else v for k, v in trainer._draw().items()}
        for phase in trainer.phases:
            if trainer.round % phase.every == 0:
                with mode:
                    trainer._step(phase, batch)
                for name, p in trainer.optimizers[phase.player].parameters.items():
                    yield f"{trainer.round} {phase.name} {name}", torch.tensor([]) if p.grad is None else p.grad.clone()
        trainer.nimg, trainer.round = trainer.nimg + BATCH, trainer.round + 1
    yield from trainer.game.state_dict().items()


def compare(table: dict[str, Any], ranks: Ranks, sync: bool) -> dict[str, Any]:
    size = BATCH // ranks.world
    with alone():
        whole = trainer_of({key: value for key, value in table.items() if key != "micro_batch"}, Ranks())
        expected = dict(gradients(whole, Fixed(BATCH, slice(0, BATCH))))
    shared = trainer_of(table, ranks)
    if sync:
        assert sync_batch_norm(shared.game) > 0
    found = dict(gradients(shared, Fixed(BATCH, slice(ranks.rank * size, (ranks.rank + 1) * size))))
    assert expected.keys() == found.keys()
    assert all(expected[name].shape == found[name].shape for name in expected), "a gradient is None here alone"
    scale = max(float(value.abs().max()) for name, value in expected.items() if " " in name and value.numel())
    exact = {name: value for name, value in expected.items() if value.is_floating_point() and value.numel()}
    apart = {name: float((value - found[name]).abs().max()) / (scale if " " in name else 1.0) for name, value in exact.items()}
    worst = max(apart, key=lambda name: apart[name])
    mine, theirs = shared.fetch(), whole.fetch()
    kept = mine.keys() - {"diversity"}  # of pairs within a rank's images
    return {
        "count": len(apart),
        "worst": worst,
        "apart": apart[worst],
        "stats": max(abs(mine[name] - theirs[name]) for name in kept),
        "none": sum(not value.numel() for value in expected.values()),
    }


def digests(trainer: Trainer) -> dict[str, float]:
    """A number for each part of the state that all ranks are to have alike."""
    state = trainer.capture()
    return {f"{f}/{n}": float(t.double().sum()) for f, named in state.items() if f != "random" for n, t in named.items()}


def main(place: Path) -> None:
    torch.set_num_threads(1)
    ranks = join()
    said: dict[str, Any] = {"world": ranks.world}
    for name, table in CASES.items():
        said[name] = compare(table, ranks, sync=name == "sync-bn")

    # What a game draws, and records: a rank's slice of what one process has.
    one, two = trainer_of({}, Ranks()), trainer_of({}, ranks)
    part = slice(ranks.rank * BATCH // ranks.world, (ranks.rank + 1) * BATCH // ranks.world)
    for _ in range(2):
        whole, mine = one._draw(), two._draw()
        assert whole.keys() == mine.keys()
        assert all(torch.equal(whole[name][part], mine[name]) for name in whole)

    # A run of two ranks, half of one that goes on, and what each rank holds at the end.
    straight = ganzoo.train(STRAIGHT, place / "straight")
    half = ganzoo.train({**STRAIGHT, "kimg": 0.096}, place / "half")
    ranks.wait()
    if ranks.first:
        shutil.copytree(half.path, place / "for-one")
    session = resume(half.path, Mute(), kimg=0.192)
    session.play()
    said["state"] = digests(session.trainer)
    assert straight.path.name == "straight"
    ranks.wait()
    (place / f"{ranks.rank}.json").write_text(json.dumps(said))
    ranks.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
