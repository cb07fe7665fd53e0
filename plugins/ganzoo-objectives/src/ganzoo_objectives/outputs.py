"""Penalties on what D says: label smoothing, consistency, LeCam. Several heads or places count as Score.per_sample."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ganzoo.interfaces import Condition, DataSpec, Play, Regularizer, Score, batch_mean
from ganzoo_objectives.diffaugment import take


class LabelSmoothing(Regularizer):
    """D's target on reals is 1 - a in place of 1: a E r added to its logistic loss (Salimans et al. 2016, section 3.4).

    For sp(-r) + a r = (1 - a) sp(-r) + a sp(r), the cross-entropy with the target 1 - a. With a target b on fakes, -b E f is
    added; the paper advises against it. G's loss is never smoothed.

    Options:
        real: a, what the target of reals lacks of 1
        fake: b, the target of fakes; 0: one-sided
    """

    def __init__(self, data: DataSpec, *, real: float = 0.1, fake: float = 0.0) -> None:
        super().__init__(data)
        if not (0 <= real < 1 and 0 <= fake < 1 - real):
            raise ValueError(f"real={real}, fake={fake}: D's targets, 1 - real and fake, must lie in 0..1, the reals' above")
        self.real, self.fake = real, fake

    def forward(self, play: Play) -> Tensor:
        term = self.real * play.real_score.per_sample()
        return term - self.fake * play.fake_score.per_sample() if self.fake else term


class Consistency(Regularizer):
    """weight E (D(x) - D(T(x)))^2 with T a random flip and a shift by a few pixels (Zhang et al. 2020, CR-GAN).

    On reals; on fakes too with `fakes` (Zhao et al. 2021, bCR). T is not in the main loss, and D's gradient flows through both
    branches. Each branch is augmented and noised anew where the match does that. What a shift uncovers is reflected. A source
    image of the same size goes along.

    Options:
        weight: of the term on reals
        fakes: weight of the term on fakes; bCR has 10
        shift: largest shift in pixels, in both directions; "a few" in the paper
        flip: also flip left and right, with probability 1/2
        every: rounds between penalties; above 1 each is a D step of its own, N times as strong
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        weight: float = 10.0,
        fakes: float = 0.0,
        shift: int = 4,
        flip: bool = True,
        every: int = 1,
    ) -> None:
        super().__init__(data)
        if weight < 0 or fakes < 0 or not weight + fakes:
            raise ValueError(f"weight={weight}, fakes={fakes} must not be negative, and one of them above 0")
        if not 0 <= shift < min(data.resolution):
            raise ValueError(f"shift={shift} must lie in 0..{min(data.resolution) - 1} for images of {data.resolution}")
        if not shift and not flip:
            raise ValueError("shift=0 and flip=false leave every image as it is")
        if every < 1:
            raise ValueError(f"every={every} must be at least 1 round")
        self.weight, self.fakes, self.shift, self.flip, self.every = weight, fakes, shift, flip, every

    def forward(self, play: Play) -> Tensor:
        terms = []
        if self.weight:
            terms.append(self.weight * self._change(play, play.real, play.real_condition, play.real_score))
        if self.fakes:
            terms.append(self.fakes * self._change(play, play.fake, play.condition, play.own_fake_score))
        return torch.stack(terms).sum(0)

    def _change(self, play: Play, images: Tensor, condition: Condition, score: Score) -> Tensor:
        images = images.detach()
        source = condition.get("source")
        if source is not None and source.shape[2:] == images.shape[2:]:  # D compares the two place by place: one T for both
            images, source = self.transformed(torch.cat([images, source], 1)).tensor_split([images.shape[1]], 1)
            condition = {**condition, "source": source}
        else:
            images = self.transformed(images)
        # Neither real nor fake: a pool would keep T's images and show others.
        return (play.critic(images, condition).per_sample() - score.per_sample()).square()

    def transformed(self, images: Tensor) -> Tensor:
        """T(images): one draw an image."""
        n, _, height, width = images.shape
        rows, columns = (
            _shifted(torch.arange(side, device=images.device).expand(n, side), self.shift) for side in (height, width)
        )
        if self.flip:
            flipped = torch.rand(n, 1, device=images.device) < 0.5
            columns = torch.where(flipped, width - 1 - columns, columns)
        return take(images, rows, columns)


def _shifted(places: Tensor, reach: int) -> Tensor:
    """[N, side]: the place that each one is taken from, reflected at the border."""
    n, side = places.shape
    moved = places - torch.randint(-reach, reach + 1, (n, 1), device=places.device)
    last = side - 1
    return last - (last - moved.abs()).abs()


class LeCam(Regularizer):
    """weight (E max(0, r - a_F)^2 + E max(0, a_R - f)^2) (Tseng et al. 2021; hinged as in the authors' code).

    a_R and a_F are moving averages of D's mean outputs on reals and fakes, over D's steps before this one: reals are held
    near what D says of fakes, and the reverse. For small data sets. Before `start` there is no penalty and the averages are
    those of the last step.

    Options:
        weight: the paper's lambda; 0.3 is the authors' for CIFAR
        decay: of the averages, a D step
        start: D steps before the penalty begins
        form: "hinge": only outputs beyond the average of the other side cost; "square": all do, as the paper has it
    """

    anchors: Tensor
    sums: Tensor
    steps: Tensor

    def __init__(
        self,
        data: DataSpec,
        *,
        weight: float = 0.3,
        decay: float = 0.99,
        start: int = 1000,
        form: Literal["hinge", "square"] = "hinge",
    ) -> None:
        super().__init__(data)
        if weight < 0:
            raise ValueError(f"weight={weight} must not be negative")
        if not 0 <= decay < 1:
            raise ValueError(f"decay={decay} must lie in 0..1, below 1")
        if start < 0:
            raise ValueError(f"start={start} must be at least 0 D steps")
        self.weight, self.decay, self.hinged = weight, decay, form == "hinge"
        self.start = max(1, start)  # the first step has no averages to compare with
        self.register_buffer("anchors", torch.zeros(2))  # a_R, a_F
        self.register_buffer("sums", torch.zeros(3))  # of r, of f, and how many, over the micro-batches of this step
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, play: Play) -> Tensor:
        real, fake = play.real_score.per_sample(), play.fake_score.per_sample()
        with torch.no_grad():
            self.sums += torch.stack([real.sum(), fake.sum(), torch.ones_like(real).sum()])
        above, below = real - self.anchors[1], self.anchors[0] - fake
        if self.hinged:
            above, below = above.relu(), below.relu()
        return self.weight * (above.square() + below.square()) * (self.steps >= self.start)

    def after_step(self, player: str, match: object) -> None:
        if player != "D":
            return
        seen = self.sums[2]  # nothing after a lazy phase
        means = batch_mean(self.sums[:2] / seen.clamp(min=1))
        anchors = torch.where(self.steps < self.start, means, torch.lerp(means, self.anchors, self.decay))
        self.anchors.copy_(torch.where(seen > 0, anchors, self.anchors))
        self.steps += seen > 0
        self.sums.zero_()
