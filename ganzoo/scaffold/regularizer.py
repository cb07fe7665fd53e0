"""A regularizer."""

from __future__ import annotations

from torch import Tensor

from ganzoo.interfaces import DataSpec, Play, Regularizer


class Mine(Regularizer):
    """weight * D(real)^2, added to D's loss: it keeps D's level from drifting (arXiv:1710.10196, appendix A.1).

    Options:
        weight: of the penalty
    """

    def __init__(self, data: DataSpec, *, weight: float = 1e-3) -> None:
        super().__init__(data)
        self.weight = weight

    def forward(self, play: Play) -> Tensor:
        return self.weight * play.real_score.per_sample().square()  # replace this; `play` has all there is to look at
