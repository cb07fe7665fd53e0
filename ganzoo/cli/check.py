"""`ganzoo check`: hold a distribution to ganzoo's contracts."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from ganzoo.errors import UsageError

_WORDS = {
    "passed": "passed",
    "failed": "failed",
    "expected": "failed as expected",
    "skipped": "skipped",
    "untried": "could not be tried",
}


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one check: passed, failed, expected (to fail, and it did), skipped or untried.

    `message` says on what it failed, why it was expected to, or why it is not known.
    """

    subject: str
    check: str
    contract: str
    outcome: str
    message: str
    seconds: float
    expected: str | None = None
    seen: str | None = None


@click.command("check")
@click.argument("plugin", metavar="DISTRIBUTION|PATH")
@click.option("--strict", is_flag=True, help="What could not be tried here counts as failed.")
@click.option("--json", "as_json", is_flag=True, help="An array of objects, for programs.")
def command(plugin: str, strict: bool, as_json: bool) -> int:
    """Hold a plugin to ganzoo's contracts; exit 1 where it breaks one.

    DISTRIBUTION is installed; PATH is a project's folder, or a wheel, which need not be. Either way its code is run: building
    and checking are no safer than installing.
    """
    from ganzoo.registry import stdout_to_stderr

    # What a plugin prints must not end up among the results.
    with _place(plugin) as (distribution, source), stdout_to_stderr():
        results = list(_results(distribution, source, quiet=as_json))
        title = f"{distribution} {metadata.version(distribution)}"
    if as_json:
        click.echo(json.dumps([asdict(result) for result in results], indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(_lines(title, results)))
    bad = {"failed", "untried"} if strict else {"failed"}
    return int(any(result.outcome in bad for result in results))


@contextmanager
def _place(plugin: str) -> Iterator[tuple[str, Path | None]]:
    """The distribution's name, and its project where that is known; a wheel is put on the path first."""
    path = Path(os.path.expanduser(plugin))
    if not (os.sep in plugin or "/" in plugin or path.suffix == ".whl" or path.is_dir()):
        yield plugin, None
        return
    if not path.exists():
        raise UsageError(f"{plugin} is not there: give a project's folder, a wheel, or the name of an installed distribution")
    from ganzoo.testing.wheels import build_wheel, read_project, unpack

    project = path.absolute() if path.is_dir() else None
    if project is not None:
        read_project(project)
    elif path.suffix != ".whl":
        raise UsageError(f"{plugin} is neither a folder nor a wheel")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "unpacked")
        name = unpack(build_wheel(project, Path(folder)) if project is not None else path, place)
        sys.path.insert(0, str(place))  # before an older one that is installed
        yield name, project


def _results(distribution: str, source: Path | None, quiet: bool) -> Iterator[Result]:
    from rich.console import Console

    from ganzoo.testing.suite import cases_of, expected_failures

    cases, expected = cases_of(distribution, source), expected_failures(distribution)
    console = Console(stderr=True)
    with console.status("") if console.is_terminal and not quiet else nullcontext() as status:
        for i, case in enumerate(cases, 1):
            if status is not None:
                status.update(f"{i} of {len(cases)}  {case.name}")
            yield _run(case, case.expected(expected))


def _run(case: Any, reason: str | None) -> Result:
    from ganzoo.testing.contracts import Failure, Skip, Untried

    began = time.perf_counter()
    outcome, message, expected, seen = "passed", "", None, None
    try:
        case()
    except Failure as err:
        outcome, message, expected, seen = "failed", err.where, err.expected, err.seen
        if reason is not None:
            outcome, message = "expected", reason
    except Skip as skip:
        outcome, message = "untried" if isinstance(skip, Untried) else "skipped", str(skip)
    if outcome == "passed" and reason is not None:
        outcome, message, expected, seen = "failed", "everything", f"a failure ({reason})", "it passes: expect it no longer"
    contract: str = case.check.contract
    return Result(
        case.subject, case.check.__name__, contract, outcome, message, round(time.perf_counter() - began, 3), expected, seen
    )


def _lines(title: str, results: list[Result]) -> Iterator[str]:
    yield f"{title}: {len(results)} checks in {sum(r.seconds for r in results):.0f} s"
    yield ""
    subjects = list(dict.fromkeys(result.subject for result in results))
    width = max(map(len, subjects), default=0)
    for subject in subjects:
        counts = Counter(result.outcome for result in results if result.subject == subject)
        yield f"{subject:<{width}}  " + ", ".join(f"{counts[key]} {word}" for key, word in _WORDS.items() if counts[key])
    for result in results:
        if result.outcome == "failed":
            yield from ["", f"FAILED {result.subject}: {result.check}", f"  on        {result.message}"]
            yield from [f"  expected  {result.expected}", f"  seen      {result.seen}", f"  contract  {result.contract}"]
    for outcome, title in (
        ("expected", "FAILED, AS EXPECTED"),
        ("untried", "COULD NOT BE TRIED"),
        ("skipped", "skipped, since they do not apply"),
    ):
        rows = [result for result in results if result.outcome == outcome]
        if rows:
            yield from ["", title]
            yield from (f"  {row.subject}: {row.check}: {row.message}" for row in rows)
    total = Counter(result.outcome for result in results)
    yield ""
    yield ", ".join(f"{total[key]} {word}" for key, word in _WORDS.items() if total[key])
