"""An adversarial loss."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ganzoo.interfaces import Loss, Score


def rising(t: Tensor) -> Tensor:
    """Squareplus (arXiv:2112.11687), a softplus without exponentials. Replace this: any convex function that rises will do."""
    return (t + (t.square() + 4).sqrt()) / 2


class Mine(Loss):
    """D minimises f(-D(real)) + f(D(fake)), G f(-D(fake)), with f as above: a value a logit."""

    def d(self, real: Score, fake: Score) -> Tensor:
        return rising(-real.logits) + rising(fake.logits)

    def g(self, fake: Score, real: Callable[[], Score]) -> Tensor:
        return rising(-fake.logits)
