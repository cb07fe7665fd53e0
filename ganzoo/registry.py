"""The registry: finds the installed plugins, isolates the broken ones, looks components up by kind and name, and builds them.

A plugin is a distribution with entry points in the group `ganzoo`. Each is loaded under its own guard and taken whole or not at
all; what goes wrong becomes a `Problem`. Nothing here imports torch: only `Registry.load` imports a component's target.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import metadata
from typing import Any

import pluggy

from ganzoo import hookspecs
from ganzoo.catalog import canonical, get_catalog
from ganzoo.errors import GanzooError, PluginError, UsageError, did_you_mean
from ganzoo.options import fill_auto, parse_spec, resolve
from ganzoo.plugin import API, KINDS, Component, DataSpec, Part

GROUP = "ganzoo"
CORE = "ganzoo-core"
WITHOUT_DATA = ("dataset", "encoder")  # built as target(**options)
HEAVY = ("torch", "timm", "numpy")  # what listing must not import: seconds, where everything else takes a tenth


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one distribution: one line, and the trace where an exception was at its root."""

    distribution: str
    message: str
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A component and the distribution that offers it."""

    component: Component
    dist: str
    version: str

    @property
    def kind(self) -> str:
        return self.component.kind

    @property
    def name(self) -> str:
        return self.component.name

    @property
    def qualified(self) -> str:
        return f"{self.dist}/{self.component.name}"

    def __str__(self) -> str:
        return f"{self.kind} '{self.name}'"


@dataclass(frozen=True, slots=True)
class Plugin:
    """A distribution that was loaded. `hook` calls this plugin's hooks alone: `plugin.hook.ganzoo_run_tick(run=..., ...)`."""

    distribution: str
    version: str
    hook: pluggy.HookRelay
    observes: bool


class Registry:
    """What is installed. `entries` are in the order of KINDS, then by name."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.plugins: list[Plugin] = []
        self.problems: list[Problem] = []
        self.left_out: list[str] = []  # distributions that GANZOO_PLUGINS does not name

    def find(self, kind: str, name: str) -> Entry:
        """The component of this name, or `distribution/name`. Raises UsageError that says what there is instead."""
        kind = as_kind(kind)
        dist, _, bare = name.rpartition("/")
        found = [
            e for e in self.entries if e.kind == kind and e.name == bare and (not dist or canonical(e.dist) == canonical(dist))
        ]
        if len(found) == 1:
            return found[0]
        if found:
            choice = " or ".join(entry.qualified for entry in found)
            raise UsageError(f"{kind} '{name}' is offered by {len(found)} plugins: write {choice}")
        raise UsageError(f"there is no {kind} '{name}'.{self._instead(kind, bare)}")

    def select(self, kind: str | None = None, pattern: str | None = None) -> list[Entry]:
        """The components of a kind whose name (or `distribution/name`, if the pattern has a slash) matches a glob."""
        kind = as_kind(kind) if kind is not None else None
        return [e for e in self.entries if kind in (None, e.kind) and (pattern is None or matches(e.dist, e.name, pattern))]

    def of(self, distribution: str) -> list[Entry]:
        """What a distribution offers."""
        return [entry for entry in self.entries if canonical(entry.dist) == canonical(distribution)]

    def observers(self) -> list[tuple[str, pluggy.HookRelay]]:
        """(distribution, its hooks) of each plugin that observes runs. The caller guards each call."""
        return [(plugin.distribution, plugin.hook) for plugin in self.plugins if plugin.observes]

    def load(self, entry: Entry) -> Any:
        """Import the target; of a recipe, read its table. Raises PluginError with the cause."""
        module, _, attribute = entry.component.target.partition(":")
        try:
            with stdout_to_stderr():
                if entry.kind == "recipe":
                    return _read_recipe(module, attribute)
                target = functools.reduce(getattr, attribute.split("."), importlib.import_module(module))
            if not callable(target):
                raise TypeError(f"it is no class or function but {type(target).__name__}")
        except KeyboardInterrupt:
            raise
        except BaseException as err:
            raise PluginError(
                f"{entry} of {entry.dist} could not be loaded from {entry.component.target}: {one_line(err)}"
            ) from err
        return target

    def resolve(self, entry: Entry, given: Mapping[str, Any], fill: bool = True) -> dict[str, Any]:
        """The options with their types, nested parts looked up, and with the defaults where `fill`. Raises UsageError."""
        return resolve(self.load(entry), given, str(entry), fill, self._make_part)

    def build(self, entry: Entry, given: Mapping[str, Any], data: DataSpec | None = None, batch: int = 64) -> Any:
        """The component: `target(data, **options)`, of WITHOUT_DATA `target(**options)`. "auto" goes by `data` and `batch`."""
        if entry.kind in ("game", "recipe"):
            raise UsageError(f"a {entry.kind} is not built alone: ganzoo.train takes it")
        if entry.kind not in WITHOUT_DATA and data is None:
            raise UsageError(f"{entry} is built for data: give a DataSpec, as dataset.spec is")
        target, options = self.load(entry), self.resolve(entry, given)
        try:
            return target(**options) if entry.kind in WITHOUT_DATA else target(data, **fill_auto(target, options, data, batch))
        except (GanzooError, KeyboardInterrupt):
            raise
        except BaseException as err:
            raise PluginError(f"{entry} of {entry.dist} failed while it was built: {one_line(err)}") from err

    def _make_part(self, part: Part, kind: str) -> Part:
        entry = self.find(kind, part.name)
        return Part(part.name, self.resolve(entry, part.options), self.load(entry))

    def _instead(self, kind: str, name: str) -> str:
        """What to do when there is no such name: other spellings, other kinds, what to install."""
        installed = sorted({e.name for e in self.entries if e.kind == kind})
        known, hints = set(installed), []
        try:
            catalog = get_catalog()
            known |= catalog.names(kind)
            hints = [offered(offer.distribution, self) for offer in catalog.offering(kind, name)]
        except GanzooError as err:
            hints = [f" What could be installed is not known: {err}"]
        if homes := [e.qualified for e in self.entries if (e.kind, e.name) == (kind, name)]:
            return f" There is {' and '.join(homes)}."  # of another distribution than was asked for
        also = [f" The {e.kind} '{e.name}' is also known as '{name}'." for e in self.entries if name in e.component.aliases]
        also += [f" '{name}' is a {other}." for other in dict.fromkeys(e.kind for e in self.entries if e.name == name)]
        shown = ", ".join(installed[:20]) + ("..., all by 'ganzoo list'" if len(installed) > 20 else "")
        guess = "" if name in known else did_you_mean(name, known)
        return "".join([guess, *also, f" Installed: {shown or 'none'}.", *hints])


@functools.cache
def get_registry() -> Registry:
    """The registry of this process. Names each problem on stderr; with GANZOO_STRICT=1 raises PluginError for the first."""
    registry = discover()
    for problem in registry.problems:
        line = f"plugin {problem.distribution}: {problem.message}"
        if os.environ.get("GANZOO_STRICT", "0") not in ("", "0"):
            raise PluginError(line)
        print(f"ganzoo: {line}" + (" ('ganzoo doctor' shows the trace)" if problem.traceback else ""), file=sys.stderr)
    return registry


def create(kind: str, name: str, data: DataSpec | None = None, **options: Any) -> Any:
    """Build one installed component; `name` may carry options as on the command line."""
    spec, registry = parse_spec(name), get_registry()
    return registry.build(registry.find(kind, spec.name), {**spec.options, **options}, data)


def as_kind(text: str) -> str:
    """One of KINDS, from the singular or plural. Raises UsageError."""
    for kind in KINDS:
        if text in (kind, f"{kind}s", f"{kind}es"):
            return kind
    raise UsageError(f"there is no kind '{text}'.{did_you_mean(text, KINDS)} Kinds: {', '.join(KINDS)}.")


def matches(dist: str, name: str, pattern: str) -> bool:
    return fnmatchcase(f"{dist}/{name}" if "/" in pattern else name, pattern)


def one_line(err: BaseException) -> str:
    return " ".join(f"{type(err).__name__}: {err}".removesuffix(": ").split())


def stdout_to_stderr() -> contextlib.redirect_stdout[Any]:
    """What a plugin prints while it is imported must not end up in `ganzoo list --json`."""
    return contextlib.redirect_stdout(sys.stderr)


# ---- finding and loading


@dataclass(slots=True)
class _Found:
    """A distribution with entry points of ours, not loaded yet."""

    name: str
    version: str
    entry_points: list[metadata.EntryPoint]


def discover() -> Registry:
    """Find and load every plugin. Never raises for what is wrong with one: see `Registry.problems`."""
    registry = Registry()
    found = sorted(_distributions(registry.problems, GROUP), key=lambda dist: canonical(dist.name))
    wanted = _wanted()
    if wanted is not None:
        registry.left_out = [dist.name for dist in found if canonical(dist.name) not in wanted]
        found = [dist for dist in found if canonical(dist.name) in wanted]
        missing = wanted - {canonical(dist.name) for dist in found}
        if missing:  # of these, some may offer commands alone
            missing -= {canonical(dist.name) for dist in _distributions([], f"{GROUP}.commands")}
        for name in sorted(missing):
            registry.problems.append(Problem(name, "GANZOO_PLUGINS names it, but no plugin of that name is installed"))
    for dist in found:
        _load_plugin(dist, registry)
    registry.entries.sort(key=lambda e: (KINDS.index(e.component.kind), e.name, canonical(e.dist)))
    registry.problems += _clashes(registry.entries)
    return registry


def commands() -> dict[str, list[tuple[str, metadata.EntryPoint]]]:
    """Further commands by name, not loaded: (distribution, entry point) in the group `ganzoo.commands`."""
    offered: dict[str, list[tuple[str, metadata.EntryPoint]]] = defaultdict(list)
    wanted = _wanted()
    for dist in sorted(_distributions([], f"{GROUP}.commands"), key=lambda dist: canonical(dist.name)):
        for point in dist.entry_points if wanted is None or canonical(dist.name) in wanted else ():
            offered[point.name].append((dist.name, point))
    return dict(offered)


def _wanted() -> set[str] | None:
    listed = os.environ.get("GANZOO_PLUGINS")
    return None if listed is None else {CORE, *(canonical(name.strip()) for name in listed.split(",") if name.strip())}


def _distributions(problems: list[Problem], group: str) -> Iterator[_Found]:
    """Distributions with entry points of this group; where one is on the path twice, the first, as an import would do.

    Not metadata.entry_points(): one broken file anywhere in the environment would end it.
    """
    seen: set[str] = set()
    for dist in metadata.distributions():
        try:
            if f"[{group}]" not in (dist.read_text("entry_points.txt") or ""):
                continue
            points = sorted(dist.entry_points.select(group=group), key=lambda point: point.name)
            about = dist.metadata  # each access parses the whole file, read-me included
            name, version = about["Name"], about["Version"]
        except Exception as err:
            problems.append(Problem(_place(dist), f"its metadata cannot be read: {one_line(err)}", _trace()))
            continue
        if not name:
            problems.append(Problem(_place(dist), "its metadata has no name; install it again"))
        elif points and canonical(name) not in seen:
            seen.add(canonical(name))
            yield _Found(name, version or "unknown", points)


def installed(distribution: str) -> str | None:
    """The version of an installed distribution, loaded or not; None where there is none."""
    try:
        return metadata.version(distribution) or "of unknown version"
    except metadata.PackageNotFoundError:
        return None


def _place(dist: metadata.Distribution) -> str:
    return os.path.basename(str(dist.locate_file(""))) + "/?"


def _load_plugin(dist: _Found, registry: Registry) -> None:
    """Load one distribution's entry points and ask it for its components: all of it, or a Problem."""
    already = {name for name in HEAVY if name in sys.modules}
    try:
        with stdout_to_stderr():
            manager = pluggy.PluginManager(GROUP)  # one a distribution: a call reaches it alone
            manager.add_hookspecs(hookspecs)
            for point in {point.value: point for point in dist.entry_points}.values():
                _register(manager, point)
            components = [c for offered in manager.hook.ganzoo_components() for c in offered]
            _check(components)
    except KeyboardInterrupt:
        raise
    except BaseException as err:  # SystemExit and whatever else a plugin raises costs that plugin only
        message = str(err) if isinstance(err, PluginError) else one_line(err)
        registry.problems.append(Problem(dist.name, message, _trace()))
        return
    registry.entries += [Entry(component, dist.name, dist.version) for component in components]
    observes = any(name.startswith("ganzoo_run_") and caller.get_hookimpls() for name, caller in vars(manager.hook).items())
    registry.plugins.append(Plugin(dist.name, dist.version, manager.hook, observes))
    heavy = [name for name in HEAVY if name in sys.modules and name not in already]
    if heavy:
        message = (
            f"it imports {', '.join(heavy)} when it is loaded, which slows every command; import them in the target's module"
        )
        registry.problems.append(Problem(dist.name, message))


def _register(manager: pluggy.PluginManager, point: metadata.EntryPoint) -> None:
    plugin = point.load()
    asked = getattr(plugin, "ganzoo_api", API)
    if not isinstance(asked, int) or asked > API:
        raise PluginError(f"it asks for plugin API {asked}, this ganzoo has {API}: pip install --upgrade {CORE}")
    try:
        manager.register(plugin, point.name)
        manager.check_pending()
    except pluggy.PluginValidationError as err:
        raise PluginError(f"hook of another signature or name: {' '.join(str(err).split())}") from err
    if not manager.get_hookcallers(plugin):
        raise PluginError(f"{point.value} has no hook: decorate ganzoo_components with ganzoo.plugin.hookimpl")


def _check(components: Iterable[Any]) -> None:
    seen: set[tuple[str, str]] = set()
    for component in components:
        if not isinstance(component, Component):
            raise PluginError(f"ganzoo_components gave {component!r:.80}, which is no Component")
        if component.kind not in KINDS:
            known = f"{did_you_mean(str(component.kind), KINDS)} Kinds: {', '.join(KINDS)}."
            raise PluginError(f"component '{component.name}' is of unknown kind '{component.kind}'.{known}")
        if (component.kind, component.name) in seen:
            raise PluginError(f"{component.kind} '{component.name}' is offered twice")
        for text in (component.summary, component.paper or "", component.licence or "", component.couples, *component.aliases):
            if not isinstance(text, str):
                raise PluginError(f"{component.kind} '{component.name}': {text!r:.80} must be text")
        seen.add((component.kind, component.name))


def _clashes(entries: Iterable[Entry]) -> Iterator[Problem]:
    """Which of two came first would be the file system's whim, so neither has the bare name."""
    rivals: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        rivals[entry.kind, entry.name].append(entry)
    for (kind, name), group in rivals.items():
        for entry in group if len(group) > 1 else ():
            others = ", ".join(other.dist for other in group if other is not entry)
            yield Problem(entry.dist, f"{kind} '{name}' is also offered by {others}: write {entry.qualified} for this one")


def offered(distribution: str, registry: Registry) -> str:
    """How to get at a distribution that would offer what was asked for."""
    name = canonical(distribution)
    if name in map(canonical, registry.left_out):
        return f" It is offered by {distribution}, which GANZOO_PLUGINS leaves out."
    if any(name == canonical(problem.distribution) for problem in registry.problems):
        return f" It is offered by {distribution}, which could not be loaded: see 'ganzoo doctor'."
    return f" It is offered by {distribution}: pip install {distribution}"


def _read_recipe(package: str, path: str) -> dict[str, Any]:
    import tomllib
    from importlib import resources

    return tomllib.loads(resources.files(package).joinpath(path).read_text("utf-8"))


def _trace() -> str:
    import traceback  # only problems need it

    return traceback.format_exc()
