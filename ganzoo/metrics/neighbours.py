"""What nearest neighbours say: precision and recall, density and coverage, copies; and how far apart samples are."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ganzoo.interfaces import DataSpec, Measured, Metric, Sampled

_ENTRIES = 2**24  # of a distance matrix at once: 128 MiB


class _Balls(Metric):
    """Around each sample a ball that reaches to its k-th nearest neighbour on its own side."""

    better = "higher"

    def __init__(self, data: DataSpec, *, k: int = 3) -> None:
        super().__init__(data)
        if k < 1:
            raise ValueError(f"k={k} must be at least 1")
        self.k = k

    def _sides(self, real: Sampled, fake: Sampled) -> tuple[Tensor, Tensor]:
        if (few := min(len(real.features), len(fake.features))) <= self.k:
            raise ValueError(f"k={self.k} neighbours need more than {self.k} samples of each side; there are {few}")
        return real.features.double(), fake.features.double()


class Precision(_Balls):
    """The share of fakes that lie in the ball of some real (Kynkaanniemi et al. 2019, arXiv:1904.06991). Its error is binomial.

    Options:
        k: the neighbour that the balls reach to; the paper: 3
    """

    same = 1.0

    def __call__(self, real: Sampled, fake: Sampled) -> Measured:
        reals, fakes = self._sides(real, fake)
        return _share(_in_some_ball(fakes, reals, self.k))


class Recall(_Balls):
    """The share of reals that lie in the ball of some fake (Kynkaanniemi et al. 2019, arXiv:1904.06991). Its error is binomial.

    Options:
        k: the neighbour that the balls reach to; the paper: 3
    """

    same = 1.0

    def __call__(self, real: Sampled, fake: Sampled) -> Measured:
        reals, fakes = self._sides(real, fake)
        return _share(_in_some_ball(reals, fakes, self.k))


class Density(_Balls):
    """How many reals' balls a fake lies in, over k: 1 for fakes drawn like the reals (Naeem et al. 2020, arXiv:2002.09797).

    The error is of the mean over fakes.

    Options:
        k: the neighbour that the balls reach to; the paper: 5
    """

    def __init__(self, data: DataSpec, *, k: int = 5) -> None:
        super().__init__(data, k=k)

    def __call__(self, real: Sampled, fake: Sampled) -> Measured:
        reals, fakes = self._sides(real, fake)
        radius = _radius(reals, self.k)
        held = torch.cat([(distance < radius).sum(1) for distance in _distances(fakes, reals)]).double() / self.k
        return Measured(float(held.mean()), float(held.std() / len(held) ** 0.5))


class Coverage(_Balls):
    """The share of reals that have a fake in their ball (Naeem et al. 2020, arXiv:2002.09797). Its error is binomial.

    With as many fakes as reals, drawn like them, it is about 1 - 2^-k; with fewer fakes it is lower: compare values of the
    same numbers only.

    Options:
        k: the neighbour that the balls reach to; the paper: 5
    """

    same = 1.0

    def __init__(self, data: DataSpec, *, k: int = 5) -> None:
        super().__init__(data, k=k)

    def __call__(self, real: Sampled, fake: Sampled) -> Measured:
        reals, fakes = self._sides(real, fake)
        radius, nearest = _radius(reals, self.k), torch.cat([d.amin(1) for d in _distances(reals, fakes)])
        return _share(nearest < radius)


class Memorization(Metric):
    """The share of fakes that are nearer to a real than that real is to any other real (1 - authenticity; Alaa et al. 2022,
    arXiv:2102.08921).

    Copies give 1. Reals that were not trained on give a value of their own, which is what to compare with: about a half for
    vectors of few dimensions, less for many. The detail is the median over fakes of the distance to the nearest real, over the
    median distance of reals to theirs: 0 for copies. Neither way is better by itself: fakes far from all reals give 0.
    """

    better = None
    same = 1.0

    def __call__(self, real: Sampled, fake: Sampled) -> Measured:
        reals, fakes = real.features.double(), fake.features.double()
        if len(reals) < 2 or not len(fakes):
            raise ValueError("memorization needs at least 2 reals and a fake")
        distance, index = nearest(fakes, reals)
        among = _radius(reals, 1)
        copied = _share(distance < among[index])
        usual = float(among.median())
        return Measured(copied.value, copied.error, {"distance": float(distance.median()) / usual} if usual > 0 else {})


class Diversity(Metric):
    """How far apart fakes are, over how far apart reals are: the mean distance of two, within classes where there are classes.

    1 for fakes as various as the reals; below, they are more alike; neither way is better by itself. Classes count as often as
    the fakes have them.
    """

    better = None
    same = 1.0
    uses = frozenset({"features", "labels"})

    def __call__(self, real: Sampled, fake: Sampled) -> Measured:
        ratios, weights = [], []
        for reals, fakes in self._groups(real, fake):
            if min(len(reals), len(fakes)) >= 2 and (apart := _mean_distance(reals)) > 0:
                ratios.append(_mean_distance(fakes) / apart)
                weights.append(len(fakes))
        if not ratios:
            raise ValueError("diversity needs 2 different reals and 2 fakes, of some class: take more --samples")
        return Measured(sum(r * w for r, w in zip(ratios, weights, strict=True)) / sum(weights))

    def _groups(self, real: Sampled, fake: Sampled) -> Iterator[tuple[Tensor, Tensor]]:
        reals, fakes = real.features.double(), fake.features.double()
        if real.labels is None or fake.labels is None:
            yield reals, fakes
            return
        for index in fake.labels.unique():
            yield reals[real.labels == index], fakes[fake.labels == index]


def nearest(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Of each of vectors [N, F] the distance to its nearest of [M, F], and which that is: [N] and int64 [N]."""
    found = [distance.min(1) for distance in _distances(a, b)]
    return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])


def _distances(a: Tensor, b: Tensor) -> Iterator[Tensor]:
    """Euclidean, rows of a after rows: the whole matrix would not fit."""
    for part in a.split(max(1, _ENTRIES // len(b))):
        yield torch.cdist(part, b)


def _radius(side: Tensor, k: int) -> Tensor:
    """[N]: each sample's distance to its k-th nearest other."""
    found, begin = [], 0
    for distance in _distances(side, side):
        rows = torch.arange(len(distance))
        distance[rows, begin + rows] = torch.inf  # not itself, whatever rounding makes of its distance to itself
        found.append(distance.kthvalue(k).values)
        begin += len(distance)
    return torch.cat(found)


def _in_some_ball(points: Tensor, centres: Tensor, k: int) -> Tensor:
    radius = _radius(centres, k)
    return torch.cat([(distance <= radius).any(1) for distance in _distances(points, centres)])


def _mean_distance(side: Tensor) -> float:
    total = sum(float(distance.sum()) for distance in _distances(side, side))
    return total / (len(side) * (len(side) - 1))


def _share(held: Tensor) -> Measured:
    share = float(held.double().mean())
    return Measured(share, (share * (1 - share) / len(held)) ** 0.5)
