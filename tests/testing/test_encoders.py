"""The encoder checks: installed encoders pass, and each check catches one that breaks its contract."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from ganzoo.errors import UsageError
from ganzoo.interfaces import Encoder
from ganzoo.registry import Entry
from ganzoo.testing import Check, Untried, encoders
from ganzoo.testing.encoders import CHECKS

from .conftest import Fault, covered, installed, name_of, tried


class Sound(Encoder):
    """Shares of the letters a to h, and the length; breaks no contract.

    Options:
        scale: a factor
    """

    width = 9

    def __init__(self, *, scale: float = 1.0) -> None:
        self.scale = scale

    def __call__(self, texts: Sequence[str]) -> Tensor:
        rows = [[self.scale * text.count(letter) for letter in "abcdefgh"] + [len(text) / 100] for text in texts]
        return torch.tensor(rows, dtype=torch.float32).reshape(len(texts), 9)

    def fingerprint(self) -> str:
        return np.float64(self.scale).tobytes().hex() * 2


class NoWidth(Sound):
    width = 0


class OtherWidth(Sound):
    width = 8


class InDouble(Sound):
    def __call__(self, texts: Sequence[str]) -> Tensor:
        return super().__call__(texts).double()


class NoneIsFlat(Sound):
    def __call__(self, texts: Sequence[str]) -> Tensor:
        return super().__call__(texts) if texts else torch.zeros(0)


class EmptyIsNaN(Sound):
    def __call__(self, texts: Sequence[str]) -> Tensor:
        vectors = super().__call__(texts)
        return vectors / vectors.norm(dim=1, keepdim=True)


class WithAGraph(Sound):
    def __call__(self, texts: Sequence[str]) -> Tensor:
        return super().__call__(texts).requires_grad_()


class ListsOnly(Sound):
    def __call__(self, texts: Sequence[str]) -> Tensor:
        return super().__call__(texts.copy())  # type: ignore[attr-defined]


class Deaf(Sound):
    def __call__(self, texts: Sequence[str]) -> Tensor:
        return torch.ones(len(texts), 9)


class Draws(Sound):
    def __call__(self, texts: Sequence[str]) -> Tensor:
        torch.rand(())
        return super().__call__(texts)


class Noisy(Sound):
    def __call__(self, texts: Sequence[str]) -> Tensor:
        return super().__call__(texts) + 0.1 * torch.rand(len(texts), 9)


class HashesAnew(Sound):
    """As Python's own `hash` of a string does, in another process."""

    seeds = iter(range(100))

    def __init__(self, *, scale: float = 1.0) -> None:
        super().__init__(scale=scale)
        self.shift = next(self.seeds)

    def __call__(self, texts: Sequence[str]) -> Tensor:
        return super().__call__(texts).roll(self.shift, 1)


class LooksAtTheOthers(Sound):
    def __call__(self, texts: Sequence[str]) -> Tensor:
        vectors = super().__call__(texts)
        return vectors - vectors.mean(0)


class LooksAtTheFirst(Sound):
    def __call__(self, texts: Sequence[str]) -> Tensor:
        vectors = super().__call__(texts)
        return vectors + vectors[:1]


class OneThread(Sound):
    def __call__(self, texts: Sequence[str]) -> Tensor:
        return super().__call__(texts) + (threading.current_thread() is not threading.main_thread())


class NoFingerprint(Sound):
    def fingerprint(self) -> str:
        return "version 1 of the sound one"


class FingerprintOfTheInstance(Sound):
    def fingerprint(self) -> str:
        return f"{id(self):032x}"


class ForgetsAnOption(Sound):
    def fingerprint(self) -> str:
        return 32 * "0"


FAULTS = [
    Fault(encoders.check_encoder_vectors, NoWidth, "width, a whole number from 1; seen: 0"),
    Fault(encoders.check_encoder_vectors, OtherWidth, r"torch.float32 \[0, 8\] on cpu; seen: torch.float32 \[0, 9\]"),
    Fault(encoders.check_encoder_vectors, InDouble, "seen: torch.float64"),
    Fault(encoders.check_encoder_vectors, NoneIsFlat, r"\[0, 9\] on cpu; seen: torch.float32 \[0\] on cpu"),
    Fault(encoders.check_encoder_vectors, EmptyIsNaN, "finite vectors"),
    Fault(encoders.check_encoder_vectors, WithAGraph, "without a graph"),
    Fault(encoders.check_encoder_vectors, ListsOnly, "AttributeError"),
    Fault(encoders.check_encoder_apart, Deaf, "another vector for 'two blue cars in the rain'; seen: that of 'a red apple'"),
    Fault(encoders.check_encoder_deterministic, Draws, "no random draw"),
    Fault(encoders.check_encoder_deterministic, Noisy, "the same vectors again"),
    Fault(encoders.check_encoder_deterministic, HashesAnew, "the same vectors from another instance"),
    Fault(encoders.check_encoder_deterministic, LooksAtTheOthers, "the same vector of 'a red apple' by itself"),
    Fault(encoders.check_encoder_deterministic, LooksAtTheFirst, "by itself"),
    Fault(encoders.check_encoder_deterministic, OneThread, "the same vectors in threads"),
    Fault(encoders.check_encoder_fingerprint, NoFingerprint, "a hex digest"),
    Fault(encoders.check_encoder_fingerprint, FingerprintOfTheInstance, "the same from another instance"),
    Fault(encoders.check_encoder_fingerprint, ForgetsAnOption, "another fingerprint with scale=2.0"),
]


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
@pytest.mark.parametrize("entry", installed("encoder"), ids=name_of)
def test_installed_encoders_pass(entry: Entry, check: Check) -> None:
    check(entry)


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_a_sound_one_passes(check: Check) -> None:
    check(tried("encoder", Sound))


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_faults_are_caught(fault: Fault) -> None:
    fault.is_caught("encoder")


def test_each_check_catches_something() -> None:
    covered(FAULTS, CHECKS)


class NotInstalled(Sound):
    def __init__(self, *, scale: float = 1.0) -> None:
        raise UsageError("its weights are missing: pip install the-weights")


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_what_is_missing_here_is_told_as_untried(check: Check) -> None:
    with pytest.raises(Untried, match="pip install the-weights"):
        check(tried("encoder", NotInstalled))
