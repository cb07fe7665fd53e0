"""Files on which the data sets of folders are tried by the conformance checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_N = 12


def two_folders(place: Path) -> dict[str, Any]:
    """Aligned pairs."""
    for folder, seed in (("a", 0), ("b", 1)):
        _write(place / folder, seed, (10, 14))
    return {"source": str(place / "a"), "target": str(place / "b")}


def one_folder(place: Path) -> dict[str, Any]:
    """Two images beside each other in each file."""
    _write(place / "both", 0, (10, 28))
    return {"path": str(place / "both")}


def _write(folder: Path, seed: int, size: tuple[int, int]) -> None:
    folder.mkdir(parents=True)
    for i, pixels in enumerate(np.random.default_rng(seed).integers(0, 256, (_N, *size, 3), np.uint8)):
        Image.fromarray(pixels).save(folder / f"{i:02d}.png")
