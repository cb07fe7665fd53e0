"""The features checks: installed feature networks pass, and each check catches one that breaks its contract."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ganzoo.interfaces import DataSpec, Features
from ganzoo.testing import Check, features
from ganzoo.testing.features import CHECKS

from .conftest import IMAGES, Fault, covered, name_of, tried

DATA = [IMAGES, DataSpec("image", (1, 8, 8))]


class Sound(Features):
    """Two convolutions; breaks no contract."""

    channels = (4, 6)
    strides = (2, 4)
    width = 6

    def __init__(self, data: DataSpec) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, 2, 1)
        self.second = nn.Conv2d(4, 6, 3, 2, 1)
        self.requires_grad_(False).train()

    def maps(self, images: Tensor) -> tuple[Tensor, ...]:
        images = images.to(self.first.weight.dtype).expand(-1, 3, -1, -1)
        shallow = self.first(images).tanh()
        return shallow, self.second(shallow).tanh()

    def forward(self, images: Tensor) -> Tensor:
        return self.maps(images)[-1].mean((2, 3))


class Learns(Sound):
    def __init__(self, data: DataSpec) -> None:
        super().__init__(data)
        self.second.requires_grad_(True)


class BuiltInTraining(Sound):
    def __init__(self, data: DataSpec) -> None:
        super().__init__(data)
        nn.Module.train(self)


class Trains(Sound):
    def __init__(self, data: DataSpec) -> None:
        super().__init__(data)
        self.eval()

    def train(self, mode: bool = True) -> Trains:
        nn.Module.train(self, mode)
        return self


class OtherStrides(Sound):
    strides = (2, 8)


class NoStrideForOne(Sound):
    strides = (4,)


class DeepFirst(Sound):
    channels = (6, 4)
    strides = (4, 2)

    def maps(self, images: Tensor) -> tuple[Tensor, ...]:
        return super().maps(images)[::-1]

    def forward(self, images: Tensor) -> Tensor:
        return self.maps(images)[0].mean((2, 3))


class RoundsDown(Sound):
    def __init__(self, data: DataSpec) -> None:
        super().__init__(data)
        self.first, self.second = nn.Conv2d(3, 4, 2, 2), nn.Conv2d(4, 6, 2, 2)


class ListOfMaps(Sound):
    def maps(self, images: Tensor) -> tuple[Tensor, ...]:
        return list(super().maps(images))  # type: ignore[return-value]


class Overflows(Sound):
    def maps(self, images: Tensor) -> tuple[Tensor, ...]:
        shallow, deep = super().maps(images)
        return shallow, (1000 * deep).exp()


class OtherWidth(Sound):
    width = 4


class NotPooled(Sound):
    def forward(self, images: Tensor) -> Tensor:
        return self.maps(images)[-1]


class Blind(Sound):
    def forward(self, images: Tensor) -> Tensor:
        return torch.zeros_like(super().forward(images)) * images.sum()


class Noisy(Sound):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + 0.1 * torch.randn(len(images), 6, device=images.device)


class InPlace(Sound):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.mul_(0.5))


class MixesTheBatch(Sound):
    def forward(self, images: Tensor) -> Tensor:
        vectors = super().forward(images)
        return vectors - vectors.mean(0) / 2


class Counts(Sound):
    def __init__(self, data: DataSpec) -> None:
        super().__init__(data)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        self.seen += 1
        return super().forward(images)


class NoGradient(Sound):
    def maps(self, images: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            return super().maps(images)


class DetachesTheDeep(Sound):
    def maps(self, images: Tensor) -> tuple[Tensor, ...]:
        shallow, deep = super().maps(images)
        return shallow, deep.detach()

    def forward(self, images: Tensor) -> Tensor:
        return super().maps(images)[-1].mean((2, 3))


class ReachesOneImage(Sound):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(torch.cat([images[:1], images[1:].detach()]))


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


class InFp32(Sound):
    def maps(self, images: Tensor) -> tuple[Tensor, ...]:
        shallow = self.first(images.float().expand(-1, 3, -1, -1)).tanh()
        return shallow, self.second(shallow).tanh()


class ViewsMemory(Sound):
    def forward(self, images: Tensor) -> Tensor:
        deep = self.maps(images)[-1]
        return deep.view(len(deep), -1).unflatten(1, (6, -1)).mean(2)


class LeavesPartBehind(Sound):
    def __deepcopy__(self, memo: dict[int, Any]) -> LeavesPartBehind:
        return type(self)(DataSpec("image", (3, 8, 8)))


class ReadsOnMeta(Sound):
    def __init__(self, data: DataSpec) -> None:
        super().__init__(data)
        self.second.weight = nn.Parameter(torch.randn(6, 4, 3, 3, device="cpu"), requires_grad=False)


class AsksForAValue(Sound):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * float(self.second.bias.sum() + 2)


FAULTS = [
    Fault(features.check_features_frozen, Learns, "requires a gradient; seen: second.weight, second.bias"),
    Fault(features.check_features_frozen, BuiltInTraining, "eval mode as built; seen: training mode of the network"),
    Fault(features.check_features_frozen, Trains, "eval mode after train()"),
    Fault(features.check_features_maps, OtherStrides, r"\(3, 6, 8, 8\)\] of \(64, 64\)"),
    Fault(features.check_features_maps, NoStrideForOne, "as many strides as channels"),
    Fault(features.check_features_maps, DeepFirst, "from shallow to deep"),
    Fault(features.check_features_maps, RoundsDown, r"\(3, 6, 16, 18\)\] of \(64, 70\); seen: .*\(3, 6, 16, 17\)"),
    Fault(features.check_features_maps, ListOfMaps, "a tuple of maps; seen: list"),
    Fault(features.check_features_maps, Overflows, "finite maps"),
    Fault(features.check_features_vector, OtherWidth, r"vectors \[3, 4\]; seen: \[3, 6\]"),
    Fault(features.check_features_vector, NotPooled, r"vectors \[3, 6\]; seen: \[3, 6, 16, 16\]"),
    Fault(features.check_features_vector, Blind, "another vector for another image"),
    Fault(features.check_features_deterministic, Noisy, "no random draw"),
    Fault(features.check_features_deterministic, InPlace, "changed in place"),
    Fault(features.check_features_deterministic, MixesTheBatch, "the same vector of an image by itself"),
    Fault(features.check_features_deterministic, Counts, "seen moved"),
    Fault(features.check_features_gradient, NoGradient, "a graph from the images to the vector"),
    Fault(features.check_features_gradient, DetachesTheDeep, "a graph from the images to the map 1"),
    Fault(features.check_features_gradient, ReachesOneImage, "a gradient of the vector at every image; seen: zero at some"),
    Fault(features.check_features_gradient, OneDerivative, "finite differences"),
    Fault(features.check_features_copies, LeavesPartBehind, "the same vector from a deep copy"),
    Fault(features.check_features_copies, InFp32, "expected no exception; seen: .*dtype|type"),
    Fault(features.check_features_copies, ViewsMemory, "expected no exception; seen: .*view"),
    Fault(features.check_features_meta, ReadsOnMeta, "second.weight elsewhere"),
    Fault(features.check_features_meta, AsksForAValue, r"item\(\) cannot be called on meta tensors"),
]


@pytest.mark.parametrize("data", DATA, ids=lambda data: f"{data.channels} channels")
@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_sound_features_pass(check: Check, data: DataSpec) -> None:
    check(tried("features", Sound), data)


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_faults_are_caught(fault: Fault) -> None:
    fault.is_caught("features")


def test_each_check_catches_something() -> None:
    covered(FAULTS, CHECKS)
