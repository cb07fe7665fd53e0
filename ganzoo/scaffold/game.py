"""A game: who plays, in which phases, and what each minimises."""

from __future__ import annotations

from dataclasses import replace

from ganzoo.games.adversarial import Adversarial
from ganzoo.interfaces import DataSpec, Parts, Phase


class Mine(Adversarial):
    """One generator against one discriminator, in which G takes several steps a round.

    Options:
        g_steps: steps that G takes a round
    """

    def __init__(self, data: DataSpec, parts: Parts, *, g_steps: int = 2) -> None:
        super().__init__(data, parts)
        self.g_steps = g_steps

    def phases(self) -> list[Phase]:
        """Replace this, or `losses`, or both: the trainer knows phases and terms, and nothing else of a GAN."""
        return [
            replace(phase, repeat=self.g_steps) if phase.player == "G" and phase.every == 1 else phase
            for phase in super().phases()
        ]
