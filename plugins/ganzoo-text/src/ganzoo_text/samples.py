"""Files on which the data set of folders is tried by the conformance checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_WORDS = ("red", "green", "blue")


def folder(place: Path) -> dict[str, Any]:
    """Twelve images with text files beside them."""
    (place / "images").mkdir()
    for i, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (12, 10, 14, 3), np.uint8)):
        Image.fromarray(pixels).save(place / "images" / f"{i:02d}.png")
        (place / "images" / f"{i:02d}.txt").write_text(f"{_WORDS[i % 3]} noise,\nnumber {i}\n", encoding="utf-8")
    return {"path": str(place / "images")}
