"""PatchGAN (Isola et al. 2017): a discriminator that says of each patch whether it is real."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganzoo.interfaces import Condition, DataSpec, Score

Norm = Literal["batch", "instance", "none"]


def normalisation(norm: Norm, width: int) -> nn.Module:
    """The norm after a convolution of `width` channels; "instance" has no gain and shift, as in CycleGAN."""
    match norm:
        case "batch":
            return nn.BatchNorm2d(width)
        case "instance":
            return nn.InstanceNorm2d(width)
        case "none":
            return nn.Identity()


class PatchDiscriminator(nn.Module):
    """Images [N, C, H, W] to a map of logits [N, h, w], one for each patch of the receptive field, sides from 8.

    Isola et al. 2017 (arXiv:1611.07004), appendix 6.1.2: `n_layers` convolutions of stride 2 and one of stride 1, all 4x4 with
    leaky ReLU and norm after each but the first, then a 4x4 one to the logits. The receptive field is 16, 34, 70 and 142
    pixels for 1 to 4 layers. Where the data have a source image, D sees it stacked on the channels, source first.

    Options:
        n_layers: convolutions of stride 2; auto: 3 as published, 2 below 128 pixels and 1 below 64, so that a patch is about
            half as high as the image
        channels: width after the first convolution; each further one doubles it
        max_channels: the width at which the doubling stops
        norm: instance (CycleGAN), batch (pix2pix; it couples the samples of a batch in training) or none
        init: standard deviation of the weights
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        n_layers: int | Literal["auto"] = "auto",
        channels: int = 64,
        max_channels: int = 512,
        norm: Norm = "instance",
        init: float = 0.02,
    ) -> None:
        super().__init__()
        if n_layers == "auto":
            raise ValueError(
                "n_layers='auto' depends on the images: take PatchDiscriminator.auto(data, batch), or give a number"
            )
        for name, value in (("n_layers", n_layers), ("channels", channels), ("max_channels", max_channels)):
            if value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        if init <= 0:
            raise ValueError(f"init={init} must be above 0")
        smallest, side = 3 << n_layers, min(data.resolution)
        if side < smallest:
            raise ValueError(f"n_layers={n_layers} needs sides from {smallest}, and the images have {side}: take fewer")
        if data.source is not None and data.source.resolution != data.resolution:
            raise ValueError(f"source images of {data.source.resolution} cannot be stacked on images of {data.resolution}")
        widths = [min(channels << i, max_channels) for i in range(n_layers + 1)]
        inputs = data.channels + (data.source.channels if data.source is not None else 0)
        self.sourced = data.source is not None
        strides = [2] * n_layers + [1]
        self.convolutions = nn.ModuleList()
        self.norms = nn.ModuleList()
        for i, (before, width, stride) in enumerate(zip([inputs, *widths], widths, strides, strict=False)):
            plain = norm == "none" or i == 0  # a norm would take a bias away again
            self.convolutions.append(nn.Conv2d(before, width, 4, stride, 1, bias=plain))
            self.norms.append(nn.Identity() if plain else normalisation(norm, width))
        self.head = nn.Conv2d(widths[-1], 1, 4, 1, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, init)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight, 1.0, init)

    @classmethod
    def auto(cls, data: DataSpec, batch: int) -> dict[str, object]:
        """n_layers: patches of about half the shorter side, up to the published 70: 1 below 64, 2 below 128, else 3."""
        side = min(data.resolution)
        return {"n_layers": 1 if side < 64 else 2 if side < 128 else 3}

    def forward(self, images: Tensor, condition: Condition) -> Score:
        x = torch.cat([condition["source"], images], 1) if self.sourced else images
        features = []
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.leaky_relu(norm(convolution(x)), 0.2)
            features.append(x)
        return Score(self.head(x).squeeze(1), tuple(features))
