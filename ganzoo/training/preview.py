"""What a run shows of its generator: the same latents every time."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ganzoo.interfaces import Batch, Game
from ganzoo.training.ema import settle_batch_norm

_SETTLING = 4  # batches of _CHUNK images for the standing statistics
_CHUNK = 128
_ROWS = 12  # classes at most on a sheet
_RECORDS = 24  # on a sheet, where each has several pictures; in rows of about _ACROSS of those
_ACROSS = 8


class Preview:
    """Fixed inputs for the sheets of samples: a row a class, or as many as make a good picture.

    class_counts  images of each class, empty without classes: the mixture that batch-norm statistics are taken over
    records       of the data, fields as `Sampler.records` gives them: what samples start from where they start from data
    """

    def __init__(
        self,
        game: Game,
        device: torch.device,
        seed: int,
        class_counts: Sequence[int] = (),
        records: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.game, self.device, self.class_counts = game, device, class_counts
        self.records = dict(records or {})
        self.columns, labels = self._layout()
        generator = torch.Generator(device).manual_seed(seed)
        self.settling: list[Batch] = []
        if self.records:
            count, shown = len(self.records["real"]), _RECORDS if game.data.translates else len(labels)
            self.batch = self._of_data(torch.arange(shown) * max(count // shown, 1), generator)
            for i in range(_SETTLING):
                self.settling.append(self._of_data(torch.arange(i * _CHUNK, (i + 1) * _CHUNK), generator))
        elif not game.data.of_records:
            self.batch = self._inputs(len(labels), generator, torch.tensor(labels) if class_counts else None)
            self.settling = [self._inputs(_CHUNK, generator) for _ in range(_SETTLING)]

    def _layout(self) -> tuple[int, list[int]]:
        if not self.class_counts:
            n = 64 if len(self.game.data.shape) == 3 else 8 if self.game.data.modality == "signal" else 4096
            return 8, [0] * n
        columns = 16 if len(self.game.data.shape) == 3 else 8 if self.game.data.modality == "signal" else 256
        k = len(self.class_counts)
        rows = sorted({round(i * (k - 1) / max(1, min(k, _ROWS) - 1)) for i in range(min(k, _ROWS))})
        return min(columns, 16), [row for row in rows for _ in range(columns)]

    def _inputs(self, n: int, generator: torch.Generator, labels: Tensor | None = None) -> Batch:
        batch: Batch = {"real": torch.zeros(1, device=self.device).expand(n, *self.game.data.shape)}
        if self.class_counts:
            if labels is None:
                weights = torch.tensor(self.class_counts, dtype=torch.float, device=self.device)
                labels = torch.multinomial(weights, n, replacement=True, generator=generator)
            batch["labels"] = labels.to(self.device)
        return self.game.draw(batch, generator)

    def _of_data(self, rows: Tensor, generator: torch.Generator) -> Batch:
        rows = rows % len(self.records["real"])
        return self.game.draw({name: field[rows.to(field.device)] for name, field in self.records.items()}, generator)

    def settled(self, network: nn.Module) -> nn.Module:
        """A copy of the averaged generator with batch-norm statistics of its own. Touches no random state.

        Without the data that its samples start from, those that it was trained with stay.
        """
        network = copy.deepcopy(network)
        with guarded(self.device):
            if self.settling:
                settle_batch_norm(network, lambda i: self.game.settle(network, self.settling[i]), range(len(self.settling)))
        return network.eval()

    @torch.no_grad()
    def samples(self, network: nn.Module) -> tuple[Tensor, int]:
        """[N, *shape] on the CPU, rows of classes in order or of a record's pictures; and how many make a row."""
        network = self.settled(network)
        chunks, wide = [], 1
        with guarded(self.device):
            for begin in range(0, len(self.batch["real"]), _CHUNK):
                part = {name: value[begin : begin + _CHUNK] for name, value in self.batch.items()}
                pictures = self.game.show(network, part)
                wide = len(pictures)
                chunks.append(beside(pictures).float().cpu())
        return torch.cat(chunks), self.columns if wide == 1 else wide * max(1, round(_ACROSS / wide))


def beside(pictures: Sequence[Tensor]) -> Tensor:
    """The k pictures of each record one after the other: [N k, *shape], images enlarged and coloured as the largest is."""
    if pictures[0].dim() == 4:
        channels, height, width = (max(picture.shape[i] for picture in pictures) for i in (1, 2, 3))
        pictures = [nn.functional.interpolate(p.float(), size=(height, width)).expand(-1, channels, -1, -1) for p in pictures]
    return torch.stack(list(pictures), 1).flatten(0, 1)


class guarded:
    """Layers that draw (dropout, style noise) draw the same here each time; the training's own random state stays."""

    def __init__(self, device: torch.device, seed: int = 0) -> None:
        self._fork = torch.random.fork_rng(devices=[device] if device.type == "cuda" else [], enabled=True)
        self._seed = seed

    def __enter__(self) -> None:
        self._fork.__enter__()
        torch.manual_seed(self._seed)

    def __exit__(self, *args: object) -> None:
        self._fork.__exit__(*args)
