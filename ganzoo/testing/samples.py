"""What the core's own data sets are tried on: `make(folder)` writes files there and returns the options that name them."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_N, _CLASSES = 12, 3


def folder(place: Path) -> dict[str, Any]:
    """Twelve images in three sub-folders."""
    for i, pixels in enumerate(_pixels()):
        path = place / "images" / f"class{i % _CLASSES}" / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return {"path": str(place / "images")}


def zipped(place: Path) -> dict[str, Any]:
    """The same in a zip."""
    root = Path(folder(place)["path"])
    with zipfile.ZipFile(place / "images.zip", "w") as archive:
        for path in sorted(root.rglob("*.png")):
            archive.write(path, path.relative_to(root))
    return {"path": str(place / "images.zip")}


def array(place: Path) -> dict[str, Any]:
    """The same in an .npz."""
    np.savez(place / "images.npz", images=_pixels(), labels=np.arange(_N) % _CLASSES)
    return {"path": str(place / "images.npz")}


def _pixels() -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 256, (_N, 10, 14, 3), np.uint8)
