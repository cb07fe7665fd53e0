"""What D says beside its logits: feature matching and class logits."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ganzoo.interfaces import Condition, DataSpec, Play, Regularizer, Score, batch_mean


class FeatureMatching(Regularizer):
    """G minimises || E h(x) - E h(G(z)) ||^2, the distance of D's mean features (Salimans et al. 2016, section 3.1).

    In place of G's adversarial loss, as in the paper, or beside it. Means are over the batch; the reals' are constants. The
    paper takes the features of one intermediate layer.

    Options:
        layers: which of D's features, counted from the shallowest, or from the deepest with -1 and below; their terms are
            added
        norm: "l2", the squared Euclidean norm over all entries, as in the paper; "l1", the mean absolute difference, as in the
            authors' code for CIFAR
        weight: factor
        replace: in place of G's adversarial loss
    """

    players = frozenset({"G"})

    def __init__(
        self,
        data: DataSpec,
        *,
        layers: tuple[int, ...] = (-1,),
        norm: Literal["l2", "l1"] = "l2",
        weight: float = 1.0,
        replace: bool = True,
    ) -> None:
        super().__init__(data)
        if not layers:
            raise ValueError("layers=[] leaves nothing to match: name at least one, such as -1")
        if weight <= 0:
            raise ValueError(f"weight={weight} must be positive")
        self.layers, self.norm, self.weight = layers, norm, weight
        self.replaces = frozenset({"G"}) if replace else frozenset()

    def forward(self, play: Play) -> Tensor:
        reals, fakes = play.real_score.features, play.fake_score.features
        terms = []
        for layer in self.layers:
            if not -len(fakes) <= layer < len(fakes):
                raise ValueError(f"feature-matching: layers={list(self.layers)}, but D has {len(fakes)} features")
            difference = _mean(fakes[layer]) - _mean(reals[layer].detach())
            terms.append(difference.square().sum() if self.norm == "l2" else difference.abs().mean())
        return self.weight * torch.stack(terms).sum()


class AuxiliaryClassifier(Regularizer):
    """D also names the class, and both players want it right (Odena et al. 2017, ACGAN, equations 2 and 3).

    D: d (CE(C(x), c) + CE(C(G(z, c)), c)); G: g CE(C(G(z, c)), c), with C the class logits and c the label of real and fake.
    At full weight D's term on fakes rewards images that are easy to name: watch the diversity inside a class.

    Options:
        d: weight in D's loss
        g: weight in G's loss
        fakes: D learns classes from fakes too, as in the paper; false: from reals only
    """

    def __init__(self, data: DataSpec, *, d: float = 1.0, g: float = 1.0, fakes: bool = True) -> None:
        super().__init__(data)
        if d < 0 or g < 0 or not d + g:
            raise ValueError(f"d={d}, g={g} must not be negative, and one of them above 0")
        self.d, self.g, self.fakes = d, g, fakes
        self.players = frozenset(player for player, weight in (("D", d), ("G", g)) if weight)

    def forward(self, play: Play) -> Tensor:
        if play.player == "G":
            return self.g * _misnamed(play.fake_score, play.condition)
        term = _misnamed(play.real_score, play.real_condition)
        return self.d * (term + _misnamed(play.fake_score, play.condition) if self.fakes else term)


def _mean(features: Tensor) -> Tensor:
    return batch_mean(_exact(features).mean(0))


def _misnamed(score: Score, condition: Condition) -> Tensor:
    """[N]: -log of the probability of the right class."""
    assert score.classes is not None, "D declares 'classes' and returns none"
    return cross_entropy(_exact(score.classes), condition["labels"], reduction="none")


def _exact(t: Tensor) -> Tensor:
    """At least fp32: under autocast a network may return bf16."""
    return t.to(torch.promote_types(t.dtype, torch.float32))
