"""A data set."""

from __future__ import annotations

from typing import Any

import numpy as np

from ganzoo.interfaces import Dataset, DataSpec

COLOURS = {"red": (220, 50, 50), "green": (50, 170, 80), "blue": (50, 80, 220)}


class Mine(Dataset):
    """Discs of three colours, their classes, on white: images [3, *res].

    Options:
        n: how many there are
        res: height and width
    """

    def __init__(self, *, n: int = 1000, res: tuple[int, int] = (32, 32)) -> None:
        self.res = res
        self.spec = DataSpec("image", (3, *res), classes=tuple(COLOURS))
        self.names = [f"disc {i}" for i in range(n)]
        self.labels = np.arange(n) % len(COLOURS)

    def fingerprint(self) -> str:
        """Another for other records: decoded images are cached by it. Count the 1 up when `decode` changes."""
        return f"{1:04x}{len(self.names):08x}{self.res[0]:08x}{self.res[1]:08x}"

    def decode(self, index: int) -> dict[str, np.ndarray[Any, Any]]:
        """Record `index`, uint8 [3, *res]; a function of the index alone. Replace this."""
        random = np.random.default_rng(index)
        y, x, radius = random.uniform(0.3, 0.7), random.uniform(0.3, 0.7), random.uniform(0.1, 0.25)
        rows, columns = np.meshgrid(*(np.arange(side) / side for side in self.res), indexing="ij")
        inside = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
        colour = np.array(list(COLOURS.values())[index % len(COLOURS)], np.uint8)
        return {"real": np.where(inside, colour[:, None, None], np.uint8(255))}
