"""What lets D see a batch as a whole, inserted before any discriminator's head: minibatch discrimination, minibatch stddev."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ganzoo.interfaces import DataSpec, Match, Regularizer, batch_mean, in_full_precision

APART = 5.0  # what the mean distance of two samples is scaled to
FAR = 60.0  # exp(-60) adds nothing to 1, and its gradient is no subnormal number: those take a CPU ten times as long


class Inserted(nn.Module):
    """What is appended to the features of each sample: [N, F, ...] -> [N, width], a constant over all places of a map."""

    width: int


def insert(disc: nn.Module, name: str, make: Callable[[Tensor, int], Inserted]) -> None:
    """Widen D's head by what `make(weight, features)` appends to its input; `weight` gives dtype and device.

    The head stays the layer that it is, with a wider weight: the old columns, and new ones drawn with the spread of the old.
    What is inserted is a child of the head, and all of it sees the features as they were. Raises ValueError where the head
    cannot be widened.
    """
    head = disc.head
    if not isinstance(head, (nn.Linear, nn.Conv2d)) or getattr(head, "groups", 1) != 1:
        raise ValueError(f"{name}: D's head is a {type(head).__name__}, and only a Linear or an ungrouped Conv2d is widened")
    if "weight" not in dict(head.named_parameters(recurse=False)):
        raise ValueError(
            f"{name}: the weight of D's head is computed, by a norm or parametrization that D brings along, and cannot be "
            f"widened; choose a D without it, and --reg spectral-norm where it is wanted"
        )
    if not hasattr(head, "inserted"):
        head.inserted = nn.ModuleDict()
        head.register_forward_pre_hook(_append)
    old = head.weight.detach()
    layer = make(old, old.shape[1] - sum(other.width for other in head.inserted.values()))
    head.inserted[name] = layer
    new = old.new_empty(old.shape[0], layer.width, *old.shape[2:]).normal_() * old.square().mean().sqrt()
    head.weight = nn.Parameter(torch.cat([old, new], 1), requires_grad=head.weight.requires_grad)
    if isinstance(head, nn.Linear):
        head.in_features += layer.width
    else:
        head.in_channels += layer.width


def _append(head: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    """A hook before the head; a function of the module, so that a copy of D uses what its own head holds."""
    axis = 1 if isinstance(head, nn.Conv2d) else -1
    features = inputs[0].movedim(axis, 1)  # [N, F, ...]
    parts = [features]
    for layer in head.inserted.values():  # type: ignore[union-attr, operator]
        more = layer(features).to(features.dtype)  # [N, width]
        parts.append(more.view(*more.shape, *[1] * (features.ndim - 2)).expand(-1, -1, *features.shape[2:]))
    return torch.cat(parts, 1).movedim(1, axis)


class Closeness(Inserted):
    """o [N, K]: how close each sample is to the others under K learned kernels, plus a bias."""

    unit: Tensor
    measured: Tensor

    def __init__(self, like: Tensor, features: int, kernels: int, dim: int) -> None:
        super().__init__()
        self.width = kernels
        self.kernels = nn.Parameter(like.new_empty(features, kernels, dim).normal_())
        self.log_scale = nn.Parameter(like.new_zeros(kernels, dim))
        self.bias = nn.Parameter(like.new_full((kernels,), -1.0))
        self.register_buffer("unit", like.new_ones(kernels))
        self.register_buffer("measured", torch.zeros((), dtype=torch.bool, device=like.device))

    def forward(self, features: Tensor) -> Tensor:
        if features.ndim > 2:
            features = features.flatten(2).mean(2)
        with in_full_precision(features):  # differences of bf16 numbers are mostly noise
            return self.closeness(features.to(self.kernels.dtype)) + self.bias

    def closeness(self, features: Tensor) -> Tensor:
        """o[i, k] = sum over j != i of exp(-||M[i, k] - M[j, k]||_1) for features [N, F]; 0 to N - 1."""
        directions = normalize(self.kernels, dim=0) * self.log_scale.exp()  # [F, K, C]
        m = (features @ directions.flatten(1)).unflatten(1, directions.shape[1:])  # [N, K, C]
        distances = Distances.apply(m.transpose(0, 1).contiguous())  # [K, N, N]
        if self.training and len(m) > 1:
            self._measure(distances.detach())
        far = (distances * self.unit[:, None, None]).clamp_max(FAR)
        return (-far).exp().sum(2).T - 1  # each sample is at distance 0 of itself

    @torch.no_grad()
    def _measure(self, distances: Tensor) -> None:
        """Set the unit of length from the first training batch, without asking the device whether this is it.

        The buffers are replaced, not written to: graphs of earlier passes hold them, and a look-ahead's are put back.
        """
        n = distances.shape[-1]
        apart = batch_mean(distances.sum((1, 2)) / (n * (n - 1)))  # [K]
        unit = torch.where(apart > 0, APART / apart, 1.0)
        self.unit = torch.where(self.measured, self.unit, unit)
        self.measured = torch.ones_like(self.measured)


class Distances(torch.autograd.Function):
    """||m[k, i] - m[k, j]||_1 as [K, N, N] for m [K, N, C]: torch.cdist, which is many times faster than differences and their
    sum but has no second derivative; here it has one."""

    @staticmethod
    def forward(ctx: Any, m: Tensor) -> Tensor:
        ctx.save_for_backward(m)
        return torch.cdist(m, m, p=1.0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        (m,) = ctx.saved_tensors
        both = grad + grad.mT  # each distance stands there twice
        signs = ((one[:, :, None] - one[:, None]).sign_() for one in m.permute(2, 0, 1).contiguous())
        return torch.stack([torch.einsum("kij,kij->ki", both, sign) for sign in signs], 2)


class Spread(Inserted):
    """The mean standard deviation within each group of consecutive samples: [N, 1]."""

    width = 1

    def __init__(self, group: int) -> None:
        super().__init__()
        self.group = group

    def forward(self, features: Tensor) -> Tensor:
        n = len(features)
        if n % self.group:
            raise ValueError(
                f"minibatch-stddev: D sees {n} samples, which are no whole groups of {self.group}; make --batch and "
                f"--micro-batch multiples of it (times m where samples are packed), or change group"
            )
        exact = torch.promote_types(features.dtype, torch.float32)
        groups = features.to(exact).reshape(n // self.group, self.group, -1)
        spread = (groups.var(1, correction=0) + 1e-8).sqrt().mean(1)  # the 1e-8: a second derivative at 0
        return spread.repeat_interleave(self.group)[:, None]


class MinibatchDiscrimination(Regularizer):
    """D's head is told how close each sample is to the others of its batch (Salimans et al. 2016, section 3.2).

    M_i = h_i T in R^(K x C) for features h_i and a learned tensor T; o_ik = sum over j != i of exp(-||M_ik - M_jk||_1); the
    head sees h_i and o_i + b, with a learned b that starts at -1. o grows with the batch: it is a sum over the samples that
    pass together, so reals and fakes, and micro-batches, each among themselves, and packs where samples are packed. T's columns
    are normalised, with a learned scale each, and distances are in a unit that makes the mean one 5 in the first training
    batch: with a plain random T all are so far apart that nothing is learnt. The authors' code makes the distance to the
    nearest other sample 2, which on images is the same within a fifth; on clustered points that unit would be far smaller than
    a cluster, and o would not tell whether a batch covers the clusters.
    A head that is a convolution sees constant channels, made of features averaged over places, as in the authors' network for
    CIFAR. Memory: batch^2 K C values.

    Options:
        kernels: K, numbers appended to the features
        dim: C, width of the space in which a kernel measures distances
    """

    def __init__(self, data: DataSpec, *, kernels: int = 100, dim: int = 5) -> None:
        super().__init__(data)
        if kernels < 1 or dim < 1:
            raise ValueError(f"kernels={kernels} and dim={dim} must be at least 1")
        self.kernels, self.dim = kernels, dim

    def attach(self, match: Match) -> None:
        insert(match.disc, "minibatch-discrimination", lambda like, width: Closeness(like, width, self.kernels, self.dim))


class MinibatchStddev(Regularizer):
    """D's head is told how much a group of samples varies (Karras et al. 2018, ProGAN, section 3).

    The standard deviation over `group` consecutive samples, of each feature at each place, averaged to one number a group:
    one more feature, or a constant channel. ProGAN and StyleGAN append it before their last 3x3 convolution; here it comes
    directly before the head, which every discriminator has.

    Options:
        group: samples in a group, a divisor of the batch
    """

    def __init__(self, data: DataSpec, *, group: int = 4) -> None:
        super().__init__(data)
        if group < 2:
            raise ValueError(f"group={group} must be at least 2: a group of one has no spread")
        self.group = group

    def attach(self, match: Match) -> None:
        insert(match.disc, "minibatch-stddev", lambda like, width: Spread(self.group))
