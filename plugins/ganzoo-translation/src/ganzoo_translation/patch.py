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
    pixels for 1 to 4 layers.

    Options:
        n_layers: convolutions of stride 2; auto: 3 as published, 2 below 128 pixels and 1 below 64, so that a patch is about
            half as high as the image
        channels: width after the first convolution; each further one doubles it
        max_channels: the width at which the doubling stops
        norm: instance (CycleGAN), batch (pix2pix; it couples the samples of a batch in training) or none
        conditional: D sees the source image stacked on the channels, source first (pix2pix); auto: where there is one of the
            image's size
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
        conditional: bool | Literal["auto"] = "auto",
        init: float = 0.02,
    ) -> None:
        super().__init__()
        if conditional == "auto":  # here, for a game may show D other images than the data's
            conditional = _sized(data)
        if n_layers == "auto":
            raise ValueError("'auto' depends on the images: take PatchDiscriminator.auto(data, batch), or give a number")
        for name, value in (("n_layers", n_layers), ("channels", channels), ("max_channels", max_channels)):
            if value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        if init <= 0:
            raise ValueError(f"init={init} must be above 0")
        smallest, side = 3 << n_layers, min(data.resolution)
        if side < smallest:
            raise ValueError(f"n_layers={n_layers} needs sides from {smallest}, and the images have {side}: take fewer")
        inputs = data.channels + (_stacked(data) if conditional else 0)
        widths = [min(channels << i, max_channels) for i in range(n_layers + 1)]
        self.conditional = conditional
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
        x = torch.cat([condition["source"], images], 1) if self.conditional else images
        features = []
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.leaky_relu(norm(convolution(x)), 0.2)
            features.append(x)
        return Score(self.head(x).squeeze(1), tuple(features))


def _sized(data: DataSpec) -> bool:
    """Whether there is a source image of the image's size."""
    return data.source is not None and data.source.resolution == data.resolution


def _stacked(data: DataSpec) -> int:
    """Channels of the source image that is stacked on the image. Raises ValueError where that cannot be."""
    if data.source is None:
        raise ValueError("conditional=true needs data with a source image: --data paired, downscaled, derived or emoji-pairs")
    if data.source.resolution != data.resolution:
        raise ValueError(f"source images of {data.source.resolution} cannot be stacked on images of {data.resolution}")
    return data.source.channels


class MultiscalePatch(nn.Module):
    """A patch discriminator at several sizes of the image: a map of logits for each, a head each.

    Wang et al. 2018, pix2pixHD (arXiv:1711.11585), section 3.2: the image is halved by 3x3 means of stride 2 from one to the
    next, so that the coarsest judges the layout and the finest the texture; their losses are added.

    Options:
        scales: discriminators; the paper: 3
        n_layers: of each, as in patch; auto: as patch chooses for the smallest image
        channels: width after the first convolution of each; each further one doubles it
        max_channels: the width at which the doubling stops
        norm: instance, batch (it couples the samples of a batch in training) or none
        conditional: each sees the source image stacked on the channels; auto: where there is one of the image's size
        init: standard deviation of the weights
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        scales: int | Literal["auto"] = "auto",
        n_layers: int | Literal["auto"] = "auto",
        channels: int = 64,
        max_channels: int = 512,
        norm: Norm = "instance",
        conditional: bool | Literal["auto"] = "auto",
        init: float = 0.02,
    ) -> None:
        super().__init__()
        if conditional == "auto":
            conditional = _sized(data)
        if scales == "auto" or n_layers == "auto":
            raise ValueError(
                "'auto' depends on the images: take MultiscalePatch.auto(data, batch), or give scales and n_layers"
            )
        if scales < 1 or min(data.resolution) >> (scales - 1) < 8:
            raise ValueError(f"scales={scales} must be at least 1, and leave 8 pixels of images of {data.resolution}")
        self.conditional = conditional
        whole = data.replace(shape=(data.channels + (_stacked(data) if conditional else 0), *data.resolution), source=None)
        self.scales = nn.ModuleList()
        for i in range(scales):
            spec = whole.replace(shape=(whole.channels, *(-(-side // (1 << i)) for side in data.resolution)))
            self.scales.append(
                PatchDiscriminator(
                    spec,
                    n_layers=n_layers,
                    channels=channels,
                    max_channels=max_channels,
                    norm=norm,
                    conditional=False,
                    init=init,
                )
            )

    @classmethod
    def auto(cls, data: DataSpec, batch: int) -> dict[str, object]:
        """scales: halvings down to 16 pixels, 3 at most; n_layers: as in patch, for the smallest image."""
        scales = max(1, min(3, min(data.resolution).bit_length() - 4))
        smallest = data.replace(shape=(data.channels, *(side >> (scales - 1) for side in data.resolution)))
        n_layers = PatchDiscriminator.auto(smallest, batch)["n_layers"]
        return {"scales": scales, "n_layers": n_layers}

    def forward(self, images: Tensor, condition: Condition) -> Score:
        x = torch.cat([condition["source"], images], 1) if self.conditional else images
        scores = []
        for i, scale in enumerate(self.scales):
            x = F.avg_pool2d(x, 3, 2, 1, count_include_pad=False) if i else x
            scores.append(scale(x, {}))
        return Score(tuple(score.logits for score in scores), tuple(f for score in scores for f in score.features))
