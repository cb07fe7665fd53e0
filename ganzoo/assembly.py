"""Configuration and registry to a checked plan, and the plan to a game. What does not fit is found here, before data is read.

Later wins: defaults; what G recommends; what D recommends; the recipe; --config; the command line. What was only recommended
and does not fit is dropped with a notice; what was asked for and does not fit is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from ganzoo.catalog import get_catalog
from ganzoo.config import Layer, RunConfig, Settings, layer_from_dict, make_settings, settings_keys
from ganzoo.errors import DataError, UsageError
from ganzoo.fitting import Chosen, check_batch, guard, misfit
from ganzoo.options import Spec, fill_auto, options_of, parse_resolution, parse_spec, resolve
from ganzoo.plugin import KIND_OF, DataSpec, Part
from ganzoo.registry import Entry, Registry, offered

_SINGLE = ("data", "gen", "disc", "loss", "game", "aug")


@dataclass(slots=True)
class Plan:
    """A resolved training that fits together.

    origins  where each value of `config` came from, by dotted key
    notices  what the user should hear once: what was dropped, chosen or reduced
    checks   what was verified, a line each
    """

    config: RunConfig
    chosen: dict[str, Chosen]
    dataset: Any
    origins: dict[str, str]
    notices: list[str] = field(default_factory=list)
    checks: list[str] = field(default_factory=list)

    @property
    def data(self) -> DataSpec:
        spec: DataSpec = self.dataset.spec
        return spec

    def versions(self) -> dict[str, str]:
        """Distribution and version of every component, as "DIST VERSION", by key."""
        return {key: f"{part.entry.dist} {part.entry.version}" for key, part in self.chosen.items()}

    def distributions(self) -> set[str]:
        """All whose parts are in use, nested ones too."""
        return set().union(*({part.entry.dist, *part.nested} for part in self.chosen.values()))

    def build(self, initialise: Callable[[str, Any, str], None] = lambda role, network, name: None) -> Any:
        """The game, on torch's current default device. Weights are a function of the seed."""
        import torch

        from ganzoo.games.match import Parts

        torch.manual_seed(self.config.settings.seed)
        made = {key: partial(self._make, part) for key, part in self.chosen.items()}
        regs = [(key.partition(".")[2], make) for key, make in made.items() if key.startswith("reg.")]
        parts = Parts(made["gen"], made["disc"], made["loss"], regs, made.get("aug"), initialise)
        game = self.chosen["game"]
        return guard(game, lambda: game.target(self.data, parts, **game.options))

    def _make(self, part: Chosen, data: DataSpec) -> Any:
        return guard(part, lambda: part.target(data, **part.options))


def make_plan(registry: Registry, cli: Layer, config: Layer | None = None, dataset: Any = None) -> Plan:
    """Resolve, check and complete a configuration. Raises UsageError or PluginError with one line that says what mends it.

    `dataset` stands in for the configured one where only its `spec` is needed (a run's generator outlives its data).
    """
    asked = [layer for layer in (config, cli) if layer is not None]
    for layer in asked:
        if (given := layer.parts.get("data")) is not None and not given.options:
            layer.parts["data"] = data_spec(given.name, registry)
    layers, notices = _layers(registry, asked)
    merged = _Merged(layers)
    values = {key: (option.default, "default") for key, option in settings_keys().items()}
    for layer in layers:
        values.update({key: (value, layer.origin) for key, value in layer.settings.items()})
    settings = make_settings({key: value for key, (value, _) in values.items()})
    origins = {key: origin for key, (_, origin) in values.items()}
    if settings.ema.half_life == "auto":  # Karras et al. 2020, ADA, appendix C
        settings = replace(settings, ema=replace(settings.ema, half_life=settings.batch * 10 / 32))
        origins["ema.half_life"] = f"auto, from batch {settings.batch}"

    # A wrong name, then a misfit, are told before torch is imported with the parts: at once.
    chosen: dict[str, Chosen] = {}
    for key, wanted in merged.parts.items():
        try:
            chosen[key] = _choose(registry, key, wanted)
        except UsageError as err:
            if not (wanted.soft and _optional(key)):
                raise
            notices.append(f"{key} '{wanted.spec.name}' ({wanted.origin}) was left out: {err}")
    data = chosen["data"]
    data.target = registry.load(data.entry)
    if dataset is None:
        dataset, data.options = _dataset(registry, data, merged.parts["data"].origins)
    notices += list(getattr(dataset, "notices", ()))
    checks = _fit(registry, chosen, dataset, notices)
    for key, part in chosen.items():
        if key != "data":
            _options(registry, part, dataset.spec, settings.batch, merged.parts[key].origins)
    notices += [
        f"{part} is unconditional here: {data} has no labels"
        for part in chosen.values()
        if part.entry.component.labels == "wanted" and not dataset.spec.classes
    ]
    checks += check_batch(chosen, settings.batch, settings.micro_batch)
    if settings.flip and dataset.spec.modality != "image":
        raise UsageError(f"flip=true mirrors images; {data} holds {dataset.spec.modality} data: leave it out")
    for key, part in chosen.items():
        origins[key] = merged.parts[key].origin
        origins.update({f"{key}.{name}": merged.parts[key].origins.get(name, "default") for name in part.options})
    return Plan(_config(chosen, settings), chosen, dataset, origins, notices, checks)


def plan_from_table(
    registry: Registry, table: Mapping[str, Any], origin: str, changes: Mapping[str, Any] | None = None, dataset: Any = None
) -> Plan:
    """The plan of a run.toml; `changes` are settings that replace its own.

    Raises DataError where the data are others by now: their classes would be taken for those that were trained on.
    """
    layer = Layer("the command line", settings=dict(changes or {}))
    plan = make_plan(registry, layer, layer_from_dict(table, origin), dataset)
    was, now = table.get("spec"), plan.data.to_dict()
    if was is not None and (other := sorted(key for key in was.keys() | now.keys() if was.get(key) != now.get(key))):
        words = f"its {other[0]} were {was.get(other[0])} and are {now.get(other[0])}"
        raise DataError(f"{plan.chosen['data']} has changed since {origin} was written: {words}; put it back")
    return plan


# ---- which layers there are


def _layers(registry: Registry, asked: list[Layer]) -> tuple[list[Layer], list[str]]:
    """All layers, lowest first: what G and D recommend, the recipe, and what was asked for."""
    notices: list[str] = []
    complete = any({"gen", "disc", "loss", "game", "data"} <= set(layer.parts) for layer in asked)
    recipes = [] if complete else _recipe(registry, asked, notices)
    above = [*recipes, *asked]
    base = Layer("default", soft=True)
    for key, name in get_catalog().defaults.items():
        base.set_part(key, name)
    gen, disc = _top(above, "gen"), _top(above, "disc")
    advice: list[Layer] = []
    if gen is not None:
        advice.append(_advice(registry, "generator", gen))
        disc = disc or advice[-1].parts.get("disc")
    if disc is not None:
        second = _advice(registry, "discriminator", disc)
        if gen is None and (gen := second.parts.get("gen")) is not None:
            advice.append(_advice(registry, "generator", gen))
        advice.append(second)
    for key, spec, flag in (("gen", gen, "--gen"), ("disc", disc, "--disc")):
        if spec is None:
            kind = KIND_OF[key]
            if names := sorted(entry.name for entry in registry.select(kind)):
                raise UsageError(f"no {kind} was chosen and none is recommended: add {flag} with one of {', '.join(names)}")
            hints = [offered(offer.distribution, registry) for offer in get_catalog().offers if offer.names.get(kind)]
            raise UsageError(f"no {kind} is installed.{''.join(hints)}")
    # A partner is whoever was found, not what the other one would have liked.
    for layer in advice:
        for key, spec in (("gen", gen), ("disc", disc)):
            if (theirs := layer.parts.get(key)) is not None and spec is not None and theirs.name != spec.name:
                del layer.parts[key]
    return [base, *advice, *above], notices


def _top(layers: Iterable[Layer], key: str) -> Spec | None:
    found = [layer.parts[key] for layer in layers if key in layer.parts]
    return found[-1] if found else None


def _advice(registry: Registry, kind: str, spec: Spec) -> Layer:
    component = registry.find(kind, spec.name).component
    return layer_from_dict(component.recommends, f"recommended by {kind} '{component.name}'", soft=True, regs_replace=False)


def _recipe(registry: Registry, asked: list[Layer], notices: list[str]) -> list[Layer]:
    named = [layer.settings["recipe"] for layer in asked if layer.settings.get("recipe", "none") not in (None, "none")]
    if named:
        return [read_recipe(registry, registry.find("recipe", str(named[-1])))]
    if _top(asked, "gen") or _top(asked, "disc"):
        return []
    name = get_catalog().default_recipes.get(_modality(registry, asked))
    if not name:
        return []
    try:
        entry = registry.find("recipe", name)
    except UsageError as err:
        notices.append(f"the default recipe was left out: {err}")
        return []
    layer = read_recipe(registry, entry)
    layer.soft = True
    layer.origin = f"default {layer.origin}"
    layer.settings["recipe"] = name
    return [layer]


def _modality(registry: Registry, asked: list[Layer]) -> str:
    spec = _top(asked, "data")
    if spec is None:
        return "image"
    entry = registry.find("dataset", spec.name)
    if len(entry.component.modality) == 1:
        return next(iter(entry.component.modality))
    data = _choose(registry, "data", _MergedPart(spec, "data"))
    data.target = registry.load(entry)
    dataset, _ = _dataset(registry, data, {})
    return str(dataset.spec.modality)


def read_recipe(registry: Registry, entry: Entry) -> Layer:
    """A recipe's TOML as a layer. Raises PluginError where the plugin's file is not there, UsageError where it is wrong."""
    return layer_from_dict(registry.load(entry), f"recipe '{entry.component.name}'")


# ---- merging


@dataclass(slots=True)
class _MergedPart:
    spec: Spec
    origin: str
    soft: bool = False
    origins: dict[str, str] = field(default_factory=dict)


class _Merged:
    """Every part after all layers: options of the same component are merged, another name starts anew."""

    def __init__(self, layers: list[Layer]) -> None:
        self.parts: dict[str, _MergedPart] = {}
        for layer in layers:
            for key in _SINGLE:
                if key in layer.parts:
                    self._put(key, layer.parts[key], layer)
            self._regs(layer)
            for key, options in layer.options.items():
                if key not in self.parts:
                    kind, _, name = key.partition(".")
                    raise UsageError(
                        f"{layer.origin}: {key}.{next(iter(options))} is set, but is not there: add --{kind} {name or 'NAME'}"
                    )
                self._put(key, Spec(self.parts[key].spec.name, options), layer, soft=self.parts[key].soft)

    def _regs(self, layer: Layer) -> None:
        if layer.regs is None:
            return
        if layer.regs_replace or not layer.regs:
            for key in [key for key in self.parts if key.startswith("reg.")]:
                del self.parts[key]
        for spec in layer.regs:
            self._put(f"reg.{spec.name}", spec, layer)

    def _put(self, key: str, spec: Spec | None, layer: Layer, soft: bool | None = None) -> None:
        if spec is None:
            self.parts.pop(key, None)
            return
        before = self.parts.get(key)
        kept = dict(before.spec.options) if before is not None else {}
        if before is not None and before.spec.name != spec.name:
            # A recipe's resolution is meant for whatever images it is given; the default data set's is its own.
            lasting = key == "data" and before.origin != "default"
            kept = {name: value for name, value in kept.items() if lasting and name == "res"}
        options = {**kept, **spec.options}
        origins = {**{name: before.origins[name] for name in kept if before}, **dict.fromkeys(spec.options, layer.origin)}
        self.parts[key] = _MergedPart(Spec(spec.name, options), layer.origin, layer.soft if soft is None else soft, origins)


def _optional(key: str) -> bool:
    return key == "aug" or key.startswith("reg.")


# ---- loading and options


def _choose(registry: Registry, key: str, part: _MergedPart) -> Chosen:
    kind = KIND_OF[key.partition(".")[0]]
    return Chosen(key, part.spec.name, registry.find(kind, part.spec.name), None, dict(part.spec.options), part.soft)


def _options(registry: Registry, part: Chosen, data: DataSpec, batch: int, origins: dict[str, str]) -> None:
    """Import a part, type and complete its options, numbers for "auto" included."""
    part.target = registry.load(part.entry)
    resolved = resolve(part.target, part.options, str(part), part=partial(_nested, registry, part.nested))
    part.options = fill_auto(part.target, resolved, data, batch)
    for name, value in resolved.items():
        if part.options[name] != value:
            origins[name] = f"auto, from {'x'.join(map(str, data.shape))} and batch {batch}"


def _nested(registry: Registry, used: set[str], part: Part, kind: str) -> Part:
    entry = registry.find(kind, part.name)
    used.add(entry.dist)
    target = registry.load(entry)
    options = resolve(target, part.options, f"{kind} '{part.name}'", part=partial(_nested, registry, used))
    return Part(part.name, options, target)


def _dataset(registry: Registry, part: Chosen, origins: dict[str, str]) -> tuple[Any, dict[str, Any]]:
    """The data set, from names and headers alone, with its resolution written down."""
    given = dict(part.options)
    res = given.get("res")
    if "res" in given and "res" not in options_of(part.target) and origins.get("res") != "command line":
        del given["res"]
    elif isinstance(res, (str, int)) and res != "none" and not str(res).startswith("["):
        given["res"] = parse_resolution(str(res))
    options = resolve(part.target, given, str(part), part=partial(_nested, registry, part.nested))
    dataset = guard(part, lambda: part.target(**options))
    if "res" in options and options["res"] is None and len(dataset.spec.shape) == 3:
        options["res"] = tuple(dataset.spec.shape[1:])
        origins["res"] = "the data's own"
    return dataset, options


# ---- what fits


def _fit(registry: Registry, loaded: dict[str, Chosen], dataset: Any, notices: list[str]) -> list[str]:
    """Refuse what was asked for and does not fit; drop, with a notice, what was only recommended."""
    checks = []

    def rank(key: str) -> int:
        """What can be left out first, it may not stand in the way; then what was asked for, to be the one that is named."""
        return 0 if loaded[key].soft and _optional(key) else 2 if loaded[key].soft else 1

    for key in sorted(loaded, key=rank):
        part = loaded[key]
        problem = misfit(part, loaded, dataset.spec, registry)
        if problem is None:
            checks.append(f"{part} fits")
        elif part.soft and _optional(key):
            notices.append(f"{part}, which was only recommended, was left out: {problem}")
            del loaded[key]
        else:
            raise UsageError(f"{part} does not fit: {problem}")
    return checks


def _config(loaded: Mapping[str, Chosen], settings: Settings) -> RunConfig:
    def spec(key: str) -> Spec:
        return Spec(loaded[key].name, loaded[key].options)

    regs = tuple(spec(key) for key in loaded if key.startswith("reg."))
    aug = spec("aug") if "aug" in loaded else None
    return RunConfig(
        gen=spec("gen"),
        disc=spec("disc"),
        loss=spec("loss"),
        game=spec("game"),
        data=spec("data"),
        reg=regs,
        aug=aug,
        settings=settings,
    )


def data_spec(text: str, registry: Registry) -> Spec:
    """What `--data` means: a data set with options, or a path (it has a separator, or it exists and is no data set's name)."""
    import os

    name, colon, _ = text.partition(":")
    known = {e.component.name for e in registry.select("dataset")} | {e.qualified for e in registry.select("dataset")}
    if name in known:
        return parse_spec(text)
    if colon and os.path.exists(name) and not os.path.exists(text):
        raise UsageError(f"'{text}': the options of a path are set beside it: --data '{name}' --set data.OPTION=VALUE")
    if not (os.path.exists(text) or "/" in text or "\\" in text):
        try:
            registry.find("dataset", parse_spec(text).name)
        except UsageError as err:
            raise UsageError(f"{err} Nor is there a file or folder '{text}' here.") from None
    from ganzoo.data.files import open_path

    kind, options = open_path(text)
    return Spec(kind, options)
