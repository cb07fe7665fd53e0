"""The figures against torch-fidelity's on the same vectors, against a plain float64 computation, and the whole path."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from ganzoo.interfaces import Sampled
from ganzoo.metrics import frechet, kernel, neighbours, scores
from ganzoo.plugin import DataSpec

DATA = DataSpec("image", (3, 8, 8))
TO = 1e-4  # relative


def vectors(n: int, width: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> torch.Tensor:
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).standard_normal((width, width)) / width**0.5
    return torch.from_numpy((random.standard_normal((n, width)) @ mixing * scale + shift).astype(np.float32))


SIDES = {
    "more samples than dimensions": (vectors(300, 24, 0), vectors(260, 24, 1, 0.2, 1.3)),
    "fewer samples than dimensions": (vectors(60, 128, 0), vectors(50, 128, 1, 0.1, 0.8)),
}


@pytest.fixture(params=SIDES.values(), ids=SIDES.keys())
def sides(request):
    return request.param


def test_frechet(sides):
    real, fake = sides
    one, other = (fid_features_to_statistics(side.double()) for side in (real, fake))
    theirs = fid_statistics_to_metric(one, other, False)["frechet_inception_distance"]
    assert frechet.Frechet(DATA)(Sampled(real), Sampled(fake)).value == pytest.approx(theirs, rel=TO)


def test_kernel(sides):
    real, fake = (side[:50] for side in sides)
    # Their average over subsets, of one that is the whole.
    theirs = kid_features_to_metric(fake.double(), real.double(), kid_subsets=1, kid_subset_size=50, verbose=False)
    ours = kernel.Kernel(DATA)(Sampled(real), Sampled(fake))
    assert ours.value == pytest.approx(theirs["kernel_inception_distance_mean"], rel=TO)


def test_kernel_s_error_is_the_jackknife_s():
    real, fake = SIDES["more samples than dimensions"][0][:30], SIDES["more samples than dimensions"][1][:25]

    def mmd(x, y):
        k = lambda a, b: ((a.double() @ b.double().T) / a.shape[1] + 1) ** 3  # noqa: E731
        off = lambda m: (m.sum() - m.diagonal().sum()) / (len(m) * (len(m) - 1))  # noqa: E731
        return float(off(k(x, x)) + off(k(y, y)) - 2 * k(x, y).mean())

    def without(side, i):
        return torch.cat([side[:i], side[i + 1 :]])

    by_real = np.array([mmd(without(real, i), fake) for i in range(30)])
    by_fake = np.array([mmd(real, without(fake, i)) for i in range(25)])
    variance = 29 * by_real.var() + 24 * by_fake.var()
    said = kernel.Kernel(DATA)(Sampled(real), Sampled(fake))
    assert said.value == pytest.approx(mmd(real, fake), rel=1e-9)
    assert said.error == pytest.approx(variance**0.5, rel=1e-6)


def test_precision_and_recall(sides):
    real, fake = sides
    theirs = prc_features_to_metric(fake.double(), real.double(), prc_neighborhood=3, verbose=False)
    assert neighbours.Precision(DATA)(Sampled(real), Sampled(fake)).value == pytest.approx(theirs["precision"], rel=TO)
    assert neighbours.Recall(DATA)(Sampled(real), Sampled(fake)).value == pytest.approx(theirs["recall"], rel=TO)
    assert 0 < theirs["precision"] + theirs["recall"] < 2, "the samples tell nothing"


@pytest.mark.parametrize("k", [3, 5])
def test_density_and_coverage(sides, k):
    real, fake = (side.double().numpy() for side in sides)
    among = np.sqrt(((real[:, None] - real[None]) ** 2).sum(2))
    radius = np.sort(among, 1)[:, k]  # the first is itself
    across = np.sqrt(((real[:, None] - fake[None]) ** 2).sum(2))
    density = (across < radius[:, None]).sum() / (k * len(fake))
    coverage = (across.min(1) < radius).mean()
    pair = (Sampled(sides[0]), Sampled(sides[1]))
    assert neighbours.Density(DATA, k=k)(*pair).value == pytest.approx(density, rel=TO)
    assert neighbours.Coverage(DATA, k=k)(*pair).value == pytest.approx(coverage, rel=TO)


@pytest.mark.parametrize("splits", [1, 10])
def test_inception_score(splits):
    logits = 3 * vectors(200, 24, 5)
    mixed = logits[scores.mixed(logits)]  # the order in which ours are cut into splits
    theirs = isc_features_to_metric(mixed, splits=splits, shuffle=False)
    side = Sampled(torch.empty(0, 0), logits=logits)
    assert scores.InceptionScore(DATA, splits=splits)(side, side).value == pytest.approx(theirs["inception_score_mean"], rel=TO)


def test_inception_score_s_error_is_that_of_new_samples():
    draw = lambda seed: 2 * vectors(400, 12, seed)  # noqa: E731
    metric = scores.InceptionScore(DATA, splits=1)
    found = [metric(*[Sampled(torch.empty(0, 0), logits=draw(seed))] * 2) for seed in range(60)]
    spread = np.std([f.value for f in found], ddof=1)
    assert np.mean([f.error for f in found]) == pytest.approx(spread, rel=0.35)


def test_memorization_and_diversity():
    real, fake = (side.double().numpy() for side in SIDES["more samples than dimensions"])
    apart = lambda a, b: np.sqrt(((a[:, None] - b[None]) ** 2).sum(2))  # noqa: E731
    among, across = apart(real, real), apart(fake, real)
    own = np.sort(among, 1)[:, 1]
    copied = (across.min(1) < own[across.argmin(1)]).mean()
    pair = tuple(Sampled(side) for side in SIDES["more samples than dimensions"])
    said = neighbours.Memorization(DATA)(*pair)
    assert said.value == pytest.approx(copied)
    assert said.details["distance"] == pytest.approx(np.median(across.min(1)) / np.median(own), rel=0.02)  # torch's median
    mean = lambda m: m.sum() / (len(m) * (len(m) - 1))  # noqa: E731
    ratio = mean(apart(fake, fake)) / mean(among)
    assert neighbours.Diversity(DATA)(*pair).value == pytest.approx(ratio, rel=1e-6)


def test_diversity_within_classes():
    labels = torch.arange(40) % 2
    # Class 0 spread twice as far in the fakes, class 1 half as far.
    real = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    fake = torch.where((labels == 0)[:, None], 2 * real + 7, real / 2 - 5)
    said = neighbours.Diversity(DATA.replace(classes=("a", "b")))(Sampled(real, labels), Sampled(fake, labels))
    assert said.value == pytest.approx((2 + 0.5) / 2, rel=1e-5)


def test_class_frechet_is_the_mean_over_classes():
    labels = torch.arange(80) % 2
    data = DATA.replace(classes=("a", "b", "none"))
    real, fake = vectors(80, 4, 0), vectors(80, 4, 1, 0.5)
    each = [frechet.frechet(real[labels == c].double(), fake[labels == c].double()) for c in (0, 1)]
    said = frechet.ClassFrechet(data)(Sampled(real, labels), Sampled(fake, labels))
    assert said.value == pytest.approx(sum(each) / 2)
    assert said.details == pytest.approx({"a": each[0], "b": each[1]})
    assert "none" in said.notes[0]


def test_frechet_of_endless_samples_takes_the_bias_off():
    # Two sets of one distribution: the distance of so few is bias alone, and what is left of it is small.
    real, fake = vectors(20_000, 20, 0), vectors(1000, 20, 1)
    plain = frechet.Frechet(DATA)(Sampled(real), Sampled(fake)).value
    said = frechet.Frechet(DATA, infinity=True)(Sampled(real), Sampled(fake))
    assert plain > 0.01
    assert abs(said.value) < plain / 3
    assert said.error is not None
    assert 0 < said.error < plain
