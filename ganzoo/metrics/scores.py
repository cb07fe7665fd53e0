"""What a classifier says of fakes: the Inception Score (Salimans et al. 2016, arXiv:1606.03498)."""

from __future__ import annotations

import torch

from ganzoo.interfaces import DataSpec, Measured, Metric, Sampled


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


def mixed(rows: torch.Tensor) -> torch.Tensor:
    """A permutation of rows [N, F] that puts the same rows in the same order, whatever order they come in."""
    order = torch.arange(len(rows))
    for column in range(min(3, rows.shape[1]) - 1, -1, -1):
        order = order[rows[order, column].sort(stable=True).indices]
    return order[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))]
