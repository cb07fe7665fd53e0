"""What a sheet of samples shows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ganzoo.games.adversarial import Adversarial
from ganzoo.games.match import Parts
from ganzoo.interfaces import Batch, DataSpec, Loss
from ganzoo.training.preview import Preview, beside

CPU = torch.device("cpu")


class Negative(nn.Module):
    """A translator that enlarges to twice the size: the negative; with the first number of the text where there is one."""

    def __init__(self, data: DataSpec) -> None:
        super().__init__()
        self.z_dim = 2

    def forward(self, x: Tensor, condition: Any) -> Tensor:
        if "text" in condition:
            return condition["text"][:, :1, None, None].expand(-1, 1, 4, 4)
        return -x.repeat_interleave(2, 2).repeat_interleave(2, 3).mean(1, keepdim=True)


def preview(data: DataSpec, records: Batch | None) -> tuple[Tensor, int]:
    game = Adversarial(data, Parts(Negative, lambda spec: nn.Flatten(), Loss))
    return Preview(game, CPU, 0, (), records).samples(game.players["G"])


def test_source_sample_and_truth_stand_side_by_side() -> None:
    data = DataSpec("image", (1, 4, 4), source=DataSpec("image", (3, 2, 2)))
    source, real = torch.rand(48, 3, 2, 2), torch.rand(48, 1, 4, 4)
    samples, columns = preview(data, {"real": real, "source": source})
    assert columns == 9
    rows = samples.unflatten(0, (24, 3))
    for i in (0, 1, 23):  # of all the data: every second record
        large = source[2 * i].repeat_interleave(2, 1).repeat_interleave(2, 2)
        assert torch.equal(rows[i, 0], large)
        assert torch.allclose(rows[i, 1], -large.mean(0, keepdim=True).expand(3, -1, -1))
        assert torch.equal(rows[i, 2], real[2 * i].expand(3, -1, -1))


def test_samples_of_texts() -> None:
    data = DataSpec("image", (1, 4, 4), text=5)
    text = torch.arange(640.0).reshape(128, 5)
    samples, columns = preview(data, {"real": torch.zeros(128, 1, 4, 4), "text": text})
    assert (len(samples), columns) == (64, 8)
    assert samples[:, 0, 0, 0].tolist() == text[::2, 0].tolist()


def test_without_the_data_a_translator_keeps_its_statistics() -> None:
    data = DataSpec("image", (1, 4, 4), source=DataSpec("image", (1, 2, 2)))
    game = Adversarial(data, Parts(Negative, lambda spec: nn.Flatten(), Loss))
    network = nn.Sequential(nn.BatchNorm2d(1))
    network[0].running_mean.fill_(7)
    settled = Preview(game, CPU, 0).settled(network)
    assert settled is not network
    assert not settled.training
    assert settled[0].running_mean.item() == 7


def test_pictures_of_unlike_sizes_are_brought_to_the_largest() -> None:
    small, grey = torch.rand(2, 3, 2, 2), torch.rand(2, 1, 4, 4)
    both = beside((small, grey))
    assert both.shape == (4, 3, 4, 4)
    assert torch.equal(both[2], small[1].repeat_interleave(2, 1).repeat_interleave(2, 2))
    assert torch.equal(both[3], grey[1].expand(3, -1, -1))
    points = torch.rand(3, 2)
    assert torch.equal(beside((points,)), points)
