"""Weight clipping of the first Wasserstein GAN (Arjovsky et al. 2017, algorithm 1)."""

from __future__ import annotations

from ganzoo.interfaces import DataSpec, Match, Regularizer


class WeightClip(Regularizer):
    """After each of D's steps, all of D's trainable parameters are clamped to [-c, c], the scales of its norms included.

    Options:
        c: the bound
    """

    def __init__(self, data: DataSpec, *, c: float = 0.01) -> None:
        super().__init__(data)
        if c <= 0:
            raise ValueError(f"c={c} must be positive")
        self.c = c

    def after_step(self, player: str, match: Match) -> None:
        if player == "D":
            for name, parameter in match.disc.named_parameters():
                if name in match.trainable:
                    parameter.clamp_(-self.c, self.c)
