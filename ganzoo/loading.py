"""A trained generator, opened again: from a run, or from an exported model, which needs ganzoo and one plugin alone."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, get_args, get_origin

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ganzoo import provenance
from ganzoo.assembly import Plan, plan_from_table
from ganzoo.errors import DataError, PluginError, RunError, UsageError
from ganzoo.fitting import guard
from ganzoo.models import Model
from ganzoo.options import coerce, options_of, resolve, to_toml_value
from ganzoo.plugin import DataSpec, Part
from ganzoo.registry import CORE, Registry, get_registry, one_line
from ganzoo.runs import Run, expanded
from ganzoo.training import checkpoint
from ganzoo.training.preview import Preview

FORMAT = 1
_SETTLING = 256  # records for the batch-norm statistics of a translator


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
        arms = [get_args(arm) for arm in (option.annotation, *get_args(option.annotation)) if get_origin(arm) is Annotated]
        kinds = [kind for type_, kind in arms if type_ is Part]
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
        rows = np.linspace(0, len(dataset) - 1, min(len(dataset), _SETTLING)).round().astype(np.int64)
        arrays = dataset.arrays()
        found: dict[int, Any] = {}
        unread: Exception = DataError("it is empty")
        for row in rows.tolist():
            try:
                found[row] = dataset.decode(row) if arrays is None else {k: v[row] for k, v in arrays.items()}
            except Exception as err:  # the training left such a record out, too
                unread = err
        if not found:
            raise unread
        records = list(found.values())
        fields = {name: torch.from_numpy(np.stack([record[name] for record in records])) for name in records[0]}
    except Exception as err:  # whatever a data set raises: it may be gone
        warn(f"batch norm keeps the statistics of the training, a little off: the run's data cannot be read ({one_line(err)})")
        return None
    batch = {
        name: value.to(device).float() / 127.5 - 1 if value.dtype == torch.uint8 else value.to(device)
        for name, value in fields.items()
    }
    if dataset.labels is not None:
        batch["labels"] = torch.from_numpy(dataset.labels[list(found)]).to(device)
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
