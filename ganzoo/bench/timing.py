"""Clocks for things that are compared: blocks in turn, medians and quartiles."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles

import torch

from ganzoo.training.writing import memory


@dataclass(frozen=True, slots=True)
class Spent:
    """What a block took: seconds of the clock, and CPU seconds of the process over all its threads."""

    wall: float
    cpu: float

    def on(self, device: torch.device) -> float:
        """What is compared: CPU seconds for work on the CPU, which are steadier where others compute too; else the clock's."""
        return self.cpu if device.type == "cpu" else self.wall


@dataclass(frozen=True, slots=True)
class Spread:
    """The median and the quartiles of several values; of one value, that value."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        low, median, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else 3 * [values[0]]
        return Spread(median, low, high)

    def to_dict(self) -> dict[str, float]:
        return {name: float(f"{getattr(self, name):.6g}") for name in ("median", "low", "high")}


def wait(device: torch.device) -> None:
    """Until all that was asked of the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def timed(block: Callable[[], object], device: torch.device) -> Spent:
    wait(device)
    wall, cpu = time.perf_counter(), time.process_time()
    block()
    wait(device)
    return Spent(time.perf_counter() - wall, time.process_time() - cpu)


def interleaved(
    contenders: Mapping[str, Callable[[], object]],
    blocks: int,
    device: torch.device,
    tell: Callable[[int], object] = lambda done: None,
) -> dict[str, list[Spent]]:
    """Time `blocks` calls of each in turn, another first each time; what else the machine does then falls on all alike.

    Each is called once before, untimed: the first call allocates and tunes. `tell` hears how many calls are done.
    """
    names, done = list(contenders), 0
    spent: dict[str, list[Spent]] = {name: [] for name in names}
    for block in range(-1, blocks):
        turn = max(block, 0) % len(names)
        for name in names[turn:] + names[:turn]:
            took = timed(contenders[name], device)
            if block >= 0:
                spent[name].append(took)
            done += 1
            tell(done)
    return spent


def peak_memory(device: torch.device) -> int:
    """Peak bytes: of the device's allocator; on a CPU of this process, and not, as `ru_maxrss`, of the one that started it."""
    if device.type != "cuda":
        try:
            with open("/proc/self/status", encoding="utf-8") as file:
                return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
        except (OSError, StopIteration):
            pass
    return memory(device)


def machine(device: torch.device) -> dict[str, object]:
    """What figures are worth nothing without."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def _processor() -> str:
    """Its name and the widest vectors that torch uses."""
    name = ""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            name = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "")
    except OSError:
        pass
    return " ".join(filter(None, (name, torch.backends.cpu.get_cpu_capability())))
