"""Real matches of tiny networks in float64, so that numbers can be checked by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ganzoo.interfaces import Augment, Batch, Loss, Match, Phase, Play, Regularizer, Score
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


class Told(nn.Module):
    """A smooth D for images and points: logits, two features, class logits; `head` last; float64."""

    def __init__(self, values: int, width: int = 4, classes: int = 3, heads: int = 1) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(values, width), nn.Linear(width, width)
        self.head, self.sort = nn.Linear(width, 1), nn.Linear(width, classes)
        self.maps = nn.ModuleList(nn.Linear(width, 9) for _ in range(heads - 1))
        self.double()

    def forward(self, images: Tensor, condition: object) -> Score:
        shallow = self.first(images.flatten(1)).tanh()
        deep = self.second(shallow).tanh()
        logits = self.head(deep).squeeze(1)
        maps = tuple(each(deep).view(-1, 1, 3, 3) for each in self.maps)
        return Score((logits, *maps) if maps else logits, (shallow, deep), self.sort(deep))


@pytest.fixture
def told() -> type[Told]:
    return Told


@pytest.fixture
def as_function() -> Callable[..., tuple[Callable[..., Tensor], list[Tensor]]]:
    """A penalty as a function of D's parameters, and where D is: for derivatives by finite differences.

    Each call draws the same random numbers and plays with its own copies of the samples.
    """

    def make(
        match: Match, real: Tensor, *names: str, player: str = "D", **more: Tensor
    ) -> tuple[Callable[..., Tensor], list[Tensor]]:
        (reg,) = match.regs
        params = {name: p.detach().clone().requires_grad_() for name, p in match.disc.named_parameters()}

        def value(*given: Tensor) -> Tensor:
            torch.manual_seed(1)
            batch: Batch = {"real": real, "x": torch.zeros(len(real), 1, dtype=real.dtype), **more}
            play = Play(match, player, batch, 0, reg.input_grad)
            play.critic = play.critic.with_params({**params, **dict(zip(names, given, strict=True))})
            return reg(play).mean()

        return value, [params[name] for name in names]

    return make
