"""`ganzoo catalog`: is a catalogue right, and what must it say of an installed plugin."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from ganzoo.catalog import canonical, catalog_path, check_catalog
from ganzoo.errors import UsageError, did_you_mean
from ganzoo.plugin import KINDS
from ganzoo.registry import Registry, commands, get_registry, installed
from ganzoo.values import toml_text

WIDTH = 128  # of a line of registry.toml


@click.group("catalog", invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Check a catalogue of plugins, or write a plugin's entry for it."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@command.command("check")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One object, for programs.")
@click.pass_context
def check(ctx: click.Context, file: Path | None, as_json: bool) -> None:
    """List all that is wrong with a catalogue; exit 1 if anything is.

    FILE is a registry.toml; without it, the one in use is checked. Warnings are no failure.
    """
    path = file or catalog_path()
    findings = check_catalog(path)
    problems = [finding.message for finding in findings if finding.grade != "doubtful"]
    warnings = [finding.message for finding in findings if finding.grade == "doubtful"]
    if as_json:
        report = {"catalogue": str(path), "problems": problems, "warnings": warnings}
        click.echo(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        counts = f"{_count(problems, 'problem')}, {_count(warnings, 'warning')}"
        click.echo("\n".join([*problems, *(f"warning: {line}" for line in warnings), f"{path}: {counts}"]))
    ctx.exit(1 if problems else 0)


@command.command("entry")
@click.argument("distribution")
def entry(distribution: str) -> None:
    """Print the entry of an installed plugin.

    It is the [[plugin]] table to paste into registry.toml.
    """
    table = entry_of(distribution)
    if not table["summary"]:
        click.echo("it has no summary: write one line, and as 'description' in its pyproject.toml", err=True)
    click.echo("\n".join(["[[plugin]]", *(_line(key, value) for key, value in table.items())]))


def entry_of(distribution: str) -> dict[str, Any]:
    """What the catalogue says of an installed plugin. Raises UsageError where it is not installed or offers nothing."""
    registry, wanted = get_registry(), canonical(distribution)
    offering = {plugin.distribution for plugin in registry.plugins if plugin.observes}
    offering |= {e.dist for e in registry.entries} | {dist for offers in commands().values() for dist, _ in offers}
    found = [dist for dist in offering if canonical(dist) == wanted]
    if not found:
        raise UsageError(_why_not(distribution, registry, offering))
    about = metadata.metadata(found[0])
    table: dict[str, Any] = {"distribution": found[0], "summary": (about.get_all("Summary") or [""])[0]}
    if homepage := _homepage(about.get_all("Project-URL") or []):
        table["homepage"] = homepage
    for kind in KINDS:
        if names := sorted(e.name for e in registry.entries if e.kind == kind and canonical(e.dist) == wanted):
            table[kind] = names
    return table


def _why_not(distribution: str, registry: Registry, offering: set[str]) -> str:
    version, wanted = installed(distribution), canonical(distribution)
    if version is None:
        return f"no distribution '{distribution}' is installed.{did_you_mean(distribution, sorted(offering))}"
    if wanted in map(canonical, registry.left_out):
        return f"{distribution} is left out by GANZOO_PLUGINS: name it there"
    if any(canonical(problem.distribution) == wanted for problem in registry.problems):
        return f"{distribution} could not be loaded: see 'ganzoo doctor'"
    return f"{distribution} {version} offers nothing to ganzoo: no component, no observer of runs, no command"


def _homepage(urls: list[str]) -> str | None:
    """Of lines "Label, address" the one with the label Homepage, else the first."""
    pairs = [(label.strip().lower(), address.strip()) for label, _, address in (url.partition(",") for url in urls)]
    return next((address for label, address in pairs if label == "homepage"), pairs[0][1] if pairs else None)


def _line(key: str, value: Any) -> str:
    line = f"{key} = {toml_text(value)}"
    if isinstance(value, str) or len(line) <= WIDTH:
        return line
    return "\n".join([f"{key} = [", *(f"    {toml_text(name)}," for name in value), "]"])


def _count(lines: list[str], what: str) -> str:
    return f"{len(lines)} {what}{'s' * (len(lines) != 1)}"
