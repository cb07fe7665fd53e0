"""What a feature network sees of samples, the same way for reals and fakes; the reals' vectors are kept."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn import functional as F

from ganzoo.data.hashing import cache_dir, digest
from ganzoo.errors import RunError
from ganzoo.interfaces import Features
from ganzoo.runs import write_atomically

RESIZE = "bicubic, antialiased, of 8 bits a channel"
_FORMAT = 2  # of the kept vectors, and of how images are shown
_BATCH = 32
Vectors = dict[str, Tensor]  # "features" [N, F] and, of a network that classifies, "logits" [N, K]


@dataclass(slots=True)
class Look:
    """A network on a device, and how it is shown images.

    Images are rounded to the 256 levels that a file holds, then resized in floating point by a cubic filter that is as wide as
    what becomes one pixel (Parmar et al. 2022, arXiv:2104.11222: without it Frechet distances of small images mislead).
    """

    network: Features
    size: int | None
    logits: bool
    device: torch.device
    hash: str = field(init=False)

    def __post_init__(self) -> None:
        self.network.to(self.device)
        self.hash = self._hash()

    def shown(self, samples: Tensor, rounded: bool = True) -> Tensor:
        """Samples on the device, images in [-1, 1], as the network sees them."""
        samples = samples.to(self.device, torch.float32, non_blocking=True)
        if samples.dim() != 4:
            return samples
        if rounded:
            samples = ((samples.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1
        if self.size is not None and tuple(samples.shape[2:]) != (self.size, self.size):
            samples = F.interpolate(samples, (self.size, self.size), mode="bicubic", align_corners=False, antialias=True)
        return samples

    @torch.no_grad()
    def see(self, samples: Tensor) -> Vectors:
        """What the network says of samples, still on the device: nothing waits for it."""
        parts = [self.network(self.shown(part)).float() for part in samples.split(_BATCH)]
        features = torch.cat(parts)
        return {"features": features} | ({"logits": self.network.logits(features).float()} if self.logits else {})

    @torch.no_grad()
    def maps(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.network.maps(self.shown(images, rounded=False))  # a small step between images must not be rounded away

    def _hash(self) -> str:
        """Of its weights: a figure is of this network alone."""
        found = hashlib.sha256()
        values = self.network.state_dict() | dict(self.network.named_buffers())  # those that are not saved too
        for name, value in values.items():
            found.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
        return found.hexdigest()[:12]


class Seen:
    """Vectors as they come, fetched from the device once, at the end."""

    def __init__(self) -> None:
        self._parts: dict[str, list[Tensor]] = {}

    def add(self, vectors: Vectors) -> None:
        for name, value in vectors.items():
            self._parts.setdefault(name, []).append(value)

    def fetch(self) -> Vectors:
        return {name: torch.cat(parts).cpu() for name, parts in self._parts.items()}


def of_reals(look: Look, real: Any, rows: np.ndarray[Any, Any], name: str, tick: Callable[[int], object]) -> Vectors:
    """The vectors of these rows of a store's field, from the cache or kept there; `name` is of the data's content and of the
    network, whose code may change while its weights stay.
    """
    versions = [torch.__version__, getattr(sys.modules.get("timm"), "__version__", "")]
    key = digest(_FORMAT, name, look.hash, look.logits, versions, hashlib.sha256(rows.tobytes()).hexdigest())
    place = cache_dir() / "features" / f"{key}.safetensors"
    try:
        return dict(load_file(place))
    except (OSError, SafetensorError):
        pass
    seen = Seen()
    for begin in range(0, len(rows), _BATCH):
        seen.add(look.see(unit(np.asarray(real[rows[begin : begin + _BATCH]]))))
        tick(min(begin + _BATCH, len(rows)))
    found = seen.fetch()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(place, save({key: value.contiguous() for key, value in found.items()}))
    except (OSError, RunError):  # a full disk or one that is only read: computed again next time
        pass
    return found


def unit(values: np.ndarray[Any, Any]) -> Tensor:
    """A store's values as networks take them: images in [-1, 1]."""
    values = values if values.flags.writeable else values.copy()
    return torch.from_numpy(values).float() / 127.5 - 1 if values.dtype == np.uint8 else torch.from_numpy(values)
