"""Checks of feature networks: `check_...(entry, data, options)`, on images of 64 a side or what it declares nearest."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor

from ganzoo.interfaces import Features
from ganzoo.plugin import DataSpec, Resolutions
from ganzoo.registry import Entry
from ganzoo.testing.cases import (
    NO_OPTIONS,
    Options,
    build,
    far_apart,
    make_batch,
    on_another_device,
    other_generators_untouched,
)
from ganzoo.testing.contracts import check, expect
from ganzoo.testing.networks import ROUNDING

_N = 3
_SIZES = ((64, 64), (64, 70))  # the second has a side that strides do not divide
_STEP = 1e-9  # of the finite difference, in float64: at 1e-6 a deep network of ReLUs crosses kinks


@check("it is frozen: no parameter asks for a gradient, and it stays in eval mode when a player around it trains")
def check_features_frozen(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    network = _build(entry, data, options)
    learning = [name for name, p in network.named_parameters() if p.requires_grad]
    expect(not learning, "no parameter that requires a gradient", ", ".join(learning[:3]))
    for when in ("as built", "after train() of a module that holds it"):
        training = [name or "the network" for name, module in network.named_modules() if module.training]
        expect(not training, f"eval mode {when}", f"training mode of {', '.join(training[:3])}")
        torch.nn.ModuleList([network]).train()


@check("`channels` and `strides` say what maps() returns, from shallow to deep: [N, C, H / stride, W / stride], rounded up")
def check_features_maps(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    network = _build(entry, data, options)
    channels, strides = network.channels, network.strides
    expect(len(channels) == len(strides) > 0, "as many strides as channels, at least one", f"{channels} and {strides}")
    expect(list(strides) == sorted(strides), "strides that do not fall from shallow to deep", strides)
    for size in _sizes(entry):
        maps = network.maps(_images(data, size))
        expect(isinstance(maps, tuple), "a tuple of maps", type(maps).__name__)
        wanted = [(_N, c, -(-size[0] // s), -(-size[1] // s)) for c, s in zip(channels, strides, strict=True)]
        expect([tuple(m.shape) for m in maps] == wanted, f"maps {wanted} of {size}", [tuple(m.shape) for m in maps])
        expect(all(bool(m.isfinite().all()) for m in maps), "finite maps", "NaN or infinity")


@check("forward(images) is one vector an image, [N, width], finite, another for another image")
def check_features_vector(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    network = _build(entry, data, options)
    for size in _sizes(entry):
        vectors = network(_images(data, size))
        expect(tuple(vectors.shape) == (_N, network.width), f"vectors {[_N, network.width]}", list(vectors.shape))
        expect(bool(vectors.isfinite().all()), "finite vectors", "NaN or infinity")
        expect(not any(torch.equal(vectors[0], other) for other in vectors[1:]), "another vector for another image", "the same")


@check("the same images give the same, whatever else is in the batch; nothing is drawn and the images stay as they are")
def check_features_deterministic(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    network = _build(entry, data, options)
    images = _images(data, _sizes(entry)[0])
    kept, state, before = images.clone(), torch.get_rng_state(), _state(network)
    with other_generators_untouched():
        first, again, alone = _all(network, images), _all(network.train(), images), _all(network, images[1:2])
    expect(torch.equal(images, kept), "the given images unchanged", "they were changed in place")
    expect(torch.equal(state, torch.get_rng_state()), "no random draw", "torch's global random state moved")
    moved = [name for name, value in _state(network).items() if not torch.equal(value, before[name])]
    expect(not moved, "a network that looking does not change", f"{', '.join(moved[:3])} moved")
    for name, out in first.items():
        expect(torch.equal(out, again[name]), f"the same {name} from the same images", "others")
        apart = far_apart(out[1:2], alone[name])
        expect(apart <= ROUNDING, f"the same {name} of an image by itself", f"a difference of {apart:.2g} of the largest value")


@check("a gradient flows through vector and maps to every image, and can be differentiated again")
def check_features_gradient(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    network = _build(entry, data, options).double()
    images = _images(data, _sizes(entry)[0]).double().requires_grad_()
    said = _all(network, images)
    for name, out in said.items():
        expect(out.requires_grad, f"a graph from the images to the {name}", "none")
        (gradient,) = torch.autograd.grad(out.square().sum(), images, retain_graph=True, allow_unused=True)
        expect(gradient is not None, f"a gradient of the {name} at the images", "none")
        expect(bool(gradient.isfinite().all()), f"a finite gradient of the {name}", "NaN or infinity")
        expect(bool(gradient.flatten(1).any(1).all()), f"a gradient of the {name} at every image", "zero at some")
    weights = {name: 1 / float(out.detach().square().sum()) for name, out in said.items()}
    gradient = _gradient(said, weights, images)
    expect(gradient.requires_grad, "a gradient that can be differentiated again", "one without a graph")
    direction = torch.randn_like(images)
    (second,) = torch.autograd.grad(gradient, images, direction)
    beside = [(images.detach() + sign * _STEP * direction).requires_grad_() for sign in (1, -1)]
    one, other = (_gradient(_all(network, each), weights, each).detach() for each in beside)
    measured, slope = float(((one - other) / (2 * _STEP) * direction).sum()), float((second * direction).sum())
    right = abs(slope - measured) <= 1e-4 * max(abs(slope), abs(measured), 1e-9)
    expect(right, f"the second derivative that finite differences give, {measured:.6g}", f"{slope:.6g} by backward")


@check("a deep copy, float64, bf16 autocast and channels_last change nothing but rounding")
def check_features_copies(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    network = _build(entry, data, options)
    images = _images(data, _sizes(entry)[0])
    first = _all(network, images)
    double = {name: out.float() for name, out in _all(copy.deepcopy(network).double(), images.double()).items()}
    last = copy.deepcopy(network).to(memory_format=torch.channels_last)
    ways = {
        "a deep copy": (_all(copy.deepcopy(network), images), 0.0),
        "float64": (double, ROUNDING),
        "channels_last": (_all(last, images.to(memory_format=torch.channels_last)), ROUNDING),
    }
    for way, (said, tolerance) in ways.items():
        for name, out in first.items():
            apart = far_apart(out, said[name])
            expect(apart <= tolerance, f"the same {name} from {way}", f"a difference of {apart:.2g} of the largest value")
    with torch.autocast("cpu", torch.bfloat16):
        wild = [
            name
            for given in (images, images.bfloat16())
            for name, out in _all(network, given).items()
            if not out.isfinite().all()
        ]
    expect(not wild, "finite features under bf16 autocast, of fp32 and of bf16 images", f"NaN or infinity in {', '.join(wild)}")


@check("it can be built and called on torch.device('meta'), where `--dry-run` rehearses and no weights are read")
def check_features_meta(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    real = _build(entry, data, options)
    images = _images(data, _sizes(entry)[0])
    wanted = {name: out.shape for name, out in _all(real, images).items()}
    with torch.device("meta"):
        network = _build(entry, data, options)
        stray = [name for name, value in _state(network).items() if not value.is_meta]
        expect(not stray, "every parameter and buffer on the meta device when built there", f"{', '.join(stray[:3])} elsewhere")
        shapes = {name: out.shape for name, out in _all(network, images.to("meta")).items()}
    expect(shapes == wanted, f"shapes {wanted} on the meta device", shapes)
    on_another_device(lambda: _all(real.to("meta"), images.to("meta")))


def _build(entry: Entry, data: DataSpec, options: Options) -> Features:
    network = build(entry, data, options)
    expect(isinstance(network, Features), "a ganzoo.interfaces.Features", type(network).__name__)
    return network  # type: ignore[no-any-return]


def _sizes(entry: Entry) -> list[tuple[int, ...]]:
    """Heights and widths that it can take: not the data's, for whoever uses features resizes."""
    can = Resolutions(entry.component.resolutions or "any")
    found = list(dict.fromkeys(near for size in _SIZES if (near := can.nearest(size)) is not None))
    expect(bool(found), f"a size near {_SIZES[0]} among '{can.phrase}'", "none")
    return found


def _images(data: DataSpec, size: tuple[int, ...]) -> Tensor:
    return make_batch(data.replace(shape=(data.channels, *size)), _N)["real"]


def _all(network: Features, images: Tensor) -> dict[str, Tensor]:
    """By name, everything it says of the images; without a graph, unless the images ask for one."""
    with torch.set_grad_enabled(images.requires_grad):
        return {"vector": network(images)} | {f"map {i}": m for i, m in enumerate(network.maps(images))}


def _gradient(said: Mapping[str, Tensor], weights: Mapping[str, float], images: Tensor) -> Tensor:
    """Of the weighted squares of all that was said, with a graph."""
    total = torch.stack([weights[name] * out.square().sum() for name, out in said.items()]).sum()
    (gradient,) = torch.autograd.grad(total, images, create_graph=True)
    return gradient


def _state(network: Features) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in (*network.named_parameters(), *network.named_buffers())}


CHECKS = (
    check_features_frozen,
    check_features_maps,
    check_features_vector,
    check_features_deterministic,
    check_features_gradient,
    check_features_copies,
    check_features_meta,
)
