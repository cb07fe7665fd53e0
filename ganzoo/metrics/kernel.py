"""The kernel distance (Binkowski et al. 2018, arXiv:1801.01401): with Inception's vectors it is KID."""

from __future__ import annotations

import torch
from torch import Tensor

from ganzoo.interfaces import Measured, Metric, Sampled

_ROWS = 2048  # of the kernel matrix at once


class Kernel(Metric):
    """The unbiased squared maximum mean discrepancy under (a.b / F + 1)^3, F the width of a vector, over all pairs, in float64.

    About zero, and as often below, where fakes are drawn like the reals; a set against itself is below zero. The error is the
    jackknife's over single samples of both sides (not the spread over subsets), a little too large where the value is near 0.
    Fakes that copy the reals are not punished, lost modes hardly: coverage and memorization go beside it.
    """

    beside = ("coverage", "memorization")

    def __call__(self, real: Sampled, fake: Sampled) -> Measured:
        x, y = real.features.double(), fake.features.double()
        n, m = len(x), len(y)
        if min(n, m) < 3:
            raise ValueError(f"the kernel distance needs at least 3 samples of each side; there are {min(n, m)}")
        xx, yy = _row_sums(x, x) - _diagonal(x), _row_sums(y, y) - _diagonal(y)  # a sample is not compared with itself
        xy, yx = _row_sums(x, y), _row_sums(y, x)
        within, among, across = xx.sum(), yy.sum(), xy.sum()
        value = within / (n * (n - 1)) + among / (m * (m - 1)) - 2 * across / (n * m)
        without_x = (within - 2 * xx) / ((n - 1) * (n - 2)) + among / (m * (m - 1)) - 2 * (across - xy) / ((n - 1) * m)
        without_y = within / (n * (n - 1)) + (among - 2 * yy) / ((m - 1) * (m - 2)) - 2 * (across - yx) / (n * (m - 1))
        variance = sum((k - 1) * without.var(correction=0) for k, without in ((n, without_x), (m, without_y)))
        return Measured(float(value), float(variance) ** 0.5)


def _row_sums(a: Tensor, b: Tensor) -> Tensor:
    return torch.cat([((part @ b.T) / a.shape[1] + 1).pow_(3).sum(1) for part in a.split(_ROWS)])


def _diagonal(a: Tensor) -> Tensor:
    return (a.square().sum(1) / a.shape[1] + 1) ** 3
