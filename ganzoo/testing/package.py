"""Checks of a distribution, `check_package_...(distribution)`, and of a component as declared, `check_component_...(entry)`."""

from __future__ import annotations

import functools
import inspect
import json
import os
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from torch import nn

from ganzoo.catalog import canonical, get_catalog
from ganzoo.config import layer_from_dict, make_settings, settings_keys
from ganzoo.errors import GanzooError, UsageError
from ganzoo.interfaces import CAPABILITIES, Augment, Dataset, Encoder, Features, Game, Loss, Metric, Regularizer
from ganzoo.options import coerce, options_of
from ganzoo.plugin import API, KIND_OF
from ganzoo.registry import CORE, GROUP, WITHOUT_DATA, Entry, discover, get_registry
from ganzoo.testing.cases import build, suitable_data
from ganzoo.testing.contracts import Skip, Untried, check, expect
from ganzoo.testing.wheels import packed_files, source_of
from ganzoo.training.optimizers import PlayerOptimizer
from ganzoo.training.schedules import Schedule

_BASES: dict[str, type] = {
    "generator": nn.Module,
    "discriminator": nn.Module,
    "loss": Loss,
    "regularizer": Regularizer,
    "augmentation": Augment,
    "game": Game,
    "dataset": Dataset,
    "encoder": Encoder,
    "features": Features,
    "metric": Metric,
}
# What a target is built from beside its options; else the data.
_GIVEN: dict[str, list[str]] = {"game": ["data", "parts"], **{kind: [] for kind in WITHOUT_DATA}}

# Imports the entry modules, then every target, in a process of its own, and notes what each of the two changed.
_PROBE = """
import contextlib, functools, io, json, logging, os, random, signal, sys, threading, warnings
from importlib import import_module

def state():
    found = {
        "files in the working directory": sorted(os.listdir()),
        "environment variables": dict(os.environ),
        "sys.path": list(sys.path),
        "threads": threading.active_count(),
        "signal handlers": [str(signal.getsignal(n)) for n in (signal.SIGINT, signal.SIGTERM)],
        "log handlers": len(logging.getLogger().handlers),
        "warning filters": [str(f) for f in warnings.filters],
        "the working directory": os.getcwd(),
        "python's random state": hash(random.getstate()),
    }
    if "torch" in sys.modules:
        import torch
        found["torch's default dtype"] = str(torch.get_default_dtype())
        found["torch's default device"] = str(torch.get_default_device())
        found["torch's random state"] = torch.initial_seed()
        found["torch's threads"] = torch.get_num_threads()
        found["torch's gradient mode"] = torch.is_grad_enabled()
        found["torch's settings"] = str(
            [torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled()]
            + [getattr(torch.backends.cudnn, name) for name in ("benchmark", "deterministic", "allow_tf32")]
        )
    return found

def note(stage, work):
    before = state()
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        result = work()
    after = state()
    changes = [name for name in before if before[name] != after[name]]
    report[stage] = changes + (["the terminal: " + out.getvalue().strip()[:80]] if out.getvalue() else [])
    return result

def load_entries():
    found = []
    for place in modules:
        name, _, attributes = place.partition(":")
        plugin = functools.reduce(getattr, filter(None, attributes.split(".")), import_module(name))
        found += getattr(plugin, "ganzoo_components", list)()
        report["api"].append(getattr(plugin, "ganzoo_api", None))
    return found

modules, report = json.loads(sys.argv[1]), {"api": []}
import ganzoo.plugin
components = note("entry", load_entries)
report["heavy"] = sorted({"torch", "timm", "numpy"} & set(sys.modules))
if any(c.kind != "recipe" for c in components):
    import numpy, torch, ganzoo.interfaces, ganzoo.games.match, PIL.Image
note("targets", lambda: [import_module(c.target.partition(":")[0]) for c in components if c.kind != "recipe"])
print(json.dumps(report))
"""


@check("the distribution loads without a problem: hooks, kinds and names are right, no name clashes with another's")
def check_package_loads(distribution: str) -> None:
    problems = [p.message for p in discover().problems if canonical(p.distribution) == canonical(distribution)]
    expect(not problems, "no problem", "; ".join(problems))
    registry = get_registry()
    offers = registry.of(distribution)
    observes = [p for p in registry.plugins if p.observes and canonical(p.distribution) == canonical(distribution)]
    expect(bool(offers or observes), "components, or hooks that observe runs", "neither")


@check("the entry module imports without torch, timm and numpy, which would slow every command")
def check_package_imports_light(distribution: str) -> None:
    heavy = _report(distribution)["heavy"]
    expect(not heavy, "an entry module that imports ganzoo.plugin and little else", f"{', '.join(heavy)} imported with it")


@check("importing has no side effects: nothing is printed, written, started or set, by the entry module or by a target's")
def check_package_imports_quietly(distribution: str) -> None:
    report = _report(distribution)
    for stage, what in (("entry", "its entry module is"), ("targets", "its targets' modules are")):
        expect(not report[stage], f"nothing changed when {what} imported", f"changes in {', '.join(report[stage])}")


@check("licence, version and plugin API are stated")
def check_package_states(distribution: str) -> None:
    about = metadata.metadata(distribution)
    stated = [value for key in ("License-Expression", "License", "Classifier") for value in about.get_all(key) or []]
    licences = [value for value in stated if "::" not in value or value.startswith("License ::")]
    expect(any(licences), 'a licence in pyproject.toml, as license = "MIT"', "none")
    expect(bool(about.get_all("Version")), "a version", "none")
    apis = _report(distribution)["api"]
    expect(all(isinstance(api, int) for api in apis), f"ganzoo_api = {API} in the entry module", apis)


@check("names are its own: no other plugin of the catalogue offers them, and no command of ganzoo's has them")
def check_package_names(distribution: str) -> None:
    from ganzoo.cli.group import COMMANDS

    catalog = get_catalog()
    for entry in get_registry().of(distribution):
        rivals = [o.distribution for o in catalog.offering(entry.kind, entry.name)]
        others = [rival for rival in rivals if canonical(rival) != canonical(distribution)]
        expect(not others, f"a {entry.kind} of a name that is free", f"'{entry.name}', which {', '.join(others)} offers")
    commands = metadata.distribution(distribution).entry_points.select(group=f"{GROUP}.commands")
    hidden = sorted({point.name for point in commands} & COMMANDS.keys())
    expect(not hidden, "commands of other names than ganzoo's own", ", ".join(hidden))


@check(
    "metadata with which it is found and installed: a summary, a README, the keyword ganzoo-plugin, a lower bound on the core"
)
def check_package_described(distribution: str) -> None:
    about = metadata.metadata(distribution)
    expect(bool(about.get("Summary", "").strip()), "a description of one line in pyproject.toml", "none")
    readme = about.get_payload() or about.get("Description")
    expect(bool(readme and str(readme).strip()), 'a README: readme = "README.md" in pyproject.toml', "none")
    if canonical(distribution) == CORE:
        return
    keywords = [word.strip() for word in (about.get("Keywords") or "").replace(" ", ",").split(",")]
    expect("ganzoo-plugin" in keywords, 'keywords = ["ganzoo-plugin"], by which plugins are found', keywords)
    asked = [need for text in about.get_all("Requires-Dist") or [] if canonical((need := Requirement(text)).name) == CORE]
    always = [need for need in asked if need.marker is None or need.marker.evaluate({"extra": ""})]
    expect(bool(always), f'a dependency "{CORE}>=0.1"', "none" if not asked else f"{asked[0]}, at times")
    bounded = any(bound.operator in (">=", "~=", "==", "===") for bound in always[0].specifier)
    expect(bounded, f'a lower bound, as "{CORE}>=0.1": the API that it was written for', always[0])
    here = metadata.version(CORE)
    expect(always[0].specifier.contains(here, prereleases=True), f"{CORE} {here}, which is installed, to do", always[0])


@check("the wheel holds every file of the package's folders, and what was installed is all there")
def check_package_files(distribution: str, source: Path | None = None) -> None:
    found = metadata.distribution(distribution)
    project = source or source_of(distribution)
    if project is None:  # what is installed is what the wheel held
        gone = [str(file) for file in found.files or () if not Path(str(file.locate())).exists() and file.suffix != ".pyc"]
        expect(not gone, "every file that was installed", f"{len(gone)} gone, such as {', '.join(gone[:3])}")
        return
    # With `source` the distribution is its wheel, unpacked; an editable one has none yet.
    packed = {str(file) for file in found.files or ()} if source is not None else packed_files(project)
    for top in _top_levels(distribution):
        folder = next((place for place in (project / "src" / top, project / top) if place.is_dir()), None)
        if folder is None and not any(place.is_file() for place in (project / "src" / f"{top}.py", project / f"{top}.py")):
            raise Untried(f"{top}/ is neither in {project}/src nor in {project}: its layout is not known")
        if folder is None:
            continue  # one module
        missing = [name for name in _sources(folder) if name not in packed]
        expect(not missing, f"every file of {top}/ in the wheel", f"{', '.join(missing[:5])} left out")


def _top_levels(distribution: str) -> list[str]:
    targets = [entry.component.target for entry in get_registry().of(distribution)]
    return sorted({place.partition(":")[0].partition(".")[0] for place in [*_entry_modules(distribution), *targets]})


def _sources(folder: Path) -> list[str]:
    """The files of a package's folder, as a wheel names them, without what is made of them."""
    files = [path.relative_to(folder.parent) for path in sorted(folder.rglob("*")) if path.is_file()]
    return [f.as_posix() for f in files if "__pycache__" not in f.parts and not any(p.startswith(".") for p in f.parts)]


@check(
    "a summary of one line; capabilities of the table in ganzoo.interfaces; `recommends` and `min_group` that mean something"
)
def check_component_declared(entry: Entry) -> None:
    component = entry.component
    expect(
        bool(component.summary.strip()) and "\n" not in component.summary, "a summary of one line", component.summary or "none"
    )
    strange = sorted((component.provides | component.needs) - CAPABILITIES.keys())
    expect(not strange, f"capabilities of {', '.join(CAPABILITIES)}", ", ".join(strange))
    try:
        _resolve_recommended(entry)
    except GanzooError as err:
        expect(False, "`recommends` that can be played with", err)
    if isinstance(component.min_group, str):
        options = options_of(get_registry().load(entry))
        expect(component.min_group in options, "min_group, a number or the name of an option", component.min_group)
    else:
        expect(component.min_group >= 1, "min_group from 1", component.min_group)


def _resolve_recommended(entry: Entry) -> None:
    """Every setting, schedule and optimizer that it recommends, and every part with its options. Raises GanzooError."""
    registry = get_registry()
    layer = layer_from_dict(entry.component.recommends, f"recommended by {entry}", soft=True)
    settings = make_settings({key: option.default for key, option in settings_keys().items()} | layer.settings)
    for player in ("G", "D"):
        PlayerOptimizer(player, nn.Linear(1, 1, bias=False), getattr(settings, player), (), settings.kimg)
    if settings.ema.half_life != "auto":
        Schedule(settings.ema.half_life, settings.kimg, "ema.half_life")
    for key, spec in [*layer.parts.items(), *((f"reg.{reg.name}", reg) for reg in layer.regs or ())]:
        if spec is None:
            continue
        kind = KIND_OF[key.partition(".")[0]]
        try:
            part = registry.find(kind, spec.name)
        except UsageError:
            if get_catalog().offering(kind, spec.name.rpartition("/")[2]):
                continue  # of a plugin that is not installed here
            raise
        if kind != "dataset":  # assembly reads those options itself: a resolution may be written 64x32
            registry.resolve(part, {**spec.options, **layer.options.get(key, {})})


@check("the target imports and is of its kind: built as target(data, **options), a data set or encoder as target(**options)")
def check_component_target(entry: Entry) -> None:
    registry = get_registry()
    target = registry.load(entry)
    if entry.kind == "recipe":
        layer = layer_from_dict(target, f"{entry}")
        for key, spec in layer.parts.items():
            expect(spec is None or bool(spec.name), f"a name for {key}", spec)
        return
    base = _BASES.get(entry.kind)
    if base is None:
        raise Skip(f"the contract of a {entry.kind} is not checked here")
    _expect_signature(entry, target)
    if isinstance(target, type):
        expect(issubclass(target, base), f"a subclass of {base.__module__}.{base.__qualname__}", target.__qualname__)
    elif entry.kind not in ("game", *WITHOUT_DATA):
        part = build(entry, suitable_data(entry.component)[0])
        expect(isinstance(part, base), f"a {base.__module__}.{base.__qualname__}", type(part).__name__)


def _expect_signature(entry: Entry, target: Any) -> None:
    parameters = list(inspect.signature(target).parameters.values())
    given = _GIVEN.get(entry.kind, ["data"])
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    wanted = f"{', '.join(given) or 'nothing'} before the keyword-only options"
    expect(len(positional) == len(given), wanted, ", ".join(positional) or "nothing")


@check("every option has an annotation, a default that fits it, and a meaning in the docstring's section 'Options:'")
def check_component_options(entry: Entry) -> None:
    if entry.kind == "recipe":
        raise Skip("a recipe has no options")
    options = options_of(get_registry().load(entry))  # raises where an annotation is missing
    silent = [name for name, option in options.items() if not option.meaning]
    expect(not silent, "a line '    name: meaning' for each option", f"none for {', '.join(silent)}")
    for name, option in options.items():
        if option.required:
            continue
        try:
            coerce(option.default, option.annotation, name)
        except GanzooError as err:
            expect(False, f"a default of {name} that fits its annotation", err)


def _entry_modules(distribution: str) -> list[str]:
    return sorted({point.value for point in metadata.distribution(distribution).entry_points.select(group=GROUP)})


@functools.cache
def _report(distribution: str) -> dict[str, Any]:
    """What importing the distribution does, as a process of its own tells; one a distribution, for torch takes seconds."""
    modules = _entry_modules(distribution)
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-c", _PROBE, json.dumps(modules)]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)
    told = done.stdout.splitlines()
    expect(done.returncode == 0, "modules that import", (done.stderr.strip().splitlines() or ["nothing"])[-1])
    expect(bool(told), "modules that import", "the process ended while they were imported: does one of them exit?")
    report: dict[str, Any] = json.loads(told[-1])
    return report


PACKAGE_CHECKS = (
    check_package_loads,
    check_package_imports_light,
    check_package_imports_quietly,
    check_package_states,
    check_package_described,
    check_package_names,
    check_package_files,
)
COMPONENT_CHECKS = (
    check_component_declared,
    check_component_target,
    check_component_options,
)
