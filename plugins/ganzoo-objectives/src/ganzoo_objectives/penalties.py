"""Penalties on D's gradient with respect to its input. A head of many logits counts as its mean (Score.per_sample).

The squared norm is the sum over all that an output looks at: the pixels and channels of an image, or of all images of a pack.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from ganzoo.interfaces import DataSpec, Play, Regularizer, batch_mean


def squared_gradients(outputs: Tensor, inputs: Tensor) -> Tensor:
    """||grad of outputs[i] with respect to its inputs||^2 as [len(outputs)], differentiable.

    Each output looks at len(inputs) / len(outputs) consecutive samples.
    """
    (gradient,) = torch.autograd.grad(outputs.sum(), inputs, create_graph=True)
    return gradient.square().sum(tuple(range(1, gradient.ndim))).view(len(outputs), -1).sum(1)


class _ZeroCentred(Regularizer):
    """What r1 and r2 share.

    Options:
        gamma: weight, twice the factor of the squared norm; "auto": 2e-4 H W / batch for images, 2e-4 L / batch for signals,
            0.1 for points
        gamma_end: the weight at the end, reached along half a cosine (R3GAN); none: constant
        ramp: kimg after which gamma_end is reached; none: the budget
        every: rounds between penalties; above 1 each is a D step of its own, N times as strong (StyleGAN2: 16)
    """

    double_backward = True

    def __init__(
        self,
        data: DataSpec,
        *,
        gamma: float | Literal["auto"] = "auto",
        gamma_end: float | None = None,
        ramp: float | None = None,
        every: int = 1,
    ) -> None:
        super().__init__(data)
        if gamma == "auto":
            raise ValueError(
                f"gamma='auto' depends on the batch: take {type(self).__name__}.auto(data, batch), or give a number"
            )
        if gamma < 0 or (gamma_end is not None and gamma_end < 0):
            raise ValueError(f"gamma={gamma}, gamma_end={gamma_end}: a penalty cannot be negative")
        if every < 1:
            raise ValueError(f"every={every} must be at least 1 round")
        if ramp is not None and not (ramp > 0 and gamma_end is not None):
            raise ValueError(f"ramp={ramp} must be above 0 kimg, and leads to gamma_end, which is {gamma_end}")
        self.gamma, self.gamma_end, self.ramp, self.every = gamma, gamma_end, ramp, every

    @classmethod
    def auto(cls, data: DataSpec, batch: int) -> dict[str, object]:
        """gamma = 2e-4 * places / batch (Karras et al. 2020, ADA, appendix C), H * W or L places; 0.1 for points."""
        return {"gamma": 2e-4 * math.prod(data.resolution) / batch if data.resolution else 0.1}

    def weight(self, play: Play) -> float:
        if self.gamma_end is None:
            return self.gamma / 2
        share = play.progress if self.ramp is None else min(1.0, play.nimg / (1000 * self.ramp))
        return (self.gamma_end + (self.gamma - self.gamma_end) * (1 + math.cos(math.pi * share)) / 2) / 2


class R1(_ZeroCentred):
    """gamma/2 E ||grad_x D(x)||^2 on reals (Mescheder et al. 2018, equation 9), through the augmentation to the clean image."""

    input_grad = frozenset({"real"})

    def forward(self, play: Play) -> Tensor:
        return self.weight(play) * squared_gradients(play.real_score.per_sample(), play.real)


class R2(_ZeroCentred):
    """gamma/2 E ||grad_x D(x)||^2 on fakes (Mescheder et al. 2018, equation 10); nothing flows to G.

    With r1 of the same gamma and the relativistic loss it is the regularization of R3GAN.
    """

    input_grad = frozenset({"fake"})

    def forward(self, play: Play) -> Tensor:
        return self.weight(play) * squared_gradients(play.own_fake_score.per_sample(), play.fake)


class GradientPenalty(Regularizer):
    """weight E (||grad_u D(u)|| - 1)^2 at u = e x + (1 - e) G(z), one e ~ U(0, 1) a sample (Gulrajani et al. 2017, equation 3).

    u has the condition of the real; in a pack each image has its own e. D must not couple the samples of a batch (batch norm).

    Options:
        weight: the paper's lambda
        one_sided: penalise slopes above 1 only: max(0, ||grad|| - 1)^2
        every: rounds between penalties; above 1 each is a D step of its own, N times as strong
    """

    double_backward = True

    def __init__(self, data: DataSpec, *, weight: float = 10.0, one_sided: bool = False, every: int = 1) -> None:
        super().__init__(data)
        if weight < 0:
            raise ValueError(f"weight={weight} must not be negative")
        if every < 1:
            raise ValueError(f"every={every} must be at least 1 round")
        self.weight, self.one_sided, self.every = weight, one_sided, every

    def forward(self, play: Play) -> Tensor:
        real, fake = play.real.detach(), play.fake.detach()
        share = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device, dtype=real.dtype)
        between = torch.lerp(fake, real, share).requires_grad_()
        squares = squared_gradients(play.critic(between, play.real_condition).per_sample(), between)
        excess = (squares + 1e-12).sqrt() - 1  # the plain norm has no second derivative at 0
        return self.weight * (excess.relu() if self.one_sided else excess).square()


class Dragan(Regularizer):
    """weight E (||grad_u D(u)|| - 1)^2 at u near the reals (Kodali et al. 2017); nothing flows to x or G.

    With sigma the standard deviation of all values of the batch: u = x + a scale sigma U with U ~ U(0, 1) a value and
    a ~ U(0, 1) a sample, as in the authors' code, which brightens; or u = x + scale sigma n with n ~ N(0, 1) a value, the
    paper's N(0, c I) with c in units of the data. u has the condition of the real.

    Options:
        weight: the paper's lambda
        noise: "uniform", the authors' code; "normal", the paper
        scale: size of the perturbation, in standard deviations of the batch
        every: rounds between penalties; above 1 each is a D step of its own, N times as strong
    """

    double_backward = True

    def __init__(
        self,
        data: DataSpec,
        *,
        weight: float = 10.0,
        noise: Literal["uniform", "normal"] = "uniform",
        scale: float = 0.5,
        every: int = 1,
    ) -> None:
        super().__init__(data)
        if weight < 0 or scale < 0:
            raise ValueError(f"weight={weight} and scale={scale} must not be negative")
        if every < 1:
            raise ValueError(f"every={every} must be at least 1 round")
        self.weight, self.noise, self.scale, self.every = weight, noise, scale, every

    def forward(self, play: Play) -> Tensor:
        near = self.perturbed(play.real.detach()).requires_grad_()
        squares = squared_gradients(play.critic(near, play.real_condition).per_sample(), near)
        return self.weight * ((squares + 1e-12).sqrt() - 1).square()

    def perturbed(self, real: Tensor) -> Tensor:
        sigma = batch_mean((real - batch_mean(real.mean())).square().mean()).sqrt()
        if self.noise == "normal":
            return real + self.scale * sigma * torch.randn_like(real)
        share = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device, dtype=real.dtype)
        return real + share * self.scale * sigma * torch.rand_like(real)
