"""A metric: how fakes compare with reals."""

from __future__ import annotations

from typing import Literal

from ganzoo.interfaces import DataSpec, Measured, Metric, Sampled


class Mine(Metric):
    """The distance between the mean vectors of reals and fakes, over what the reals spread around theirs.

    Options:
        norm: of the difference
    """

    better = "lower"
    same = 0.0

    def __init__(self, data: DataSpec, *, norm: Literal["l1", "l2"] = "l2") -> None:
        super().__init__(data)
        self.order = {"l1": 1, "l2": 2}[norm]

    def __call__(self, real: Sampled, fake: Sampled) -> Measured:
        """Replace this; double precision, for sums over many samples."""
        reals, fakes = real.features.double(), fake.features.double()
        apart = (reals.mean(0) - fakes.mean(0)).norm(self.order)
        return Measured(float(apart / reals.std(0).norm(self.order)))
