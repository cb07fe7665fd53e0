"""Fine-tuning: start from trained weights. What fits is loaded, what does not is named."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ganzoo.errors import RunError, UsageError
from ganzoo.runs import Run
from ganzoo.training import checkpoint

_ORIGINAL = re.compile(r"\.parametrizations\.(\w+)\.original$")
_STATE = re.compile(r"\.parametrizations\.\w+\.\d+\.")


class Initial:
    """Loads weights into each network before anything is attached to it. Raises UsageError or RunError for the source.

    A run gives its averaged generator and its discriminator; an exported model gives the generator.
    """

    def __init__(self, source: Path, say: Callable[[str], None]) -> None:
        self._source, self._say = source, say
        self._weights: dict[str, dict[str, Tensor]] = {}
        if (source / "run.toml").is_file():
            saved = checkpoint.newest(Run.open(source), say)
            if saved is None:
                raise RunError(f"--init-from {source}: that run has no checkpoint yet")
            self._weights["G"] = _plain_names(saved.tensors("generator"))
            players = saved.tensors("players")
            self._weights["D"] = _plain_names({k[2:]: v for k, v in players.items() if k.startswith("D.")})
        elif (source / "generator.safetensors").is_file():
            try:
                self._weights["G"] = safetensors.torch.load_file(source / "generator.safetensors")
            except (OSError, SafetensorError) as err:
                raise RunError(f"--init-from {source}: generator.safetensors cannot be read ({err})") from None
        else:
            raise UsageError(f"--init-from {source}: neither a run (run.toml) nor an exported model (generator.safetensors)")

    @torch.no_grad()
    def __call__(self, role: str, network: nn.Module, name: str = "") -> None:
        weights = self._weights.get(role)
        if weights is None:
            self._say(f"--init-from {self._source} has nothing for {role}: it starts from random weights")
            return
        # Of a player that holds several networks, this one's; an exported model is one by itself.
        mine = {full.removeprefix(f"{name}."): value for full, value in weights.items() if full.startswith(f"{name}.")}
        weights, role = mine or weights, f"{role}.{name}" if name else role
        own = network.state_dict()
        fitting = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
        network.load_state_dict(fitting, strict=False)
        self._say(f"{role}: {len(fitting)} of {len(own)} tensors from {self._source}")
        new = sorted(set(own) - set(fitting))
        left = sorted(set(weights) - set(fitting))
        if new:
            shapes = [
                f"{name} {list(own[name].shape)}" + (f" (there {list(weights[name].shape)})" if name in weights else "")
                for name in new
            ]
            self._say(f"{role}: not there or of another shape, so it starts anew: {_few(shapes)}")
        if left := [name for name in left if name not in own]:
            self._say(f"{role}: not used: {_few(left)}")
        if not fitting:
            raise UsageError(
                f"--init-from {self._source}: not one tensor fits {role}; choose the same --gen, --disc and --res as there"
            )


def _plain_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names as before any parametrization: its original is the weight, its own state is left out."""
    return {_ORIGINAL.sub(r".\1", name): value for name, value in weights.items() if not _STATE.search(name)}


def _few(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
