"""DCGAN (Radford et al. 2016): strided convolutions down to a small map, transposed ones up from it, batch norm between."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganzoo.interfaces import Condition, DataSpec, Score
from ganzoo_dcgan.mlp import Classes, at_least

Norm = Literal["batch", "instance", "layer", "none"]
Kernel = Literal[3, 4, 5, 6]


def stages(data: DataSpec, channels: int, max_channels: int, full: bool) -> tuple[tuple[int, int], list[int]]:
    """The sides of the smallest map (the shorter one is 4), and the widths of the maps from that one to the largest.

    The largest has half the resolution and `channels` channels, or the whole one and half the channels where `full` is set.
    """
    height, width = data.resolution
    halvings = int(math.log2(min(height, width))) - 2
    widths = [min(channels << i, max_channels) for i in reversed(range(halvings))]
    return (height >> halvings, width >> halvings), widths + [max(channels // 2, 1)] * full


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
    """Batch norm with a gain (from 1) and a shift (from 0) for each class (arXiv:1610.07629): [N, C, H, W] and labels [N]."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width, affine=False)
        self.gain = nn.Parameter(torch.ones(classes, width))
        self.shift = nn.Parameter(torch.zeros(classes, width))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        return torch.addcmul(self.shift[labels][:, :, None, None], self.norm(x), self.gain[labels][:, :, None, None])


class NearestConv(nn.ConvTranspose2d):
    """Nearest-neighbour doubling and a 3x3 convolution, [N, C, H, W] -> [N, O, 2H, 2W], as one transposed convolution.

    A 3x3 kernel at four offsets sums to a 4x4 kernel of stride 2: exact, with 2.25 times fewer multiplications, and free of the
    checkerboard of a free 4x4 kernel (Odena et al. 2016, doi:10.23915/distill.00003). The weight stays 3x3, for spectral norm.
    """

    offsets: Tensor

    def __init__(self, inputs: int, outputs: int, *, bias: bool) -> None:
        super().__init__(inputs, outputs, 3, bias=bias)
        line = torch.eye(4, 3) + torch.eye(4, 3).roll(1, 0)  # tap i of 3 falls on taps i and i + 1 of 4
        self.register_buffer("offsets", torch.kron(line, line).T.contiguous(), persistent=False)  # [9, 16]

    def forward(self, x: Tensor) -> Tensor:
        weight = (self.weight.flatten(2) @ self.offsets).unflatten(2, (4, 4))
        return F.conv_transpose2d(x, weight, self.bias, 2, 1)


def initialise(net: nn.Module, init: float | None) -> None:
    """N(0, init^2) for weights, N(1, init^2) for batch norm's gains; for None weights that keep the variance of ReLUs (He)."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, math.sqrt(2 / fan_in(module)) if init is None else init)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d) and module.affine and init is not None:
            nn.init.normal_(module.weight, 1.0, init)


def fan_in(module: nn.Module) -> float:
    """How many weights an output of a layer is a sum over; of a transposed kernel of stride 2 a pixel sees a quarter."""
    inputs, outputs, *kernel = module.weight.shape
    if isinstance(module, NearestConv):
        return 9 * inputs
    if isinstance(module, nn.ConvTranspose2d):
        return inputs * math.prod(kernel) / 4
    return outputs * math.prod(kernel)  # of Linear and Conv2d: the second side is the inputs


class DCGANGenerator(nn.Module):
    """Noise [N, z_dim] to images [N, C, H, W] in [-1, 1], sides powers of two from 8, square or not.

    Radford et al. 2016 (arXiv:1511.06434): a linear layer to a map with 4 on its shorter side, then transposed convolutions of
    stride 2 with norm and ReLU, the last one to the image with tanh. Labels: a learned embedding beside z.

    Options:
        z_dim: width of the noise
        channels: width of the map of half the resolution; each halving doubles it
        max_channels: the width at which the doubling stops
        upsample: transposed: a transposed convolution of side `kernel`; nearest: nearest-neighbour doubling and a 3x3
            convolution, which leaves no checkerboard
        kernel: side of the transposed convolutions
        full: one more map, at the whole resolution, of half of `channels`, from which a 3x3 convolution makes the image
        norm: after each layer but the last; "batch" couples the samples of a batch in training
        embedding: width of the learned class embedding beside z; none gives one-hot labels
        class_norm: labels set gain and shift of the batch norm as well
        init: standard deviation of the weights; none: He's initialisation
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        z_dim: int = 100,
        channels: int = 64,
        max_channels: int = 512,
        upsample: Literal["transposed", "nearest"] = "transposed",
        kernel: Kernel = 4,
        full: bool = False,
        norm: Norm = "batch",
        embedding: int | None = 64,
        class_norm: bool = False,
        init: float | None = 0.02,
    ) -> None:
        super().__init__()
        at_least(1, z_dim=z_dim, channels=channels, max_channels=max_channels, embedding=embedding)
        at_least(0, init=init)
        if class_norm and norm != "batch":
            raise ValueError(f"class_norm=true sets gain and shift of batch norm, but the norm is '{norm}': say norm=batch")
        self.z_dim = z_dim
        (height, width), widths = stages(data, channels, max_channels, full)
        classes = len(data.classes)
        self.small = (height, width, widths[0])
        self.classes = Classes(classes, embedding)
        bias = norm == "none"  # a norm would take it away again

        def double(inputs: int, outputs: int, bias: bool) -> nn.Module:
            if upsample == "nearest":
                return NearestConv(inputs, outputs, bias=bias)
            return nn.ConvTranspose2d(inputs, outputs, kernel, 2, (kernel - 1) // 2, kernel % 2, bias=bias)

        self.project = nn.Linear(z_dim + self.classes.width, math.prod(self.small), bias=bias)
        self.norms = nn.ModuleList(ClassNorm(w, classes) if class_norm and classes else normalisation(norm, w) for w in widths)
        self.ups = nn.ModuleList(double(i, o, bias) for i, o in pairwise(widths))
        self.ups.append(nn.Conv2d(widths[-1], data.channels, 3, 1, 1) if full else double(widths[-1], data.channels, True))
        initialise(self, init)

    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        # channels behind: the layout of channels_last, without which batch norm under bf16 took a fifth of a step on the CPU
        x = self.project(self.classes.beside(x, condition)).unflatten(1, self.small).permute(0, 3, 1, 2)
        for norm, up in zip(self.norms, self.ups, strict=True):
            x = up(F.relu(norm(x, condition["labels"]) if isinstance(norm, ClassNorm) else norm(x)))
        return x.tanh()


class DCGANDiscriminator(nn.Module):
    """Images [N, C, H, W] to logits [N], sides powers of two from 8, square or not.

    Radford et al. 2016 (arXiv:1511.06434): convolutions of stride 2 with norm (not the first) and leaky ReLU 0.2, then a linear
    layer. Labels: projection, the inner product of the features and a class embedding (arXiv:1802.05637).

    Options:
        channels: width of the map of half the resolution; each halving doubles it
        max_channels: the width at which the doubling stops
        kernel: side of the convolutions
        full: one more map, at the whole resolution, of half of `channels`, made by a 3x3 convolution
        norm: after each convolution but the first; "batch" couples the samples of a batch
        minibatch_stddev: samples in a group whose spread the layers after the smallest map are told (arXiv:1710.10196); 1: none
        hidden: width of a linear layer, behind a 3x3 convolution, between the smallest map and the head (StyleGAN2's last
            layers); none: the head looks at the smallest map
        init: standard deviation of the weights; none: He's initialisation
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        channels: int = 64,
        max_channels: int = 512,
        kernel: Kernel = 4,
        full: bool = False,
        norm: Norm = "batch",
        minibatch_stddev: int = 1,
        hidden: int | None = None,
        init: float | None = 0.02,
    ) -> None:
        super().__init__()
        at_least(1, channels=channels, max_channels=max_channels, minibatch_stddev=minibatch_stddev, hidden=hidden)
        at_least(0, init=init)
        (height, width), widths = stages(data, channels, max_channels, full)
        widths = [data.channels, *reversed(widths)]
        last, self.group = widths[-1], minibatch_stddev
        told = last + (minibatch_stddev > 1)

        def convolution(i: int) -> nn.Conv2d:
            bias = norm == "none" or i == 0  # a norm would take it away again
            if full and i == 0:
                return nn.Conv2d(widths[0], widths[1], 3, 1, 1)
            return nn.Conv2d(widths[i], widths[i + 1], kernel, 2, (kernel - 1) // 2, bias=bias)

        self.convolutions = nn.ModuleList(convolution(i) for i in range(len(widths) - 1))
        self.norms = nn.ModuleList(normalisation(norm if i else "none", w) for i, w in enumerate(widths[1:]))
        self.mix = nn.Conv2d(told, last, 3, 1, 1) if hidden else None
        self.hidden = nn.Linear(last * height * width, hidden) if hidden else None
        self.head = nn.Linear(hidden or told * height * width, 1)
        self.embedding = nn.Embedding(len(data.classes), self.head.in_features) if data.classes else None
        initialise(self, init)
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, 0.0, 1 / math.sqrt(self.head.in_features))

    def forward(self, images: Tensor, condition: Condition) -> Score:
        x, features = images, []
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.leaky_relu(norm(convolution(x)), 0.2)
            features.append(x)
        if self.group > 1:
            x = with_spread(x, self.group)
        if self.mix is not None and self.hidden is not None:
            x = F.leaky_relu(self.hidden(F.leaky_relu(self.mix(x), 0.2).flatten(1)), 0.2)
        h = x.flatten(1)  # [N, F]
        logits = self.head(h).squeeze(1)
        if self.embedding is not None:
            logits = logits + (self.embedding(condition["labels"]) * h).sum(1)
        return Score(logits, (*features, h))


def with_spread(x: Tensor, group: int) -> Tensor:
    """Append a channel that holds the mean spread within each group of consecutive samples: [N, C, H, W] -> [N, C + 1, H, W].

    Raises ValueError where N is no multiple of `group`.
    """
    if len(x) % group:
        raise ValueError(f"a batch of {len(x)} is no multiple of minibatch_stddev={group}: change one of the two")
    deviation = x.unflatten(0, (-1, group))
    deviation = deviation - deviation.mean(1, keepdim=True)
    spread = (deviation.square().mean(1) + 1e-8).sqrt().mean((1, 2, 3))  # [N / group]; torch.var is slower
    return torch.cat([x, spread.repeat_interleave(group)[:, None, None, None].expand(-1, 1, *x.shape[2:])], 1)
