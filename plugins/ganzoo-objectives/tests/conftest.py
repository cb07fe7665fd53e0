"""Real matches of tiny networks in float64, so that numbers can be checked by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ganzoo.interfaces import Augment, Batch, Loss, Match, Phase, Regularizer
from ganzoo.plugin import DataSpec
from ganzoo_objectives.losses import NonSaturating

BuildMatch = Callable[..., Match]


class Fixed(nn.Module):
    """A generator that ignores its input: N copies of its parameter, or N learned samples."""

    z_dim = 1

    def __init__(self, sample: Tensor) -> None:
        super().__init__()
        self.sample = nn.Parameter(sample.clone())

    def forward(self, x: Tensor, condition: object) -> Tensor:
        return self.sample if len(self.sample) == len(x) else self.sample.expand(len(x), *self.sample.shape[1:])


class Affine(nn.Module):
    """D(x) = w.x + b over all values of a sample."""

    def __init__(self, w: Tensor, b: float = 0.0) -> None:
        super().__init__()
        self.w = nn.Parameter(w.clone())
        self.b = nn.Parameter(torch.tensor(b, dtype=w.dtype))

    def forward(self, images: Tensor, condition: object) -> Tensor:
        return images.flatten(1) @ self.w + self.b


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def affine() -> type[Affine]:
    return Affine


@pytest.fixture
def fixed() -> type[Fixed]:
    return Fixed


@pytest.fixture
def build_match() -> BuildMatch:
    """match(gen, disc, *regularizers, loss=..., augment=..., data=...); the shape of `data` follows G's samples."""

    def build(
        gen: nn.Module, disc: nn.Module, *regs: Regularizer, loss: type[Loss] = NonSaturating, augment: Augment | None = None
    ) -> Match:
        data = DataSpec("points", (1,))
        return Match(gen, disc, loss(data), [(f"{type(r).__name__}{i}", r) for i, r in enumerate(regs)], augment, data)

    return build


@pytest.fixture
def phase_loss() -> Callable[..., Tensor]:
    """The sum of the terms of one phase; `stats` receives each penalty under its name."""

    def losses(
        match: Match,
        player: str,
        real: Tensor,
        *,
        every: int = 1,
        nimg: int = 0,
        stats: dict[str, Tensor] | None = None,
        **more: Tensor,
    ) -> Tensor:
        batch: Batch = {"real": real, "x": torch.zeros(len(real), 1, dtype=real.dtype), **more}
        phase = Phase(f"{player}/main", player, every=every)
        terms = [term for _, term in match.losses(phase, batch, nimg, {} if stats is None else stats)]
        return torch.stack(terms).sum()

    return losses
