"""What classifiers say of fakes: the Inception Score (Salimans et al. 2016, arXiv:1606.03498), and their accuracy."""

from __future__ import annotations

from hashlib import sha256

import torch

from ganzoo.interfaces import DataSpec, Measured, Metric, Sampled
from ganzoo.metrics.classifier import Classifier, enough_epochs, right, teach


class InceptionScore(Metric):
    """exp of the mean over fakes of KL(p(y|x) || p(y)), p(y) the mean of the p(y|x): from 1 to the number of classes.

    It looks at no reals: the detail is theirs, of as many. With several splits (the field's is 10) the value is the mean over
    them, each with its own p(y), and depends on how many fakes each has. The error is that of the mean over fakes.

    Options:
        splits: parts that the fakes are cut into
    """

    better = "higher"
    uses = frozenset({"logits"})

    def __init__(self, data: DataSpec, *, splits: int = 10) -> None:
        super().__init__(data)
        if splits < 1:
            raise ValueError(f"splits={splits} must be at least 1")
        self.splits = splits

    def __call__(self, real: Sampled, fake: Sampled) -> Measured:
        assert real.logits is not None
        assert fake.logits is not None
        value, error = self._score(fake.logits)
        of_reals, _ = self._score(real.logits[mixed(real.logits)[: len(fake.logits)]])
        return Measured(value, error, {"of the reals": of_reals})

    def _score(self, logits: torch.Tensor) -> tuple[float, float]:
        if len(logits) < 2 * self.splits:
            raise ValueError(f"splits={self.splits} need at least {2 * self.splits} samples; there are {len(logits)}")
        log_p = logits.double()[mixed(logits)].log_softmax(1)
        scores, errors, n = [], [], len(log_p)
        for i in range(self.splits):
            part = log_p[i * n // self.splits : (i + 1) * n // self.splits]
            divergence = (part.exp() * (part - part.exp().mean(0).log())).sum(1)
            scores.append(divergence.mean().exp())
            errors.append(scores[-1] * divergence.std() / len(part) ** 0.5)
        return float(torch.stack(scores).mean()), float(torch.stack(errors).square().sum().sqrt() / self.splits)


class Accuracy(Metric):
    """How often a classifier that was trained on the reals names the class that a fake was asked for.

    The details: a classifier trained on the fakes and tested on the reals (Ravuri and Vinyals 2019, arXiv:1905.10887, the
    Classification Accuracy Score, there with a ResNet-50), and one trained on nine tenths of the reals and tested on the rest,
    which is what to hold both against. The classifiers are small convolutional networks; images above 32 pixels are reduced.

    Options:
        batches: that a classifier is taught, at least; four times each image if that is more
        seed: of the classifiers
    """

    better = "higher"
    uses = frozenset({"samples", "labels"})

    def __init__(self, data: DataSpec, *, batches: int = 600, seed: int = 0) -> None:
        super().__init__(data)
        self.batches, self.seed = batches, seed

    def __call__(self, real: Sampled, fake: Sampled) -> Measured:
        (reals, theirs), (fakes, mine) = self._ordered(real), self._ordered(fake)
        all_reals, all_fakes = torch.arange(len(reals)), torch.arange(len(fakes))
        held = all_reals % 10 == 0
        value = right(self._taught(reals, theirs, all_reals), fakes, mine, all_fakes)
        reverse = right(self._taught(fakes, mine, all_fakes), reals, theirs, all_reals)
        usual = right(self._taught(reals, theirs, all_reals[~held]), reals, theirs, all_reals[held])
        error = (value * (1 - value) / len(fakes)) ** 0.5
        return Measured(value, error, {"trained on fakes, of reals": reverse, "held-out reals": usual})

    def _taught(self, images: torch.Tensor, labels: torch.Tensor, rows: torch.Tensor) -> Classifier:
        with torch.random.fork_rng(devices=[]):
            network = Classifier(images.shape[1], len(self.data.classes))
        teach(network, images, labels, rows, self.seed, enough_epochs(len(rows), self.batches))
        return network

    def _ordered(self, side: Sampled) -> tuple[torch.Tensor, torch.Tensor]:
        """Samples and labels in an order of their own: batches do not depend on how they come."""
        if side.samples is None or side.labels is None or len(side.samples) < 20:
            raise ValueError("accuracy needs at least 20 labelled images on each side")
        keys = [
            sha256(image.tobytes() + label.tobytes()).digest()
            for image, label in zip(side.samples.numpy(), side.labels.numpy(), strict=True)
        ]
        order = torch.tensor(sorted(range(len(keys)), key=keys.__getitem__))
        return side.samples[order], side.labels[order]


def mixed(rows: torch.Tensor) -> torch.Tensor:
    """A permutation of rows [N, F] that puts the same rows in the same order, whatever order they come in."""
    order = torch.arange(len(rows))
    for column in range(min(3, rows.shape[1]) - 1, -1, -1):
        order = order[rows[order, column].sort(stable=True).indices]
    return order[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))]
