"""GAN-CLS (Reed et al. 2016): D sees real images with wrong captions too, and is to find them out."""

from __future__ import annotations

import torch
from torch import Tensor

from ganzoo.interfaces import DataSpec, Play, Regularizer


class MatchingAware(Regularizer):
    """1/2 [L_D(D(x, t), D(x~, t)) + L_D(D(x, t), D(x, t'))] in place of D's loss L_D (arXiv:1605.05396, algorithm 1).

    Real images x, fakes x~, captions t; t' is drawn, for each image, from the records of its batch that have another caption's
    vector. With the logistic loss this is -log D(x, t) - 1/2 log(1 - D(x~, t)) - 1/2 log(1 - D(x, t')), the paper's. Where a
    whole batch has one caption, the plain loss.
    """

    replaces = frozenset({"D"})

    def __init__(self, data: DataSpec) -> None:
        super().__init__(data)

    def forward(self, play: Play) -> Tensor:
        wrong, any_other = others(play.real_condition["text"])
        mismatched = play.critic(play.real, {**play.real_condition, "text": wrong}, real=True)
        plain = play.match.d_loss(play.real_score, play.fake_score)
        return torch.where(any_other, (plain + play.match.d_loss(play.real_score, mismatched)) / 2, plain)


def others(text: Tensor) -> tuple[Tensor, Tensor]:
    """For each vector of `text` [N, T] one drawn from those that differ from it, [N, T]; and whether there are any, a scalar.

    Nothing waits for the device. Where all are equal each is its own other.
    """
    differ = torch.cdist(text, text, p=torch.inf) > 0  # [N, N]; the largest difference is zero only between equals
    drawn = torch.rand(differ.shape, device=text.device).masked_fill(~differ, -1).argmax(1)
    any_other = differ.any()
    own = torch.arange(len(text), device=text.device)
    return text[torch.where(any_other, drawn, own)], any_other
