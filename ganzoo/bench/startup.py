"""`ganzoo train` up to the end of its first round, with a clock: what a user waits for, and how much memory it took.

    python -m ganzoo.bench.startup SINCE FILE ARGUMENTS

SINCE is `time.time()` at the moment the process was asked for; ARGUMENTS are those of `ganzoo train`. FILE then holds one
JSON object: "seconds" of the clock by stage, in order; "cpu", in all; "imported" and "peak", bytes of memory after `import
torch` and at the most. The process ends there. Nothing of ganzoo or torch is imported before the clock runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

STAGES = (
    "python",
    "import torch",
    "plan",
    "rehearsal",
    "networks",
    "data",
    "session",
    "estimate",
    "first sheet",
    "first round",
)


def start(arguments: Sequence[str], env: dict[str, str] | None = None) -> dict[str, Any]:
    """Start `ganzoo train` in a process and a directory of its own. Raises GanzooError with its last line where it fails."""
    from ganzoo.errors import GanzooError

    with tempfile.TemporaryDirectory() as place:
        told = Path(place, "told.json")
        command = [sys.executable, "-m", __name__, str(time.time()), str(told), *arguments, "--out", f"{place}/run"]
        done = subprocess.run(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode or not told.exists():
            last = done.stderr.strip().splitlines()[-1:] or [f"it ended with {done.returncode}"]
            raise GanzooError(f"ganzoo train {' '.join(arguments)}: {last[0]}")
        found: dict[str, Any] = json.loads(told.read_text())
    return found


class Clock:
    """Seconds by stage; a stage lasts from the mark before it to its own."""

    def __init__(self, since: float) -> None:
        self._last, self.seconds = since, dict.fromkeys(STAGES, 0.0)

    def mark(self, stage: str) -> None:
        now = time.time()
        self.seconds[stage] += now - self._last
        self._last = now

    def before(self, owner: Any, name: str, stage: str) -> None:
        """Mark that the stage ends where `owner.name` is called."""
        call = getattr(owner, name)

        @wraps(call)
        def marked(*args: Any, **kwargs: Any) -> Any:
            self.mark(stage)
            return call(*args, **kwargs)

        setattr(owner, name, marked)

    def after(self, owner: Any, name: str, stage: str, then: Callable[[Any], object] = lambda given: None) -> None:
        """Mark the end of each call of `owner.name`; `then` is called with its first argument."""
        call = getattr(owner, name)

        @wraps(call)
        def marked(*args: Any, **kwargs: Any) -> Any:
            out = call(*args, **kwargs)
            self.mark(stage)
            then(args[0])
            return out

        setattr(owner, name, marked)


def main() -> None:
    clock = Clock(float(sys.argv[1]))
    told = Path(sys.argv[2])
    clock.mark("python")
    import torch

    clock.mark("import torch")
    from ganzoo.bench.timing import peak_memory

    imported = peak_memory(torch.device("cpu"))
    from ganzoo import assembly
    from ganzoo.cli import main as command
    from ganzoo.training import launch
    from ganzoo.training.trainer import Trainer
    from ganzoo.training.writing import RunWriter

    def end(trainer: Trainer) -> None:
        found = {
            "seconds": {stage: round(seconds, 3) for stage, seconds in clock.seconds.items()},
            "cpu": round(time.process_time(), 3),
            "imported": imported,
            "peak": peak_memory(trainer.device),
        }
        told.write_text(json.dumps(found))
        os._exit(0)

    clock.after(assembly, "make_plan", "plan")
    clock.after(launch, "rehearse", "rehearsal")
    clock.after(launch, "_read", "data")
    clock.before(launch, "_read", "networks")
    clock.after(launch, "_session", "session")
    clock.after(launch.Session, "_estimate", "estimate")
    clock.after(RunWriter, "start", "first sheet")
    clock.after(Trainer, "_round", "first round", end)
    sys.argv = ["ganzoo", "train", *sys.argv[3:]]
    command()


if __name__ == "__main__":
    main()
