"""The game of Goodfellow et al. 2014: one generator, one discriminator. Noise, classes and paired input alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from ganzoo.errors import PluginError
from ganzoo.games.match import Parts, condition_of
from ganzoo.interfaces import Batch, Game, Phase
from ganzoo.plugin import DataSpec


def _noise_width(gen: nn.Module) -> int:
    width = getattr(gen, "z_dim", None)
    if not isinstance(width, int):
        where = f"{type(gen).__module__}.{type(gen).__qualname__}"
        raise PluginError(f"the generator {where} has no z_dim, the width of the noise that it takes: z_dim is {width!r}")
    return width


class Adversarial(Game):
    """D takes its steps, then G takes one; both see the round's batch.

    G eats the data's source image where there is one, else noise [N, z_dim].

    Options:
        prior: of z, "normal" N(0, 1) or "uniform" U(-1, 1)
        d_warmup: rounds in which D learns alone at first
    """

    def __init__(
        self, data: DataSpec, parts: Parts, *, prior: Literal["normal", "uniform"] = "normal", d_warmup: int = 0
    ) -> None:
        super().__init__(data)
        if d_warmup < 0:
            raise ValueError(f"d_warmup={d_warmup} must be at least 0 rounds")
        self.prior, self.d_warmup = prior, d_warmup
        gen = parts.generator(data)
        match = parts.match(gen, data)
        self.z_dim = 0 if data.source is not None else _noise_width(gen)
        self.players.update({"G": gen, "D": match.disc})
        self.matches.append(match)

    @property
    def match(self):  # type: ignore[no-untyped-def]
        return self.matches[0]

    def phases(self) -> list[Phase]:
        return self.match.phases("D") + self.match.phases("G", start=self.d_warmup)

    def draw(self, batch: Batch, generator: torch.Generator) -> Batch:
        if "source" in batch:
            return {**batch, "x": batch["source"]}
        real = batch["real"]
        z = torch.empty(len(real), self.z_dim, device=real.device)
        z = z.normal_(generator=generator) if self.prior == "normal" else z.uniform_(-1, 1, generator=generator)
        return {**batch, "x": z}

    def losses(self, phase: Phase, batch: Batch, nimg: int) -> Iterator[tuple[str, Tensor]]:
        yield from self.match.losses(phase, batch, nimg, self.stats)

    def generate(self, generator: nn.Module, batch: Batch) -> Tensor:
        return generator(batch["x"], condition_of(batch))
