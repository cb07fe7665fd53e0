"""The discriminator of AC-GAN (Odena et al. 2017): convolutions under two heads, one for real or fake, one for the class."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganzoo.interfaces import Condition, DataSpec, Score
from ganzoo_dcgan.dcgan import Kernel, Norm, initialise, normalisation
from ganzoo_dcgan.mlp import at_least, share


class ACGANDiscriminator(nn.Module):
    """Images [N, C, H, W] to logits [N], which do not look at the label, and class logits [N, K].

    Odena et al. 2017 (arXiv:1610.09585), appendix A: convolutions, each twice as wide as the one before, down to a map with 4
    on its shorter side, with norm (not the first), leaky ReLU 0.2, noise and dropout after each; two linear layers on that map.
    Sides are powers of two from 8, square or not. Raises ValueError for data without classes.

    Options:
        channels: width of the first convolution
        max_channels: the width at which the doubling stops
        kernel: side of the convolutions of stride 2; those of stride 1 have side 3
        depth: convolutions a halving of the map: one of stride 2, then of stride 1
        norm: after each convolution but the first; "batch" couples the samples of a batch
        dropout: share of each convolution's output that is dropped in training
        noise: standard deviation of what is added to each convolution's output in training
        init: standard deviation of the weights; none: He's initialisation
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        channels: int = 16,
        max_channels: int = 512,
        kernel: Kernel = 3,
        depth: int = 2,
        norm: Norm = "batch",
        dropout: float = 0.5,
        noise: float = 0.1,
        init: float | None = 0.02,
    ) -> None:
        super().__init__()
        at_least(1, channels=channels, max_channels=max_channels, depth=depth)
        at_least(0, noise=noise, init=init)
        share(dropout=dropout)
        if not data.classes:
            raise ValueError("acgan tells classes apart, and these data have none")
        height, width = data.resolution
        halvings = int(math.log2(min(height, width))) - 2
        widths = [data.channels, *(min(channels << i, max_channels) for i in range(depth * halvings))]

        def convolution(i: int, inputs: int, outputs: int) -> nn.Conv2d:
            bias = norm == "none" or i == 0  # a norm would take it away again
            if i % depth:
                return nn.Conv2d(inputs, outputs, 3, 1, 1, bias=bias)
            return nn.Conv2d(inputs, outputs, kernel, 2, (kernel - 1) // 2, bias=bias)

        self.convolutions = nn.ModuleList(convolution(i, *pair) for i, pair in enumerate(pairwise(widths)))
        self.norms = nn.ModuleList(normalisation(norm if i else "none", w) for i, w in enumerate(widths[1:]))
        self.dropout, self.noise = dropout, noise
        inputs = widths[-1] * (height >> halvings) * (width >> halvings)
        self.head = nn.Linear(inputs, 1)
        self.classifier = nn.Linear(inputs, len(data.classes))
        initialise(self, init)

    def forward(self, images: Tensor, condition: Condition) -> Score:
        x, features = images, []
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = self._disturbed(F.leaky_relu(norm(convolution(x)), 0.2))
            features.append(x)
        h = x.flatten(1)  # [N, F]
        return Score(self.head(h).squeeze(1), (*features, h), self.classifier(h))

    def _disturbed(self, x: Tensor) -> Tensor:
        """Noise and dropout, in training. `randn_like` and `dropout` would draw by memory layout: another one, other draws."""
        if self.training and self.noise:
            x = x + self.noise * torch.randn(x.shape, device=x.device, dtype=x.dtype)
        if self.training and self.dropout:
            keep = 1 - self.dropout
            x = x * torch.empty(x.shape, device=x.device, dtype=x.dtype).bernoulli_(keep).div_(keep)
        return x
