"""A small classifier of a data set's own classes, trained once and kept in the cache."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F

from ganzoo.data.cache import materialise, wait_for
from ganzoo.data.dataset import Dataset
from ganzoo.data.hashing import cache_dir, digest, digest_of_labels
from ganzoo.data.splits import chosen
from ganzoo.errors import RunError, UsageError
from ganzoo.runs import write_atomically

_FORMAT = 1
_SIDE = 32  # larger images are reduced to it
_BATCH, _LR = 128, 2e-3
_AT_ONCE = 1000  # images judged at once

Progress = Callable[[int, int], None]  # batches done, batches in all


class Classifier(nn.Module):
    """Images [N, C, H, W], uint8 or floats in [-1, 1], to logits [N, K]; frozen, in eval mode, differentiable in the images.

    accuracy  on the held-out records
    width     of `vectors`
    """

    width = 128

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in ((channels, 32), (32, 64), (64, 128)):
            layers += [nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.hidden = nn.Linear(128 * 16, self.width)
        self.head = nn.Linear(self.width, classes)
        self.register_buffer("held_out_accuracy", torch.zeros(()))

    @property
    def accuracy(self) -> float:
        return float(self.held_out_accuracy)

    def vectors(self, images: Tensor) -> Tensor:
        """[N, 128], from 0: what the last layer sees."""
        x = images.float() / 127.5 - 1 if images.dtype == torch.uint8 else images
        if max(x.shape[2:]) > _SIDE:
            x = F.interpolate(x, (min(x.shape[2], _SIDE), min(x.shape[3], _SIDE)), mode="area")
        return self.hidden(self.layers(x)).relu()

    def forward(self, images: Tensor) -> Tensor:
        return self.head(F.dropout(self.vectors(images), 0.5, self.training))


@torch.inference_mode(False)  # whoever counts samples has no use for gradients: here they are needed
@torch.enable_grad()
def trained_classifier(
    dataset: Dataset,
    *,
    held_out: float = 0.1,
    seed: int = 0,
    epochs: int = 4,
    cache: bool = True,
    progress: Progress | None = None,
) -> Classifier:
    """A classifier of `dataset`'s classes, on the CPU: from the cache, else trained there (a minute for 60,000 small images).

    held_out  share of the records, chosen by their names, that it is not trained on; they tell its accuracy
    cache     look for it among earlier ones, by the data set's fingerprint, and keep it; two processes train it once
    Draws from no global random state. Raises UsageError for data without classes or other than images, DataError for data that
    cannot be read.
    """
    spec = dataset.spec
    if spec.modality != "image" or len(spec.classes) < 2 or dataset.labels is None:
        raise UsageError("a classifier learns from images of at least two classes; these data have none: give them labels")
    if not 0 < held_out < 1 or epochs < 1:
        raise UsageError(f"held_out={held_out} must be a share above 0 and below 1, epochs={epochs} at least 1")
    with torch.random.fork_rng(devices=[]):
        blank = Classifier(spec.channels, len(spec.classes))
    if not cache:
        return _train(blank, dataset, held_out, seed, epochs, progress)
    labels = digest_of_labels(np.asarray(dataset.labels))
    key = digest(_FORMAT, dataset.fingerprint(), spec.to_dict(), labels, held_out, seed, epochs)
    place = cache_dir() / "classifiers" / f"{key}.safetensors"
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # where the cache cannot be written, it is trained each time
            place.parent.mkdir(parents=True, exist_ok=True)
            wait_for(stack.enter_context(place.with_suffix(".lock").open("ab")))
        with contextlib.suppress(OSError, SafetensorError, RuntimeError):  # not there, or damaged
            blank.load_state_dict(safetensors.torch.load_file(place))
            return _frozen(blank)
        trained = _train(blank, dataset, held_out, seed, epochs, progress)
        with contextlib.suppress(RunError):
            write_atomically(place, safetensors.torch.save(trained.state_dict()))
        return trained


def _train(
    network: Classifier, dataset: Dataset, held_out: float, seed: int, epochs: int, progress: Progress | None
) -> Classifier:
    store = materialise(dataset)
    images, labels = torch.from_numpy(np.array(store.fields["real"])), torch.from_numpy(np.array(store.labels, np.int64))
    teach(network, images, labels, torch.tensor(chosen(store.names, "train", held_out)), seed, epochs, progress)
    try:
        kept = torch.tensor(chosen(store.names, "held-out", held_out))
    except UsageError:  # of a dozen images none may be held out
        network.held_out_accuracy.fill_(math.nan)
    else:
        network.held_out_accuracy.fill_(right(network, images, labels, kept))
    return network


def enough_epochs(records: int, batches: int = 600) -> int:
    """Four, or as many as make so many batches."""
    return max(4, -(-batches * _BATCH // records))


def teach(
    network: Classifier,
    images: Tensor,
    labels: Tensor,
    taught: Tensor,
    seed: int,
    epochs: int,
    progress: Progress | None = None,
) -> None:
    """Adam with a linear warm-up and decay, on these rows of uint8 images as they are; frozen afterwards."""
    total = epochs * -(-len(taught) // _BATCH)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # the CPU's alone: a training on a GPU draws on undisturbed
        network.apply(lambda m: m.reset_parameters() if hasattr(m, "reset_parameters") else None)
        network.to(memory_format=torch.channels_last).train()
        optimizer = torch.optim.Adam(network.parameters(), _LR)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LR, total, pct_start=0.2, anneal_strategy="linear")
        done = 0
        for _ in range(epochs):
            for rows in taught[torch.randperm(len(taught))].split(_BATCH):
                optimizer.zero_grad()
                F.cross_entropy(network(images[rows]), labels[rows]).backward()
                optimizer.step()
                schedule.step()
                done += 1
                if progress is not None:
                    progress(done, total)
    _frozen(network)


@torch.no_grad()
def right(network: Classifier, images: Tensor, labels: Tensor, rows: Tensor) -> float:
    """The share of these rows that it names rightly."""
    return float(torch.cat([network(images[part]).argmax(1) == labels[part] for part in rows.split(_AT_ONCE)]).float().mean())


def _frozen(network: Classifier) -> Classifier:
    return network.to(memory_format=torch.contiguous_format).requires_grad_(False).eval()
