"""What a part is tried on: small data that it declares to fit, batches of it, and the part itself."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin

import numpy as np
import torch
from torch import Tensor

from ganzoo.games.match import condition_of
from ganzoo.interfaces import Batch, Condition
from ganzoo.options import fill_auto, options_of
from ganzoo.plugin import Component, DataSpec, Resolutions
from ganzoo.registry import Entry, get_registry, one_line
from ganzoo.testing.contracts import expect

Options = Mapping[str, Any]
NO_OPTIONS: Options = MappingProxyType({})

CLASSES = ("first", "second", "third")
# Whole numbers that make a network small, for the options of that name which it may have.
_SMALL = {"channels": 4, "max_channels": 16, "width": 8, "z_dim": 4, "embedding": 4, "size": 32}
_SIDES = (8, 32, 128, 512)
_OTHER_SIDES = (20, 40)  # no power of two, and no square
_TEXT = 5  # width of a caption's vector


# ---- data


def suitable_data(component: Component) -> list[DataSpec]:
    """Small data that the component declares to fit: each modality that is known here, grey, not square, and with classes.

    With a source or with captions' vectors where it speaks of them. The most telling come first.
    """
    said = component.provides | component.needs
    domains = "domains" in said
    source = not domains and not {"translate", "reverse"}.isdisjoint(said)
    plain = [spec for spec in _plain_data(component) if not component.modality or spec.modality in component.modality]
    if source:
        plain = [spec.replace(source=spec) for spec in plain if spec.modality == "image"]
    if not {"text", "matching"}.isdisjoint(said):
        plain = [spec.replace(text=_TEXT) for spec in plain]
    first = [spec for i, spec in enumerate(plain) if spec.modality not in {before.modality for before in plain[:i]}]
    labelled = [spec.replace(classes=CLASSES, domains=CLASSES if domains else ()) for spec in first]
    if component.labels == "refused":
        return plain
    if component.labels == "required" or "classes" in component.needs:
        return labelled
    return [*plain[:1], *labelled[:1], *plain[1:], *labelled[1:]]


def _plain_data(component: Component) -> list[DataSpec]:
    can = Resolutions(component.resolutions or "any")
    side = next((near[0] for start in _SIDES if (near := can.nearest((start,)))), None)
    if side is None:
        return [DataSpec("points", (2,))]
    wide = (side, 2 * side) if can.admits((side, 2 * side)) else (side, side)
    return [
        DataSpec("image", (3, side, side)),
        DataSpec("image", (1, *wide)),
        DataSpec("signal", (1, 2 * side if can.admits((2 * side,)) else side)),
        DataSpec("points", (2,)),
    ]


def of_another_size(component: Component, data: DataSpec) -> DataSpec:
    """The same data near 20x40 pixels, where the component says that it does them: no powers of two, and no square."""
    near = Resolutions(component.resolutions or "any").nearest(_OTHER_SIDES[: len(data.resolution)])
    if near is None:  # it does larger ones alone
        return data
    source = data.source and data.source.replace(shape=(data.source.channels, *near))
    return data.replace(shape=(data.channels, *near), source=source)


def make_batch(data: DataSpec, n: int, seed: int = 0) -> Batch:
    """Random records, a function of the seed alone: images uniform in [-1, 1], all else normal; every class in turn."""
    generator = torch.Generator().manual_seed(seed)
    batch: Batch = {"real": _values(data, n, generator)}
    if data.classes:
        batch["labels"] = (torch.arange(n) + seed) % len(data.classes)
    if data.source is not None:
        batch["source"] = _values(data.source, n, generator)
    if data.text:
        batch["text"] = torch.randn(n, data.text, generator=generator)
    return batch


def _values(data: DataSpec, n: int, generator: torch.Generator) -> Tensor:
    out = torch.empty(n, *data.shape)
    return out.uniform_(-1, 1, generator=generator) if data.modality == "image" else out.normal_(generator=generator)


def generator_inputs(network: Any, data: DataSpec, n: int, seed: int = 0) -> tuple[Tensor, Condition]:
    """What a generator eats, noise or source images, and its condition."""
    batch = make_batch(data, n, seed)
    if data.translates:
        return batch["real" if data.source is None else "source"], condition_of(batch)
    z_dim = getattr(network, "z_dim", None)
    expect(isinstance(z_dim, int) and z_dim > 0, "an attribute z_dim, the width of the noise", z_dim)
    return torch.randn(n, z_dim, generator=torch.Generator().manual_seed(seed + 1)), condition_of(batch)


# ---- parts


def build(entry: Entry, data: DataSpec | None, options: Options = NO_OPTIONS, batch: int = 16) -> Any:
    """The part with these options, drawn from torch's current random state."""
    return get_registry().build(entry, options, data, batch)


def resolved(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS, batch: int = 16) -> dict[str, Any]:
    """Every option, typed, "auto" included."""
    registry = get_registry()
    return fill_auto(registry.load(entry), registry.resolve(entry, options), data, batch)


def group_of(entry: Entry, options: Options = NO_OPTIONS) -> int:
    """Batches must be multiples of it."""
    group = entry.component.min_group
    if isinstance(group, str):
        group = get_registry().resolve(entry, options)[group]
    return max(1, group) if isinstance(group, int) else 1


def small_options(target: Any) -> dict[str, int]:
    """Options that keep a network small, of those that the target has: channels, width, z_dim and their like."""
    known = options_of(target)
    return {name: value for name, value in _SMALL.items() if name in known}


def alternatives(entry: Entry, options: Options) -> Iterator[tuple[str, Any]]:
    """Another value for each option for which one is obvious."""
    for name, option in options_of(get_registry().load(entry)).items():
        now = options.get(name, option.default)
        words = [arm for arm in (option.annotation, *get_args(option.annotation)) if get_origin(arm) is Literal]
        if words:
            yield from ((name, word) for word in get_args(words[0]) if word != now)
        elif isinstance(now, bool):
            yield name, not now
        elif isinstance(now, int | float):
            yield name, now + 1
        elif name == "res":
            yield name, (12, 20)


# ---- comparing


def far_apart(one: Tensor, other: Tensor) -> float:
    """The largest difference, as a share of the largest value; infinite where the shapes differ or a value is not finite."""
    if one.shape != other.shape or not (one.isfinite().all() and other.isfinite().all()):
        return math.inf
    one, other = one.detach(), other.detach()
    scale = max(float(one.abs().max()), float(other.abs().max()), 1e-30) if one.numel() else 1.0
    return float((one - other).abs().max()) / scale if one.numel() else 0.0


def differing(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> list[str]:
    """The names under which the two are not equal bit for bit."""
    return sorted(
        name
        for name in one.keys() | other.keys()
        if name not in one or name not in other or not torch.equal(one[name], other[name])
    )


def on_another_device(act: Callable[[], object]) -> None:
    """`act` moves what was built on the CPU to the meta device, which stands for a GPU, and calls it there.

    What is no buffer, or is made without saying where, stays on the CPU and meets what was moved.
    """
    try:
        act()
    except (RuntimeError, NotImplementedError) as err:
        expect(False, "every tensor on its input's device: buffers, and device=x.device where one is made", one_line(err))


@contextmanager
def other_generators_untouched() -> Iterator[None]:
    """Python's and numpy's random state is in no checkpoint: what draws from it cannot be resumed exactly."""
    before, numpy_before = random.getstate(), np.random.get_state()
    yield
    # All of it: a second normal number comes from the first one's spare, and moves neither keys nor position.
    numpy_touched = any(np.any(now != then) for now, then in zip(np.random.get_state(), numpy_before, strict=True))
    drawn = [name for name, touched in (("random", random.getstate() != before), ("numpy.random", numpy_touched)) if touched]
    expect(not drawn, "random numbers from torch alone, whose state a checkpoint holds", f"draws from {' and '.join(drawn)}")
