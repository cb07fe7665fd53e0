"""DCGAN (Radford et al. 2016): strided convolutions down to a small map, transposed ones up from it, batch norm between."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganzoo_dcgan.mlp import at_least

from ganzoo.interfaces import Condition, DataSpec, Score

Norm = Literal["batch", "instance", "layer", "none"]


def stages(resolution: tuple[int, ...], channels: int, max_channels: int) -> tuple[list[int], list[int]]:
    """The sides of the smallest map (the shorter one is 4), and the widths of the maps from that one to the largest."""
    halvings = int(math.log2(min(resolution))) - 2
    return [side >> halvings for side in resolution], [min(channels << i, max_channels) for i in reversed(range(halvings))]


def normalisation(norm: Norm, width: int) -> nn.Module:
    """The norm that follows a convolution of `width` channels; "layer" is over channels and places of a sample."""
    match norm:
        case "batch":
            return nn.BatchNorm2d(width)
        case "instance":
            return nn.InstanceNorm2d(width, affine=True)
        case "layer":
            return nn.GroupNorm(1, width)
        case "none":
            return nn.Identity()


class ClassNorm(nn.Module):
    """Batch norm with a gain (from 1) and a shift (from 0) for each class: [N, C, H, W] and labels [N] (arXiv:1707.00683)."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width, affine=False)
        self.gain = nn.Parameter(torch.ones(classes, width))
        self.shift = nn.Parameter(torch.zeros(classes, width))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        gain, shift = self.gain[labels][:, :, None, None], self.shift[labels][:, :, None, None]
        return torch.addcmul(shift, self.norm(x), gain)


def initialise(net: nn.Module, init: float | None) -> None:
    """N(0, init^2) for convolutions and linear layers, N(1, init^2) for batch norm's gain; He's for None; biases zero."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            if init is None:
                nn.init.kaiming_normal_(module.weight, 0.2)
            else:
                nn.init.normal_(module.weight, 0.0, init)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d) and module.affine and init is not None:
            nn.init.normal_(module.weight, 1.0, init)


class DCGANGenerator(nn.Module):
    """Noise [N, z_dim] to images [N, C, H, W] in [-1, 1], sides powers of two from 8, square or not.

    Radford et al. 2016 (arXiv:1511.06434): linear to a map with 4 on its shorter side, then transposed convolutions of stride 2
    with norm and ReLU, the last one to the image with tanh. Labels: a learned embedding beside z.

    Options:
        z_dim: width of the noise
        channels: width of the layer next to the image; each halving of the resolution doubles it
        max_channels: the width at which the doubling stops
        kernel: side of the transposed convolutions
        norm: after each layer but the last; "batch" couples the samples of a batch in training
        embedding: width of the class embedding beside z
        class_norm: labels set gain and shift of the batch norm as well
        init: standard deviation of the weights; none gives He's initialisation
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        z_dim: int = 100,
        channels: int = 64,
        max_channels: int = 512,
        kernel: Literal[3, 4, 5, 6] = 4,
        norm: Norm = "batch",
        embedding: int = 64,
        class_norm: bool = False,
        init: float | None = 0.02,
    ) -> None:
        super().__init__()
        at_least(1, z_dim=z_dim, channels=channels, max_channels=max_channels, embedding=embedding)
        at_least(0, init=init)
        self.z_dim = z_dim
        base, widths = stages(data.resolution, channels, max_channels)
        classes = len(data.classes)
        if class_norm and norm != "batch":
            raise ValueError(f"class_norm=true sets gain and shift of batch norm, and the norm is '{norm}'; say norm=batch")
        self.embedding = nn.Embedding(classes, embedding) if classes else None
        self.small = (widths[0], *base)
        bias = norm == "none"  # a norm would take it away again
        self.project = nn.Linear(z_dim + (embedding if classes else 0), math.prod(self.small), bias=bias)
        self.norms = nn.ModuleList(
            ClassNorm(w, classes) if class_norm and classes else normalisation(norm, w) for w in widths
        )
        pad, extra = (kernel - 1) // 2, kernel % 2  # so that each layer doubles the sides exactly
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(i, o, kernel, 2, pad, extra, bias=bias) for i, o in zip(widths, widths[1:], strict=False)
        )
        self.ups.append(nn.ConvTranspose2d(channels, data.channels, kernel, 2, pad, extra))
        initialise(self, init)

    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        labels = condition["labels"] if self.embedding is not None else None
        if self.embedding is not None:
            x = torch.cat([x, self.embedding(labels)], 1)
        x = self.project(x).unflatten(1, self.small)
        for norm, up in zip(self.norms, self.ups, strict=True):
            x = norm(x, labels) if isinstance(norm, ClassNorm) else norm(x)
            x = up(F.relu(x))
        return x.tanh()


class DCGANDiscriminator(nn.Module):
    """Images [N, C, H, W] to logits [N], sides powers of two from 8, square or not.

    Radford et al. 2016 (arXiv:1511.06434): convolutions of stride 2 with norm (not at the image) and leaky ReLU 0.2, then a linear
    layer. Labels: projection, an inner product of the features with a class embedding (arXiv:1802.05637).

    Options:
        channels: width of the layer next to the image; each halving of the resolution doubles it
        max_channels: the width at which the doubling stops
        kernel: side of the convolutions
        norm: after each convolution but the first; "batch" couples the samples of a batch
        minibatch_stddev: samples in a group whose spread the last layers are told; 1 tells none
        init: standard deviation of the weights; none gives He's initialisation
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        channels: int = 64,
        max_channels: int = 512,
        kernel: Literal[3, 4, 5, 6] = 4,
        norm: Norm = "batch",
        minibatch_stddev: int = 1,
        init: float | None = 0.02,
    ) -> None:
        super().__init__()
        at_least(1, channels=channels, max_channels=max_channels, minibatch_stddev=minibatch_stddev)
        at_least(0, init=init)
        base, widths = stages(data.resolution, channels, max_channels)
        widths = [data.channels, *reversed(widths)]
        spread = [0] * (len(widths) - 2) + [int(minibatch_stddev > 1)]
        self.group = minibatch_stddev
        self.downs = nn.ModuleList(
            nn.Conv2d(i + s, o, kernel, 2, (kernel - 1) // 2, bias=norm == "none" or i == 0)
            for i, o, s in zip(widths, widths[1:], spread, strict=False)
        )
        self.norms = nn.ModuleList(normalisation(norm if i else "none", w) for i, w in enumerate(widths[1:]))
        self.head = nn.Linear(widths[-1] * math.prod(base), 1)
        self.classes = nn.Embedding(len(data.classes), widths[-1]) if data.classes else None
        initialise(self, init)
        if self.classes is not None:
            nn.init.normal_(self.classes.weight, 0.0, math.sqrt(1 / widths[-1]))

    def forward(self, images: Tensor, condition: Condition) -> Score:
        x, features = images, []
        for i, (down, norm) in enumerate(zip(self.downs, self.norms, strict=True)):
            if self.group > 1 and i == len(self.downs) - 1:
                x = with_spread(x, self.group)
            x = F.leaky_relu(norm(down(x)), 0.2)
            features.append(x)
        logits = self.head(x.flatten(1)).squeeze(1)
        if self.classes is not None:
            logits = logits + (self.classes(condition["labels"]) * x.mean((2, 3))).sum(1)
        return Score(logits, tuple(features))


def with_spread(x: Tensor, group: int) -> Tensor:
    """Append a channel that holds the spread of each group of consecutive samples (arXiv:1710.10196, section 3).

    [N, C, H, W] -> [N, C + 1, H, W]; N must be a multiple of `group`.
    """
    if len(x) % group:
        raise ValueError(f"a batch of {len(x)} is no multiple of minibatch_stddev={group}; change one of the two")
    grouped = x.unflatten(0, (-1, group))
    spread = (grouped.var(1, correction=0) + 1e-8).sqrt().mean((1, 2, 3))  # [N / group]
    return torch.cat([x, spread.repeat_interleave(group)[:, None, None, None].expand(-1, 1, *x.shape[2:])], 1)
