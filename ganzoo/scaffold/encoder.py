"""An encoder of captions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ganzoo.interfaces import Encoder


class Mine(Encoder):
    """Captions to the shares of their characters, put into `width` bins by code point.

    Options:
        width: of a vector
    """

    def __init__(self, *, width: int = 64) -> None:
        if width < 1:
            raise ValueError(f"width={width} must be at least 1")
        self.width = width

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """[len(texts), width]. Replace this; each vector must be a function of its text alone."""
        vectors = torch.zeros(len(texts), self.width)
        for vector, text in zip(vectors, texts, strict=True):
            for character in text:
                vector[ord(character) % self.width] += 1 / len(text)
        return vectors

    def fingerprint(self) -> str:
        """Another for other vectors: they are cached by it. Count the 1 up when `__call__` changes."""
        return f"{1:08x}{self.width:08x}"
