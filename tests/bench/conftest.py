"""Lines of a bench that nobody had to train for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ganzoo.bench.protocols import Suite


def line(suite: Suite, recipe: str, seed: int, modes: Sequence[int], quality: float = 0.5, kl: float = 0.1) -> dict[str, Any]:
    """Of a training whose looks found these modes; quality and KL are those of the last look."""
    training = suite.training(recipe, seed=seed)
    named = {name: getattr(training, name) for name in ("protocol", "suite", "case", "recipe", "seed", "hash")}
    looks = [{"steps": 10 * i, "modes": held, "quality": quality, "kl": kl} for i, held in enumerate(modes, 1)]
    return {**named, "count": 8, "seconds": 10.0 + seed, "device": "cpu", "versions": {}, "looks": looks}
