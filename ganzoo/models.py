"""A trained generator, opened again: from a run, or from an exported model, which needs only ganzoo and the generator's plugin.

model = ganzoo.load("runs/00000-dcgan-dcgan")
images = model.sample(64)          # [64, C, H, W] in [-1, 1]

model = ganzoo.load("runs/00001-unet-patch")
images = model.translate(photos)   # [N, C, H, W] in [-1, 1], any H and W
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, get_args, get_origin

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ganzoo import provenance, translating
from ganzoo.assembly import Plan, plan_from_table
from ganzoo.errors import DataError, GanzooError, PluginError, RunError, UsageError, did_you_mean
from ganzoo.fitting import guard
from ganzoo.interfaces import Condition
from ganzoo.options import coerce, options_of, resolve, to_toml_value
from ganzoo.plugin import Component, DataSpec, Part, Resolutions
from ganzoo.registry import CORE, Registry, get_registry, one_line
from ganzoo.runs import Run, expanded, write_atomically
from ganzoo.training import checkpoint
from ganzoo.training.preview import Preview, guarded
from ganzoo.training.trainer import is_out_of_memory

FORMAT = 1
_BATCH = 64
_SETTLING = 256  # records for the batch-norm statistics of a translator


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
        takes_labels = self.component is None or self.component.labels not in ("ignored", "refused")
        return self.data.classes if self.translates and takes_labels else ()

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


def _on_stderr(words: str) -> None:
    print(f"ganzoo: {words}", file=sys.stderr)


def load(
    path: str | Path,
    *,
    device: str | torch.device = "cpu",
    at: str | None = None,
    to: str | None = None,
    strict: bool = False,
    warn: Callable[[str], None] = _on_stderr,
) -> Model:
    """The generator of a run (its newest whole checkpoint, or the one called `at`) or of an exported model.

    `to` chooses among the networks of a game that has several: "B", what its data hold, or "A", their source. Warns where the
    generator's plugin is not the one it was trained with. Raises UsageError where the path is neither or does not make `to`,
    RunError where its files are damaged or, if `strict`, instead of that warning.
    """
    path, device = expanded(str(path)), torch.device(device)
    if (path / "run.toml").is_file():
        return _from_run(Run.open(path), device, at, to, strict, warn)
    for model in (path, path / "model"):
        if (model / "config.json").is_file():
            if at is not None:
                raise UsageError(f"{path} is an exported model, with one state alone: leave --checkpoint out, or give the run")
            return _from_model(model, device, to, strict, warn)
    raise UsageError(
        f"{path} is neither a run (run.toml) nor an exported model (config.json); 'ganzoo runs' lists the runs in runs/"
    )


def plan_of(run: Run) -> Plan:
    """The plan of a run, from run.toml alone: its data need not be there any more."""
    table = run.config()
    try:
        dataset = SimpleNamespace(spec=DataSpec.from_dict(table["spec"]), notices=())
    except (KeyError, TypeError, ValueError) as err:
        raise RunError(
            f"{run.config_file} does not say what its data were: its [spec] is damaged ({type(err).__name__}: {err})"
        ) from None
    return plan_from_table(get_registry(), table, str(run.config_file), dataset=dataset)


def class_counts(run: Run) -> list[int]:
    """Images of each class of a run's data; empty without classes."""
    table = run.config()
    counts, classes = table["dataset"].get("class_counts", []), table["spec"].get("classes", [])
    if len(counts) != len(classes) or not all(isinstance(count, int) for count in counts):
        raise RunError(
            f"{run.config_file}: class_counts must be the images of each of the {len(classes)} classes; it is {counts!r:.80}"
        )
    return counts


def _from_run(
    run: Run, device: torch.device, at: str | None, to: str | None, strict: bool, warn: Callable[[str], None]
) -> Model:
    table = run.config()
    provenance.check(run.path, table, warn, strict, only="gen")
    saved = checkpoint.newest(run, warn, at)
    if saved is None:
        raise RunError(f"{run.path} has no checkpoint yet: train it first")
    plan, counts = plan_of(run), class_counts(run)
    game = plan.build().to(device)
    guard(plan.chosen["game"], lambda: game.made_by(game.players["G"], to))  # before the work
    settled = averaged(game, saved, counts, device, _records(run, game.players["G"], device, warn))
    network, data = game.made_by(settled, to)
    gen = plan.chosen["gen"]
    entry, options = gen.entry, {name: to_toml_value(value) for name, value in gen.options.items()}
    config = {
        "format": FORMAT,
        "generator": {"plugin": entry.dist, "version": entry.version, "name": entry.component.name, "options": options},
        "data": data.to_dict(),
        **({"to": to or "B"} if data.source is not None else {}),
        "noise": {"z_dim": getattr(game, "z_dim", 0), "prior": getattr(game, "prior", "normal")},
        "style": "style" in entry.component.provides,
        "dataset": plan.chosen["data"].entry.component.name,
        "kimg": saved.nimg / 1000,
        "seed": plan.config.settings.seed,
        "components": plan.versions() | table["components"],  # what it was trained with goes before what is here now
        "files": {name: value for name, value in table.get("files", {}).items() if name in (entry.dist, CORE)},
    }
    if "text" in entry.component.needs:
        encoder = _encoder(get_registry(), plan.chosen["data"].target, plan.chosen["data"].options)
        config["encoder"], dist = encoder, encoder["plugin"]
        config["components"] |= {"encoder": f"{dist} {encoder['version']}"}
        config["files"] |= {name: value for name, value in table.get("files", {}).items() if name == dist}
    _check_encoder(run.path, config, warn, strict)
    return Model(network, data, config, device, entry.component)


def averaged(
    game: Any,
    saved: checkpoint.Checkpoint,
    counts: Sequence[int],
    device: torch.device,
    records: Mapping[str, Tensor] | None = None,
) -> nn.Module:
    """A checkpoint's averaged generator, frozen: parametrizations folded in, batch-norm statistics of its own, in eval mode."""
    network = game.players["G"].requires_grad_(False)
    try:
        network.load_state_dict(saved.tensors("generator"))
    except RuntimeError as err:
        first = " ".join(str(err).split("\n")[:2])
        raise RunError(
            f"{saved.path}: generator.safetensors is of another generator than run.toml describes: {first}"
        ) from None
    network = Preview(game, device, 0, counts, records).settled(network)
    fold(network)
    return network.eval()


def _check_encoder(path: Path, config: Mapping[str, Any], warn: Callable[[str], None], strict: bool) -> None:
    """What its generator's plugin, which was looked at already, does not tell of it."""
    if "encoder" in config and config["encoder"]["plugin"] != config["generator"]["plugin"]:
        provenance.check(path, config, warn, strict, only="encoder")


def _encoder(registry: Registry, target: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Which encoder a data set of these options, as run.toml has them, makes its captions' vectors with.

    It is among the options, or among those of a data set in them.
    """
    parts = []
    for name, option in options_of(target).items():
        kinds = [get_args(arm)[1] for arm in (option.annotation, *get_args(option.annotation)) if get_origin(arm) is Annotated]
        part = coerce(options.get(name, option.default), option.annotation, f"option '{name}'") if kinds else None
        if isinstance(part, Part):
            parts.append((kinds[0], part))
    for kind, part in parts:
        if kind == "encoder":
            entry = registry.find(kind, part.name)
            known = {name: to_toml_value(value) for name, value in registry.resolve(entry, part.options).items()}
            return {"plugin": entry.dist, "version": entry.version, "name": entry.name, "options": known}
    for kind, part in parts:
        if kind == "dataset":
            return _encoder(registry, registry.load(registry.find(kind, part.name)), part.options)
    raise RunError("the run's data have captions, and none of their options is the encoder that made vectors of them")


def _records(run: Run, network: nn.Module, device: torch.device, warn: Callable[[str], None]) -> dict[str, Tensor] | None:
    """Records of the run's data, evenly spaced, where batch norms need some: what samples are made of."""
    spec = DataSpec.from_dict(run.config()["spec"])
    if not (spec.of_records and any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in network.modules())):
        return None
    try:
        dataset = plan_from_table(get_registry(), run.config(), str(run.config_file)).dataset
        if dataset.spec != spec:
            raise DataError("it holds something else now")
        rows = np.linspace(0, len(dataset) - 1, min(len(dataset), _SETTLING)).round().astype(np.int64)
        arrays = dataset.arrays()
        found = [dataset.decode(row) if arrays is None else {k: v[row] for k, v in arrays.items()} for row in rows.tolist()]
        fields = {name: torch.from_numpy(np.stack([record[name] for record in found])) for name in found[0]}
    except Exception as err:  # whatever a data set raises: it may be gone
        warn(f"batch norm keeps the statistics of the training, a little off: the run's data cannot be read ({one_line(err)})")
        return None
    batch = {
        name: value.to(device).float() / 127.5 - 1 if value.dtype == torch.uint8 else value.to(device)
        for name, value in fields.items()
    }
    if dataset.labels is not None:
        batch["labels"] = torch.from_numpy(dataset.labels[rows]).to(device)
    return batch


def _from_model(path: Path, device: torch.device, to: str | None, strict: bool, warn: Callable[[str], None]) -> Model:
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        if config["format"] != FORMAT:
            raise RunError(f"{path} has format {config['format']}; this ganzoo reads {FORMAT}: upgrade ganzoo-core")
        wanted, data = config["generator"], DataSpec.from_dict(config["data"])
        for part in ("generator", *(["encoder"] if "encoder" in config else [])):
            if missing := {"plugin", "version", "name", "options"} - config[part].keys():
                raise KeyError(f"{part}.{min(missing)}")
        recorded = {key: dict(config.get(key, {})) for key in ("components", "files")}
        weights = safetensors.torch.load_file(path / "generator.safetensors")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as err:
        raise RunError(f"{path} is damaged or no exported model: {type(err).__name__}: {err}") from None
    if to is not None and to not in (config.get("to"), *data.classes):
        made = f"makes {config['to']} alone" if "to" in config else "makes one thing"
        raise UsageError(f"--to {to}: {path} is an exported model that {made}: leave --to out, or give the run")
    provenance.check(path, recorded, warn, strict, only="gen")
    _check_encoder(path, config, warn, strict)
    registry = get_registry()
    entry = registry.find("generator", f"{wanted['plugin']}/{wanted['name']}")
    target = registry.load(entry)
    known = options_of(target)
    options = resolve(target, {k: v for k, v in wanted["options"].items() if k in known}, f"generator '{wanted['name']}'")
    network = target(data, **options).requires_grad_(False)
    try:
        network.load_state_dict(weights)
    except RuntimeError as err:
        raise PluginError(
            f"{path} was made with {wanted['plugin']} {wanted['version']}, and its weights do not fit {entry.version}: "
            f"{str(err).splitlines()[-1].strip()}"
        ) from None
    return Model(network.to(device).eval(), data, config, device, entry.component)


def fold(network: nn.Module) -> None:
    """Replace every parametrized weight by its value."""
    for module in network.modules():
        if parametrize.is_parametrized(module):
            for name in list(module.parametrizations):
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)
    network.requires_grad_(False)
