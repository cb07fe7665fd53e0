"""A discriminator of images."""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from ganzoo.interfaces import Condition, DataSpec, Score


def block(inputs: int, outputs: int) -> nn.Module:
    """[N, inputs, H, W] to [N, outputs, H / 2, W / 2]. Replace this: it is where your idea goes."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 4, 2, 1), nn.LeakyReLU(0.2))


class Mine(nn.Module):
    """Images [N, C, H, W], sides powers of two from 8, to logits [N]; of their class where the data have classes.

    Options:
        channels: width of the largest map; each smaller one is twice as wide, up to 256
    """

    def __init__(self, data: DataSpec, *, channels: int = 32) -> None:
        super().__init__()
        halvings = min(data.resolution).bit_length() - 3  # down to 4 on the shorter side
        widths = [data.channels, *(min(256, channels << i) for i in range(halvings))]
        self.blocks = nn.Sequential(*(block(a, b) for a, b in itertools.pairwise(widths)))
        features = widths[-1] * (data.resolution[0] >> halvings) * (data.resolution[1] >> halvings)
        self.embedding = nn.Embedding(len(data.classes), features) if data.classes else None
        self.head = nn.Linear(features, 1)  # the last layer, called once: what minibatch discrimination and its like need

    def forward(self, images: Tensor, condition: Condition) -> Score:
        features = self.blocks(images).flatten(1)
        if self.embedding is not None:
            features = features * (1 + self.embedding(condition["labels"]))
        return Score(self.head(features).squeeze(1), features=(features,))
