"""What makes the same step cheaper on a device: freed memory kept, TF32, autotuned and compiled networks, CUDA graphs."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import platform
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ganzoo.config import Settings
from ganzoo.interfaces import Batch, Game, Phase

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_KEPT = 2**25  # the most that glibc can be told to
Said = list[tuple[dict[str, Tensor], float]]  # what a step has for the log, each with its weight
_RECORDS = (2, 15)  # of torch, whose failed recordings leave nothing behind
_WARM = 3  # steps on a side stream before a capture: libraries allocate and tune in the first ones


def place(game: Game, settings: Settings, device: torch.device) -> bool:
    """Put a game on its device, in the layout that suits its layers; whether that is channels_last. Sets the process for it."""
    prepare(settings, device, _largest(game, settings))
    channels_last = settings.channels_last
    if channels_last == "auto":
        convolves = (any(p.dim() == 4 for p in player.parameters()) for player in game.players.values())
        channels_last = len(game.data.shape) == 3 and all(convolves)
    game.to(device)
    if channels_last:
        game.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return channels_last


def prepare(settings: Settings, device: torch.device, largest: int = 0) -> None:
    """Set what holds for the whole process; `largest` is the size of the largest buffers of a step, in bytes."""
    if device.type == "cuda":
        if device.index is not None:
            torch.cuda.set_device(device)  # streams and graphs are the current device's
        torch.backends.cudnn.benchmark = True  # every step has the same shapes
    elif device.type == "cpu":
        keep_freed_memory(_KEPT if largest <= _KEPT else _KEPT // 2)
    _tf32(settings.tf32)


def _largest(game: Game, settings: Settings) -> int:
    """Bytes of the map that a discriminator's first convolution makes: about the largest buffer of a step."""
    first = [next((m for m in match.disc.modules() if isinstance(m, nn.Conv2d)), None) for match in game.matches]
    places = math.prod(game.data.shape[1:]) * (settings.micro_batch or settings.batch) * 4
    return max((places * m.out_channels // math.prod(m.stride) for m in first if m is not None), default=0)


def keep_freed_memory(most: int) -> None:
    """Let glibc keep buffers up to so many bytes that this process frees: the next step asks for the same again.

    Else it returns memory at the end of the heap to the system, which hands it out again page by page, filled with zeros: 5 to
    20 % of a step on a CPU. Larger buffers stay with the system, for kept ones would leave holes, 40 % of a large network's
    memory; and where there are larger ones, those in between leave holes too, more than 10 %. Where the environment has
    settings of malloc, those hold.
    """
    if platform.libc_ver()[0] == "glibc" and not any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, most)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _tf32(allowed: bool) -> None:
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed


@contextlib.contextmanager
def exact() -> Iterator[None]:
    """Nothing is rounded to TF32's 10 bits, whatever the process allows: what is measured means the same on every device."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    _tf32(False)
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@contextlib.contextmanager
def suited(phase: Phase, settings: Settings) -> Iterator[None]:
    """What is differentiated twice is not rounded to TF32's 10 bits, nor compiled: torch could not differentiate it again."""
    if not (phase.twice and (settings.tf32 or settings.compile)):
        yield
        return
    with exact(), torch.compiler.set_stance("force_eager") if settings.compile else contextlib.nullcontext():
        yield


def compile_networks(game: Game) -> None:
    """Compile each network of each match when it is first called."""
    warnings.filterwarnings("ignore", "The .grad attribute of a Tensor")  # the compiler looks at that of fakes
    for network in {network for match in game.matches for network in (match.gen, match.disc)}:  # type: ignore[misc]
        network.compile()


def stay_eager() -> None:
    """Call compiled networks as they were written, from now on."""
    torch.compiler.set_stance("force_eager")


class NoClock:
    """Stands for the images seen in a step that is recorded."""

    def _asked(self, *other: object) -> Any:
        raise RuntimeError("it looks at the images seen, which a graph would keep as they are now")

    __truediv__ = __floordiv__ = __mod__ = __mul__ = __add__ = __sub__ = __lt__ = __gt__ = __le__ = __ge__ = __float__ = (
        __int__
    ) = _asked


@dataclass(slots=True)
class Graph:
    """One phase's step on a batch of its own, recorded: forward, backward and optimizer as a single launch."""

    batch: dict[str, Tensor]
    said: Said
    replay: Callable[[], None]

    def __call__(self, batch: Batch) -> Said:
        for name, value in batch.items():
            self.batch[name].copy_(value)
        self.replay()
        return self.said


def record(step: Callable[[Batch], Said], game: Game, batch: Batch) -> Graph:
    """Capture `step` as a CUDA graph; what it returns and leaves in `.grad` has fixed places from then on.

    The warm-up takes real steps: the caller puts the state back, in place. Raises what the step raises where it cannot be
    captured, and RuntimeError where a part replaces its buffers: a graph would go on reading the old ones.
    """
    fixed = {name: value.clone() for name, value in batch.items()}
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(_WARM):
            step(fixed)
    torch.cuda.current_stream().wait_stream(aside)
    before = dict(game.named_buffers())
    graph: Any = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # the reader may be pinning a batch
        said = step(fixed)
    for name, buffer in game.named_buffers():
        if buffer is not before[name]:
            raise RuntimeError(f"its step replaces the buffer {name}")
    return Graph(fixed, said, graph.replay)


def why_not(settings: Settings, device: torch.device, ranks: int = 1) -> str | None:
    """Why steps cannot be recorded in CUDA graphs, whatever they do; None where they can."""
    if device.type != "cuda":
        return f"graphs are of CUDA devices, not of {device}"
    if tuple(map(int, torch.__version__.split(".")[:2])) < _RECORDS:
        return (
            f"torch {torch.__version__} may not survive a recording that fails; install {'.'.join(map(str, _RECORDS))} or newer"
        )
    if ranks > 1:
        return "ranks exchange gradients in the middle of a step"
    if settings.shared_fakes:
        return "shared_fakes carries a gradient's way from one phase into the next"
    return None
