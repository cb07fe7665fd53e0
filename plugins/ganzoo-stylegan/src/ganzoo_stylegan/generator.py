"""The generator of StyleGAN2 (Karras et al. 2020, arXiv:1912.04958): a mapping network, and a synthesis that styles steer."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ganzoo.interfaces import Condition, DataSpec, batch_mean, in_full_precision
from ganzoo_stylegan.layers import GAIN, Fir, Linear, StyledConv, ToImage, rectified, unit_rms
from ganzoo_stylegan.shapes import Width, auto_widths, clipped, number, sizes, widths

DECAY = 0.995  # of the mean w, a training pass (Karras et al. 2020, ADA)


class Mapping(nn.Module):
    """Noise [N, z_dim] and labels to styles w [N, layers, w_dim], one for each layer of the synthesis.

    In training some samples mix two styles, the second from normal noise and the same label, and `mean_w` follows the mean w
    of the batch, of each class by itself where there are labels.
    """

    mean_w: Tensor

    def __init__(self, z_dim: int, w_dim: int, classes: int, embedding: int, depth: int, layers: int, mixing: float) -> None:
        super().__init__()
        self.layers, self.mixing = layers, mixing
        self.embedding = nn.Embedding(classes, embedding) if classes else None
        inputs = z_dim + (embedding if classes else 0)
        self.hidden = nn.ModuleList(
            Linear(inputs if i == 0 else w_dim, w_dim, multiplier=0.01, gain=GAIN) for i in range(depth)
        )
        self.register_buffer("mean_w", torch.zeros((classes, w_dim) if classes else w_dim))

    def forward(self, z: Tensor, condition: Condition) -> Tensor:
        labels = condition["labels"] if self.embedding is not None else None
        w = self.style(z, labels)
        if self.training:
            self._follow(w.detach(), labels)
        styles = w[:, None].expand(-1, self.layers, -1)
        if not (self.training and self.mixing):
            return styles
        other = self.style(torch.randn_like(z), labels)
        cut = torch.randint(1, self.layers, (len(z), 1), device=z.device)
        mixed = torch.rand(len(z), 1, device=z.device) < self.mixing
        late = torch.arange(self.layers, device=z.device) >= cut  # [N, layers]
        return torch.where((mixed & late)[:, :, None], other[:, None], styles)

    def style(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """One w a sample: [N, w_dim]."""
        with in_full_precision(z):
            x = unit_rms(z)
            if self.embedding is not None and labels is not None:
                x = torch.cat([x, unit_rms(self.embedding(labels))], 1)
            for layer in self.hidden:
                x = rectified(layer(x))
            return x

    @torch.no_grad()
    def _follow(self, w: Tensor, labels: Tensor | None) -> None:
        if labels is None:
            self.mean_w.lerp_(batch_mean(w.mean(0)), 1 - DECAY)
            return
        member = (labels[:, None] == torch.arange(len(self.mean_w), device=w.device)).to(w.dtype)  # [N, classes]
        # Products written out: autocast would take a matmul to bf16.
        share, total = batch_mean(member.mean(0)), batch_mean((member[:, :, None] * w[:, None]).mean(0))
        mean = total / share.clamp(min=1e-12)[:, None]
        self.mean_w.lerp_(mean, (1 - DECAY) * (share > 0).to(w.dtype)[:, None])  # a class that is absent keeps its mean


class Synthesis(nn.Module):
    """Styles w [N, layers, w_dim] to images [N, C, H, W]: two layers a resolution, one at the first, and a sum of their images.

    The k-th resolution from 0 has the styles 2k - 1 and 2k; its image has style 2k + 1, the next resolution's first.
    """

    def __init__(self, data: DataSpec, maps: list[int], w_dim: int, noise: bool) -> None:
        super().__init__()
        grid = sizes(data)
        self.layers = 2 * len(grid)
        self.constant = nn.Parameter(torch.randn(maps[0], *grid[0]))
        noisy = [size if noise else None for size in grid]
        self.convs = nn.ModuleList([StyledConv(maps[0], maps[0], w_dim, noise=noisy[0], up=False)])
        for k in range(1, len(grid)):
            self.convs.append(StyledConv(maps[k - 1], maps[k], w_dim, noise=noisy[k], up=True))
            self.convs.append(StyledConv(maps[k], maps[k], w_dim, noise=noisy[k], up=False))
        self.to_image = nn.ModuleList(ToImage(width, data.channels, w_dim) for width in maps)
        self.up = Fir(data.channels, "up", gain=4.0)

    def forward(self, w: Tensor) -> Tensor:
        styles = w.unbind(1)
        x = self.convs[0](self.constant.expand(len(w), -1, -1, -1), styles[0])
        image = self.to_image[0](x, styles[1])
        for k in range(1, len(self.to_image)):
            x = self.convs[2 * k - 1](x, styles[2 * k - 1])
            x = self.convs[2 * k](x, styles[2 * k])
            image = self.up(image) + self.to_image[k](x, styles[2 * k + 1])
        return image


class StyleGenerator(nn.Module):
    """Noise [N, z_dim], normal, to images [N, C, H, W] of the scale of [-1, 1], sides powers of two from 8, square or not.

    StyleGAN2 (Karras et al. 2020, arXiv:1912.04958) with skip connections. No layer bounds the image, as published. Labels: a
    learned embedding beside z in the mapping network. In training each layer draws its noise; in eval mode it is a constant.
    In short trainings on small drawings G fools D with speckles of it, and learns shapes late: hence the rule of "auto".

    Options:
        z_dim: width of the noise; "auto": 4 times the shorter side, between 128 and 512
        w_dim: width of the styles; none: that of the noise
        channels: width of the map of full resolution; each halving doubles it; "auto": 64, or 32768 / side where that is less
        max_channels: the width at which the doubling stops; "auto": twice the shorter side, between 64 and 512
        embedding: width of the class embedding beside z; "auto": an eighth of z_dim, for as wide as z, as published, it makes
            samples of a class alike in short trainings
        mapping_layers: depth of the mapping network
        noise: added to each layer, with a learned strength that starts at 0; "auto": from 256 pixels
        mixing: probability that a sample of a training pass has two styles, the second from a random layer on
    """

    def __init__(
        self,
        data: DataSpec,
        *,
        z_dim: Width = "auto",
        w_dim: int | None = None,
        channels: Width = "auto",
        max_channels: Width = "auto",
        embedding: Width = "auto",
        mapping_layers: int = 2,
        noise: bool | Literal["auto"] = "auto",
        mixing: float = 0.9,
    ) -> None:
        super().__init__()
        if not 0 <= mixing <= 1:
            raise ValueError(f"mixing={mixing} must be a probability, from 0 to 1")
        if noise == "auto":
            raise ValueError("noise='auto' depends on the resolution: take the class's auto(data, batch), or say true or false")
        self.z_dim = number(1, z_dim=z_dim)
        w_dim = self.z_dim if w_dim is None else number(1, w_dim=w_dim)
        depth = number(1, mapping_layers=mapping_layers)
        self.synthesis = Synthesis(data, widths(data, channels, max_channels), w_dim, noise)
        embedding = number(1, embedding=embedding)
        self.mapping = Mapping(self.z_dim, w_dim, len(data.classes), embedding, depth, self.synthesis.layers, mixing)

    @classmethod
    def auto(cls, data: DataSpec, batch: int) -> dict[str, object]:
        """The numbers for options that are "auto"."""
        side = min(data.resolution)
        z_dim = clipped(4 * side, 128)
        return {**auto_widths(data), "z_dim": z_dim, "embedding": z_dim // 8, "noise": side >= 256}

    @property
    def mean_w(self) -> Tensor:
        """The mean style: [w_dim], or [classes, w_dim] where there are labels."""
        return self.mapping.mean_w

    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        return self.synthesis(self.mapping(x, condition))
