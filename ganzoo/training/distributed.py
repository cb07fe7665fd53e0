"""One training on several processes, which torchrun starts: what each does, what they agree on, and how they end together.

A batch is shared in equal slices, rank 0 writes and speaks. What is small and decides goes between the processors' memories
(gloo), gradients between the devices (NCCL on GPUs). A rank that is gone is noticed by the others' signs of life, so that a
collective may take as long as rank 0 needs to measure and to write.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ganzoo.data.cache import cores
from ganzoo.errors import NonFiniteError, RunError, UsageError
from ganzoo.interfaces import Batch, Game, batch_mean, sharing
from ganzoo.training import checkpoint, launched

if TYPE_CHECKING:
    from ganzoo.training.trainer import Batches, Trainer

_MEET = 600.0  # seconds until all ranks are there
_BEAT = 2.0  # seconds between two signs of life
_SILENT = 10  # beats without a sign from the next rank, after which it is gone; torchrun kills what is left after 30 seconds
_WORDS = 3.0  # seconds in which a rank that failed says why, before the others speak of what they saw
_ENDLESS = timedelta(days=7)  # of a collective: rank 0 may measure for hours

T = TypeVar("T")


def restarts() -> int:
    """How often torchrun would start the ranks anew."""
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", 0))


def join() -> Ranks:
    """This process among those that torchrun started, once all are there; alone without it. Raises RunError."""
    global _post
    here = {name: int(os.environ.get(name, default)) for name, default in _PLACE.items()} if launched() else _PLACE
    if here["WORLD_SIZE"] > 1 and _post is None:
        _post = _Post(here["RANK"], here["WORLD_SIZE"])
    return Ranks(here["RANK"], here["WORLD_SIZE"], here["LOCAL_RANK"], here["LOCAL_WORLD_SIZE"])


_PLACE = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}


class Ranks:
    """A process's place among `world`; `local` of `beside` is that on its machine. Alone, it does nothing."""

    def __init__(self, rank: int = 0, world: int = 1, local: int = 0, beside: int = 1) -> None:
        self.rank, self.world, self.local, self.beside = rank, world, local, beside
        self._masks: dict[tuple[bool, ...], Tensor] = {}
        self._vote: tuple[Tensor, Any] | None = None

    # ---- who does what

    @property
    def first(self) -> bool:
        """Whether it is this one that writes and speaks."""
        return self.rank == 0

    def share(self, batch: int) -> int:
        """How many of a batch are this rank's. Raises UsageError where they cannot be shared equally."""
        if batch % self.world:
            near = batch // self.world * self.world
            raise UsageError(
                f"--batch {batch} cannot be shared equally by {self.world} ranks: use "
                f"{f'{near} or {near + self.world}' if near else self.world}"
            )
        return batch // self.world

    def device(self, name: str) -> str:
        """The name of this rank's device, where `name` is the one asked for. Raises UsageError."""
        if self.world == 1:
            return name
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        if name == "mps" or (name.startswith("cuda:") and self.beside > 1):
            raise UsageError(f"--device {name}: ranks share a batch on cuda, each on the GPU of its number, or on cpu")
        if name == "cuda" and self.beside > torch.cuda.device_count():
            there = torch.cuda.device_count()
            raise UsageError(
                f"{self.beside} ranks on this machine, which has {there} GPU{'s' * (there != 1)}: "
                f"--nproc-per-node {max(1, there)}, or --device cpu"
            )
        if name == "cpu" and os.environ.get("OMP_NUM_THREADS", "1") == "1":  # what torchrun sets where the user says nothing
            torch.set_num_threads(max(1, cores() // self.beside))
        return f"cuda:{self.local}" if name == "cuda" else name

    @contextlib.contextmanager
    def in_turn(self) -> Iterator[None]:
        """What is inside is done by the first rank of each machine, then by the others, who find what it left there."""
        if self.local:
            self.wait()
        yield
        if not self.local:
            self.wait()

    # ---- what they agree on

    def told(self, make: Callable[[], T]) -> T:
        """What rank 0 makes, on every rank: anything that JSON holds. The others wait for it."""
        if self.world == 1:
            return make()
        text = json.dumps(make()).encode() if self.first else b""
        size = torch.tensor(len(text))
        dist.broadcast(size, 0)
        content = (
            torch.frombuffer(bytearray(text), dtype=torch.uint8) if self.first else torch.empty(int(size), dtype=torch.uint8)
        )
        dist.broadcast(content, 0)
        value: T = json.loads(content.numpy().tobytes())
        return value

    def gather(self, value: Tensor) -> Tensor:
        """[world, ...]: a tensor on the CPU from every rank."""
        out = [torch.empty_like(value) for _ in range(self.world)]
        dist.all_gather(out, value)
        return torch.stack(out)

    def agree(self, stop: bool) -> bool:
        """Once a round: whether to stop, because some rank asked for it. Of several, the answer is to the round before.

        It travels while the round is computed, and nobody waits.
        """
        if self.world == 1:
            return stop
        answer = False
        if self._vote is not None:
            flag, work = self._vote
            work.wait()
            answer = bool(flag)
        flag = torch.tensor(int(stop))
        self._vote = flag, dist.all_reduce(flag, op=dist.ReduceOp.MAX, async_op=True)
        return answer

    def align(self, trainer: Trainer) -> None:
        """Give all ranks what rank 0 has: weights, averages, moments, buffers, and where it is in the data.

        Raises RunError where this rank's game is another one.
        """
        if self.world == 1:
            return
        state = {file: tensors for file, tensors in trainer.capture().items() if file != "random"}
        shapes = self.told(
            lambda: {
                "clock": (trainer.nimg, trainer.round, trainer.batches.state_dict()),
                "files": {
                    file: {name: (str(t.dtype).removeprefix("torch."), list(t.shape)) for name, t in tensors.items()}
                    for file, tensors in state.items()
                },
            }
        )
        for file, named in shapes["files"].items():  # type: ignore[attr-defined]
            mine = state[file] if self.first else {}
            state[file] = {
                name: _from_first(mine[name] if mine else torch.empty(shape, dtype=getattr(torch, kind)))
                for name, (kind, shape) in named.items()
            }
        if not self.first:
            try:
                trainer.restore({**state, "random": checkpoint.capture_random()})
            except RunError:
                raise RunError("the networks here are others than rank 0's: install the same versions everywhere") from None
            trainer.nimg, trainer.round, place = shapes["clock"]  # type: ignore[misc]
            trainer.batches.load_state_dict(place)

    # ---- the step

    def draw(self, game: Game, batches: Batches, noise: torch.Generator, seed: int) -> Batch:
        """This rank's slice of the next batch, with what the game draws: for the whole batch, as one process would.

        Layers of the other ranks draw from here on by (seed, rank, position): theirs is not in a checkpoint.
        """
        noise.manual_seed(mix(seed, batches.position))
        if self.world == 1:
            return game.draw(batches.draw(), noise)
        if not self.first:
            torch.manual_seed(mix(seed, batches.position, self.rank))
        labels = batches.labels()
        mine = batches.draw()
        size = len(mine["real"])
        # No rank has all images: whatever is computed of them would be NaN, and be noticed.
        whole = {
            name: value.new_full((), torch.nan).expand(size * self.world, *value.shape[1:])
            for name, value in mine.items()
            if name != "labels"
        }
        if labels is not None:
            whole["labels"] = labels
        passed = {id(value): name for name, value in whole.items()}
        slice_ = slice(self.rank * size, (self.rank + 1) * size)
        return {
            name: mine[passed[id(value)]] if id(value) in passed else value[slice_]
            for name, value in game.draw(whole, noise).items()
        }

    @torch.no_grad()
    def average(self, parameters: Iterable[nn.Parameter]) -> None:
        """The mean of each gradient over the ranks, in one exchange. None stays where it is None on all."""
        if self.world == 1:
            return
        parameters = list(parameters)
        there = tuple(p.grad is not None for p in parameters)
        if there not in self._masks:
            self._masks[there] = torch.tensor(there, dtype=parameters[0].dtype, device=parameters[0].device)
        flat = torch.cat([*((p if p.grad is None else p.grad).reshape(-1) for p in parameters), self._masks[there]])
        sizes = [p.numel() for p in parameters]
        *parts, known = flat.split([*sizes, len(parameters)])
        for part, given in zip(parts, there, strict=True):
            if not given:
                part.zero_()
        dist.all_reduce(flat)
        flat /= self.world
        if not all(there):  # the device is asked only by a rank that lacks some
            for p, some in zip(parameters, known.tolist(), strict=True):
                if p.grad is None and some:
                    p.grad = torch.empty_like(p)
        held = [(p.grad, part.view(p.shape)) for p, part in zip(parameters, parts, strict=True) if p.grad is not None]
        if held:
            torch._foreach_copy_(*map(list, zip(*held, strict=True)))

    def wait(self) -> None:
        """Until all are here."""
        if self.world > 1:
            dist.all_reduce(torch.zeros(1))


def _from_first(value: Tensor) -> Tensor:
    """Rank 0's tensor, on the CPU, into one of its shape."""
    out = value.detach().cpu().contiguous()
    if out.numel():
        dist.broadcast(out.reshape(-1).view(torch.uint8), 0)  # as bytes: not every type travels
    return out


def sync_batch_norm(network: nn.Module) -> int:
    """Have each batch norm take its statistics over all ranks' samples; how many there are."""
    norms = [module for module in network.modules() if type(module) in _SYNCED]
    for norm in norms:
        norm.__class__ = _SYNCED[type(norm)]  # wherever the network holds it, its parameters and their names stay
    return len(norms)


def has_unsynced(network: nn.Module) -> bool:
    """Whether a batch norm sees this rank's samples alone: all do by default, and always those of a class of their own."""
    norms = (module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
    return any(norm.training and not isinstance(norm, _Synced) for norm in norms)


class _Synced(nn.modules.batchnorm._BatchNorm):
    """Batch norm of the batch that the ranks share, on any device, twice differentiable."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or sharing() == 1:
            return super().forward(x)
        self._check_input_dim(x)
        exact = x.to(torch.promote_types(x.dtype, torch.float32))
        places = [0, *range(2, x.ndim)]
        along = [1, -1] + [1] * (x.ndim - 2)
        mean = batch_mean(exact.mean(places))
        centred = exact - mean.view(along)
        variance = batch_mean(centred.square().mean(places))
        if self.track_running_stats:
            self._follow(mean.detach(), variance.detach(), x.numel() // x.shape[1] * sharing())
        out = centred * (variance + self.eps).rsqrt().view(along)
        if self.affine:
            out = out * self.weight.view(along) + self.bias.view(along)
        return out.to(x.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: int) -> None:
        self.num_batches_tracked.add_(1)
        share: Any = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype) * (count / max(1, count - 1)), share)


_SYNCED = {
    plain: type(f"Synced{plain.__name__}", (_Synced, plain), {}) for plain in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
}


def mix(*numbers: int) -> int:
    """One well-mixed 63-bit seed of several small numbers (the finaliser of splitmix64)."""
    state = 0x9E3779B97F4A7C15
    for number in numbers:
        state = (state ^ number) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ (state >> 30)) * 0x94D049BB133111EB % 2**64
        state ^= state >> 31
    return state & (2**63 - 1)


# ---- the end


class _Post:
    """What ranks leave for each other in torchrun's store: signs of life, and who has spoken for all.

    A thread gives and looks for signs of life: it ends the process where the main one waits for a rank that is gone.
    """

    def __init__(self, rank: int, world: int) -> None:
        self.rank, self.world = rank, world
        self.leaving = threading.Event()
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        stores = [next(dist.rendezvous("env://", timeout=timedelta(seconds=_MEET)))[0] for _ in range(2)]
        # One of its own for the watch: a connection that waits for something keeps others from asking.
        self._store, group = (dist.PrefixStore(f"ganzoo/{attempt}/{i}", store) for i, store in enumerate(stores))
        self._meet()
        self.watching = threading.Thread(target=self._watch, name="ganzoo-ranks", daemon=True)
        self.watching.start()
        atexit.register(self.part)  # somebody's own script ends without `leave`
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
        dist.init_process_group(backend, store=group, rank=rank, world_size=world, timeout=_ENDLESS)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._ended)  # while it trains, `stoppable` has its own

    def _meet(self) -> None:
        self._store.set(f"beat/{self.rank}", "0")
        until = time.monotonic() + _MEET
        missing = list(range(self.world))
        while missing := [rank for rank in missing if not self._store.check([f"beat/{rank}"])]:
            if time.monotonic() > until:
                raise RunError(f"waited {_MEET / 60:g} minutes for rank {', '.join(map(str, missing))} to start")
            time.sleep(0.05)

    def _watch(self) -> None:
        beats = quiet = 0
        following, last = f"beat/{(self.rank + 1) % self.world}", b""
        while not self.leaving.wait(_BEAT):
            try:
                beats += 1
                self._store.set(f"beat/{self.rank}", str(beats))
                if self._store.check(["said"]):  # time enough to end by itself, unless it waits for whoever said it
                    self.leaving.wait(_BEAT) or os._exit(1)
                    return
                seen = self._store.get(following)
            except RuntimeError:
                words = "torchrun's store does not answer: its process on the first machine is gone"
            else:
                quiet = 0 if seen != last else quiet + 1
                last = seen
                if quiet < _SILENT or seen == b"left":
                    continue
                words = f"there has been no sign of rank {(self.rank + 1) % self.world} for {_SILENT * _BEAT:g} seconds"
            if not self.leaving.is_set():
                self.say(f"ganzoo: rank {self.rank}: {words}. {_AGAIN}")
                os._exit(1)

    def _ended(self, number: int, frame: FrameType | None) -> None:
        """torchrun ends those that are left where one is gone: the first of them to say so speaks for all."""
        self.say(f"ganzoo: rank {self.rank}: another rank is gone, or torchrun was stopped. {_AGAIN}")
        os._exit(128 + number)

    def heard(self, seconds: float) -> bool:
        """Whether another rank says why all end, within so many seconds."""
        until = time.monotonic() + seconds
        with contextlib.suppress(RuntimeError):
            while not (said := self._store.check(["said"])) and time.monotonic() < until:
                time.sleep(0.05)
            return said
        return False

    def say(self, line: str) -> None:
        """Print it, unless another rank does so for all."""
        try:
            mine = self._store.add("speaker", 1) == 1
        except RuntimeError:
            mine = True
        if not mine:
            self.heard(_WORDS)
            return
        with contextlib.suppress(OSError):
            print(line, file=sys.stderr, flush=True)
        with contextlib.suppress(RuntimeError):
            self._store.set("said", line)

    def follow(self, seconds: float) -> None:
        """Let rank 0 be the first to leave: torchrun ends those that are left where one was stopped."""
        until = time.monotonic() + seconds
        with contextlib.suppress(RuntimeError):
            while self.rank and self._store.get("beat/0") != b"left" and time.monotonic() < until:
                time.sleep(0.05)

    def leave(self) -> None:
        self.leaving.set()
        with contextlib.suppress(RuntimeError):
            self._store.set(f"beat/{self.rank}", "left")

    def part(self) -> None:
        """Leave, and wait for the watching thread: an interpreter that ends while it asks the store is aborted."""
        self.leave()
        self.watching.join(_WORDS)


_post: _Post | None = None
_AGAIN = "A checkpoint is where to go on: the same torchrun with 'resume' and the run's directory"


def last_words(code: int, err: BaseException, message: str) -> None:
    """Print the error that ends this rank, after its number, unless another rank says for all why they end."""
    rank = int(os.environ.get("RANK", 0))
    common = code == 2 or isinstance(err, NonFiniteError)  # usage, and what was agreed on: all ranks have the same to say
    line = f"ganzoo: {'' if common and rank == 0 else f'rank {rank}: '}{message}"
    if _post is None:
        if rank == 0 or not common:
            print(line, file=sys.stderr, flush=True)
        return
    if _lost(err):
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun's: it waits half a minute for these words
        what = "" if "gloo" in message else f" ({message[:200]})"  # gloo's words are of its own files and lines
        line = f"ganzoo: rank {rank}: the connection to another rank broke: it was killed, or lost{what}. {_AGAIN}"
    if not ((_lost(err) or (common and rank)) and _post.heard(_WORDS)):
        _post.say(line)


def leave(code: int) -> None:
    """Before the process ends: part from the other ranks; after a failure at once, for they may not answer."""
    if _post is None:
        return
    if code in (0, 130):
        _post.follow(_WORDS)
    if code == 0:
        _post.part()
        dist.destroy_process_group()
    else:
        _post.leave()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _lost(err: BaseException) -> bool:
    return isinstance(err, dist.DistError) or (isinstance(err, RuntimeError) and "gloo" in str(err))
