"""Statistics that stay on the device: summed each step, fetched once a tick."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from ganzoo.training.distributed import Ranks

_NEVER = 2**62  # a float64 holds it


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

    def fetch(self, ranks: Ranks | None = None) -> tuple[dict[str, float], NonFinite | None]:
        """The means since the last fetch, over all ranks, and what went wrong first. The one synchronisation a tick."""
        means: dict[str, tuple[float, float]] = {}
        worst: tuple[int, NonFinite] | None = None
        for order, (phase, names, weight, totals, bads) in enumerate(self._over(ranks)):
            for name, total, bad in zip(names, totals, bads, strict=True):
                before, seen = means.get(name, (0.0, 0.0))
                means[name] = before + total, seen + weight
                place = bad * 1000 + order
                if bad < _NEVER and (worst is None or place < worst[0]):
                    worst = place, NonFinite(name, phase, bad)
        self._sums.clear()
        return {name: total / weight for name, (total, weight) in means.items()}, worst[1] if worst else None

    def _over(self, ranks: Ranks | None) -> Iterator[tuple[str, tuple[str, ...], float, list[float], list[int]]]:
        """Phase, names, weight, the ranks' mean totals and their earliest bad rounds."""
        here = [torch.stack([sums.total.double(), sums.first_bad.double()]).cpu() for sums in self._sums.values()]
        if ranks is not None and ranks.world > 1 and here:
            every = ranks.gather(torch.cat(here, 1))  # [world, 2, values]
            means = torch.stack([every[:, 0].mean(0), every[:, 1].amin(0)])
            here = list(means.split([len(part[0]) for part in here], 1))
        for ((phase, names), sums), (total, bad) in zip(self._sums.items(), here, strict=True):
            yield phase, names, sums.weight, total.tolist(), bad.long().tolist()
