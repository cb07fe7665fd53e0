"""The generator and the discriminator of the first GAN (Goodfellow et al. 2014): multilayer perceptrons, for any modality."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganzoo.interfaces import Condition, DataSpec, Score

Activation = Literal["relu", "leaky-relu", "tanh", "maxout"]
Norm = Literal["none", "batch", "layer"]
Init = Literal["torch", "normal", "uniform", "he", "xavier", "orthogonal"]


def at_least(least: float, **options: float | None) -> None:
    """ValueError, which names the option, for one below `least`; None passes."""
    for name, value in options.items():
        if value is not None and value < least:
            raise ValueError(f"{name}={value} must be at least {least}")


def share(**options: float) -> None:
    """ValueError, which names the option, for one that is no share from 0 and below 1."""
    for name, value in options.items():
        if not 0 <= value < 1:
            raise ValueError(f"{name}={value} must be from 0 and below 1")


class Classes(nn.Module):
    """Labels [N] as vectors [N, width]: one-hot, or a learned embedding where `embedding` is given."""

    def __init__(self, classes: int, embedding: int | None) -> None:
        super().__init__()
        self.width = (embedding or classes) if classes else 0
        self.classes = classes
        self.table = nn.Embedding(classes, embedding) if classes and embedding else None

    def vector(self, condition: Condition, dtype: torch.dtype) -> Tensor:
        """[N, width]"""
        labels = condition["labels"]
        return (F.one_hot(labels, self.classes) if self.table is None else self.table(labels)).to(dtype)

    def beside(self, x: Tensor, condition: Condition) -> Tensor:
        """`x` [N, D] with the label's vector behind it: [N, D + width]; `x` itself where the data has no classes."""
        return torch.cat([x, self.vector(condition, x.dtype)], 1) if self.classes else x


class Layer(nn.Module):
    """Linear, norm, activation, dropout: [N, inputs] -> [N, width]."""

    def __init__(self, inputs: int, width: int, *, activation: Activation, pieces: int, norm: Norm, dropout: float) -> None:
        super().__init__()
        self.pieces = pieces if activation == "maxout" else 1
        outputs = width * self.pieces
        self.linear = nn.Linear(inputs, outputs, bias=norm != "batch")  # batch norm would take the bias away again
        self.norm = {"none": nn.Identity, "batch": nn.BatchNorm1d, "layer": nn.LayerNorm}[norm](outputs)
        self.activation = activation
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.linear(x))
        if self.activation == "maxout":
            x = x.unflatten(1, (-1, self.pieces)).amax(2)  # Goodfellow et al. 2013: the largest of `pieces` affine maps
        elif self.activation == "tanh":
            x = x.tanh()
        else:
            x = F.leaky_relu(x, 0.2 if self.activation == "leaky-relu" else 0.0)
        return self.dropout(x)


class Entry(nn.Module):
    """`x` [N, inputs] and the label's vector side by side, [N, width], first each through a layer of its own for `branches`."""

    def __init__(
        self, inputs: int, classes: int, embedding: int | None, branches: tuple[int, int] | None, layer: Callable[..., Layer]
    ) -> None:
        super().__init__()
        self.classes = Classes(classes, embedding)
        self.width = inputs + self.classes.width
        self.own: Layer | None = None
        self.label: Layer | None = None
        if branches:
            at_least(1, branches=min(branches))
            self.own = layer(inputs, branches[0])
            self.label = layer(self.classes.width, branches[1]) if classes else None
            self.width = branches[0] + (branches[1] if classes else 0)

    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        if self.own is None:
            return self.classes.beside(x, condition)
        if self.label is None:
            return self.own(x)
        return torch.cat([self.own(x), self.label(self.classes.vector(condition, x.dtype))], 1)


def initialise(net: nn.Module, init: Init, gain: float) -> None:
    """Draw the weights of every Linear anew and zero its bias; "torch" leaves both as they are."""
    if init == "torch":
        return
    for linear in net.modules():
        if isinstance(linear, nn.Linear):
            if init == "normal":
                nn.init.normal_(linear.weight, 0.0, gain)
            elif init == "uniform":
                nn.init.uniform_(linear.weight, -gain, gain)
            elif init == "he":
                nn.init.normal_(linear.weight, 0.0, gain * math.sqrt(2 / linear.in_features))
            elif init == "xavier":
                nn.init.xavier_uniform_(linear.weight, gain)
            else:
                nn.init.orthogonal_(linear.weight, gain)
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)


class MLPGenerator(nn.Module):
    """Noise [N, z_dim] to samples [N, *data.shape]: images end in tanh, points and signals in a linear layer.

    Goodfellow et al. 2014 (arXiv:1406.2661); labels beside z as in conditional GANs (arXiv:1411.1784). With norm "batch" the
    hidden layers have no biases (PacGAN's networks, arXiv:1712.04086).

    Options:
        z_dim: width of the noise
        width: units of a hidden layer
        depth: number of hidden layers
        activation: of the hidden layers; "maxout" takes the largest of `pieces` affine maps
        pieces: affine maps a maxout unit
        norm: before each activation; "batch" couples the samples of a batch in training
        dropout: share of the hidden units that is dropped in training
        branches: widths of two layers side by side ahead of the others, one of the noise and one of the label; none: the
            first layer takes both
        embedding: width of a learned class embedding; none gives one-hot labels
        init: of the weights: torch's own, N(0, gain^2), uniform in [-gain, gain], He's for ReLUs, xavier or orthogonal
        gain: scale of `init`: what "normal" and "uniform" say, a factor of the others
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        z_dim: int = 64,
        width: int = 512,
        depth: int = 2,
        activation: Activation = "relu",
        pieces: int = 5,
        norm: Norm = "none",
        dropout: float = 0.0,
        branches: tuple[int, int] | None = None,
        embedding: int | None = None,
        init: Init = "torch",
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        at_least(1, z_dim=z_dim, width=width, pieces=pieces, embedding=embedding)
        at_least(0, depth=depth, gain=gain)
        share(dropout=dropout)
        self.z_dim, self.shape = z_dim, data.shape
        layer = partial(Layer, activation=activation, pieces=pieces, norm=norm, dropout=dropout)
        self.entry = Entry(z_dim, len(data.classes), embedding, branches, layer)
        widths = [self.entry.width] + [width] * depth
        self.layers = nn.Sequential(*(layer(i, o) for i, o in pairwise(widths)))
        self.out = nn.Linear(widths[-1], math.prod(data.shape))
        self.bounded = data.modality == "image"
        initialise(self, init, gain)

    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        x = self.out(self.layers(self.entry(x, condition))).unflatten(1, self.shape)
        return x.tanh() if self.bounded else x


class MLPDiscriminator(nn.Module):
    """Samples [N, *data.shape] to logits [N]; labels beside the flattened sample.

    Goodfellow et al. 2014 (arXiv:1406.2661), whose D is two layers of 240 maxout units of 5 pieces with dropout 0.5.

    Options:
        width: units of a hidden layer
        depth: number of hidden layers
        activation: of the hidden layers; "maxout" takes the largest of `pieces` affine maps
        pieces: affine maps a maxout unit
        norm: before each activation; "batch" couples the samples of a batch in training
        dropout: share of the hidden units that is dropped in training
        input_dropout: share of the sample's values that is dropped in training
        branches: widths of two layers side by side ahead of the others, one of the sample and one of the label; none: the
            first layer takes both
        branch_pieces: affine maps a maxout unit of `branches`; none: as `pieces`
        embedding: width of a learned class embedding; none gives one-hot labels
        init: of the weights: torch's own, N(0, gain^2), uniform in [-gain, gain], He's for ReLUs, xavier or orthogonal
        gain: scale of `init`: what "normal" and "uniform" say, a factor of the others
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        width: int = 512,
        depth: int = 2,
        activation: Activation = "leaky-relu",
        pieces: int = 5,
        norm: Norm = "none",
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        branches: tuple[int, int] | None = None,
        branch_pieces: int | None = None,
        embedding: int | None = None,
        init: Init = "torch",
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        at_least(1, width=width, depth=depth, pieces=pieces, branch_pieces=branch_pieces, embedding=embedding)
        at_least(0, gain=gain)
        share(dropout=dropout, input_dropout=input_dropout)
        self.input_dropout = nn.Dropout(input_dropout)
        layer = partial(Layer, activation=activation, norm=norm, dropout=dropout)
        branch = partial(layer, pieces=branch_pieces or pieces)
        self.entry = Entry(math.prod(data.shape), len(data.classes), embedding, branches, branch)
        widths = [self.entry.width] + [width] * depth
        self.layers = nn.ModuleList(layer(i, o, pieces=pieces) for i, o in pairwise(widths))
        self.head = nn.Linear(widths[-1], 1)
        initialise(self, init, gain)

    def forward(self, images: Tensor, condition: Condition) -> Score:
        x = self.entry(self.input_dropout(images.flatten(1)), condition)
        features = []
        for layer in self.layers:
            x = layer(x)
            features.append(x)
        return Score(self.head(x).squeeze(1), tuple(features))
