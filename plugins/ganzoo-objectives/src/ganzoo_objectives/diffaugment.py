"""Differentiable augmentation of everything that D sees (Zhao et al. 2020), always on."""

from __future__ import annotations

import torch
from torch import Tensor

from ganzoo.interfaces import Augment, DataSpec


class DiffAugment(Augment):
    """Colour, translation and cutout, in this order, drawn anew for each image and each pass.

    Images [N, C, H, W] in [-1, 1]; one draw of each transform per image, uniform in its range; no probability. Colour is an
    affine map of the image, the mean over its channels and its mean, so values may leave [-1, 1]. With one channel,
    saturation changes nothing.

    Options:
        color: strength of brightness (+ U(-0.5, 0.5) at 1), saturation (times U(0, 2) about the mean of the channels) and
            contrast (times U(0.5, 1.5) about the mean of the image); 0 for none, at most 1
        translation: largest shift as a share of each side; 0 for none
        cutout: side of the square that is blanked, as a share of each side; 0 for none
        fill: the value that shift and cutout leave behind; 0 is grey, and on data with a white background visible
    """

    def __init__(
        self, data: DataSpec, *, color: float = 1.0, translation: float = 0.125, cutout: float = 0.5, fill: float = 0.0
    ) -> None:
        super().__init__(data)
        for name, value in (("color", color), ("translation", translation), ("cutout", cutout)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name}={value} must lie in 0..1")
        self.color, self.translation, self.cutout, self.fill = color, translation, cutout, fill

    def forward(self, images: Tensor) -> Tensor:
        if self.color:
            images = self._recolour(images)
        if not self.translation and not self.cutout:
            return images
        n, _, height, width = images.shape
        rows, columns = (torch.arange(side, device=images.device).expand(n, side) for side in (height, width))
        keep = torch.ones(n, height, width, dtype=torch.bool, device=images.device)
        if self.cutout:
            keep &= ~(self._band(rows)[:, :, None] & self._band(columns)[:, None, :])
        if self.translation:
            rows, columns = self._shifted(rows), self._shifted(columns)
            keep &= ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
            images = take(images, rows.clamp(0, height - 1), columns.clamp(0, width - 1))
        return torch.where(keep[:, None], images, self.fill)

    def _recolour(self, images: Tensor) -> Tensor:
        """contrast(saturation(brightness(images))), expanded: the three share their means, so this costs one pass."""
        draw = torch.rand(3, len(images), 1, 1, 1, device=images.device, dtype=images.dtype) * 2 - 1
        brightness, saturation, contrast = self.color * draw[0] / 2, 1 + self.color * draw[1], 1 + self.color * draw[2] / 2
        grey = images.mean(1, keepdim=True)  # [N, 1, H, W]
        mean = grey.mean((2, 3), keepdim=True)  # [N, 1, 1, 1]
        rest = contrast * (1 - saturation) * grey + (1 - contrast) * mean + brightness
        return torch.addcmul(rest, contrast * saturation, images)

    def _shifted(self, places: Tensor) -> Tensor:
        """[N, side]: the place that each one is taken from; it may lie outside."""
        n, side = places.shape
        reach = int(side * self.translation + 0.5)
        return places - torch.randint(-reach, reach + 1, (n, 1), device=places.device)

    def _band(self, places: Tensor) -> Tensor:
        """[N, side] bool: a run of places whose centre may be any; at the border a part of it is cut off."""
        n, side = places.shape
        length = int(side * self.cutout + 0.5)
        start = torch.randint(0, side + (1 - length % 2), (n, 1), device=places.device) - length // 2
        return (places >= start) & (places < start + length)


def take(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """images[n, c, rows[n, i], columns[n, j]] as [N, C, H, W].

    One gather over flat places was measured two to six times as fast as two gathers or as indexing; grid_sample had no second
    derivative for long.
    """
    n, channels, height, width = images.shape
    places = (rows[:, :, None] * width + columns[:, None, :]).reshape(n, 1, height * width)
    return images.flatten(2).gather(2, places.expand(n, channels, -1)).view(n, channels, height, width)
