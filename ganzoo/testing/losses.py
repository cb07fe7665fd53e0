"""Checks of losses: `check_...(entry, data, options)`. A loss sees logits alone, so what the data are hardly matters."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ganzoo.interfaces import Loss, Score
from ganzoo.plugin import DataSpec
from ganzoo.registry import Entry
from ganzoo.testing.cases import NO_OPTIONS, Options, build, on_another_device
from ganzoo.testing.contracts import Skip, check, expect

_N = 8
_EXTREME = 1e4
_FAR = 3.0  # beyond the level at which the D of every known loss says "even odds"
_STILL = 1e-9
_SHAPES = ((_N,), (_N, 1, 3, 3))  # a logit a sample, and a map of patches


@check("d(real, fake) and g(fake, real) each return a scalar, or a value a sample or a logit: [N] or [N, ...]")
def check_loss_shape(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    loss = build(entry, data, options)
    for shape in _SHAPES:
        real, fake = torch.randn(shape), torch.randn(shape)
        for name, value in (("d", _d(loss, real, fake, mean=False)), ("g", _g(loss, fake, real, mean=False))):
            fits = isinstance(value, Tensor) and (value.dim() == 0 or len(value) == _N)
            expect(fits, f"a scalar or [{_N}, ...] from {name} for logits {list(shape)}", list(getattr(value, "shape", ())))
            expect(value.dtype == real.dtype and bool(value.isfinite().all()), f"finite {real.dtype} from {name}", value.dtype)


@check("a loss is a pure function of scores: no state, no draw, its arguments as they were")
def check_loss_pure(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    loss = build(entry, data, options)
    state = copy.deepcopy(loss.state_dict())
    real, fake = torch.randn(_N), torch.randn(_N)
    kept = real.clone(), fake.clone()
    random = torch.get_rng_state()
    first = _d(loss, real, fake), _g(loss, fake, real)
    expect(torch.equal(real, kept[0]) and torch.equal(fake, kept[1]), "the logits unchanged", "they were changed in place")
    _d(loss, real + 5, fake - 5), _g(loss, fake + 5, real - 5)
    again = _d(loss, real, fake), _g(loss, fake, real)
    for name, one, other in zip("dg", first, again, strict=True):
        expect(torch.equal(one, other), f"the same {name} for the same scores", f"{float(one):.6g}, then {float(other):.6g}")
    expect(torch.equal(random, torch.get_rng_state()), "no random draw", "torch's random state moved")
    moved = [name for name, value in loss.state_dict().items() if not torch.equal(value, state[name])]
    expect(not moved, "no state that moves", f"{', '.join(moved)} moved")


@check("values and gradients stay finite when one player is sure: write log(sigmoid(t)) as -softplus(-t)")
def check_loss_finite(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    loss = build(entry, data, options)
    for r in (-_EXTREME, 0.0, _EXTREME):
        for f in (-_EXTREME, 0.0, _EXTREME):
            real, fake = torch.full((_N,), r).requires_grad_(), torch.full((_N,), f).requires_grad_()
            for name, value in (("d", _d(loss, real, fake)), ("g", _g(loss, fake, real))):
                gradients = torch.autograd.grad(value, [real, fake], allow_unused=True)
                fine = all(t is None or bool(t.isfinite().all()) for t in (value, *gradients))
                expect(
                    fine,
                    f"a finite {name} and gradient at real {r:g}, fake {f:g}",
                    f"{float(value.detach())}, {_first(gradients)}",
                )


@check("D's step raises the logits of reals and lowers those of fakes, where it cannot tell them apart yet")
def check_loss_d_direction(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    loss = build(entry, data, options)
    real, fake = _ordinary(0.2, 0.8), _ordinary(0.2, 0.8)
    up, down = torch.autograd.grad(_d(loss, real, fake), [real, fake], allow_unused=True)
    expect(up is not None and bool((up < 0).all()), "dL_D/d(real) < 0 at logits from 0.2 to 0.8", _range(up))
    expect(down is not None and bool((down > 0).all()), "dL_D/d(fake) > 0 at logits from 0.2 to 0.8", _range(down))


@check("G's step raises the logits of fakes, where D tells them from reals")
def check_loss_g_direction(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    loss = build(entry, data, options)
    real, fake = _ordinary(0.2, 0.8), _ordinary(-0.8, -0.2)
    (up,) = torch.autograd.grad(_g(loss, fake, real), [fake], allow_unused=True)
    expect(up is not None and bool((up < 0).all()), "dL_G/d(fake) < 0 at fakes from -0.8 to -0.2", _range(up))


@check("where reals and fakes are alike, D is content somewhere: at one level its pulls on the two cancel")
def check_loss_optimum(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    loss = build(entry, data, options).double()

    def pull(level: float) -> float:
        real, fake = (torch.full((_N,), level, dtype=torch.float64, requires_grad=True) for _ in "rf")
        found = torch.autograd.grad(_d(loss, real, fake), [real, fake], allow_unused=True)
        return sum(float(g.sum()) for g in found if g is not None)

    ends = pull(-_FAR), pull(_FAR)
    content = ends[0] <= _STILL and ends[1] >= -_STILL
    seen = f"{ends[0]:.3g} at {-_FAR:g} and {ends[1]:.3g} at {_FAR:g}"
    expect(content, f"dL_D/d(level) to rise through 0 between levels of {-_FAR:g} and {_FAR:g}", seen)


@check("terms are means over the batch: doubling it changes no loss's size")
def check_loss_mean(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    loss = build(entry, data, options).double()
    real, fake = torch.randn(_N).double(), torch.randn(_N).double()
    twice = torch.cat([real, real]), torch.cat([fake, fake])
    for name, once, doubled in (
        ("d", _d(loss, real, fake), _d(loss, *twice)),
        ("g", _g(loss, fake, real), _g(loss, twice[1], twice[0])),
    ):
        expect(
            torch.allclose(once, doubled), f"{name} = {float(once):.6g} for the batch twice over too", f"{float(doubled):.6g}"
        )


@check("a map of logits [N, ...] counts as its mean: a loss's size does not grow with the number of patches")
def check_loss_map(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    loss = build(entry, data, options).double()
    real, fake = torch.randn(_N).double(), torch.randn(_N).double()
    maps = [t[:, None, None].expand(-1, 3, 3) for t in (real, fake)]
    for name, flat, patches in (
        ("d", _d(loss, real, fake), _d(loss, *maps)),
        ("g", _g(loss, fake, real), _g(loss, maps[1], maps[0])),
    ):
        seen = f"{float(patches):.6g}"
        expect(torch.allclose(flat, patches), f"{name} = {float(flat):.6g} for a map of the same logits too", seen)


@check("what it makes is made on the logits' device")
def check_loss_device(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    loss = build(entry, data, options).to("meta")
    for shape in _SHAPES:
        real, fake = torch.empty(shape, device="meta"), torch.empty(shape, device="meta")
        on_another_device(lambda real=real, fake=fake: (_d(loss, real, fake), _g(loss, fake, real)))  # type: ignore[misc]


@check("micro-batches equal the batch, unless `couples` says what couples its samples")
def check_loss_couples(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    if entry.component.couples:
        raise Skip(f"it says what couples them: {entry.component.couples}")
    loss = build(entry, data, options).double()
    real, fake = torch.randn(_N).double(), torch.randn(_N).double()
    half = slice(0, _N // 2), slice(_N // 2, None)
    for name, whole, parts in (
        ("d", _d(loss, real, fake), [_d(loss, real[s], fake[s]) for s in half]),
        ("g", _g(loss, fake, real), [_g(loss, fake[s], real[s]) for s in half]),
    ):
        mean = torch.stack(parts).mean()
        expect(
            torch.allclose(whole, mean), f"the mean of {name} over two halves to be {float(whole):.6g}", f"{float(mean):.6g}"
        )


@check("g calls real() only if it looks at the reals: each call is a pass of D")
def check_loss_asks_in_need(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    loss = build(entry, data, options)
    real, fake = torch.randn(_N).requires_grad_(), torch.randn(_N).requires_grad_()
    asked: list[int] = []

    def score() -> Score:
        asked.append(1)
        return Score(real)

    value = loss.g(Score(fake), score).mean()
    (gradient,) = torch.autograd.grad(value, [real], allow_unused=True)
    used = gradient is not None and bool(gradient.any())
    expect(used or not asked, "no call of real()", "it is called, and g does not depend on it")


@check("'level': the loss looks at D's level, not only at differences of its outputs")
def check_loss_level(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    loss = build(entry, data, options).double()
    real, fake = torch.randn(_N).double(), torch.randn(_N).double()
    moves = not torch.allclose(_d(loss, real, fake), _d(loss, real + 3, fake + 3))
    declared = "level" in entry.component.provides
    wanted = "provides='level' if and only if a constant added to all logits changes D's loss"
    expect(
        moves == declared,
        wanted,
        f"it {'changes' if moves else 'does not change'}, and is {'' if declared else 'not '}declared",
    )


def _d(loss: Loss, real: Tensor, fake: Tensor, mean: bool = True) -> Tensor:
    value = loss.d(Score(real), Score(fake))
    return value.mean() if mean else value


def _g(loss: Loss, fake: Tensor, real: Tensor, mean: bool = True) -> Tensor:
    score: Callable[[], Score] = lambda: Score(real)  # noqa: E731
    value = loss.g(Score(fake), score)
    return value.mean() if mean else value


def _ordinary(low: float, high: float) -> Tensor:
    return torch.empty(_N).uniform_(low, high).requires_grad_()


def _range(gradient: Tensor | None) -> str:
    return "no gradient" if gradient is None else f"{float(gradient.min()):.3g} to {float(gradient.max()):.3g}"


def _first(gradients: tuple[Any, ...]) -> list[float | None]:
    return [None if g is None else float(g[0]) for g in gradients]


CHECKS = (
    check_loss_shape,
    check_loss_pure,
    check_loss_finite,
    check_loss_d_direction,
    check_loss_g_direction,
    check_loss_optimum,
    check_loss_mean,
    check_loss_map,
    check_loss_device,
    check_loss_couples,
    check_loss_asks_in_need,
    check_loss_level,
)
