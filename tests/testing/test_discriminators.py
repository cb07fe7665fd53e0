"""The discriminator checks: installed discriminators pass, and each check catches one that breaks its contract."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganzoo.interfaces import Condition, DataSpec, Score
from ganzoo.registry import Entry
from ganzoo.testing import Check, discriminators
from ganzoo.testing.discriminators import CHECKS

from .conftest import LABELLED, TOLD, Fault, covered, has_a_norm, installed, name_of, on_suitable_data, tried, without_couples


class Sound(nn.Module):
    """Breaks no contract; each discriminator below breaks one."""

    def __init__(self, data: DataSpec) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(data.classes), 6) if data.classes else None
        self.first = nn.Linear(math.prod(data.shape), 6)
        self.head = nn.Linear(6, 1)
        self.sort = nn.Linear(6, len(data.classes)) if data.classes else None

    def features(self, images: Tensor) -> Tensor:
        return self.first(images.flatten(1)).tanh()

    def judge(self, h: Tensor, condition: Condition) -> Tensor:
        logits = self.head(h).squeeze(1)
        return logits if self.embedding is None else logits + (self.embedding(condition["labels"]) * h).sum(1)

    def forward(self, images: Tensor, condition: Condition) -> Score:
        h = self.features(images)
        return Score(self.judge(h, condition), (h,), None if self.sort is None else self.sort(h))


class OneForAll(Sound):
    def judge(self, h: Tensor, condition: Condition) -> Tensor:
        return super().judge(h, condition).mean()


class NoScore(Sound):
    def forward(self, images: Tensor, condition: Condition) -> Any:
        return {"logits": super().forward(images, condition).logits}


class NeedsFour(Sound):
    def features(self, images: Tensor) -> Tensor:
        return super().features(images.unflatten(0, (-1, 4))[:, 0].repeat_interleave(4, 0))


class CentresTheBatch(Sound):
    def features(self, images: Tensor) -> Tensor:
        h = super().features(images)
        return h - h.mean(0) / 2


class StridedGroups(Sound):
    """Groups of two that are not consecutive samples."""

    def features(self, images: Tensor) -> Tensor:
        h = super().features(images)
        return h + h.roll(len(h) // 2, 0)


class DropsInEval(Sound):
    def features(self, images: Tensor) -> Tensor:
        return F.dropout(super().features(images), 0.5)


class TrainsNothing(Sound):
    def features(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            weight = 1 * self.first.weight
        return F.linear(images.flatten(1), weight, self.first.bias).tanh()


class _Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 2 * grad * x.detach()  # right once, wrong the second time


class RightOnce(Sound):
    def features(self, images: Tensor) -> Tensor:
        return _Square.apply(super().features(images))


class NoHead(Sound):
    def __init__(self, data: DataSpec) -> None:
        super().__init__(data)
        self.last, self.head = self.head, nn.Sequential()

    def judge(self, h: Tensor, condition: Condition) -> Tensor:
        return self.last(h).squeeze(1)


class HeadTwice(Sound):
    def forward(self, images: Tensor, condition: Condition) -> Score:
        score = super().forward(images, condition)
        score.features += (self.head(score.features[0]),)
        return score


class HeadForgotten(Sound):
    def judge(self, h: Tensor, condition: Condition) -> Tensor:
        self.head(h)
        return h.sum(1)


class FeaturesWithoutGraph(Sound):
    def forward(self, images: Tensor, condition: Condition) -> Score:
        score = super().forward(images, condition)
        return Score(score.logits, (score.features[0].detach(),), score.classes)


class NoFeatures(Sound):
    def forward(self, images: Tensor, condition: Condition) -> Score:
        return Score(super().forward(images, condition).logits)


class ReadsTheAnswer(Sound):
    def forward(self, images: Tensor, condition: Condition) -> Score:
        score = super().forward(images, condition)
        assert score.classes is not None
        score.classes = score.classes + F.one_hot(condition["labels"], 3)
        return score


class DeafToLabels(Sound):
    def judge(self, h: Tensor, condition: Condition) -> Tensor:
        return super().judge(h, {"labels": 0 * condition["labels"]})


class HoldsItsWeight(Sound):
    def __init__(self, data: DataSpec) -> None:
        super().__init__(data)
        self.held = (self.first.weight,)

    def features(self, images: Tensor) -> Tensor:
        return F.linear(images.flatten(1), self.held[0], self.first.bias).tanh()


class MovesItsOwnBuffer(Sound):
    def __init__(self, data: DataSpec) -> None:
        super().__init__(data)
        self.register_buffer("mean", torch.zeros(6))
        self.kept = [self.mean]  # functional_call exchanges the attribute, not what the list holds

    def features(self, images: Tensor) -> Tensor:
        h = super().features(images)
        if self.training:
            self.kept[0].lerp_(h.detach().mean(0), 0.1)
        return h


class KeepsFeatures(Sound):
    def features(self, images: Tensor) -> Tensor:
        self.last = super().features(images)
        return self.last


class HiddenState(Sound):
    def __init__(self, data: DataSpec) -> None:
        super().__init__(data)
        self.offset = torch.randn(6)  # no buffer

    def features(self, images: Tensor) -> Tensor:
        return super().features(images) + self.offset


class NoTensor(Sound):
    def get_extra_state(self) -> dict[str, int]:
        return {"steps": 3}

    def set_extra_state(self, state: dict[str, int]) -> None:
        pass


class CancelsInBf16(Sound):
    def features(self, images: Tensor) -> Tensor:
        h = self.first(images.flatten(1))
        return h / (h + 512 - 512)


class ViewsStrides(Sound):
    def __init__(self, data: DataSpec) -> None:
        super().__init__(data)
        self.conv = nn.Conv2d(data.channels, data.channels, 3, padding=1)

    def features(self, images: Tensor) -> Tensor:
        out = self.conv(images)
        return super().features(out.as_strided(out.shape, torch.empty(out.shape).stride()))


class OnTheCPU(Sound):
    def __init__(self, data: DataSpec) -> None:
        super().__init__(data)
        self.scale = nn.Parameter(torch.ones(6, device="cpu"))

    def features(self, images: Tensor) -> Tensor:
        return super().features(images) * self.scale


HEAD, FEATURES, TWICE = ({"provides": {name}} for name in ("head", "features", "double-backward"))
SORTS, USED = {"provides": {"classes"}}, {"labels": "used"}
PAIRS = {"min_group": 2}
FAULTS = [
    Fault(discriminators.check_discriminator_shape, OneForAll, r"expected logits \[4, ...\]; seen: \[\]"),
    Fault(discriminators.check_discriminator_shape, NoScore, "a Tensor or a ganzoo.interfaces.Score; seen: dict"),
    Fault(discriminators.check_discriminator_shape, NeedsFour, "RuntimeError"),
    Fault(discriminators.check_discriminator_couples, CentresTheBatch, "in eval mode the same output for a sample"),
    Fault(discriminators.check_discriminator_couples, StridedGroups, "for a group of 2 samples", declared=PAIRS),
    Fault(discriminators.check_discriminator_deterministic, DropsInEval, "no random draw in eval mode"),
    Fault(discriminators.check_discriminator_gradients, TrainsNothing, "none at first.weight"),
    Fault(discriminators.check_discriminator_double_backward, RightOnce, "finite differences", declared=TWICE),
    Fault(discriminators.check_discriminator_head, NoHead, "a Linear or Conv2d; seen: Sequential", declared=HEAD),
    Fault(discriminators.check_discriminator_head, HeadTwice, "2 calls", declared=HEAD),
    Fault(discriminators.check_discriminator_head, HeadForgotten, "4 unchanged", declared=HEAD),
    Fault(discriminators.check_discriminator_features, FeaturesWithoutGraph, "a gradient from feature 0", declared=FEATURES),
    Fault(discriminators.check_discriminator_features, NoFeatures, "tuple of 0", declared=FEATURES),
    Fault(discriminators.check_discriminator_classes, ReadsTheAnswer, "do not look at the label", LABELLED, SORTS),
    Fault(discriminators.check_discriminator_classes, NoFeatures, "class logits; seen: None", LABELLED, SORTS),
    Fault(discriminators.check_discriminator_labels, DeafToLabels, "4 of 4 samples the same", LABELLED, USED),
    Fault(
        discriminators.check_discriminator_matching, Sound, "another caption, as 'matching'", TOLD, {"provides": {"matching"}}
    ),
    Fault(discriminators.check_discriminator_functional_call, HoldsItsWeight, "a network that has these parameters"),
    Fault(discriminators.check_discriminator_functional_call, MovesItsOwnBuffer, "mean moved"),
    Fault(discriminators.check_discriminator_deepcopy, KeepsFeatures, "RuntimeError: Only Tensors created explicitly"),
    Fault(discriminators.check_discriminator_state_dict, HiddenState, "holds all that the output depends on"),
    Fault(discriminators.check_discriminator_safetensors, NoTensor, "_extra_state is none"),
    Fault(discriminators.check_discriminator_bf16, CancelsInBf16, "NaN or infinity"),
    Fault(discriminators.check_discriminator_channels_last, ViewsStrides, "the same output in channels_last"),
    Fault(discriminators.check_discriminator_meta, OnTheCPU, "scale elsewhere"),
]


@pytest.mark.parametrize("entry", [e for e in installed("discriminator") if has_a_norm(e)], ids=name_of)
def test_without_a_norm_nothing_couples_a_batch(entry: Entry) -> None:
    """Those that say that batch norm couples: with no norm they must stand the check."""
    on_suitable_data(discriminators.check_discriminator_couples, without_couples(entry), {"norm": "none"})


def test_the_spread_of_groups_stays_in_its_group() -> None:
    (dcgan,) = (entry for entry in installed("discriminator") if entry.name == "dcgan")
    options = {"norm": "none", "minibatch_stddev": 4}
    on_suitable_data(discriminators.check_discriminator_couples, without_couples(dcgan), options)


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_a_sound_discriminator_passes(check: Check) -> None:
    provides = {"head", "features", "classes", "double-backward"}
    on_suitable_data(check, tried("discriminator", Sound, labels="used", provides=provides))


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_faults_are_caught(fault: Fault) -> None:
    fault.is_caught("discriminator")


def test_each_check_catches_something() -> None:
    covered(FAULTS, CHECKS)
