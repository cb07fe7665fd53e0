"""Packs of samples judged together (Lin et al. 2018, PacGAN)."""

from __future__ import annotations

from torch import Tensor

from ganzoo.interfaces import DataSpec, Play, Regularizer


class Packing(Regularizer):
    """D sees m consecutive samples stacked on channels, all real or all fake, and gives one logit a pack.

    [N, C, ...] becomes [N/m, m C, ...], after the augmentation of each sample. D sees no captions and no source images. The
    paper counts packs: its batch of 100 is a batch of 100 m samples here.

    Options:
        m: samples in a pack; the paper has 2 to 4
    """

    def __init__(self, data: DataSpec, *, m: int = 2) -> None:
        super().__init__(data)
        if m < 2:
            raise ValueError(f"m={m} must be at least 2: a pack of one is no pack")
        self.m = m

    def data(self, spec: DataSpec) -> DataSpec:
        # A pack has no caption and no source image of its own.
        return spec.replace(shape=(self.m * spec.channels, *spec.resolution), text=0, source=None)

    def show(self, images: Tensor, play: Play, real: bool | None) -> Tensor:
        n, channels, *places = images.shape
        if n % self.m:
            raise ValueError(
                f"packing: {n} samples are no whole packs of {self.m}; make --batch and --micro-batch multiples of it"
            )
        return images.reshape(n // self.m, self.m * channels, *places)
