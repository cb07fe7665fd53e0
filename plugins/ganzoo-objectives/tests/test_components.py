"""What the plugin declares, against what it has."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

import ganzoo_objectives
from ganzoo.interfaces import CAPABILITIES, Augment, Loss, Regularizer, Score
from ganzoo.options import options_of, resolve
from ganzoo.plugin import Component, DataSpec
from ganzoo.registry import get_registry

KINDS = {"loss": Loss, "regularizer": Regularizer, "augmentation": Augment}
NAMES = {
    "loss": {"minimax", "non-saturating", "hinge", "lsgan", "wasserstein", "relativistic", "relativistic-average"},
    "regularizer": {
        *("r1", "r2", "gradient-penalty", "dragan", "spectral-norm", "weight-clip", "instance-noise", "packing", "unrolled"),
        *("minibatch-discrimination", "minibatch-stddev", "feature-matching"),
        *("label-smoothing", "auxiliary-classifier", "consistency", "lecam"),
    },
    "augmentation": {"diffaugment", "ada"},
}
COMPONENTS = list(ganzoo_objectives.ganzoo_components())
every_component = pytest.mark.parametrize("component", COMPONENTS, ids=lambda c: f"{c.kind} {c.name}")
DATA = DataSpec("image", (3, 8, 8))


def target(component: Component) -> type:
    module, _, name = component.target.partition(":")
    return getattr(import_module(module), name)


def test_the_offer():
    assert {kind: {c.name for c in COMPONENTS if c.kind == kind} for kind in KINDS} == NAMES
    assert len(COMPONENTS) == sum(map(len, NAMES.values()))


@every_component
def test_builds_with_its_defaults_and_documents_each_option(component):
    cls = target(component)
    assert issubclass(cls, KINDS[component.kind])
    assert component.summary
    assert component.paper
    assert component.provides | component.needs <= set(CAPABILITIES)
    assert all(option.meaning and not option.required for option in options_of(cls).values())
    options = resolve(cls, {}, component.name)
    automatic = cls.auto(DATA, 16) if "auto" in options.values() else {}
    part = cls(DATA, **{**options, **automatic})
    assert isinstance(part, cls)
    assert ("double-backward" in component.needs) == (getattr(part, "double_backward", False) or component.name == "unrolled")


@pytest.mark.parametrize("component", [c for c in COMPONENTS if c.kind == "loss"], ids=lambda c: c.name)
def test_level_is_claimed_by_the_losses_that_a_constant_added_to_d_changes(component):
    import torch

    torch.manual_seed(0)
    loss = target(component)(DATA)
    real, fake = torch.randn(9, dtype=torch.float64), torch.randn(9, dtype=torch.float64)
    moved = not torch.allclose(loss.d(Score(real + 3), Score(fake + 3)), loss.d(Score(real), Score(fake)))
    assert moved == ("level" in component.provides)


@pytest.mark.parametrize("entry", get_registry().select("loss"), ids=lambda e: e.name)
def test_every_registered_loss_is_relative_or_looks_at_the_level(entry):
    loss = get_registry().build(entry, {}, DATA, 16)
    assert loss.relative == ("level" not in entry.component.provides)


def test_the_entry_module_is_light():
    heavy = "{'torch', 'numpy', 'timm'} & set(sys.modules)"
    code = f"import sys, ganzoo_objectives as plugin; list(plugin.ganzoo_components()); sys.exit(bool({heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
