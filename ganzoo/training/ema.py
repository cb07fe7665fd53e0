"""The averaged generator, and batch-norm statistics that belong to it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import torch
from torch import nn

from ganzoo.config import EmaConfig
from ganzoo.training.schedules import Schedule


class Ema:
    """An exponential average of a network's parameters; buffers are copied (power iterations must not be averaged)."""

    def __init__(self, network: nn.Module, config: EmaConfig, total_kimg: float) -> None:
        self.config = config
        self._half_life = Schedule(config.half_life, total_kimg, "ema.half_life")
        self.network = copy.deepcopy(network).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, network: nn.Module, batch: int, nimg: int) -> None:
        """After a round of `batch` images, `nimg` seen in all: beta = 0.5 ** (batch / half-life)."""
        half_life = self._half_life.at(nimg / 1000) * 1000
        if self.config.ramp is not None:
            half_life = min(half_life, self.config.ramp * nimg)
        beta = 0.5 ** (batch / half_life) if half_life > 0 else 0.0
        mine, theirs = list(self.network.parameters()), [p.detach() for p in network.parameters()]
        torch._foreach_lerp_(mine, theirs, 1 - beta)
        for own, other in zip(self.network.buffers(), network.buffers(), strict=True):
            own.copy_(other)


@torch.no_grad()
def settle_batch_norm(network: nn.Module, forward: Callable[[int], object], batches: Iterable[int]) -> bool:
    """Give `network` standing statistics: running mean and variance over `forward(i)` for each i, under its own weights.

    Copied running statistics belong to other weights than the average's. Leaves the network in eval mode; returns whether it
    has batch norm at all. The caller guards the random state.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    network.eval()
    if not norms:
        return False
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average over the batches
        norm.train()
    for i in batches:
        forward(i)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()
    return True
