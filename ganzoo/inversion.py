"""The networks of f-AnoGAN: an encoder, and the generator and discriminator of a run, frozen. What they say of an image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganzoo import loading
from ganzoo.assembly import Plan
from ganzoo.errors import RunError, UsageError
from ganzoo.interfaces import Condition, Score
from ganzoo.plugin import DataSpec
from ganzoo.runs import Run
from ganzoo.training import checkpoint


class Encoder(nn.Module):
    """Images [N, C, H, W], sides from 8, to noise [N, z_dim]: DCGAN's discriminator with another last layer.

    Convolutions of stride 2 with batch norm (not the first) and leaky ReLU 0.2 down to a map with 4 to 7 on its shorter side,
    then a linear layer, and tanh where the prior is uniform on (-1, 1).
    """

    def __init__(self, data: DataSpec, z_dim: int, prior: str, channels: int = 64) -> None:
        super().__init__()
        halvings = int(math.log2(min(data.resolution))) - 2
        widths = [data.channels, *(min(channels << i, 512) for i in range(halvings))]
        self.convolutions = nn.ModuleList(nn.Conv2d(inputs, outputs, 4, 2, 1) for inputs, outputs in pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) if i else nn.Identity() for i, width in enumerate(widths[1:]))
        self.last = nn.Linear(widths[-1] * math.prod(side >> halvings for side in data.resolution), z_dim)
        self.uniform = prior == "uniform"

    def forward(self, images: Tensor) -> Tensor:
        x = images
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.leaky_relu(norm(convolution(x)), 0.2)
        z = self.last(x.flatten(1))
        return z.tanh() if self.uniform else z


@dataclass(slots=True)
class Scores:
    """What is said of images [N, C, H, W].

    residual  [N] mean square of x - G(E(x)); features: of h(x) - h(G(E(x))); score: residual + k features
    made      [N, C, H, W] G(E(x)), and label [N] the class that it was made of, where G has classes
    """

    residual: Tensor
    features: Tensor
    score: Tensor
    made: Tensor
    label: Tensor | None = None

    def fields(self) -> tuple[Tensor | None, ...]:
        return self.residual, self.features, self.score, self.made, self.label


def check(run: Run, plan: Plan) -> None:
    """Raises UsageError unless the run's generator makes images from noise (and, it may be, classes)."""
    if plan.data.modality != "image" or min(plan.data.resolution) < 8:
        raise UsageError(
            f"{run.path} makes {plan.data.modality} data of {list(plan.data.shape)}: images from 8x8 can be scored"
        )
    if plan.data.source is not None or plan.data.text:
        what = "another image" if plan.data.source is not None else "a text"
        raise UsageError(f"{run.path} makes images from {what}: anomalies are scored by a generator that eats noise alone")


class Frozen:
    """The averaged generator and the discriminator of a checkpoint, in eval mode, which nothing changes any more."""

    def __init__(self, run: Run, saved: checkpoint.Checkpoint, device: torch.device) -> None:
        plan = loading.plan_of(run)
        check(run, plan)
        self.data, self.device = plan.data, device
        game = plan.build().to(device)
        try:
            game.players.load_state_dict(saved.tensors("players"))
        except RuntimeError as err:
            first = " ".join(str(err).split("\n")[:2])
            raise RunError(f"{saved.path}: its networks are others than run.toml describes: {first}") from None
        self.generator = loading.averaged(game, saved, loading.class_counts(run), device)
        self.z_dim, self.prior = getattr(game, "z_dim", 0), getattr(game, "prior", "normal")
        if not self.z_dim:
            raise UsageError(
                f"{run.path}: the generator of its {plan.chosen['game']} eats no noise, so nothing can be searched"
            )
        game.players.requires_grad_(False).eval()
        self._match = game.matches[0]
        # D may judge groups (minibatch stddev, packs): each image is then a group of its own copies, alone with itself.
        self._group = math.lcm(*(part.min_group() for part in plan.chosen.values()))

    def generate(self, z: Tensor, labels: Tensor | None) -> Tensor:
        return self.generator(z, _condition(labels))

    def look(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """[N, F]: D's deepest features of each image, whatever images stand beside it; of a D without features its logits."""
        shown = images.repeat_interleave(self._group, 0)
        for reg in self._match.shows_after:
            shown = reg.show(shown, None, None)
        times = len(shown) // len(images)
        said = self._match.disc(shown, _condition(None if labels is None else labels.repeat_interleave(times)))
        score = said if isinstance(said, Score) else Score(said)
        logits = score.logits if isinstance(score.logits, tuple) else (score.logits,)
        parts = score.features[-1:] or logits
        rows = [part.flatten(1) if part.ndim > 1 else part[:, None] for part in parts]
        return torch.cat([row[:: len(row) // len(images)] for row in rows], 1)


def _condition(labels: Tensor | None) -> Condition:
    return {} if labels is None else {"labels": labels}


def compare(frozen: Frozen, z: Tensor, images: Tensor, labels: Tensor | None, k: float) -> Scores:
    """The scores of images [N, C, H, W] in [-1, 1] as made of z = E(x) [N, z_dim] and classes [N], differentiable in z."""
    made = frozen.generate(z, labels)
    residual = (images - made).square().flatten(1).mean(1)
    if k:
        features = (frozen.look(images, labels) - frozen.look(made, labels)).square().mean(1)
    else:
        features = torch.zeros_like(residual)
    return Scores(residual, features, residual + k * features, made, labels)
