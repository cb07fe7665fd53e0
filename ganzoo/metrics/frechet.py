"""The Frechet distance between Gaussians fitted to vectors (Heusel et al. 2017, arXiv:1706.08500); of Inception's it is FID."""

from __future__ import annotations

import torch
from torch import Tensor

from ganzoo.interfaces import DataSpec, Measured, Metric, Sampled

_SIZES = 12  # of the subsets that are extrapolated from
_SMALLEST = 1 / 4  # of the samples, in the smallest subset


class Frechet(Metric):
    """|mu - mu'|^2 + tr(S + S' - 2 (S S')^1/2) of means and covariances, in float64.

    It is biased upwards by about c / N, with c of the network: compare values of the same numbers of samples only. With
    `infinity` the distance of subsets of several sizes is extrapolated to 1 / N = 0 (Chong and Forsyth 2020,
    arXiv:1911.07023); the error is that of the fitted line, which knows nothing of the samples' own spread.

    Options:
        infinity: extrapolate to endless samples
    """

    same = 0.0
    beside = ("coverage",)

    def __init__(self, data: DataSpec, *, infinity: bool = False) -> None:
        super().__init__(data)
        self.infinity = infinity
        self.same = None if infinity else 0.0  # of finite samples the bias is taken off, and a little more

    def __call__(self, real: Sampled, fake: Sampled) -> Measured:
        reals, fakes = real.features.double(), fake.features.double()
        few = min(len(reals), len(fakes))
        if few < 2:
            raise ValueError(f"the Frechet distance needs at least 2 samples of each side; there are {few}")
        if self.infinity:
            return _extrapolated(reals, fakes)
        width = reals.shape[1]
        notes = (
            (f"{few} samples for {width} dimensions: the bias of a Frechet distance is large; see kid",)
            if few < 2 * width
            else ()
        )
        return Measured(frechet(reals, fakes), notes=notes)


class ClassFrechet(Metric):
    """The mean over classes of the Frechet distance within each; every class counts alike.

    A class has fewer samples than the whole, and a larger bias. Classes of fewer than two samples are left out and named.
    """

    same = 0.0
    uses = frozenset({"features", "labels"})

    def __call__(self, real: Sampled, fake: Sampled) -> Measured:
        if real.labels is None or fake.labels is None:
            raise ValueError("class-fd needs samples with labels on both sides")
        details, without = {}, []
        for index, name in enumerate(self.data.classes):
            reals, fakes = (side.features[side.labels == index].double() for side in (real, fake))
            if min(len(reals), len(fakes)) < 2:
                without.append(name)
            else:
                details[name] = frechet(reals, fakes)
        if not details:
            raise ValueError("class-fd needs at least 2 samples of a class on each side: take more --samples")
        notes = (f"left out, with fewer than 2 samples: {', '.join(without)}",) if without else ()
        return Measured(sum(details.values()) / len(details), details=details, notes=notes)


def frechet(a: Tensor, b: Tensor) -> float:
    """The distance between vectors [N, F] and [M, F], float64."""
    mean = (a.mean(0) - b.mean(0)).square().sum()
    one, other = (a - a.mean(0)) / (len(a) - 1) ** 0.5, (b - b.mean(0)) / (len(b) - 1) ** 0.5
    # With S = A'A and S' = B'B the trace of (S S')^1/2 is the sum of the singular values of A B': of the samples' products
    # where they are fewer than the dimensions, else of the covariances' roots.
    if max(len(a), len(b)) <= a.shape[1]:
        root = torch.linalg.svdvals(one @ other.T).sum()
    else:
        half = _root(one.T @ one)
        root = torch.linalg.eigvalsh(half @ (other.T @ other) @ half).clamp(min=0).sqrt().sum()
    return float((mean + one.square().sum() + other.square().sum() - 2 * root).clamp(min=0))


def _root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def _extrapolated(reals: Tensor, fakes: Tensor) -> Measured:
    """The line through the distances of random subsets of the fakes, over 1 / N, at 0."""
    n = len(fakes)
    if n < 4 * _SIZES:
        raise ValueError(f"fd:infinity=true needs at least {4 * _SIZES} fakes; there are {n}: take more --samples")
    order = fakes[:, 0].sort(stable=True).indices  # so that the order in which they come does not count
    generator = torch.Generator().manual_seed(0)
    sizes = [round(n / (1 + i * (1 / _SMALLEST - 1) / (_SIZES - 1))) for i in range(_SIZES)]  # evenly spaced in 1 / N
    found = [frechet(reals, fakes[order[torch.randperm(n, generator=generator)[:size]]]) for size in sizes]
    x = torch.stack([torch.ones(_SIZES, dtype=torch.float64), 1 / torch.tensor(sizes, dtype=torch.float64)], 1)
    y = torch.tensor(found, dtype=torch.float64)
    fit = torch.linalg.lstsq(x, y[:, None]).solution[:, 0]
    residual = (y - x @ fit).square().sum() / (_SIZES - 2)
    error = float((residual * torch.linalg.inv(x.T @ x)[0, 0]).sqrt())
    return Measured(float(fit[0]), error, {f"of {n}": found[0]})
