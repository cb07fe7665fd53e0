"""What fits what, from what the components declare. Nothing here knows a component by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ganzoo.errors import GanzooError, PluginError, UsageError
from ganzoo.plugin import KIND_OF, DataSpec, Resolutions
from ganzoo.registry import Entry, Registry, one_line

# Who may provide what a part needs: everybody else in the game.
_PROVIDERS = ("gen", "disc", "loss", "game", "data")


@dataclass(slots=True)
class Chosen:
    """One part of a plan: key ("gen", "reg.r1"), the declared component, its target and options.

    target  None until it is imported
    nested  distributions of the parts among its options
    """

    key: str
    name: str
    entry: Entry
    target: Any
    options: dict[str, Any] = field(default_factory=dict)
    soft: bool = False
    nested: set[str] = field(default_factory=set)

    def __str__(self) -> str:
        return f"{KIND_OF[self.key.partition('.')[0]]} '{self.name}'"

    def min_group(self) -> int:
        """Batches must be multiples of it."""
        group = self.entry.component.min_group
        value = self.options.get(group, 1) if isinstance(group, str) else group
        return max(1, value if isinstance(value, int) else 1)


def guard(part: Chosen, call: Callable[[], Any], what: str = "could not be built") -> Any:
    """`call`, a plugin's code: what it raises names the part; a ValueError is its word that an option does not suit."""
    try:
        return call()
    except (GanzooError, KeyboardInterrupt):
        raise
    except ValueError as err:
        raise UsageError(f"{part}: {err}") from err
    except BaseException as err:  # SystemExit too: a part that exits would end the command without a word
        raise PluginError(f"{part} of {part.entry.dist} {what}: {one_line(err)}") from err


def misfit(part: Chosen, parts: Mapping[str, Chosen], data: DataSpec, registry: Registry) -> str | None:
    """Why this part does not fit the data or the other parts, and what would; None where it fits."""
    # First what no other data would mend.
    for check in (_needs, _modality, _resolution, _labels, _source):
        if problem := check(part, parts, data, registry):
            return problem
    return None


def go_together(entries: Sequence[Entry], registry: Registry) -> bool:
    """Whether some data and some installed partners let all of these play in one game, by what they declare."""
    components = [entry.component for entry in entries]
    modalities = [c.modality for c in components if c.modality]
    if modalities and not frozenset.intersection(*modalities):
        return False
    if {"required", "refused"} <= {c.labels for c in components}:
        return False
    sizes = [Resolutions(c.resolutions) for c in components if c.resolutions]
    if not any(all(can.admits((side, side)) for can in sizes) for side in range(1, 1025)):
        return False
    players = {KIND_OF[key] for key in _PROVIDERS}
    chosen = {c.kind for c in components}
    provided = frozenset().union(*(c.provides for c in components))
    # What none of these provides may still come from a part that is not chosen yet.
    free = frozenset().union(*(e.component.provides for e in registry.entries if e.kind in players - chosen))
    return all(c.needs <= provided | free for c in components)


def check_batch(parts: Mapping[str, Chosen], batch: int, micro_batch: int | None) -> list[str]:
    """Refuse batches that are no multiples of the groups that parts ask for."""
    for part in parts.values():
        group = part.min_group()
        for flag, size in (("--batch", batch), ("--micro-batch", micro_batch)):
            if size is not None and size % group:
                below = size // group * group
                near = f"{below} or {below + group}" if below else str(group)
                raise UsageError(
                    f"{part} works on groups of {group} samples, and {flag} {size} is no multiple of {group}: use {near}"
                )
    if micro_batch is not None and micro_batch > batch:
        raise UsageError(f"--micro-batch {micro_batch} is larger than --batch {batch}: give at most {batch}")
    return [f"batch {batch}" + (f", micro-batch {micro_batch}" if micro_batch else "") + " suits every part"]


def coupled(parts: Mapping[str, Chosen]) -> list[str]:
    """What is computed per micro-batch, where the batch is cut: a line each."""
    return [f"{part}: {part.entry.component.couples}" for part in parts.values() if part.entry.component.couples]


def _modality(part: Chosen, parts: Mapping[str, Chosen], data: DataSpec, registry: Registry) -> str | None:
    takes = part.entry.component.modality
    if part.key == "data" or not takes or data.modality in takes:
        return None
    kind = KIND_OF[part.key.partition(".")[0]]
    others = [
        e.component.name for e in registry.select(kind) if not e.component.modality or data.modality in e.component.modality
    ]
    return f"it takes {_words(takes)}, and {parts['data']} holds {data.modality} data; {_instead(kind, others)}"


def _resolution(part: Chosen, parts: Mapping[str, Chosen], data: DataSpec, registry: Registry) -> str | None:
    phrase = part.entry.component.resolutions
    if phrase is None or not data.resolution or part.key == "data":
        return None
    can = Resolutions(phrase)
    if can.admits(data.resolution):
        return None
    nearest = can.nearest(data.resolution)
    hint = f"; try --res {'x'.join(map(str, nearest if len(set(nearest)) > 1 else nearest[:1]))}" if nearest else ""
    return f"it does {phrase}, and {parts['data']} is {'x'.join(map(str, data.resolution))}{hint}"


def _labels(part: Chosen, parts: Mapping[str, Chosen], data: DataSpec, registry: Registry) -> str | None:
    wants = part.entry.component.labels
    if part.key == "data":
        return None
    needing = [other for other in parts.values() if other.entry.component.labels == "required"]
    refusing = [other for other in parts.values() if other.entry.component.labels == "refused"]
    if needing and refusing and part in (*needing, *refusing):
        need, refuse = (" and ".join(map(str, sides)) for sides in (needing, refusing))
        return f"labels are what {need} cannot do without, and {refuse} cannot use; leave one of them out"
    if wants == "required" and not data.classes:
        kind = KIND_OF[part.key.partition(".")[0]]
        return (
            f"it needs labels, and {parts['data']} has none; put the images in a sub-folder a class, or choose another {kind}"
        )
    if wants == "refused" and data.classes:
        classes = f"{parts['data']} has {len(data.classes)} classes"
        return f"it cannot use labels, and {classes}; leave them out with --set data.labels=false"
    return None


def _source(part: Chosen, parts: Mapping[str, Chosen], data: DataSpec, registry: Registry) -> str | None:
    if part.key != "gen":
        return None
    translates = "translate" in part.entry.component.provides
    fitting = [e.component.name for e in registry.select("generator") if ("translate" in e.component.provides) != translates]
    if data.source is not None and not translates:
        return f"it makes images from noise, and {parts['data']} holds pairs to translate; {_instead('generator', fitting)}"
    if data.source is None and not data.domains and translates:
        return f"it translates images, and {parts['data']} has no source images; {_instead('generator', fitting)}"
    return None


def _needs(part: Chosen, parts: Mapping[str, Chosen], data: DataSpec, registry: Registry) -> str | None:
    others = [parts[key] for key in _PROVIDERS if key in parts and key != part.key]
    provided = frozenset().union(*(other.entry.component.provides for other in others))
    lacking = sorted(part.entry.component.needs - provided)
    if not lacking:
        return None
    players = {KIND_OF[key] for key in _PROVIDERS}
    able = {need: [e for e in registry.select() if need in e.component.provides and e.kind in players] for need in lacking}
    kinds = {need: {e.kind for e in able[need]} for need in lacking}
    need = min(lacking, key=lambda need: kinds[need] == {"dataset"})  # other data would mend that
    here = [other for other in others if other.entry.kind in kinds[need]] or [other for other in others if other.key != "data"]
    which = f"none of {', '.join(map(str, here))} provides" if len(here) > 1 else f"{here[0]} does not provide"
    these = ", ".join(map(str, able[need])) or "none installed"
    return f"it needs '{need}'{_meaning(need)}, which {which}; these do: {these}"


def _meaning(need: str) -> str:
    from ganzoo.interfaces import CAPABILITIES

    return f" ({CAPABILITIES[need]})" if need in CAPABILITIES else ""


def _instead(kind: str, names: list[str]) -> str:
    return f"{kind}s that do: {', '.join(sorted(names))}" if names else f"no installed {kind} does"


def _words(values: frozenset[str]) -> str:
    return " and ".join(sorted(values)) + " data"
