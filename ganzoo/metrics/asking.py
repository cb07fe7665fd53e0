"""What is asked for: METRIC[-FEATURES[-SIZE]][:OPTION=VALUE,...], as `kid-lite0-128` or `fd-inception:infinity=true`.

The name says the protocol: which network looks at the samples, and how large they are then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from ganzoo.errors import PluginError, UsageError, did_you_mean
from ganzoo.interfaces import Dataset, Features, Metric
from ganzoo.plugin import DataSpec, Part
from ganzoo.registry import Entry, Registry, one_line
from ganzoo.values import coerce, format_spec, format_value, parse_spec

SHORT = {"fid": "fd-inception"}  # of the papers' names those that say the network too
_LOOKING = frozenset({"features", "logits", "model"})  # what a feature network is needed for


@dataclass(frozen=True, slots=True)
class Network:
    """A feature network that is asked for, and the side that images are resized to for it; None: as they are."""

    entry: Entry
    options: Mapping[str, Any]
    size: int | None

    @property
    def name(self) -> str:
        shown = format_value(Part(self.entry.name, self.options))
        return shown if self.size is None else f"{shown}-{self.size}"


@dataclass(frozen=True, slots=True)
class Asked:
    """One metric, its options, and the network that it looks through, where it needs one."""

    entry: Entry
    options: Mapping[str, Any]
    metric: Metric
    network: Network | None
    asked: bool = field(default=True)  # False: shown beside another

    @property
    def name(self) -> str:
        looked = self.entry.name if self.network is None else f"{self.entry.name}-{self.network.name}"
        return format_spec(looked, self.options)


def parse(
    texts: Sequence[str], registry: Registry, data: DataSpec, network: str | None = None, size: int | None = None
) -> list[Asked]:
    """The metrics of these names, and those that belong beside them; `network` and `size` are for names that say none.

    Raises UsageError for what there is not, and for what does not fit the data.
    """
    wanted = [_parse(text, registry, data, network, size) for text in texts]
    found = {one.name: one for one in wanted}
    for one in wanted:
        for name in one.metric.beside:
            other = registry.find("metric", name)
            beside = _asked(other, {}, one.network, registry, data, asked=False)
            found.setdefault(beside.name, beside)
    return list(found.values())


def _parse(text: str, registry: Registry, data: DataSpec, network: str | None, size: int | None) -> Asked:
    head, colon, options = text.partition(":")
    entry, rest = _split(SHORT.get(head, head), registry)
    looked = None
    if rest or network:
        looked = _network(rest or network or "", registry, data, None if rest else size)
    elif size is not None:
        looked = _default(entry, registry, data)
        looked = replace(looked, size=size) if looked is not None else None
    given = parse_spec(f"{entry.name}{colon}{options}").options
    return _asked(entry, given, looked, registry, data)


def _split(name: str, registry: Registry) -> tuple[Entry, str]:
    """The metric that a name begins with, and what comes after it."""
    names = sorted((e.name for e in registry.select("metric")), key=len, reverse=True)
    for known in names:
        if name == known or name.startswith(f"{known}-"):
            return registry.find("metric", known), name[len(known) + 1 :]
    close = did_you_mean(name.partition("-")[0], [*names, *SHORT])
    raise UsageError(f"there is no metric '{name}'.{close} Metrics: {', '.join(sorted([*names, *SHORT]))}.")


def _network(text: str, registry: Registry, data: DataSpec, size: int | None) -> Network:
    """NAME, NAME-SIZE, NAME(OPTION=VALUE) or NAME:OPTION=VALUE."""
    name, dash, side = text.rpartition("-")
    if dash and side.isdigit():
        text, size = name, int(side)
    if ":" in text and "(" not in text.partition(":")[0]:
        spec = parse_spec(text)
        part = Part(spec.name, spec.options)
    else:
        part = coerce(text, Annotated[Part, "features"], "the feature network")
    entry = registry.find("features", part.name)
    target, given = registry.load(entry), dict(part.options)
    registry.resolve(entry, given)  # their types, before anything is read
    own = getattr(target, "size", None)
    if size is not None and size < 1:
        raise UsageError(f"{entry}: images of {size} pixels a side cannot be looked at")
    return Network(entry, given, size or (own if isinstance(own, int) and data.modality == "image" else None))


def _default(metric: Entry, registry: Registry, data: DataSpec) -> Network | None:
    """The network of a metric that names none: one that classifies where that is needed, else the installed default."""
    if _LOOKING.isdisjoint(registry.load(metric).uses):
        return None
    if "logits" in metric.component.needs:
        return _network("classifier" if data.classes else "inception", registry, data, None)
    for entry in registry.select("features"):
        fits = not entry.component.modality or data.modality in entry.component.modality
        if fits and "default" in entry.component.provides:
            return _network(entry.qualified, registry, data, None)
    if data.modality == "image":
        raise UsageError(
            "no feature network for images is installed that is a default: pip install ganzoo-lite0, or name one: "
            f"{metric.name}-inception, {metric.name}-timm(backbone=NAME)"
        )
    return _network("raw", registry, data, None)


def _asked(
    entry: Entry, options: Mapping[str, Any], network: Network | None, registry: Registry, data: DataSpec, asked: bool = True
) -> Asked:
    target = registry.load(entry)
    if _LOOKING.isdisjoint(target.uses):
        if network is not None and asked:
            raise UsageError(f"{entry} looks through no feature network: write {entry.name} alone")
        network = None
    elif network is None:
        network = _default(entry, registry, data)
    for part in [entry, *([network.entry] if network is not None else [])]:
        takes = part.component.modality
        if takes and data.modality not in takes:
            raise UsageError(f"{part} takes {' and '.join(sorted(takes))} data, and these are {data.modality}")
        if part.component.labels == "required" and not data.classes:
            raise UsageError(f"{part} needs labels, and the data have none")
    if network is not None and "logits" in entry.component.needs and "logits" not in network.entry.component.provides:
        able = sorted(e.name for e in registry.select("features") if "logits" in e.component.provides)
        raise UsageError(f"{entry} needs a network that classifies, and {network.entry} does not; these do: {', '.join(able)}")
    metric = build(lambda: target(data, **registry.resolve(entry, options)), entry)
    return Asked(entry, dict(options), metric, network, asked)


def build(make: Callable[[], Any], entry: Entry) -> Any:
    """What a plugin makes; a ValueError is its word that something does not suit. Raises UsageError, PluginError."""
    try:
        return make()
    except (UsageError, KeyboardInterrupt):
        raise
    except ValueError as err:
        raise UsageError(f"{entry}: {err}") from err
    except Exception as err:
        raise PluginError(f"{entry} of {entry.dist} failed: {one_line(err)}") from err


def check_uses(asked: Sequence[Asked], dataset: Dataset, has_model: bool, provides: frozenset[str]) -> None:
    """Refuse metrics that look at what this data set or this subject does not have. Raises UsageError."""
    for one in asked:
        uses, needs = one.metric.uses, one.entry.component.needs - {"logits"}
        if "modes" in uses and type(dataset).modes is Dataset.modes:
            raise UsageError(f"{one.entry} counts the modes of data whose modes are known, as those of ring, grid and stacked")
        if "model" in uses and not has_model:
            raise UsageError(f"{one.entry} looks into the generator: give a run or an exported model, not its images")
        if has_model and (lacking := sorted(needs - provides)):
            raise UsageError(f"{one.entry} needs '{lacking[0]}', which the generator does not provide")


def features_of(network: Network, data: DataSpec, registry: Registry) -> Features:
    """The network, which has not seen the data set yet. Raises UsageError where its weights cannot be had."""
    target = registry.load(network.entry)
    made: Features = build(lambda: target(data, **registry.resolve(network.entry, network.options)), network.entry)
    return made
