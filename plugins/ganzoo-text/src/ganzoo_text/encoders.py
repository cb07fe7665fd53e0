"""Words counted under hashed names: an encoder that needs neither weights nor a vocabulary."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor

from ganzoo.interfaces import Encoder

_WORD = re.compile(r"\w+")


class HashedWords(Encoder):
    """Words, and pairs of neighbouring words, counted in `width` buckets by a stable hash, with a sign by it too; unit length.

    Weinberger et al. 2009 (arXiv:0902.2206). Texts that share words are near each other, whatever the words mean; small and
    capital letters are one, and so are the ways in which Unicode writes a letter. A text without words is all zeros.

    Options:
        width: buckets; the fewer, the more words share one
        pairs: count pairs of neighbouring words too, so that their order counts
    """

    def __init__(self, *, width: int = 1024, pairs: bool = True) -> None:
        if width < 1:
            raise ValueError(f"width={width} must be at least 1")
        self.width, self._pairs = width, pairs

    def __call__(self, texts: Sequence[str]) -> Tensor:
        vectors = torch.zeros(len(texts), self.width)
        for vector, text in zip(vectors, texts, strict=True):
            for feature in self._features(text):
                number = _hash(feature)
                vector[(number >> 1) % self.width] += 1 if number & 1 else -1
        return torch.nn.functional.normalize(vectors)

    def fingerprint(self) -> str:
        return hashlib.sha256(repr(("hashed-words", 1, self.width, self._pairs)).encode()).hexdigest()

    def _features(self, text: str) -> Iterator[str]:
        words = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
        yield from words
        if self._pairs:
            yield from map(" ".join, pairwise(words))


@lru_cache(100_000)
def _hash(feature: str) -> int:
    """The same on every machine, unlike Python's own."""
    return int.from_bytes(hashlib.blake2b(feature.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
