"""Modes of the data that samples hold, lose or crowd into."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ganzoo.interfaces import DataSpec, Measured, Metric, Modes, Sampled


@dataclass(frozen=True, slots=True)
class Counted:
    """What the modes of n samples come to.

    modes    held: with at least one sample inside, and at least the share asked for
    quality  share of the samples that are inside any mode
    kl       KL(samples' modes || uniform) in nats, over the modes that samples are nearest to: 0 to log(count)
    floor    what `kl` comes to for n samples of equally likely modes: (count - 1) / 2n
    """

    modes: int
    quality: float
    kl: float
    floor: float


def count_modes(modes: Modes, held: float = 0.0) -> Counted:
    """Count; a mode is held by a sample inside and by `held` as a share of all samples. Raises ValueError for no samples."""
    n = len(modes.index)
    if n == 0:
        raise ValueError("there are no samples to count modes of: give some")
    inside = np.bincount(modes.index[modes.inside], minlength=modes.count)
    share = np.bincount(modes.index, minlength=modes.count) / n
    there = share[share > 0]
    kl = float((there * np.log(there * modes.count)).sum())
    kept = int(((inside > 0) & (inside / n >= held)).sum())
    return Counted(kept, float(modes.inside.mean()), max(kl, 0.0), (modes.count - 1) / (2 * n))


class ModesHeld(Metric):
    """How many of the data's modes the fakes hold, of data that can tell (ring, grid, stacked).

    Besides: the share of fakes that are inside a mode, which is to be held against the reals' own, and the reverse KL of their
    modes to the uniform distribution in nats (Srivastava et al. 2017, arXiv:1705.07761), against what as many perfect samples
    would have. Raises ValueError where the modes cannot be told.

    Options:
        held: share of the samples that a mode needs to count; 0: one sample
    """

    better = "higher"
    uses = frozenset({"modes"})

    def __init__(self, data: DataSpec, *, held: float = 0.0) -> None:
        super().__init__(data)
        if not 0 <= held < 1:
            raise ValueError(f"held={held} must be a share from 0 and below 1")
        self.held = held

    def __call__(self, real: Sampled, fake: Sampled) -> Measured:
        if real.modes is None or fake.modes is None:
            raise ValueError("the modes of these data cannot be told: take ring, grid or stacked")
        reals, fakes = count_modes(real.modes, self.held), count_modes(fake.modes, self.held)
        count = fake.modes.count
        details = {
            "modes of the data": float(count),
            "modes of the reals": float(reals.modes),
            "quality": fakes.quality,
            "quality of the reals": reals.quality,
            "reverse KL": fakes.kl,
            "reverse KL of perfect samples": fakes.floor,
        }
        n = len(fake.modes.index)
        few = f"{n:,} samples are few for {count:,} modes: even perfect ones would miss some; take {10 * count:,}"
        return Measured(float(fakes.modes), details=details, notes=(few,) if n < 10 * count else ())
