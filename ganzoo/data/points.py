"""Point sets in the plane, whose modes can be counted: drawn once from a seed, the same on every start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ganzoo.data.dataset import Dataset, Modes
from ganzoo.data.hashing import digest
from ganzoo.errors import UsageError
from ganzoo.plugin import DataSpec

_SHOWN = 2000  # real points under a plot


class _Points(Dataset):
    """Float32 points [n, 2] held in memory."""

    def __init__(self, points: np.ndarray[Any, Any], modes: np.ndarray[Any, Any] | None = None) -> None:
        self._points: np.ndarray[Any, Any] = points.astype(np.float32)
        classes = () if modes is None else tuple(str(mode) for mode in range(int(modes.max()) + 1))
        self.labels = None if modes is None else modes.astype(np.int64)
        self.names = [str(index) for index in range(len(points))]
        self.spec = DataSpec("points", (2,), classes=classes)

    def fingerprint(self) -> str:
        return digest("points", self._points.tobytes().hex())

    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        return {"real": self._points}

    def decode(self, index: int) -> dict[str, np.ndarray[Any, Any]]:
        return {"real": self._points[index]}

    def draw(
        self, samples: np.ndarray[Any, Any], path: Path, *, columns: int = 8, real: np.ndarray[Any, Any] | None = None
    ) -> None:
        """A scatter plot over `real`, or over points of the set."""
        super().draw(samples, path, columns=columns, real=self._points[:_SHOWN] if real is None else real)


class _Mixture(_Points):
    """Equally likely Gaussians: `centres` [K, 2] and their common `sigma` are what mode counting needs."""

    def __init__(self, centres: np.ndarray[Any, Any], sigma: float, n: int, seed: int, labels: bool) -> None:
        _at_least(sigma, 0, "sigma")
        random = _random(n, seed)
        modes = random.integers(len(centres), size=n)
        modes[: len(centres)] = np.arange(len(centres))[:n]  # each mode at least once, so that the classes are all there
        self.centres, self.sigma = centres, sigma
        super().__init__(centres[modes] + sigma * random.standard_normal((n, 2)), modes if labels else None)

    def modes(self, samples: np.ndarray[Any, Any]) -> Modes:
        """The nearest centre, and whether it is within 3 sigma: so are 98.89% of the data's own points."""
        distance = np.linalg.norm(samples[:, None].astype(np.float64) - self.centres[None], axis=2)
        return Modes(len(self.centres), distance.argmin(1), distance.min(1) < 3 * self.sigma)


class Ring(_Mixture):
    """Gaussians on a circle: eight of sigma .01 at radius 1, as in PacGAN (Lin et al. 2018).

    Options:
        modes: how many Gaussians
        radius: of the circle
        sigma: standard deviation of each
        n: points in the set
        seed: the set that is drawn
        labels: give the mode as class
    """

    def __init__(
        self,
        *,
        modes: int = 8,
        radius: float = 1.0,
        sigma: float = 0.01,
        n: int = 100_000,
        seed: int = 0,
        labels: bool = False,
    ) -> None:
        _at_least(modes, 1, "modes")
        angle = 2 * np.pi * np.arange(modes) / modes
        super().__init__(radius * np.stack([np.cos(angle), np.sin(angle)], 1), sigma, n, seed, labels)


class Grid(_Mixture):
    """Gaussians on a square grid: 25 of sigma .05 on {-4, -2, 0, 2, 4}^2, as in PacGAN (Lin et al. 2018).

    Options:
        side: Gaussians along each side
        spacing: between neighbours
        sigma: standard deviation of each
        n: points in the set
        seed: the set that is drawn
        labels: give the mode as class
    """

    def __init__(
        self,
        *,
        side: int = 5,
        spacing: float = 2.0,
        sigma: float = 0.05,
        n: int = 100_000,
        seed: int = 0,
        labels: bool = False,
    ) -> None:
        _at_least(side, 1, "side")
        line = spacing * (np.arange(side) - (side - 1) / 2)
        centres = np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)
        super().__init__(centres, sigma, n, seed, labels)


class SwissRoll(_Points):
    """A band rolled up: radius growing with the angle over one and a half turns, from a third of `radius` to all of it.

    Options:
        radius: of the outer end
        noise: standard deviation around the band
        n: points in the set
        seed: the set that is drawn
    """

    def __init__(self, *, radius: float = 2.0, noise: float = 0.05, n: int = 100_000, seed: int = 0) -> None:
        _at_least(noise, 0, "noise")
        random = _random(n, seed)
        angle = 1.5 * np.pi * (1 + 2 * random.random(n))  # the usual roll: 1.5 pi to 4.5 pi
        roll = radius * (angle / (4.5 * np.pi))[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
        super().__init__(roll + noise * random.standard_normal((n, 2)))


class Spiral(_Points):
    """Arms that wind out from the centre, evenly filled along their radius.

    Options:
        arms: how many
        turns: of each arm
        radius: of the outer ends
        noise: standard deviation around the arms
        n: points in the set
        seed: the set that is drawn
    """

    def __init__(
        self,
        *,
        arms: int = 2,
        turns: float = 1.0,
        radius: float = 2.0,
        noise: float = 0.05,
        n: int = 100_000,
        seed: int = 0,
    ) -> None:
        _at_least(arms, 1, "arms")
        _at_least(noise, 0, "noise")
        random = _random(n, seed)
        along = random.random(n)
        angle = 2 * np.pi * (turns * along + random.integers(arms, size=n) / arms)
        arm = radius * along[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
        super().__init__(arm + noise * random.standard_normal((n, 2)))


def _random(n: int, seed: int) -> np.random.Generator:
    _at_least(n, 1, "n")
    _at_least(seed, 0, "seed")
    return np.random.default_rng(seed)


def _at_least(value: float, least: int, name: str) -> None:
    if not value >= least:
        raise UsageError(f"{name}={value} must be at least {least}")
