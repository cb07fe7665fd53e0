"""CycleGAN (Zhu et al. 2017): two translators, there and back, and what ties them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ganzoo.games.match import Match
from ganzoo.interfaces import Batch, DataSpec, Game, Parts, Phase, Play, Regularizer

THERE, BACK = "there", "back"  # source to real, and real to source


class Cycle(Game):
    """Two generators and two discriminators on images of two kinds that need not be pairs: G learns first, then D.

    Zhu et al. 2017 (arXiv:1703.10593). Each direction is a match with its own loss, regularizers and augmentation; no
    discriminator sees the source. A sum over both directions is what each player minimises; the log shows their mean.
    """

    def __init__(self, data: DataSpec, parts: Parts) -> None:
        super().__init__(data)
        if data.source is None:
            raise ValueError("the game needs images of two kinds: --data unpaired:source=DIR,target=DIR")
        there, back = data.replace(classes=()), data.source.replace(source=data.replace(source=None, classes=()))
        self._specs, matches = {THERE: there, BACK: back}, {}
        for name, spec in self._specs.items():
            matches[name] = parts.match(parts.generator(spec, name), spec.replace(source=None), name)
        matches[THERE].pair_with(matches[BACK])
        self.players["G"] = nn.ModuleDict({name: match.gen for name, match in matches.items()})
        self.players["D"] = nn.ModuleDict({name: match.disc for name, match in matches.items()})
        self.matches.extend(matches.values())
        self.z_dim = 0

    def phases(self) -> list[Phase]:
        first: Match = self.matches[0]  # both have the same regularizers, so the same phases
        return first.phases("G") + first.phases("D")

    def draw(self, batch: Batch, generator: torch.Generator) -> Batch:
        return {**batch, "x": batch["source"]}

    def losses(self, phase: Phase, batch: Batch, nimg: int) -> Iterator[tuple[str, Tensor]]:
        sides = {THERE: {"real": batch["real"], "x": batch["x"]}, BACK: {"real": batch["x"], "x": batch["real"]}}
        seen: list[dict[str, Tensor]] = []
        for match, (name, side) in zip(self.matches, sides.items(), strict=True):
            seen.append({})
            for term, value in match.losses(phase, side, nimg, seen[-1]):  # type: ignore[operator]
                yield f"{term} {name}", value
        self.stats.update({key: (value + seen[1][key]) / 2 for key, value in seen[0].items()})

    def generate(self, generator: nn.Module, batch: Batch) -> Tensor:
        return generator[THERE](batch["x"], {})  # type: ignore[index]

    def show(self, generator: nn.Module, batch: Batch) -> tuple[Tensor, ...]:
        """The source, what it becomes, the way back from there; an image of the data, and what that becomes."""
        there, back = generator[THERE], generator[BACK]  # type: ignore[index]
        x, real = batch["x"], batch["real"]
        made = there(x, {})
        return x, made, back(made, {}), real, back(real, {})

    def settle(self, generator: nn.Module, batch: Batch) -> None:
        generator[THERE](batch["x"], {})  # type: ignore[index]
        generator[BACK](batch["real"], {})  # type: ignore[index]

    def made_by(self, generator: nn.Module, to: str | None = None) -> tuple[nn.Module, DataSpec]:
        name = {None: THERE, "B": THERE, "A": BACK}.get(to)
        if name is None:
            raise ValueError(f"--to {to}: it makes B, what the data hold, and A, their source")
        return generator[name], self._specs[name]  # type: ignore[index]


class CycleConsistency(Regularizer):
    """weight * |F(G(x)) - x|, the mean over pixels: there and back again is where it began (section 3.2, equation 2).

    Options:
        weight: of the penalty, in each direction
    """

    players = frozenset({"G"})

    def __init__(self, data: DataSpec, *, weight: float = 10.0) -> None:
        super().__init__(data)
        self.weight = weight

    def forward(self, play: Play) -> Tensor:
        returned = play.match.reverse.gen(play.fake, play.condition)
        return self.weight * (returned.float() - play.x).abs().flatten(1).mean(1)  # [N]


class Identity(Regularizer):
    """weight * |G(y) - y|, the mean over pixels: what is of the target's kind already stays (section 5.2).

    Among several domains: what is asked to become what it is stays (Kameoka et al. 2018, arXiv:1806.02169, section 3.3).

    Options:
        weight: of the penalty, in each direction; the paper: half of the cycle's
    """

    players = frozenset({"G"})

    def __init__(self, data: DataSpec, *, weight: float = 5.0) -> None:
        super().__init__(data)
        if data.source is not None and data.source.shape != data.shape:
            raise ValueError(f"identity needs images of one shape: {list(data.source.shape)} become {list(data.shape)}")
        self.weight = weight

    def forward(self, play: Play) -> Tensor:
        return self.weight * (play.gen(play.real, play.real_condition).float() - play.real).abs().flatten(1).mean(1)  # [N]


class ImagePool(Regularizer):
    """D sees fakes of some time ago beside new ones (Shrivastava et al. 2017, arXiv:1612.07828, section 2.3).

    Until the pool is full an image is stored and shown; then for each image, with probability 1/2, a stored one is shown and
    the new one takes its place. G's phase sees its own fakes. Images alone are kept: D is to see nothing beside them.

    Options:
        size: images kept
    """

    swaps = True

    pool: Tensor
    count: Tensor

    def __init__(self, data: DataSpec, *, size: int = 50) -> None:
        super().__init__(data)
        if size < 1:
            raise ValueError(f"size={size} must be at least 1")
        for given, kind in ((data.source, "source image"), (data.text, "caption")):  # labels are refused before
            if given:
                raise ValueError(f"earlier fakes were not made of the {kind} that D may see beside them: leave image-pool out")
        self.size = size
        self.register_buffer("pool", torch.zeros(size, *data.shape))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def show(self, images: Tensor, play: Play, real: bool | None) -> Tensor:
        if play.player != "D" or real is not False:
            return images
        shown = []
        for image in images.detach().to(self.pool.dtype):  # one after the other: an image may meet one of its own batch
            filling = self.count < self.size
            place = torch.where(filling, self.count, torch.randint(self.size, (), device=image.device)).clamp(max=self.size - 1)
            swap = filling | (torch.rand((), device=image.device) < 0.5)
            stored = self.pool.index_select(0, place[None])[0]
            shown.append(torch.where(filling | ~swap, image, stored))
            self.pool.index_copy_(0, place[None], torch.where(swap, image, stored)[None])
            self.count.add_(1).clamp_(max=self.size)
        return torch.stack(shown).to(images.dtype)
