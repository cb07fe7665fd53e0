"""Figures of a generator while it trains: from the game itself, without touching what the training draws from."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ganzoo.data.cache import Store
from ganzoo.data.sampling import Sampler
from ganzoo.games.match import Play
from ganzoo.interfaces import Game
from ganzoo.metrics.evaluation import Evaluation, Result
from ganzoo.plugin import DataSpec
from ganzoo.training.preview import guarded

_BATCH = 64
_JUDGED = 256  # records of each kind that D is shown


def held_out(count: int, share: float, seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Of so many records those to train on and those that are kept from it, in order: a function of the seed."""
    order = np.random.default_rng(seed).permutation(count)
    kept = min(round(count * share), count - 1)
    return np.sort(order[kept:]), np.sort(order[:kept])


@dataclass(slots=True)
class Playing:
    """The fakes of a game's averaged generator: of records drawn evenly, whatever it makes them of."""

    game: Game
    network: nn.Module
    sampler: Sampler
    rows: np.ndarray[Any, Any]
    device: torch.device
    kimg: float
    told: bool
    model: None = None
    provides: frozenset[str] = frozenset()

    @property
    def data(self) -> DataSpec:
        return self.game.data

    def count(self, samples: int, reals: Store) -> int:
        return samples

    def fakes(self, n: int, reals: Store, seed: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        random = np.random.default_rng(seed)
        generator = torch.Generator(self.device).manual_seed(seed)
        for begin in range(0, n, _BATCH):
            size = min(_BATCH, n - begin)
            batch = self.game.draw(self.sampler.pick(random.choice(self.rows, size)), generator)
            with torch.no_grad(), guarded(self.device, seed + begin):
                made = self.game.generate(self.network, batch)
            yield made.float(), batch.get("asked", batch.get("labels")) if self.told else None

    def protocol(self) -> dict[str, Any]:
        return {"kimg": self.kimg, "ema": True}


class Evaluator:
    """What `--eval` asks for, taken of a training when it is due; the first metric says which state is the best."""

    def __init__(
        self,
        evaluation: Evaluation,
        sampler: Sampler,
        rows: np.ndarray[Any, Any],
        held: np.ndarray[Any, Any],
        device: torch.device,
        samples: int,
        seed: int,
        group: int,
        told: bool,
    ) -> None:
        self._evaluation, self._sampler, self._rows, self._held = evaluation, sampler, rows, held
        self._device, self._samples, self._seed, self._group, self._told = device, samples, seed, group, told
        first = evaluation.asked[0]
        self.name, self.better = first.name, first.metric.better
        self.best: tuple[float, int] | None = None  # value, images seen

    def known(self, lines: Sequence[dict[str, Any]]) -> None:
        """The run's figures so far: those of a training that goes on."""
        for line in lines:
            if line.get("metric") == self.name and "nimg" in line:
                self._note(float(line["value"]), int(line["nimg"]))

    def take(self, game: Game, network: nn.Module, nimg: int) -> tuple[list[Result], dict[str, float], bool]:
        """The figures, what goes into the log, and whether the first is the best so far. `network`: the settled average."""
        playing = Playing(game, network, self._sampler, self._rows, self._device, nimg / 1000, self._told)
        results = self._evaluation.take(playing, self._samples, self._seed)
        stats = {result.metric: result.value for result in results}
        if (gap := self._gap(game, nimg)) is not None:
            stats["D/gap"] = gap
        value = next(result.value for result in results if result.metric == self.name)
        return results, stats, self._note(value, nimg)

    def _note(self, value: float, nimg: int) -> bool:
        higher = self.better == "higher"
        if self.better is None or (self.best is not None and not (value > self.best[0] if higher else value < self.best[0])):
            return False
        self.best = value, nimg
        return True

    @torch.no_grad()
    def _gap(self, game: Game, nimg: int) -> float | None:
        """How much higher D rates reals that it was trained on than those that it was not, in standard deviations of both.

        None where nothing, or too little, is held out, or the game has several matches.
        """
        count = min(len(self._rows), len(self._held), _JUDGED) // self._group * self._group
        if len(game.matches) != 1 or count < 2:
            return None
        rates = []
        with guarded(self._device):
            match = game.matches[0]
            match = copy.deepcopy(match, {id(match.d_rule): match.d_rule})  # layers that count or iterate do so in the copy
            for rows in (self._rows, self._held):
                rows = rows[np.linspace(0, len(rows) - 1, count).round().astype(np.int64)]
                generator = torch.Generator(self._device).manual_seed(0)
                batch = game.draw(self._sampler.pick(rows), generator)
                rates.append(Play(match, "D", batch, nimg).real_score.per_sample().float())
        seen, unseen = rates
        spread = torch.cat([seen - seen.mean(), unseen - unseen.mean()]).std()
        return float((seen.mean() - unseen.mean()) / spread.clamp(min=1e-12))
