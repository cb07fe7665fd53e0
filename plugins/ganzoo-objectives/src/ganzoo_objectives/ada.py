"""Adaptive discriminator augmentation (Karras et al. 2020): as often as D overfits, and no more."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from ganzoo.interfaces import Augment, DataSpec, Match, Score, batch_mean, in_full_precision, sharing
from ganzoo_objectives.ada_transforms import (
    BLITS,
    COLOUR,
    GEOMETRY,
    TRANSFORMS,
    Blit,
    Recolour,
    Warp,
    blit_map,
    compose,
    draw,
    warp_map,
)

_GROUPS = {"b": BLITS, "g": GEOMETRY, "c": COLOUR}


class Ada(Augment):
    """Pixel blits, geometry and colour, in this order, each transform drawn for each image with probability p.

    Images [N, C, H, W] in [-1, 1]; colour may leave that range. Blits: flip (half the time), quarter turn (one of four), shift
    by whole pixels, up to an eighth of a side. Geometry: size 2^N(0, .2^2), turn, width and height 2^N(0, .2^2) and its
    inverse, turn again, shift N(0, 1/8^2) sides; either turn by any angle, each with 1 - sqrt(1 - p). Colour: brightness
    N(0, .2^2), contrast 2^N(0, .5^2), luma flip (half the time), hue by any angle, saturation 2^N(0, 1). Beyond its border an
    image is reflected. Grey images have no saturation; hue is for three channels alone.

    p goes up while r = mean of sign D(real) over `interval` D steps exceeds `target`, and down while it is below: D's reals are
    then judged apart from the fakes more surely than they should be. D(real) counts from the loss's even odds: with lsgan, from
    halfway between its targets. With a loss for which D's level means nothing it looks at sign(D(real) - D(fake)), pair by
    pair. The images that are counted are the reals in D's steps: n times as many with n steps a round, and packs under packing.
    Micro-batches count as steps.

    What the augmentation does to the distribution of images can be undone as long as p < 1, so that nothing of it need leak
    into G: quarter turns at p = 1 would make all four orientations alike. In practice leaks begin above .8, the bound here; the
    paper's is 1.

    Options:
        transforms: groups that are used: b blits, g geometry, c colour; the paper's best is bgc
        flip: mirror left and right; off for text, say
        rotate: quarter turns and turns by any angle; off where up must stay up at any p
        luma_flip: dark for light, with the colours kept; off where a negative is implausible
        hue: turn colours about the grey axis; off where colour carries meaning
        p: constant probability; none: adaptive
        target: of the mean sign; the paper's is .6
        kimg: thousands of images in which p would go from 0 to 1; the paper's is 500, smaller for short trainings
        interval: D steps between two changes of p
        ramp: thousands of images over which a constant p rises from 0, along half a cosine (R3GAN: .55)
        max_p: the adaptive p goes no higher
    """

    p: Tensor  # []
    images: Tensor  # [] int64: since the last change of p; since the start where p is constant
    signs: Tensor  # []: their sum since the last change of p
    steps: Tensor  # [] int64: D steps since then

    def __init__(
        self,
        data: DataSpec,
        *,
        transforms: Literal["bgc", "bg", "bc", "gc", "b", "g", "c"] = "bgc",
        flip: bool = True,
        rotate: bool = True,
        luma_flip: bool = True,
        hue: bool = True,
        p: float | None = None,
        target: float = 0.6,
        kimg: float = 500.0,
        interval: int = 4,
        ramp: float | None = None,
        max_p: float = 0.8,
    ) -> None:
        super().__init__(data)
        _check(p=p, target=target, kimg=kimg, interval=interval, ramp=ramp, max_p=max_p)
        self.groups, self.constant, self.ramp = frozenset(transforms), p, ramp
        self.target, self.kimg, self.interval, self.max_p = target, kimg, interval, max_p
        self.relative, self.verdict = False, Score.per_sample
        height, width = data.resolution
        used = {name for group in self.groups for name in _GROUPS[group]}
        used -= {name for name, on in (("flip", flip), ("luma", luma_flip), ("hue", hue and data.channels == 3)) if not on}
        used -= set() if rotate else {"turn", "before", "after"}
        for name, values in (
            ("_used", [name in used for name in TRANSFORMS]),
            ("_free_turns", [name in ("before", "after") for name in TRANSFORMS]),
        ):
            self.register_buffer(name, torch.tensor(values)[:, None], persistent=False)
        self.register_buffer("_sides", torch.tensor([[float(width)], [float(height)]]), persistent=False)
        self.blit, self.warp, self.recolour = Blit((height, width)), Warp((height, width)), Recolour(data.channels)
        self.register_buffer("p", torch.tensor(0.0 if p is None or ramp is not None else p))
        self.register_buffer("images", torch.tensor(0))
        self.register_buffer("signs", torch.tensor(0.0))
        self.register_buffer("steps", torch.tensor(0))

    def attach(self, match: Match) -> None:
        self.relative, self.verdict = match.loss.relative, match.loss.verdict

    def forward(self, images: Tensor) -> Tensor:
        with in_full_precision(images):
            return self._transform(images if images.dtype == torch.float64 else images.float()).to(images.dtype)

    def _transform(self, images: Tensor) -> Tensor:
        draws, warped = draw(len(images), self.chance().to(images.dtype), self._sides.to(images.dtype))
        out, map_ = images, blit_map(draws)
        if "b" in self.groups:
            out = self.blit(images, map_)
        if "g" in self.groups:
            # Along one map with the blits, so that what they had pushed out of the image can come back.
            far = self.warp(images, compose(map_, warp_map(draws)))
            out = torch.where(warped[:, None, None, None], far, out)
        return self.recolour(out, draws) if "c" in self.groups else out

    def chance(self) -> Tensor:
        """[13, 1]: the probability of each of TRANSFORMS. The two turns by any angle together come to p."""
        return torch.where(self._free_turns, 1 - (1 - self.p).sqrt(), self.p) * self._used

    @torch.no_grad()
    def observe(self, real: Score, fake: Score) -> None:
        said = self.verdict(real)
        seen = len(said) * sharing()
        self.images += seen
        if self.constant is not None:
            if self.ramp is not None:
                share = (self.images / (1000 * self.ramp)).clamp(max=1)
                self.p.copy_(self.constant * (1 - torch.cos(math.pi * share)) / 2)
            return
        if self.relative:
            said = said - self.verdict(fake)
        self.signs += sharing() * batch_mean(said.sign().sum())
        self.steps += 1
        change = (self.signs / self.images - self.target).sign() * self.images / (1000 * self.kimg)
        due = self.steps >= self.interval
        self.p.copy_(torch.where(due, (self.p + change).clamp(0, self.max_p), self.p))
        for sum_ in (self.images, self.signs, self.steps):
            sum_.masked_fill_(due, 0)

    def stats(self) -> dict[str, Tensor]:
        return {"p": self.p}


def _check(*, p: float | None, target: float, kimg: float, interval: int, ramp: float | None, max_p: float) -> None:
    for name, value in (("p", p), ("max_p", max_p)):
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"{name}={value} must lie in 0..1")
    if not -1 < target < 1:
        raise ValueError(f"target={target} must lie between -1 and 1: it is a mean of signs")
    for name, value in (("kimg", kimg), ("ramp", ramp)):
        if value is not None and not value > 0:
            raise ValueError(f"{name}={value} must be above 0")
    if interval < 1:
        raise ValueError(f"interval={interval} must be at least 1")
    if ramp is not None and p is None:
        raise ValueError(f"ramp={ramp} needs p, the probability that it leads to")
