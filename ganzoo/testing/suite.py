"""Every check that applies to a distribution, by name: `ganzoo check` runs them, and pytest by `parametrize_with_checks`."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ganzoo.catalog import canonical, get_catalog
from ganzoo.errors import PluginError, UsageError, did_you_mean
from ganzoo.options import options_of
from ganzoo.registry import GROUP, WITHOUT_DATA, Entry, get_registry, one_line
from ganzoo.testing.cases import CLASSES, of_another_size, suitable_data
from ganzoo.testing.checks import CHECKS, COMPONENT_CHECKS, PACKAGE_CHECKS, PLAYING, TRAINING_CHECKS
from ganzoo.testing.contracts import Check, Failure, Skip, Untried
from ganzoo.testing.discriminators import check_discriminator_shape
from ganzoo.testing.generators import check_generator_shape
from ganzoo.testing.package import check_component_options, check_package_files
from ganzoo.testing.training import check_training_frees, check_training_run

if TYPE_CHECKING:
    import pytest

_FEW_RECORDS = {"n": 64}  # of a data set that makes them
# On how many kinds of data: a loss sees logits alone, and a training takes a second.
_MOST = {"loss": 1, "regularizer": 3, "features": 2}
_MOST_TRAININGS = 2


@dataclass(frozen=True, slots=True)
class Case:
    """One check of one subject, a distribution or a component of it. Call it: Failure where a contract is broken, or Skip."""

    check: Check
    subject: str  # "package", or "KIND NAME"
    trials: Callable[[], Iterator[Callable[[], None]]]

    @property
    def name(self) -> str:
        return f"{self.subject}: {self.check.__name__}"

    def expected(self, failures: Mapping[str, str]) -> str | None:
        """The reason why it is expected to fail, if it is."""
        return failures.get(self.name, failures.get(self.check.__name__))

    def __call__(self) -> None:
        """On all data that suit it; skipped where it applies to none of them."""
        reasons: list[Skip] = []
        tried = 0
        try:
            for trial in self.trials():
                tried += 1
                try:
                    trial()
                except Skip as reason:
                    reasons.append(reason)
        except (Skip, Failure, KeyboardInterrupt):
            raise
        except BaseException as err:  # what makes the trial's files, say
            raise Failure(self.subject, "no exception", one_line(err), self.check.contract) from err  # type: ignore[attr-defined]
        if len(reasons) == tried:
            raise next((r for r in reasons if isinstance(r, Untried)), reasons[-1] if reasons else Untried("no data suit it"))


def cases_of(distribution: str, source: Path | None = None) -> list[Case]:
    """The checks of an installed distribution, in order; `source` is the project it was built from, where that is known.

    Raises UsageError where no plugin of that name is installed, or GANZOO_PLUGINS leaves it out.
    """
    registry = get_registry()
    get_catalog()  # a broken one is not the plugin's fault
    try:
        found = metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        plugins = sorted({plugin.distribution for plugin in registry.plugins})
        close = f" Did you mean 'ganzoo-{distribution}'?" if f"ganzoo-{distribution}" in plugins else ""
        raise UsageError(
            f"no distribution '{distribution}' is installed.{close or did_you_mean(distribution, plugins)} "
            f"Plugins: {', '.join(plugins)}; a project that is not installed: ganzoo check ./FOLDER"
        ) from None
    if not found.entry_points.select(group=GROUP):
        raise UsageError(f"{distribution} is no plugin: it has no entry point in the group '{GROUP}'")
    if canonical(distribution) in map(canonical, registry.left_out):
        raise UsageError(f"{distribution} is left out by GANZOO_PLUGINS: name it there")
    cases = [_case(check, "package", distribution, *_with_source(check, source)) for check in PACKAGE_CHECKS]
    for entry in registry.of(distribution):
        cases += _cases_of(entry)
    return cases


def expected_failures(distribution: str, further: Mapping[str, str] | None = None) -> dict[str, str]:
    """Reasons by the name of a check or case: `ganzoo_expected_failures` of the plugin's entry module, and `further`.

    Raises UsageError for a name that no check has, and where a reason is missing.
    """
    expected: dict[str, str] = {}
    for point in metadata.distribution(distribution).entry_points.select(group=GROUP):
        try:
            expected |= getattr(point.load(), "ganzoo_expected_failures", {})
        except KeyboardInterrupt:
            raise
        except BaseException:  # SystemExit too; check_package_loads tells of it
            continue
    expected |= further or {}
    known = {name for case in cases_of(distribution) for name in (case.name, case.check.__name__)}
    for name, reason in expected.items():
        if name not in known:
            raise UsageError(f"expected to fail is '{name}', which no check is.{did_you_mean(name, sorted(known))}")
        if not reason.strip():
            raise UsageError(f"the reason is missing why '{name}' is expected to fail")
    return expected


def parametrize_with_checks(
    distribution: str, *, expected_failed_checks: Mapping[str, str] | None = None
) -> pytest.MarkDecorator:
    """A decorator that runs a test once for each check of an installed distribution.

        @parametrize_with_checks("ganzoo-mine", expected_failed_checks={"check_generator_bf16": "needs fp32 throughout"})
        def test_contracts(check):
            check()

    A name of `expected_failed_checks` is a check's ("check_generator_bf16") or one subject's
    ("generator mine: check_generator_bf16"), with the reason. One that passes after all fails the test, and so does a name
    that no check has. `ganzoo check` knows of those that the entry module names: `ganzoo_expected_failures = {...}`.
    """
    import pytest

    expected = expected_failures(distribution, expected_failed_checks)

    def marks(case: Case) -> list[pytest.MarkDecorator]:
        reason = case.expected(expected)
        return [] if reason is None else [pytest.mark.xfail(reason=reason, strict=True, raises=AssertionError)]

    return pytest.mark.parametrize(
        "check", [pytest.param(case, id=case.name, marks=marks(case)) for case in cases_of(distribution)]
    )


def _cases_of(entry: Entry) -> Iterator[Case]:
    subject = f"{entry.kind} {entry.name}"
    for check in COMPONENT_CHECKS:
        if entry.kind != "recipe" or check is not check_component_options:  # a recipe has none
            yield _case(check, subject, entry)
    for check in CHECKS.get(entry.kind, ()):
        if entry.kind == "recipe":
            yield Case(check, subject, lambda check=check: _on_recipe_data(check, entry))  # type: ignore[misc]
        elif entry.kind in WITHOUT_DATA:
            yield Case(check, subject, lambda check=check: _on_its_own(check, entry))  # type: ignore[misc]
        else:
            yield Case(check, subject, lambda check=check: _on_data(check, entry, _MOST.get(entry.kind)))  # type: ignore[misc]
    for check in TRAINING_CHECKS if entry.kind in PLAYING else ():
        most = 1 if check in (check_training_run, check_training_frees) else _MOST_TRAININGS
        yield Case(check, subject, lambda check=check, most=most: _on_data(check, entry, most))  # type: ignore[misc]


def _case(check: Check, subject: str, *arguments: Any) -> Case:
    return Case(check, subject, lambda: iter([lambda: check(*arguments)]))


def _with_source(check: Check, source: Path | None) -> list[Path]:
    return [source] if source is not None and check is check_package_files else []


def _on_data(check: Check, entry: Entry, most: int | None) -> Iterator[Callable[[], None]]:
    with _options(entry) as options:
        suitable = suitable_data(entry.component)[:most]
        if check in (check_generator_shape, check_discriminator_shape):  # once is enough to hold `resolutions` to its word
            suitable += [of_another_size(entry.component, data) for data in suitable[:1]]
        for data in dict.fromkeys(suitable):
            yield lambda data=data: check(entry, data, options)  # type: ignore[misc]


def _on_its_own(check: Check, entry: Entry) -> Iterator[Callable[[], None]]:
    with _options(entry) as options:
        yield lambda: check(entry, options)


@contextmanager
def _options(entry: Entry) -> Iterator[dict[str, Any]]:
    """What the component says it is tried with. Raises Untried where an option that has no default is missing."""
    try:
        target, said = get_registry().load(entry), entry.component.trial
    except PluginError as err:  # once is enough: check_component_target tells of it
        raise Untried("its target could not be loaded") from err
    known = options_of(target)
    with tempfile.TemporaryDirectory() as folder:
        if isinstance(said, str):
            module, _, function = said.partition(":")
            said = getattr(importlib.import_module(module), function)(Path(folder))
        few = {name: n for name, n in _FEW_RECORDS.items() if entry.kind == "dataset" and name in known}
        options = {**few, **said}
        missing = [name for name, option in known.items() if option.required and name not in options]
        if missing:
            raise Untried(f"it needs {', '.join(missing)}: say what to try it with, Component(..., trial={{...}})")
        yield options


# ---- recipes that name no data set


def _on_recipe_data(check: Check, entry: Entry) -> Iterator[Callable[[], None]]:
    with _recipe_data(entry) as data:
        yield lambda: check(entry, data)


@contextmanager
def _recipe_data(entry: Entry) -> Iterator[dict[str, Any] | None]:
    """A data set's table for a recipe that names none: random records of its modality, at its resolution, with classes."""
    table = get_registry().load(entry)
    said = table.get("data")
    if isinstance(said, str) or (isinstance(said, Mapping) and "name" in said):
        yield None
        return
    modality = min(entry.component.modality, default="image")
    res = said.get("res") if isinstance(said, Mapping) else None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "records.npz")
        np.savez(path, x=_records(modality, res), labels=np.arange(8) % len(CLASSES))
        yield {"name": "array", "path": str(path)}


def _records(modality: str, res: Any) -> np.ndarray[Any, Any]:
    random = np.random.default_rng(0)
    if modality == "image":
        height, width = res if isinstance(res, list) else (res, res) if isinstance(res, int) else (32, 32)
        return random.integers(0, 256, (8, height, width, 3), np.uint8)
    shape = (8, 1, 32) if modality == "signal" else (8, 2)
    return random.normal(size=shape).astype(np.float32)
