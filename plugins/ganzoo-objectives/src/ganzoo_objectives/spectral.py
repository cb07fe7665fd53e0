"""Spectral normalisation of weights (Miyato et al. 2018)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils import parametrize

from ganzoo.interfaces import DataSpec, Match, Regularizer

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
LAYERS = (nn.Linear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)
START_ITERATIONS = 15


class DividedBySigma(nn.Module):
    """weight / sigma, sigma = |scale| u' W v the spectral norm of the weight, used as scale W, as a matrix W [out, rest].

    u [out] and v [rest] are buffers and constants for the gradient: dsigma/dW = u v'. They move in `advance` alone, not when
    the weight is read. Products are written out because autocast would take a matmul to bf16.
    """

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor, out_dim: int, scale: float = 1.0) -> None:
        super().__init__()
        self.out_dim, self.scale = out_dim, abs(scale)
        with torch.no_grad():
            matrix = self._matrix(weight)
            self.register_buffer("u", normalize(torch.randn_like(matrix[:, 0]), dim=0))
            self.register_buffer("v", normalize(torch.randn_like(matrix[0]), dim=0))
            for _ in range(START_ITERATIONS):  # without effect on the meta device
                self.advance(weight)

    def forward(self, weight: Tensor) -> Tensor:
        sigma = ((self._matrix(weight) * self.v).sum(1) * self.u).sum()
        return weight / (self.scale * sigma)

    @torch.no_grad()
    def advance(self, weight: Tensor) -> None:
        """One power iteration."""
        matrix = self._matrix(weight)
        self.v.copy_(normalize((matrix * self.u[:, None]).sum(0), dim=0))
        self.u.copy_(normalize((matrix * self.v).sum(1), dim=0))

    def _matrix(self, weight: Tensor) -> Tensor:
        return weight.movedim(self.out_dim, 0).flatten(1)


class SpectralNorm(Regularizer):
    """Every trainable linear, convolutional and embedding weight of a player divided by its spectral norm.

    The norm is that of the weight reshaped to [out, rest] (out is dim 1 of a transposed convolution), not of the convolution
    as an operator; where a layer multiplies its weight by a constant `weight_scale`, the weight as used has norm 1. One power
    iteration for each optimizer step of the player, after it; look-aheads, penalties, G's passes and micro-batches all see the
    same u and v.

    Options:
        player: whose weights; SAGAN normalises both
    """

    parametrizes = True

    def __init__(self, data: DataSpec, *, player: Literal["D", "G", "both"] = "D") -> None:
        super().__init__(data)
        self.normalises = ("D", "G") if player == "both" else (player,)

    def attach(self, match: Match) -> None:
        for player in self.normalises:
            layers = list(self._trainable(player, self._network(match, player)))
            if not layers:
                raise ValueError(f"spectral-norm: {player} has no trainable linear, convolution or embedding to normalise")
            for name, layer in layers:
                if not layer.weight.is_meta and not layer.weight.any():
                    raise ValueError(
                        f"spectral-norm: {player}'s layer '{name}' starts at zero and cannot be divided by its norm"
                    )
                out_dim = 1 if isinstance(layer, TRANSPOSED) else 0
                sigma = DividedBySigma(layer.weight, out_dim, getattr(layer, "weight_scale", 1.0))
                parametrize.register_parametrization(layer, "weight", sigma)

    def after_step(self, player: str, match: Match) -> None:
        if player not in self.normalises:
            return
        for layer in self._network(match, player).modules():
            if isinstance(layer, LAYERS) and parametrize.is_parametrized(layer, "weight"):
                weight = layer.parametrizations.weight
                for step in weight:
                    if isinstance(step, DividedBySigma):
                        step.advance(weight.original)

    @staticmethod
    def _network(match: Match, player: str) -> nn.Module:
        return match.disc if player == "D" else match.gen

    @staticmethod
    def _trainable(player: str, network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        for name, layer in network.named_modules():
            if not isinstance(layer, LAYERS) or not any(p.requires_grad for p in layer.parameters()):
                continue
            weight = dict(layer.named_parameters(recurse=False)).get("weight")
            if weight is None:
                raise ValueError(
                    f"spectral-norm: the weight of {player}'s layer '{name}' is computed already, by another spectral norm or "
                    f"parametrization; leave one of the two out"
                )
            if weight.requires_grad:
                yield name, layer
