"""Checks of metrics: `check_...(entry, data, options)`, on vectors drawn for them."""

from __future__ import annotations

import copy
import math
from dataclasses import fields

import numpy as np
import torch
from torch import Tensor

from ganzoo.interfaces import Measured, Metric, Modes, Sampled
from ganzoo.plugin import DataSpec
from ganzoo.registry import Entry
from ganzoo.testing.cases import NO_OPTIONS, Options, build, make_batch, other_generators_untouched
from ganzoo.testing.contracts import Skip, check, expect

_N, _WIDTH = 600, 6
_ROUNDING = 1e-5  # sums in another order, in float64 or through an eigendecomposition


@check(
    "a call returns Measured: a finite value, where it has one a standard error from 0; `better` and `uses` as in the contract"
)
def check_metric_value(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    metric = _build(entry, data, options)
    expect(metric.better in ("lower", "higher", None), "better = 'lower', 'higher' or None", metric.better)
    unknown = sorted(metric.uses - {field.name for field in fields(Sampled)})
    expect(not unknown, "`uses` names fields of Sampled", ", ".join(unknown))
    said = metric(_vectors(data, 0), _vectors(data, 1))
    expect(isinstance(said, Measured), "a ganzoo.interfaces.Measured", type(said).__name__)
    expect(isinstance(said.value, float) and math.isfinite(said.value), "a finite float", said.value)
    expect(said.error is None or 0 <= said.error < math.inf, "a standard error from 0, or None", said.error)


@check("`same` is its value where the fakes are the reals themselves; None where that is no one number")
def check_metric_same(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    metric = _build(entry, data, options)
    if metric.same is None:
        raise Skip("it names no value for fakes that are the reals")
    value = metric(_vectors(data, 0), _vectors(data, 0)).value
    expect(abs(value - metric.same) <= 1e-3, f"{metric.same:g}", f"{value:g}")


@check("`better` says which way is better, if any is: fakes drawn like the reals against fakes far from them")
def check_metric_direction(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    metric = _build(entry, data, options)
    if metric.better is None:
        raise Skip("neither way is better by itself, it says")
    good, bad = (metric(_vectors(data, 0), _vectors(data, 1, shift)).value for shift in (0.0, 20.0))
    right = good < bad if metric.better == "lower" else good > bad
    expect(right, f"a {metric.better} value for fakes drawn like the reals", f"{good:g}, and {bad:g} for fakes far from them")


@check("the order of the samples does not count")
def check_metric_order(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    metric = _build(entry, data, options)
    real, fake = _vectors(data, 0), _vectors(data, 1, 0.5)
    value = metric(real, fake).value
    for name, one, other in (("reals", _shuffled(real), fake), ("fakes", real, _shuffled(fake))):
        again = metric(one, other).value
        close = abs(again - value) <= _ROUNDING * max(1.0, abs(value))
        expect(close, f"{value:.8g} with the {name} in another order too", f"{again:.8g}")


@check("it is a pure function: the same again, its arguments as they were, no draw from a global random state")
def check_metric_pure(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    metric = _build(entry, data, options)
    real, fake = _vectors(data, 0), _vectors(data, 1)
    kept, state = copy.deepcopy((real, fake)), torch.get_rng_state()
    with other_generators_untouched():
        first = metric(real, fake)
    expect(torch.equal(state, torch.get_rng_state()), "no draw from torch's global random state", "it moved")
    same = all(torch.equal(a, b) for old, new in zip(kept, (real, fake), strict=True) for a, b in _tensors(old, new))
    expect(same, "the vectors unchanged", "they were changed in place")
    metric(fake, real)
    again = metric(real, fake)
    expect(again == first, f"{first} again", again)


def _build(entry: Entry, data: DataSpec, options: Options) -> Metric:
    metric: Metric = build(entry, data, options)
    if "model" in metric.uses:
        raise Skip("it looks into a generator, and is tried on vectors")
    return metric


def _vectors(data: DataSpec, seed: int, shift: float = 0.0) -> Sampled:
    """Normal vectors, and every class in turn where there are classes; of shifted ones a classifier is not sure."""
    features: Tensor = torch.randn(_N, _WIDTH, generator=torch.Generator().manual_seed(seed)) + shift
    sure = torch.eye(_WIDTH)[torch.arange(_N) % _WIDTH] * (10.0 if shift == 0 else 0.1)
    samples = make_batch(data, _N, seed)["real"].clamp(-4, 4) + shift
    if data.classes:  # brighter from class to class
        level = torch.linspace(-0.7, 0.7, len(data.classes))[torch.arange(_N) % len(data.classes)]
        samples = samples * 0.3 + level.reshape(-1, *[1] * len(data.shape)) + 0.7 * shift
    if data.modality == "image":
        samples = ((samples.clamp(-1, 1) + 1) * 127.5).to(torch.uint8)
    labels = torch.arange(_N) % len(data.classes) if data.classes else None
    index = torch.arange(_N) % (2 if shift else _WIDTH)  # shifted ones have lost modes
    modes = Modes(_WIDTH, index.numpy(), np.full(_N, shift == 0))
    return Sampled(features, labels, sure + features / 10 - shift / 10, samples, modes)


def _shuffled(side: Sampled) -> Sampled:
    order = torch.randperm(len(side.features), generator=torch.Generator().manual_seed(9))
    modes = side.modes
    if modes is not None:
        modes = Modes(modes.count, modes.index[order.numpy()], modes.inside[order.numpy()])
    tensors = (None if t is None else t[order] for t in (side.features, side.labels, side.logits, side.samples))
    return Sampled(*tensors, modes)  # type: ignore[arg-type]


def _tensors(a: Sampled, b: Sampled) -> list[tuple[Tensor, Tensor]]:
    pairs = [(getattr(a, field.name), getattr(b, field.name)) for field in fields(Sampled)]
    return [pair for pair in pairs if isinstance(pair[0], Tensor)]


CHECKS = (
    check_metric_value,
    check_metric_same,
    check_metric_direction,
    check_metric_order,
    check_metric_pure,
)
