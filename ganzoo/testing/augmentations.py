"""Checks of augmentations: `check_...(entry, data, options)`."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from ganzoo.interfaces import Augment, Score
from ganzoo.options import options_of
from ganzoo.plugin import DataSpec
from ganzoo.registry import Entry, get_registry
from ganzoo.testing.cases import (
    NO_OPTIONS,
    Options,
    build,
    far_apart,
    make_batch,
    on_another_device,
    other_generators_untouched,
)
from ganzoo.testing.contracts import Skip, check, expect

_N = 8
_STEP = 1e-6  # of the finite difference, in float64


@check("forward(images) returns as many images of the same shape and dtype, finite; the ones it was given stay as they are")
def check_augmentation_shape(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    augment = build(entry, data, options)
    for n in (_N, 1):
        images = make_batch(data, n)["real"]
        kept = images.clone()
        with torch.no_grad():
            out = augment(images)
        expect(out.shape == images.shape, f"images {list(images.shape)}", list(out.shape))
        expect(out.dtype == images.dtype, f"images of {images.dtype}", out.dtype)
        expect(bool(out.isfinite().all()), "finite images", "NaN or infinity")
        expect(torch.equal(images, kept), "the given images unchanged", "they were changed in place")


@check("G learns through it, and penalties differentiate through it twice")
def check_augmentation_differentiable(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    augment = build(entry, data, options).double()
    images = make_batch(data, _N)["real"].double()
    gradient = _gradient(augment, images.requires_grad_())
    expect(bool(gradient.flatten(1).any(1).all()), "a gradient at every image", "zero at some")
    expect(bool(gradient.isfinite().all()), "finite gradients", "NaN or infinity")
    expect(gradient.requires_grad, "a gradient that can be differentiated again", "one without a graph")
    (second,) = torch.autograd.grad(gradient.square().sum(), images)
    expect(bool(second.isfinite().all()), "finite second derivatives", "NaN or infinity")
    direction = torch.randn_like(second)
    slope = float((second * direction).sum())
    one, other = (_penalty(augment, images.detach() + sign * _STEP * direction) for sign in (1, -1))
    measured = (one - other) / (2 * _STEP)
    right = abs(slope - measured) <= 1e-4 * max(abs(slope), abs(measured), 1e-9)
    expect(right, f"the second derivative that finite differences give, {measured:.6g}", f"{slope:.6g} by backward")


def _gradient(augment: Augment, images: Tensor) -> Tensor:
    """Of the squared images that come out, from one random state: a map with a graph."""
    torch.manual_seed(3)
    out = augment(images)
    expect(out.requires_grad, "a graph from the images to what comes out", "none")
    (gradient,) = torch.autograd.grad(out.square().sum(), images, create_graph=True, allow_unused=True)
    expect(gradient is not None, "a gradient at every image", "none")
    return gradient


def _penalty(augment: Augment, images: Tensor) -> float:
    return float(_gradient(augment, images.requires_grad_()).detach().square().sum())


@check("the i-th image that comes out is the i-th that went in, whatever the others are: labels stay right")
def check_augmentation_keeps_order(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    augment = build(entry, data, options)
    images = make_batch(data, _N)["real"]
    for i in range(_N):
        other = images.clone()
        other[i] = make_batch(data, 1, seed=99)["real"][0]
        pair = []
        for given in (images, other):
            torch.manual_seed(3)
            with torch.no_grad():
                pair.append(copy.deepcopy(augment)(given))
        changed = [j for j in range(_N) if not torch.equal(pair[0][j], pair[1][j])]
        expect(
            changed == [i], f"a change of image {i} to change what comes out at {i} alone", f"changes at {changed or 'none'}"
        )


@check("it draws from torch's random numbers alone, which a checkpoint holds")
def check_augmentation_random(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    augment = build(entry, data, options)
    images = make_batch(data, _N)["real"]
    pair = []
    with other_generators_untouched(), torch.no_grad():
        for _ in range(2):
            torch.manual_seed(3)
            pair.append(copy.deepcopy(augment)(images))
    expect(torch.equal(*pair), "the same images from the same random state", f"a difference of {far_apart(*pair):.2g}")


@check("with p=0 it is the identity")
def check_augmentation_identity(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    if "p" not in options_of(get_registry().load(entry)):
        raise Skip("it has no option p")
    augment = build(entry, data, {**options, "p": 0.0})
    images = make_batch(data, _N)["real"]
    with torch.no_grad():
        expect(torch.equal(augment(images), images), "the images themselves at p=0", "others")


@check("what `observe` learns of D's scores is in buffers of their final shape, and survives state_dict and deepcopy")
def check_augmentation_state(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    augment, other = build(entry, data, options), build(entry, data, options)
    expect(isinstance(augment, Augment), "a ganzoo.interfaces.Augment", type(augment).__name__)
    images = make_batch(data, _N)["real"]
    for i in range(20):
        real, fake = torch.full((_N,), 2.0 + i), torch.full((_N,), -2.0 - i)
        augment(images)
        augment.observe(Score(real), Score(fake))
    other.load_state_dict(copy.deepcopy(augment.state_dict()))
    made: list[Tensor] = []
    for each in (augment, other, copy.deepcopy(augment)):
        torch.manual_seed(3)
        with torch.no_grad():
            made.append(each(images))
    expect(torch.equal(made[0], made[1]), "the same images from another with its state", "others")
    expect(torch.equal(made[0], made[2]), "the same images from a deep copy", "others")


@check("it can be built and called on torch.device('meta'), where `--dry-run` rehearses")
def check_augmentation_meta(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    with torch.device("meta"):
        augment = build(entry, data, options)
        out = augment(torch.empty(_N, *data.shape, device="meta"))
    expect(
        out.is_meta and tuple(out.shape) == (_N, *data.shape),
        f"meta images {[_N, *data.shape]}",
        f"{out.device} {list(out.shape)}",
    )
    on_another_device(lambda: build(entry, data, options).to("meta")(torch.empty(_N, *data.shape, device="meta")))


CHECKS = (
    check_augmentation_shape,
    check_augmentation_differentiable,
    check_augmentation_keeps_order,
    check_augmentation_random,
    check_augmentation_identity,
    check_augmentation_state,
    check_augmentation_meta,
)
