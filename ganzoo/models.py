"""A trained generator: what it makes, and how it is written down. `ganzoo.loading` opens it again.

model = ganzoo.load("runs/00000-dcgan-dcgan")
images = model.sample(64)          # [64, C, H, W] in [-1, 1]

model = ganzoo.load("runs/00001-unet-patch")
images = model.translate(photos)   # [N, C, H, W] in [-1, 1], any H and W
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from ganzoo import translating
from ganzoo.errors import GanzooError, PluginError, RunError, UsageError, did_you_mean
from ganzoo.interfaces import Condition
from ganzoo.plugin import Component, DataSpec, Resolutions
from ganzoo.registry import get_registry, one_line
from ganzoo.runs import write_atomically
from ganzoo.training import checkpoint
from ganzoo.training.preview import guarded
from ganzoo.training.trainer import is_out_of_memory

_BATCH = 64


def takes_labels(component: Component | None) -> bool:
    """Whether a generator looks at labels; one that no plugin here declares may."""
    return component is None or component.labels not in ("ignored", "refused")


@dataclass(slots=True)
class Model:
    """A generator ready to sample: parametrizations folded in, batch-norm statistics of its own, in eval mode.

    data       what it makes; data.classes are its labels, data.source or the domains' own images what it translates
    config     config.json: the generator's component, options and distribution, its noise, where it comes from; the encoder of
               captions, where the generator looks at them
    component  of the generator, as its plugin declares it; None: any size, and the labels are those of its data
    text       the vector [T] of the caption that samples are of, see `of`
    """

    network: nn.Module
    data: DataSpec
    config: dict[str, Any]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    component: Component | None = None
    text: Tensor | None = None

    @property
    def translates(self) -> bool:
        """Whether it makes images from images, not from noise."""
        return bool(self.config["noise"]["z_dim"] == 0)

    @property
    def scale(self) -> tuple[int, int]:
        """How many times higher and wider its images are than what it translates: 1, 1 but for super-resolution."""
        return translating.scale_of(self.data)

    @property
    def destinations(self) -> tuple[str, ...]:
        """The domains, or classes, of which `translate` must be told one; empty where there is no choice."""
        return self.data.classes if self.translates and takes_labels(self.component) else ()

    def cut(self, size: tuple[int, int], tile: int | None = None, overlap: int | None = None) -> translating.Cut:
        """How `translate` cuts an image of this (height, width). Raises UsageError for a tile that does not suit."""
        phrase = self.component.resolutions if self.component is not None else None
        return translating.cut(size, self.data, Resolutions(phrase or "any"), tile, overlap)

    def translate(
        self,
        images: Tensor,
        *,
        to: str | int | None = None,
        tile: int | None = None,
        overlap: int | None = None,
        tick: Callable[[], object] = lambda: None,
    ) -> Tensor:
        """What becomes of images [N, C, H, W] in [-1, 1], of any size: [N, C', H scale, W scale] in [-1, 1] on the CPU.

        to       the domain, or class, that they are to become, by name or index; needed where there are `destinations`
        tile     side of the tiles that large images are cut into; None: chosen, above 2^20 pixels of the output
        overlap  of neighbouring tiles, in which one passes into the other; None: a quarter of the tile
        tick     called after each tile
        Sides that the generator does not take are made up by reflection below and to the right, and cut off again. Raises
        UsageError for a model that starts from noise, another number of channels, and what they cannot become; PluginError
        where the generator fails; GanzooError where memory ends.
        """
        if not self.translates:
            raise UsageError("this generator makes images from noise, not from images: use 'ganzoo sample'")
        channels = (self.data.source or self.data).channels
        if images.dim() != 4 or images.shape[1] != channels or 0 in images.shape[2:]:
            raise UsageError(f"images must be [N, {channels}, H, W]; these are {list(images.shape)}")
        label = self.destination(to)
        plan = self.cut((images.shape[2], images.shape[3]), tile, overlap)

        def forward(part: Tensor) -> Tensor:
            part = part.to(self.device, torch.float32)
            condition = {} if self.data.source is None else {"source": part}
            if label is not None:
                condition["labels"] = torch.full((len(part),), label, device=self.device)
            try:
                return self.network(part, condition)
            except Exception as err:
                height, width = part.shape[2:]
                if is_out_of_memory(err):
                    raise GanzooError(f"out of memory with {width}x{height} pixels at once: give a smaller --tile") from err
                raise PluginError(f"the generator fails on {width}x{height} pixels: {one_line(err)}") from err

        chunks = [torch.empty(0, self.data.channels, images.shape[2] * self.scale[0], images.shape[3] * self.scale[1])]
        together = max(1, min(_BATCH, translating.WHOLE // (images.shape[2] * images.shape[3])))
        for part in images.split(together) if len(images) else ():
            with torch.no_grad(), guarded(self.device):
                chunks.append(translating.through(forward, part, plan, self.scale, self.network, tick))
        return torch.cat(chunks)

    def destination(self, to: str | int | None) -> int | None:
        """The index of what `translate` is told to make; None where there is no choice. Raises UsageError."""
        kind = "domains" if self.data.domains else "classes"
        if not self.destinations:
            if to is not None:
                raise UsageError(f"--to {to}: this generator was trained to make one thing; leave --to out")
            return None
        if to is None:
            raise UsageError(f"say what the images are to become with --to, one of its {kind}: {_some(self.destinations)}")
        return self.class_index(to)

    def sample(
        self,
        n: int = 64,
        *,
        seed: int = 0,
        seeds: Sequence[int] | None = None,
        label: str | int | None = None,
        text: str | None = None,
        truncation: float | None = None,
    ) -> Tensor:
        """Samples [n, *data.shape] on the CPU, images in [-1, 1]; the i-th is a function of seed + i, or of seeds[i], alone.

        label       a class by name or index; None: drawn from the seed too, evenly
        text        a caption, for a generator that looks at captions: it cannot do without
        truncation  1: as trained; towards 0: more usual and less varied samples
        Raises UsageError for an unknown class, for text that is missing or means nothing to the generator, and for truncation
        that it cannot do.
        """
        chosen = list(range(seed, seed + n)) if seeds is None else list(seeds)
        model = self if text is None else self.of(text)
        return model.generate(*model.inputs(chosen, label), truncation)

    def of(self, text: str) -> Model:
        """The same model, whose samples are of this caption. Raises UsageError where the generator looks at none."""
        encoder = self.config.get("encoder")
        if encoder is None:
            raise UsageError("this generator was trained without captions; leave --text out")
        registry = get_registry()
        entry = registry.find("encoder", f"{encoder['plugin']}/{encoder['name']}")
        vector = registry.build(entry, encoder["options"])([text])[0]
        if tuple(vector.shape) != (self.data.text,):
            raise PluginError(
                f"{entry} of {entry.dist} {entry.version} gives vectors of {len(vector)}, and this generator was trained with "
                f"{self.data.text}: install {encoder['plugin']} {encoder['version']}"
            )
        return replace(self, text=vector.to(self.device))

    def condition(self, n: int, labels: Tensor | None) -> Condition:
        """What the network is shown beside n noises. Raises UsageError where it looks at captions and has none."""
        condition = {} if labels is None else {"labels": labels}
        if self.text is not None:
            condition["text"] = self.text.expand(n, -1)
        elif "encoder" in self.config:
            raise UsageError('this generator makes images of captions: say of which, with --text "a caption"')
        return condition

    def generate(self, x: Tensor, labels: Tensor | None = None, truncation: float | None = None) -> Tensor:
        """Samples [N, *data.shape] on the CPU of noise [N, z_dim] and class indices [N], as `inputs` gives them."""
        chunks = [made.float().cpu() for made in self.batches(x, labels, truncation)]
        return torch.cat(chunks) if chunks else torch.empty(0, *self.data.shape)

    def batches(
        self, x: Tensor, labels: Tensor | None = None, truncation: float | None = None, seed: int = 0
    ) -> Iterator[Tensor]:
        """What `generate` gives, a batch at a time and on the model's device; layers that draw begin at `seed` in each."""
        if truncation is not None and not math.isfinite(truncation):
            raise UsageError(f"--truncation {truncation}: give a number, 1 as trained, towards 0 less varied")
        for begin in range(0, len(x), _BATCH):
            part = slice(begin, begin + _BATCH)
            with torch.no_grad(), guarded(self.device, seed):
                made = self._generate(x[part], None if labels is None else labels[part], truncation)
            yield made

    def labels(self, seeds: Sequence[int], label: str | int | None = None) -> list[int]:
        """The class index of each of these seeds' samples; empty without classes."""
        _, labels = self.inputs(seeds, label)
        return [] if labels is None else labels.tolist()

    def class_index(self, label: str | int) -> int:
        """Index of a class. Raises UsageError."""
        classes = self.data.classes
        if not classes:
            raise UsageError("this generator was trained without classes; leave --class out")
        if isinstance(label, int) or (label not in classes and str(label).isdigit()):
            if 0 <= int(label) < len(classes):
                return int(label)
        elif label in classes:
            return classes.index(label)
        one, all_ = ("domain", "Domains") if self.data.domains else ("class", "Classes")
        raise UsageError(f"there is no {one} '{label}'.{did_you_mean(str(label), classes)} {all_}: {_some(classes)}")

    def inputs(self, seeds: Sequence[int], label: str | int | None = None) -> tuple[Tensor, Tensor | None]:
        """The noise [N, z_dim] of these seeds and class indices [N] (None without classes), on the model's device."""
        if self.translates:
            raise UsageError("this generator makes images from images, not from noise: use 'ganzoo translate'")
        index = None if label is None else self.class_index(label)
        z_dim, uniform = self.config["noise"]["z_dim"], self.config["noise"]["prior"] == "uniform"
        x, labels = [], []
        for seed in seeds:  # on the CPU, so that a seed means the same on every device
            generator = torch.Generator().manual_seed(seed)
            z = torch.empty(z_dim)
            x.append(z.uniform_(-1, 1, generator=generator) if uniform else z.normal_(generator=generator))
            if self.data.classes:
                labels.append(int(torch.randint(len(self.data.classes), (), generator=generator)) if index is None else index)
        stacked = torch.stack(x) if x else torch.empty(0, z_dim)
        return stacked.to(self.device), torch.tensor(labels).to(self.device) if labels else None

    def _generate(self, x: Tensor, labels: Tensor | None, truncation: float | None) -> Tensor:
        condition = self.condition(len(x), labels)
        if truncation is None or truncation == 1:
            return self.network(x, condition)
        if self.config["style"]:
            w, mean = self.network.mapping(x, condition), self.network.mean_w
            mean = mean if mean.dim() == 1 or labels is None else mean[labels][:, None]
            return self.network.synthesis(mean + truncation * (w - mean))
        if self.config["noise"]["prior"] == "uniform":
            raise UsageError(
                "--truncation needs normal noise or a generator with styles; this one was trained on uniform noise"
            )
        one = {name: value[:1] for name, value in condition.items()}
        whole, half = self.network(x[:1], one), self.network(x[:1] / 2, one)
        if (whole - half).abs().max() <= 1e-3 * whole.abs().max():
            raise UsageError("--truncation does nothing here: this generator divides its noise by its length")
        # Shorter latents, nearer to the usual sample (BigGAN draws those beyond a threshold again instead).
        return self.network(x * truncation, condition)

    def save(self, directory: Path, card: str) -> Path:
        """Write model/: generator.safetensors, config.json, README.md. Raises RunError where the disk is full."""
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise RunError(f"--out {directory} could not be made: {err.strerror}") from None
        weights = safetensors.torch.save(checkpoint.plain(self.network.state_dict()), metadata={"format": "pt"})
        write_atomically(directory / "generator.safetensors", weights)
        write_atomically(directory / "README.md", card.encode())
        write_atomically(directory / "config.json", json.dumps(self.config, indent=1, ensure_ascii=False).encode())
        return directory


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
