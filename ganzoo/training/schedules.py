"""Learning rates and betas as functions of images seen. Torch-free.

A value is a number, or shapes one after another: "constant(2e-4, 50%) then linear(2e-4, 0)". Each shape takes its value or its
two ends, then how long it lasts: kimg, or a share of the budget; the last one may leave that out and lasts to the budget's end.
Afterwards its last value stays.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from ganzoo.errors import UsageError

_SHAPE = re.compile(r"\s*(\w+)\(([^()]*)\)\s*")
_ENDS = {"constant": 1, "linear": 2, "cosine": 2, "exponential": 2}


@dataclass(frozen=True, slots=True)
class _Piece:
    shape: str
    first: float
    last: float
    duration: str | None

    def at(self, share: float) -> float:
        if self.shape == "cosine":
            share = (1 - math.cos(math.pi * share)) / 2
        if self.shape == "exponential":
            return self.first ** (1 - share) * self.last**share
        return self.first + (self.last - self.first) * share


class Schedule:
    """A value over a budget of `total` kimg. Raises UsageError for text that is no schedule, or leaves 0 <= value < `below`."""

    def __init__(self, text: float | str, total: float, where: str = "schedule", below: float = math.inf) -> None:
        self.text = text
        self._pieces: list[tuple[_Piece, float, float]] = []
        self._read(text, total, where)
        for piece, _, _ in self._pieces:
            if piece.shape == "exponential" and not (piece.first > 0 and piece.last > 0):
                raise UsageError(f"{where} = {text}: an exponential goes from one number above 0 to another")
            if not (0 <= piece.first < below and 0 <= piece.last < below):
                raise UsageError(
                    f"{where} = {text}: it must stay a number from 0" + (f" and below {below:g}" if below < math.inf else "")
                )

    def _read(self, text: float | str, total: float, where: str) -> None:
        if isinstance(text, (int, float)):
            self._pieces = [(_Piece("constant", float(text), float(text), None), 0.0, math.inf)]
            return
        begin = 0.0
        pieces = [_parse(piece, where) for piece in re.split(r"\bthen\b", text)]
        for i, piece in enumerate(pieces):
            if piece.duration is None and i < len(pieces) - 1:
                raise UsageError(f"{where}: '{text}': only the last shape may leave out how long it lasts")
            length = _length(piece.duration, total, begin, where)
            self._pieces.append((piece, begin, length))
            begin += length

    @property
    def constant(self) -> bool:
        return len(self._pieces) == 1 and self._pieces[0][0].shape == "constant"

    def at(self, kimg: float) -> float:
        piece, begin, length = next((p for p in self._pieces if kimg < p[1] + p[2]), self._pieces[-1])
        return piece.at(min(1.0, max(0.0, (kimg - begin) / length)) if length > 0 else 1.0)


def _parse(text: str, where: str) -> _Piece:
    match = _SHAPE.fullmatch(text)
    try:
        if match is None:
            return _Piece("constant", float(text), float(text), None)
        words = [word.strip() for word in match[2].split(",")]
        ends = _ENDS[match[1]]
        if not ends <= len(words) <= ends + 1:
            raise ValueError
        values = [float(word) for word in words[:ends]]
        duration = words[ends] if len(words) > ends else None
        if duration is not None:
            float(duration.removesuffix("%"))
    except (ValueError, KeyError):
        raise UsageError(
            f"{where}: '{text.strip()}' is no schedule; write a number, constant(2e-4, 50%), linear(2e-4, 0, 500) or "
            f"cosine(2e-4, 5e-5) or exponential(1e-3, 1e-5), joined by 'then'; the last number is how long, in kimg or in % of "
            f"the budget"
        ) from None
    return _Piece(match[1], values[0], values[-1], duration)


def _length(duration: str | None, total: float, begin: float, where: str) -> float:
    if duration is None:
        return max(0.0, total - begin)
    length = total * float(duration[:-1]) / 100 if duration.endswith("%") else float(duration)
    if not 0 < length < math.inf:
        raise UsageError(f"{where}: a schedule's shape lasts {duration}; it must last longer than 0")
    return length
