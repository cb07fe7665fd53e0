"""The augmentation checks: installed augmentations pass, and each check catches one that breaks its contract."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ganzoo.interfaces import Augment, DataSpec, Score
from ganzoo.testing import Check, augmentations
from ganzoo.testing.augmentations import CHECKS

from .conftest import Fault, covered, name_of, on_suitable_data, tried


class Sound(Augment):
    """Brightness and a square, with a strength that follows D; breaks no contract.

    Options:
        p: strength
    """

    def __init__(self, data: DataSpec, *, p: float = 0.5) -> None:
        super().__init__(data)
        self.register_buffer("p", torch.tensor(p))

    def forward(self, images: Tensor) -> Tensor:
        draw = torch.rand(len(images), 1, 1, 1, device=images.device)
        return images + self.p * (draw + 0.1 * images.square())

    def observe(self, real: Score, fake: Score) -> None:
        self.p.add_(0.01 * (real.per_sample().sign().mean() - 0.6))


class Crops(Sound):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images)[..., 1:-1, 1:-1]


class InPlace(Sound):
    def forward(self, images: Tensor) -> Tensor:
        return images.mul_(1 - self.p)


class Rounds(Sound):
    def forward(self, images: Tensor) -> Tensor:
        return (super().forward(images) * 8).round() / 8


class _Half(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x / 2

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad / 2


class OneDerivative(Sound):
    """torch raises nothing here: it leaves the second derivative's path through the function out."""

    def forward(self, images: Tensor) -> Tensor:
        return _Half.apply(super().forward(images))


class TurnsTheBatch(Sound):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).flip(0)


class MixesTheBatch(Sound):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + 0.1 * images.mean(0)


class DrawsFromNumpy(Sound):
    def forward(self, images: Tensor) -> Tensor:
        return images + 0.1 * float(self.p) * np.random.standard_normal()


class AlwaysOn(Sound):
    def forward(self, images: Tensor) -> Tensor:
        return images + torch.rand(len(images), 1, 1, 1)


class Forgets(Sound):
    def __init__(self, data: DataSpec, *, p: float = 0.5) -> None:
        super().__init__(data, p=p)
        self.strength = p

    def forward(self, images: Tensor) -> Tensor:
        return images * (1 - self.strength / 2)

    def observe(self, real: Score, fake: Score) -> None:
        self.strength *= 0.9


class KeepsScores(Sound):
    def __init__(self, data: DataSpec, *, p: float = 0.5) -> None:
        super().__init__(data, p=p)
        self.register_buffer("scores", torch.empty(0))

    def observe(self, real: Score, fake: Score) -> None:
        self.scores = torch.cat([self.scores, real.per_sample()])


class AsksForAValue(Sound):
    def forward(self, images: Tensor) -> Tensor:
        return images * (1 - float(self.p) / 2)


FAULTS = [
    Fault(augmentations.check_augmentation_shape, Crops, r"images \[8, 3, 8, 8\]; seen: \[8, 3, 6, 6\]"),
    Fault(augmentations.check_augmentation_shape, InPlace, "changed in place"),
    Fault(augmentations.check_augmentation_differentiable, Rounds, "a gradient at every image; seen: zero at some"),
    Fault(augmentations.check_augmentation_differentiable, OneDerivative, "finite differences"),
    Fault(augmentations.check_augmentation_keeps_order, TurnsTheBatch, r"of image 0 .* changes at \[7\]"),
    Fault(augmentations.check_augmentation_keeps_order, MixesTheBatch, r"changes at \[0, 1, 2, 3, 4, 5, 6, 7\]"),
    Fault(augmentations.check_augmentation_random, DrawsFromNumpy, "draws from numpy.random"),
    Fault(augmentations.check_augmentation_identity, AlwaysOn, "the images themselves at p=0"),
    Fault(augmentations.check_augmentation_state, Forgets, "the same images from another with its state"),
    Fault(augmentations.check_augmentation_state, KeepsScores, "size mismatch for scores"),
    Fault(augmentations.check_augmentation_meta, AsksForAValue, r"item\(\) cannot be called on meta tensors"),
]


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_a_sound_augmentation_passes(check: Check) -> None:
    on_suitable_data(check, tried("augmentation", Sound, modality="image"))


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_faults_are_caught(fault: Fault) -> None:
    fault.is_caught("augmentation")


def test_each_check_catches_something() -> None:
    covered(FAULTS, CHECKS)
