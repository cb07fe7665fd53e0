"""The generator checks: installed generators pass, and each check catches a generator that breaks its contract."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ganzoo.interfaces import Condition, DataSpec
from ganzoo.testing import Check, generators
from ganzoo.testing.generators import CHECKS

from .conftest import (
    LABELLED,
    POINTS,
    TOLD,
    Fault,
    covered,
    has_a_norm,
    installed,
    name_of,
    on_suitable_data,
    tried,
    without_couples,
)


class Sound(nn.Module):
    """Breaks no contract; each generator below breaks one."""

    mean_w: Tensor

    def __init__(self, data: DataSpec) -> None:
        super().__init__()
        self.z_dim, self.data = 4, data
        self.embedding = nn.Embedding(len(data.classes), 4) if data.classes else None
        self.style = nn.Linear(8 if data.classes else 4, 12)
        self.out = nn.Linear(12, math.prod(data.shape))
        self.register_buffer("mean_w", torch.zeros(6))

    def mapping(self, z: Tensor, condition: Condition) -> Tensor:
        if self.embedding is not None:
            z = torch.cat([z, self.embedding(condition["labels"])], 1)
        return self.style(z).tanh().unflatten(1, (2, 6))

    def synthesis(self, w: Tensor) -> Tensor:
        out = self.out(w.flatten(1)).unflatten(1, self.data.shape)
        return out.tanh() if self.data.modality == "image" else out

    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        return self.synthesis(self.mapping(x, condition))


class Flat(Sound):
    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        return super().forward(x, condition).flatten(1)


class WithoutNoiseWidth(Sound):
    def __init__(self, data: DataSpec) -> None:
        super().__init__(data)
        del self.z_dim


class Sigmoid(Sound):
    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        return (super().forward(x, condition) + 1) / 2


class Bytes(Sound):
    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        return super().forward(x, condition) * 127.5


class CentresTheBatch(Sound):
    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        out = super().forward(x, condition)
        return out - out.mean(0) / 2


class NoisyInEval(Sound):
    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        out = super().forward(x, condition)
        return out + 0.01 * torch.randn_like(out)


class DrawsFromNumpy(Sound):
    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        out = super().forward(x, condition)
        return out + 0.01 * np.random.standard_normal() if self.training else out


class Deaf(Sound):
    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        return super().forward(0 * x, condition)


class Detached(Sound):
    def mapping(self, z: Tensor, condition: Condition) -> Tensor:
        return super().mapping(z, condition).detach()


class KeepsItsOutput(Sound):
    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        self.last = super().forward(x, condition)
        return self.last


class SharesWithItsCopy(Sound):
    def __deepcopy__(self, memo: dict[int, object]) -> SharesWithItsCopy:
        twin = SharesWithItsCopy(self.data)
        twin.style, twin.out, twin.embedding = self.style, self.out, self.embedding
        return twin


class HiddenState(Sound):
    def __init__(self, data: DataSpec) -> None:
        super().__init__(data)
        self.offset = torch.randn(())  # no buffer

    def synthesis(self, w: Tensor) -> Tensor:
        return super().synthesis(w + self.offset)


class NoTensor(Sound):
    def get_extra_state(self) -> dict[str, int]:
        return {"steps": 3}

    def set_extra_state(self, state: dict[str, int]) -> None:
        pass


class CancelsInBf16(Sound):
    def synthesis(self, w: Tensor) -> Tensor:
        return super().synthesis(w * (w / (w + 512 - 512)))


class ViewsStrides(Sound):
    def __init__(self, data: DataSpec) -> None:
        super().__init__(data)
        self.conv = nn.Conv2d(data.channels, data.channels, 3, padding=1)

    def synthesis(self, w: Tensor) -> Tensor:
        out = self.conv(super().synthesis(w))
        return out.as_strided(out.shape, torch.empty(out.shape).stride()).tanh()


class DeafToLabels(Sound):
    def mapping(self, z: Tensor, condition: Condition) -> Tensor:
        return super().mapping(z, {**condition, "labels": 0 * condition["labels"]})


class OnTheCPU(Sound):
    def __init__(self, data: DataSpec) -> None:
        super().__init__(data)
        self.register_buffer("grid", torch.zeros(2, device="cpu"))


class CountsOnTheCPU(Sound):
    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        return super().forward(x + torch.arange(x.shape[1]), condition)


class FlatStyles(Sound):
    def mapping(self, z: Tensor, condition: Condition) -> Tensor:
        return super().mapping(z, condition).flatten(1)

    def synthesis(self, w: Tensor) -> Tensor:
        return super().synthesis(w.unflatten(1, (2, 6)))


class MeanIsNoBuffer(Sound):
    def __init__(self, data: DataSpec) -> None:
        super().__init__(data)
        del self.mean_w
        self.mean_w = torch.full((6,), 7.0)


STYLE = {"provides": {"style"}}
USED = {"labels": "used"}
FAULTS = [
    Fault(generators.check_generator_shape, Flat, r"expected samples \[4, 3, 8, 8\]; seen: \[4, 192\]"),
    Fault(generators.check_generator_shape, WithoutNoiseWidth, "an attribute z_dim"),
    Fault(generators.check_generator_range, Sigmoid, "both sides of 0"),
    Fault(generators.check_generator_range, Bytes, r"of the scale of \[-1, 1\]"),
    Fault(generators.check_generator_batch_sizes, CentresTheBatch, "in a batch of 1 as in one of 7"),
    Fault(generators.check_generator_deterministic, NoisyInEval, "no random draw in eval mode"),
    Fault(generators.check_generator_deterministic, DrawsFromNumpy, "draws from numpy.random"),
    Fault(generators.check_generator_uses_input, Deaf, "4 of 4 samples the same"),
    Fault(generators.check_generator_couples, CentresTheBatch, "whatever else is in the batch"),
    Fault(generators.check_generator_gradients, Detached, "none at style.weight, style.bias, the input"),
    Fault(generators.check_generator_deepcopy, KeepsItsOutput, "RuntimeError: Only Tensors created explicitly"),
    Fault(generators.check_generator_deepcopy, SharesWithItsCopy, "an original that a change of its copy does not change"),
    Fault(generators.check_generator_state_dict, HiddenState, "holds all that the output depends on"),
    Fault(generators.check_generator_safetensors, NoTensor, "_extra_state is none"),
    Fault(generators.check_generator_bf16, CancelsInBf16, "NaN or infinity", POINTS),
    Fault(generators.check_generator_channels_last, ViewsStrides, "the same output in channels_last"),
    Fault(generators.check_generator_labels, DeafToLabels, "4 of 4 samples the same", LABELLED, USED),
    Fault(generators.check_generator_text, Sound, "the vector of another caption, as needs", TOLD, {"needs": {"text"}}),
    Fault(generators.check_generator_meta, OnTheCPU, "grid elsewhere"),
    Fault(generators.check_generator_meta, CountsOnTheCPU, "every tensor on its input's device"),
    Fault(generators.check_generator_style, FlatStyles, r"of shape \[N, L, W\]; seen: \[4, 12\]", declared=STYLE),
    Fault(generators.check_generator_style, MeanIsNoBuffer, "mean_w in the state_dict", declared=STYLE),
]


@pytest.mark.parametrize("entry", [e for e in installed("generator") if has_a_norm(e)], ids=name_of)
def test_without_a_norm_nothing_couples_a_batch(entry) -> None:
    """Those that say that batch norm couples: the same networks with no norm must stand the check."""
    on_suitable_data(generators.check_generator_couples, without_couples(entry), {"norm": "none"})


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_a_sound_generator_passes(check: Check) -> None:
    on_suitable_data(check, tried("generator", Sound, labels="used", provides={"style"}))


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_faults_are_caught(fault: Fault) -> None:
    fault.is_caught("generator")


def test_each_check_catches_something() -> None:
    covered(FAULTS, CHECKS)
