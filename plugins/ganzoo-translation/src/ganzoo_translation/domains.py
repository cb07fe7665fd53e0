"""StarGAN (Choi et al. 2018): one translator among several domains, and what holds it to the domain and to the image."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ganzoo.games.match import Match, condition_of
from ganzoo.interfaces import Batch, DataSpec, Game, Parts, Phase, Play, Regularizer


class MultiDomain(Game):
    """G makes of an image of one domain what it would be in another: D takes its steps, then G takes one.

    Choi et al. 2018 (arXiv:1711.09020). "x" is the real image, "asked" the domains that the images are to become: those of the
    batch, dealt out anew, so that an image may be asked to stay as it is.
    """

    def __init__(self, data: DataSpec, parts: Parts) -> None:
        super().__init__(data)
        if not data.domains:
            raise ValueError("the game needs images of several domains: --data domains:path=DIR, with a folder a domain")
        match = parts.match(gen := parts.generator(data), data)
        self.players.update({"G": gen, "D": match.disc})
        self.matches.append(match)
        self.z_dim = 0

    def phases(self) -> list[Phase]:
        match: Match = self.matches[0]
        return match.phases("D") + match.phases("G")

    def draw(self, batch: Batch, generator: torch.Generator) -> Batch:
        labels = batch["labels"]
        order = torch.rand(len(labels), generator=generator, device=generator.device).argsort().to(labels.device)
        return {**batch, "x": batch["real"], "asked": labels[order]}

    def losses(self, phase: Phase, batch: Batch, nimg: int) -> Iterator[tuple[str, Tensor]]:
        yield from self.matches[0].losses(phase, batch, nimg, self.stats)  # type: ignore[operator]

    def generate(self, generator: nn.Module, batch: Batch) -> Tensor:
        return generator(batch["x"], {**condition_of(batch), "labels": batch["asked"]})

    def show(self, generator: nn.Module, batch: Batch) -> tuple[Tensor, ...]:
        """The image, and what it becomes in each domain."""
        x = batch["x"]
        domains = (torch.full_like(batch["labels"], index) for index in range(len(self.data.domains)))
        return (x, *(generator(x, {"labels": labels}) for labels in domains))


class DomainClassification(Regularizer):
    """D names the class of a real image, and G's image is to be named as the class asked for (section 3.1, equations 2, 3).

    D: weight CE(C(x), c) with c the class of x, on reals alone; G: weight CE(C(G(x, c')), c') with c' the one asked for.

    Options:
        weight: of both terms
    """

    players = frozenset({"D", "G"})

    def __init__(self, data: DataSpec, *, weight: float = 1.0) -> None:
        super().__init__(data)
        if weight <= 0:
            raise ValueError(f"weight={weight} must be above 0")
        self.weight = weight

    def forward(self, play: Play) -> Tensor:
        real = play.player == "D"
        score, condition = (play.real_score, play.real_condition) if real else (play.fake_score, play.condition)
        assert score.classes is not None
        return self.weight * cross_entropy(score.classes, condition["labels"], reduction="none")  # [N]


class DomainReconstruction(Regularizer):
    """weight |x - G(G(x, c'), c)|, the mean over pixels: back in its own domain it is what it was (section 3.1, equation 4).

    Options:
        weight: of the penalty
    """

    players = frozenset({"G"})

    def __init__(self, data: DataSpec, *, weight: float = 10.0) -> None:
        super().__init__(data)
        if weight <= 0:
            raise ValueError(f"weight={weight} must be above 0")
        self.weight = weight

    def forward(self, play: Play) -> Tensor:
        back = play.gen(play.fake, play.real_condition)
        return self.weight * (back.float() - play.x).abs().flatten(1).mean(1)  # [N]
