"""Statistics that stay on the device: summed each step, fetched once a tick."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

_NEVER = 2**62


@dataclass(frozen=True, slots=True)
class NonFinite:
    """The first value that was NaN or infinite."""

    name: str
    phase: str
    round: int


@dataclass(slots=True)
class _Sums:
    total: Tensor
    first_bad: Tensor
    weight: float = 0.0


class Statistics:
    """Weighted means of named scalars by phase. Adding never waits for the device."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, tuple[str, ...]], _Sums] = {}

    @torch.no_grad()
    def add(self, phase: str, stats: Mapping[str, Tensor], weight: float, round: int) -> None:
        if not stats:
            return
        key = (phase, tuple(stats))
        values = torch.stack([value.detach().float() for value in stats.values()])
        sums = self._sums.get(key)
        if sums is None:
            sums = self._sums[key] = _Sums(torch.zeros_like(values), torch.full_like(values, _NEVER, dtype=torch.int64))
        sums.total.add_(values, alpha=weight)
        sums.first_bad.clamp_(max=torch.where(values.isfinite(), _NEVER, round))
        sums.weight += weight

    def fetch(self) -> tuple[dict[str, float], NonFinite | None]:
        """The means since the last fetch, and what went wrong first. The one synchronisation a tick."""
        means: dict[str, tuple[float, float]] = {}
        worst: tuple[int, NonFinite] | None = None
        for order, ((phase, names), sums) in enumerate(self._sums.items()):
            for name, total, bad in zip(names, sums.total.tolist(), sums.first_bad.tolist(), strict=True):
                before, weight = means.get(name, (0.0, 0.0))
                means[name] = before + total, weight + sums.weight
                rank = bad * 1000 + order
                if bad < _NEVER and (worst is None or rank < worst[0]):
                    worst = rank, NonFinite(name, phase, bad)
        self._sums.clear()
        return {name: total / weight for name, (total, weight) in means.items()}, worst[1] if worst else None
