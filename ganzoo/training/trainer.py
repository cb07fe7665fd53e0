"""The trainer: phases, micro-batches, gradients and time. It knows no GAN.

`train` is the main loop; `_round` and `_step` are the algorithm. Nothing in them waits for the device.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ganzoo.config import Settings
from ganzoo.errors import NonFiniteError, RunError, UsageError
from ganzoo.interfaces import Batch, Game, Phase
from ganzoo.registry import one_line
from ganzoo.runs import Run
from ganzoo.training import checkpoint
from ganzoo.training.accelerate import Graph, NoClock, Said, compile_networks, record, suited, why_not
from ganzoo.training.distributed import Ranks
from ganzoo.training.ema import Ema
from ganzoo.training.optimizers import PlayerOptimizer
from ganzoo.training.statistics import Statistics
from ganzoo.training.writing import Writer


class Batches(Protocol):
    """Where batches come from: `draw` gives this rank's part of the next, `state_dict` says how far it is.

    `labels`, asked before `draw` where several ranks share a batch, are those of all of it.
    """

    position: int

    def draw(self) -> Batch: ...
    def labels(self) -> Tensor | None: ...
    def state_dict(self) -> dict[str, int]: ...
    def load_state_dict(self, state: dict[str, int]) -> None: ...


class Trainer:
    """One game, its data, and everything that changes the next step."""

    def __init__(
        self,
        game: Game,
        batches: Batches,
        settings: Settings,
        device: torch.device,
        writer: Writer | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        self.game, self.batches, self.settings, self.device, self.writer = game, batches, settings, device, writer
        self.ranks = ranks or Ranks()
        self.batch, self.micro_batch = settings.batch, settings.micro_batch or settings.batch
        self.total = round(settings.kimg * 1000)
        self.nimg = self.round = 0
        self.stopping = False
        configs = {"G": settings.G, "D": settings.D}
        self.phases = [
            replace(phase, repeat=phase.repeat * configs[phase.player].steps) if phase.every == 1 else phase
            for phase in game.phases()
            if configs[phase.player].steps
        ]
        graphs = settings.graphs and device.type == "cuda"
        self.optimizers = {
            name: PlayerOptimizer(name, player, configs[name], self.phases, settings.kimg, graphs)
            for name, player in game.players.items()
        }
        for player in game.players.values():
            player.requires_grad_(False)
        for match in game.matches:
            match.budget, match.d_rule = self.total, self.optimizers["D"].rule()
        self.ema = Ema(game.players["G"], settings.ema, settings.kimg)
        self.statistics = Statistics()
        self.noise = torch.Generator(device)
        self.graphs: dict[str, Graph] = {}
        game.train()
        if settings.compile:
            compile_networks(game)  # not the average: it is a copy already

    # ---- the algorithm

    def train(self) -> str:
        """Play rounds until the budget is spent or `stopping` is set. Returns "done" or "stopped"."""
        while self.nimg < self.total and not self.ranks.agree(self.stopping):
            self._round()
            self.nimg += self.batch
            self.round += 1
            self.ema.update(self.game.players["G"], self.batch, self.nimg)
            if self.writer is not None:
                self.writer.after_round(self)
        if self.writer is not None:
            self.writer.finish(self)
        return "done" if self.nimg >= self.total else "stopped"

    def _round(self) -> None:
        shared = self._draw()
        if self.settings.shared_fakes:
            for match in self.game.matches:
                match.share_fakes()
        for phase in self.phases:
            if self.round >= phase.start and self.round % phase.every == 0:
                for repeat in range(phase.repeat):
                    self._step(phase, shared if repeat == 0 else self._draw())

    def _step(self, phase: Phase, batch: Batch) -> None:
        self.optimizers[phase.player].begin(self.nimg / 1000)
        graph = self.graphs.get(phase.name)
        for stats, weight in graph(batch) if graph else self._update(phase, batch, self.nimg):
            self.statistics.add(phase.name, stats, weight, self.round)
        self.game.after_step(phase.player)

    def _update(self, phase: Phase, batch: Batch, nimg: int) -> Said:
        optimizer, said = self.optimizers[phase.player], list[Any]()
        with self._learning(optimizer), suited(phase, self.settings):
            for micro in _split(batch, self.micro_batch):
                share = len(micro["real"]) / len(batch["real"])
                for _, term in self._in_precision(self.game.losses(phase, micro, nimg)):
                    # Each graph is freed before the next is built; a lazy phase stands for `every` rounds.
                    (term * (share * phase.every)).backward()
                said.append((self.game.stats, share))
                self.game.stats = {}
        self.ranks.average(optimizer.parameters.values())
        said.append(({f"{phase.player}/grad": optimizer.step()}, 1.0))
        return said

    def _draw(self) -> Batch:
        """A batch with what the game draws itself: a function of seed and position, so that a resumed run draws the same."""
        return self.ranks.draw(self.game, self.batches, self.noise, self.settings.seed)

    @contextlib.contextmanager
    def _learning(self, optimizer: PlayerOptimizer) -> Iterator[None]:
        """Only this player's parameters ask for gradients: frozen layers stay frozen, G's step never pays for D's weights."""
        for p in optimizer.parameters.values():
            p.requires_grad_(True)
        try:
            yield
        finally:
            for p in optimizer.parameters.values():
                p.requires_grad_(False)

    def _in_precision(self, terms: Iterator[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """Each term is computed under autocast where asked for, and handed out outside of it."""
        while True:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.precision == "bf16"):
                item = next(terms, None)
            if item is None:
                return
            yield item

    # ---- statistics, once a tick

    def fetch(self) -> dict[str, float]:
        """The means since the last call. Raises NonFiniteError that names term and phase."""
        means, bad = self.statistics.fetch(self.ranks)
        if bad is not None:
            raise NonFiniteError(
                f"{bad.name} became NaN or infinite in phase {bad.phase} of round {bad.round} "
                f"({(bad.round + 1) * self.batch / 1000:g} kimg). The last good checkpoint stays. A lower learning rate "
                f"(--set {bad.phase[0]}.lr=...), a gradient clip (--set {bad.phase[0]}.clip=1) or --precision fp32 may mend it"
            )
        return means

    def time_rounds(self) -> float:
        """Seconds a round, measured on steps that are then undone: what the estimate before the first round is made of."""
        seconds = 0.0
        with self._undone():
            batch = self._draw()
            for phase in self.phases:
                self._step(phase, batch)  # the first is slow: allocation, autotuning
                self._wait()
                start = time.perf_counter()
                self._step(phase, batch)
                self._wait()
                seconds += (time.perf_counter() - start) * phase.repeat / phase.every
        return seconds

    def record(self) -> str | None:
        """Replace phases by CUDA graphs of their steps; why one cannot be, and stays as it is, or None. The state is undone."""
        reasons = [
            why_not(self.settings, self.device, self.ranks.world),
            *(optimizer.why_not() for optimizer in self.optimizers.values()),
        ]
        if any(reasons):
            return next(filter(None, reasons))
        reason, recorded = None, {}
        with self._undone():
            batch = self._draw()
            for phase in self.phases:
                try:
                    recorded[phase.name] = record(partial(self._recorded, phase), self.game, batch)
                except Exception as err:
                    reason = reason or f"{phase.name}: {one_line(err)}"
        self.graphs = recorded
        return reason

    @contextlib.contextmanager
    def _undone(self) -> Iterator[None]:
        """What is played inside changes nothing, also where it fails."""
        before, position = self.capture(), self.batches.state_dict()
        try:
            yield
        finally:
            self.statistics.fetch()
            self.restore(before)
            self.batches.load_state_dict(position)

    def _recorded(self, phase: Phase, batch: Batch) -> Said:
        for optimizer in self.optimizers.values():  # no gradient from outside a graph, which it would add to
            optimizer.clear()
        return self._update(phase, batch, NoClock())  # type: ignore[arg-type]

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    # ---- everything that changes the next step

    def capture(self) -> checkpoint.State:
        """All state as tensors by file: copies, so that training may go on."""
        rest = {name: value for name, value in self.game.state_dict().items() if not name.startswith("players.")}
        state: checkpoint.State = {
            "generator": self.ema.network.state_dict(),
            "players": self.game.players.state_dict(),
            "game": rest,
            "optimizers": {
                f"{player}.{name}": value for player, opt in self.optimizers.items() for name, value in opt.state_dict().items()
            },
            "random": checkpoint.capture_random(),
        }
        return {file: {name: value.detach().clone() for name, value in tensors.items()} for file, tensors in state.items()}

    def restore(self, state: checkpoint.State) -> None:
        """Undo `capture`. Raises RunError where the game is another than the one that was saved."""
        try:
            self.ema.network.load_state_dict(state["generator"])
            self.game.load_state_dict({**{f"players.{k}": v for k, v in state["players"].items()}, **state["game"]})
            for player, optimizer in self.optimizers.items():
                mine = {k.partition(".")[2]: v for k, v in state["optimizers"].items() if k.partition(".")[0] == player}
                optimizer.load_state_dict(mine)
        except (RuntimeError, KeyError) as err:
            first = str(err).strip().splitlines()
            raise RunError(f"the checkpoint is of another game than run.toml describes: {' '.join(first[:2])}") from None
        checkpoint.restore_random(state["random"])

    def save(self, run: Run, **more: Any) -> Path:
        """Write a checkpoint, with `more` in its table. Raises RunError where it cannot be written."""
        own = {"round": self.round, "sampler": self.batches.state_dict(), "ranks": self.ranks.world}
        return checkpoint.save(run, self.nimg, self.capture(), {**more, **own})

    def resume(self, saved: checkpoint.Checkpoint) -> None:
        self.restore({name: saved.tensors(name) for name in ("generator", "players", "game", "optimizers", "random")})
        self.nimg, self.round = saved.nimg, int(saved.table["round"])
        self.batches.load_state_dict(saved.table["sampler"])


def choose_device(name: str) -> torch.device:
    """The device of "auto", "cpu", "cuda", "cuda:N" or "mps", CUDA's with a number. UsageError where it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    there = [
        "cpu",
        *(f"cuda:{i}" for i in range(torch.cuda.device_count())),
        *(["mps"] if torch.backends.mps.is_available() else []),
    ]
    if name == "cuda" and "cuda:0" in there:
        return torch.device("cuda", torch.cuda.current_device())
    if name in there:
        return torch.device(name)
    raise UsageError(f"--device {name}: not on this machine; there is {', '.join(there)}")


def choose_precision(name: str, device: torch.device) -> str:
    """ "bf16" or "fp32": for "auto" bf16 where the device is faster at it."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device)[0] >= 8 else "fp32"
    return "bf16" if device.type == "cpu" and _cpu_gains_by_bf16() else "fp32"


def _cpu_gains_by_bf16() -> bool:
    """Measured: of the processors that have instructions for it some are twice as fast with them, others half as fast."""
    if not getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)():
        return False
    fastest = []
    for dtype in (torch.float32, torch.bfloat16):
        square = torch.ones(384, 384, dtype=dtype)
        seconds = []
        for _ in range(8):  # the fastest of some: others may be computing too
            start = time.perf_counter()
            square @ square
            seconds.append(time.perf_counter() - start)
        fastest.append(min(seconds))
    return fastest[1] * 1.2 < fastest[0]


def _split(batch: Batch, size: int) -> Iterator[Batch]:
    n = len(batch["real"])
    if size >= n:
        yield batch
        return
    for begin in range(0, n, size):
        yield {name: value[begin : begin + size] for name, value in batch.items()}


def is_out_of_memory(err: BaseException) -> bool:
    said = ("out of memory", "not enough memory", "can't allocate memory", "ALLOC_FAILED")  # MPS, Windows, Linux, cuBLAS
    return isinstance(err, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(err, RuntimeError) and any(words in str(err) for words in said)
    )
