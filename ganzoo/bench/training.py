"""What a training costs: images/s, and where a round's time goes. `ganzoo bench train`.

The shared trainer plays whole rounds, without a run directory; blocks of all recipes alternate, each once as it is and once
with a clock around its parts, which costs a little itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ganzoo.assembly import Plan
from ganzoo.bench.startup import start
from ganzoo.bench.timing import Spent, Spread, interleaved, machine, wait
from ganzoo.data.cache import Progress, materialise
from ganzoo.data.sampling import Sampler
from ganzoo.training.accelerate import place
from ganzoo.training.trainer import Trainer, choose_device, choose_precision

_LEAST = 0.5  # seconds of a block
_REST = "rest"


def make_trainer(plan: Plan, device: torch.device, progress: Progress | None = None) -> Trainer:
    """A trainer of the plan before its first round, as `ganzoo train` makes it, without a run."""
    settings = plan.config.settings
    game = plan.build()
    channels_last = place(game, settings, device)
    with torch.random.fork_rng(devices=[]):
        store = materialise(plan.dataset, progress=progress)
    sampler = Sampler(
        store,
        batch=settings.batch,
        seed=settings.seed,
        device=device,
        flip=settings.flip,
        in_memory=settings.in_memory,
        channels_last=channels_last,
    )
    trainer = Trainer(game, sampler, settings, device)
    if settings.graphs:
        trainer.record()
    return trainer


def play(trainer: Trainer, rounds: int) -> None:
    """Whole rounds, and one fetch of the statistics behind them, as at a tick."""
    trainer.total = trainer.nimg + rounds * trainer.batch
    trainer.train()
    trainer.fetch()


class Split:
    """A clock around the parts of a trainer's rounds: exclusive seconds by part, what is left over being the "rest".

    Parts are "data"; the phases by name, losses and gradients; "optimizer", with clearing gradients and their norm; "EMA"; and
    "logging", what is summed and fetched (the statistics themselves are computed inside the phases).
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        parts = ("data", *(phase.name for phase in trainer.phases), "optimizer", "EMA", "logging", _REST)
        self.seconds = dict.fromkeys(parts, 0.0)
        self._open, self._last = [_REST], 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """What is played in here is counted. Each border between two parts waits for the device."""
        trainer, optimizers = self.trainer, self.trainer.optimizers.values()
        parts: list[tuple[Any, str, Callable[..., str]]] = [
            (trainer, "_draw", lambda *_: "data"),
            (trainer, "_step", lambda phase, *_: str(phase.name)),
            *((optimizer, name, lambda *_: "optimizer") for optimizer in optimizers for name in ("begin", "clear", "step")),
            (trainer.ema, "update", lambda *_: "EMA"),
            (trainer.statistics, "add", lambda *_: "logging"),
            (trainer.statistics, "fetch", lambda *_: "logging"),
        ]
        for owner, name, part in parts:
            setattr(owner, name, self._timed(getattr(owner, name), part))
        self._last = self._now()
        try:
            yield
        finally:
            self._turn()
            for owner, name, _ in parts:
                delattr(owner, name)  # the class's own is found again

    def _timed(self, call: Callable[..., Any], part: Callable[..., str]) -> Callable[..., Any]:
        def timed(*args: Any) -> Any:
            self._turn()
            self._open.append(part(*args))
            try:
                return call(*args)
            finally:
                self._turn()
                self._open.pop()

        return timed

    def _turn(self) -> None:
        """Time until now belongs to the innermost part that is open."""
        now = self._now()
        self.seconds[self._open[-1]] += now - self._last
        self._last = now

    def _now(self) -> float:
        wait(self.trainer.device)
        return time.process_time() if self.trainer.device.type == "cpu" else time.perf_counter()


@dataclass
class Contender:
    """One recipe: its trainer, how many rounds a block has, and what was seen."""

    recipe: str
    plan: Plan
    trainer: Trainer
    started: dict[str, Any]
    rounds: int = 1
    splits: list[dict[str, float]] = field(default_factory=list)

    def warm_up(self) -> None:
        """All phases once, for allocation and tuning; then as many rounds a block as hold each lazy phase equally often."""
        least = math.lcm(*(phase.every for phase in self.trainer.phases))
        play(self.trainer, 1)
        wait(self.trainer.device)
        began = time.perf_counter()
        play(self.trainer, least)
        wait(self.trainer.device)
        self.rounds = least * max(1, math.ceil(_LEAST / (time.perf_counter() - began)))

    def block(self) -> None:
        play(self.trainer, self.rounds)

    def split_block(self) -> None:
        split = Split(self.trainer)
        with split.running():
            self.block()
        self.splits.append({part: seconds / self.rounds for part, seconds in split.seconds.items()})

    def result(self, spent: Sequence[Spent]) -> dict[str, Any]:
        """The figures, JSON-ready: seconds of a round and bytes; images/s are those of the clock and of CPU seconds."""
        settings, images = self.plan.config.settings, self.rounds * self.trainer.batch
        splits = self.splits[1:]  # the first block is not counted
        return {
            "recipe": self.recipe,
            "batch": self.trainer.batch,
            "precision": settings.precision,
            "resolution": list(self.plan.data.resolution),
            "rounds": self.rounds,
            "images_per_second": Spread.of([images / took.wall for took in spent]).to_dict(),
            "images_per_cpu_second": Spread.of([images / took.cpu for took in spent]).to_dict(),
            "round": {part: Spread.of([split[part] for split in splits]).to_dict() for part in splits[0]},
            "start": self.started,
        }


class Bench:
    """Several recipes side by side on one device."""

    def __init__(self, plans: Sequence[tuple[str, Plan, Sequence[str]]], device: str) -> None:
        self.device = choose_device(device)
        self.plans = plans
        for _, plan, _ in plans:
            settle_precision(plan, self.device)

    def run(self, blocks: int, tell: Callable[[int, int], object], progress: Progress | None = None) -> dict[str, Any]:
        """Start each once in a process of its own, then time `blocks` blocks of each; `tell` hears how far it is."""
        total = len(self.plans) * (1 + 2 * (blocks + 1))
        started = []
        for _, _, arguments in self.plans:  # first: on a GPU they find it empty
            started.append(start(arguments))
            tell(len(started), total)
        contenders = [
            Contender(recipe, plan, make_trainer(plan, self.device, progress), first)
            for (recipe, plan, _), first in zip(self.plans, started, strict=True)
        ]
        calls: dict[str, Callable[[], object]] = {}
        for number, contender in enumerate(contenders):
            contender.warm_up()
            calls[f"{number}"] = contender.block
            calls[f"{number} split"] = contender.split_block
        spent = interleaved(calls, blocks, self.device, lambda done: tell(len(self.plans) + done, total))
        recipes = [contender.result(spent[f"{number}"]) for number, contender in enumerate(contenders)]
        return {"machine": machine(self.device), "blocks": blocks, "recipes": recipes}


def settle_precision(plan: Plan, device: torch.device) -> None:
    """Write down what "auto" means on this device."""
    settings = plan.config.settings
    plan.config = replace(plan.config, settings=replace(settings, precision=choose_precision(settings.precision, device)))
