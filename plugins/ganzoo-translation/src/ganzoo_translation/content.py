"""What a generator's image has to share with its aligned truth: pixels, and the features of a network that sees."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from ganzoo.interfaces import DataSpec, Features, Play, Regularizer
from ganzoo.plugin import Part


class Pixel(Regularizer):
    """weight times the mean distance of G(x) and the truth, over pixels in [-1, 1].

    l1 (pix2pix, arXiv:1611.07004, equation 3), l2, the mean square (SRGAN's pre-training, arXiv:1609.04802, equation 4), or
    charbonnier, sqrt(d^2 + 1e-6) (Lai et al. 2017, arXiv:1704.03915, equation 3).

    Options:
        weight: of the penalty; pix2pix has 100
        distance: l1, l2 or charbonnier
        alone: in place of G's adversarial loss: pre-training, for which --set D.steps=0 spares D's steps
    """

    players = frozenset({"G"})

    def __init__(
        self,
        data: DataSpec,
        *,
        weight: float = 100.0,
        distance: Literal["l1", "l2", "charbonnier"] = "l1",
        alone: bool = False,
    ) -> None:
        super().__init__(data)
        if weight <= 0:
            raise ValueError(f"weight={weight} must be above 0")
        self.weight, self.distance = weight, distance
        self.replaces = frozenset({"G"}) if alone else frozenset()

    def forward(self, play: Play) -> Tensor:
        difference = play.fake - play.real
        match self.distance:
            case "l1":
                cost = difference.abs()
            case "l2":
                cost = difference.square()
            case "charbonnier":
                cost = (difference.square() + 1e-6).sqrt()
        return self.weight * cost.flatten(1).mean(1)  # [N]


class Perceptual(Regularizer):
    """weight times the distance of G(x) and the truth as a trained network sees them (Johnson et al. 2016, arXiv:1603.08155).

    At each place of each map the feature vector is brought to unit length (as LPIPS does, arXiv:1801.03924, without its learned
    weights): squared distances are summed over channels, averaged over places and added over the maps. The weights that are
    published with VGG mean something else here.

    Options:
        weight: of the penalty
        features: the network, as lite0 or timm(backbone=...)
        maps: which of its maps, from the shallowest; -1 is the deepest
    """

    players = frozenset({"G"})

    def __init__(
        self,
        data: DataSpec,
        *,
        weight: float = 1.0,
        features: Annotated[Part, "features"] = Part("lite0"),
        maps: tuple[int, ...] = (0, 1, 2),
    ) -> None:
        super().__init__(data)
        if weight <= 0:
            raise ValueError(f"weight={weight} must be above 0")
        self.weight, self.maps = weight, maps
        self.features: Features = features.build(data).requires_grad_(False).eval()
        count = len(self.features.channels)
        if not maps or not all(-count <= i < count for i in maps):
            raise ValueError(f"maps={list(maps)}: {features.name} has {count} maps, 0 to {count - 1}; name at least one")

    def forward(self, play: Play) -> Tensor:
        with torch.no_grad():
            wanted = self._seen(play.real)
        terms = [(a - b).square().sum(1).flatten(1).mean(1) for a, b in zip(self._seen(play.fake), wanted, strict=True)]
        return self.weight * torch.stack(terms).sum(0)  # [N]

    def _seen(self, images: Tensor) -> list[Tensor]:
        maps = self.features.maps(images)
        return [torch.nn.functional.normalize(maps[i].float(), dim=1, eps=1e-10) for i in self.maps]
