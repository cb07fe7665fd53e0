"""`ganzoo doctor`: Python, torch, devices, every plugin, and what is wrong with any of it."""

from __future__ import annotations

import json
import platform
import sys
import traceback
from typing import Any

import click

from ganzoo import __version__
from ganzoo.catalog import get_catalog
from ganzoo.cli.group import ganzoo
from ganzoo.errors import GanzooError
from ganzoo.options import options_of
from ganzoo.registry import CORE, Problem, Registry, commands, discover, one_line


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="One object, for programs.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Check Python, torch, devices and every plugin; exit 1 if anything is wrong.

    Every component is imported, so this takes seconds.
    """
    registry = discover()
    report = examine(registry)
    click.echo(json.dumps(report, indent=2, ensure_ascii=False) if as_json else "\n".join(_lines(report)))
    ctx.exit(1 if report["problems"] else 0)


def examine(registry: Registry) -> dict[str, Any]:
    """Everything that doctor tells, as plain values."""
    problems = list(registry.problems)
    torch, devices = _torch(problems)
    plugins = [
        {
            "plugin": plugin.distribution,
            "version": plugin.version,
            "components": sum(entry.dist == plugin.distribution for entry in registry.entries),
            "observes_runs": plugin.observes,
        }
        for plugin in registry.plugins
    ]
    _try_components(registry, problems)
    _try_commands(problems)
    try:
        get_catalog()
    except GanzooError as err:
        problems.append(Problem(CORE, str(err)))
    return {
        "ganzoo": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "torch": torch,
        "devices": devices,
        "plugins": plugins,
        "left_out": registry.left_out,
        "problems": [{"plugin": p.distribution, "message": p.message, "traceback": p.traceback} for p in problems],
    }


def _torch(problems: list[Problem]) -> tuple[str | None, list[str]]:
    try:
        import torch
    except Exception as err:  # a torch built for another driver or system raises what it likes
        problems.append(Problem("torch", f"it cannot be imported: {one_line(err)}", traceback.format_exc()))
        return None, []
    devices = [f"cpu: {torch.get_num_threads()} threads"]
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(index)
        devices.append(f"cuda:{index}: {properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    if torch.backends.mps.is_available():
        devices.append("mps")
    return torch.__version__, devices


def _try_components(registry: Registry, problems: list[Problem]) -> None:
    """Import every target and read its options: what is broken there is otherwise found only when it is used."""
    for entry in registry.entries:
        try:
            target = registry.load(entry)
            if entry.kind != "recipe":
                options_of(target)
        except Exception as err:
            message = str(err) if isinstance(err, GanzooError) else f"{entry}: {one_line(err)}"
            problems.append(Problem(entry.dist, message, traceback.format_exc()))


def _try_commands(problems: list[Problem]) -> None:
    for name, offers in commands().items():
        try:
            ganzoo.get_command(click.Context(ganzoo), name)
        except GanzooError as err:
            problems.append(Problem(", ".join(dist for dist, _ in offers), str(err), traceback.format_exc()))


def _lines(report: dict[str, Any]) -> list[str]:
    lines = [
        f"ganzoo {report['ganzoo']}, Python {report['python']} ({report['executable']}), torch {report['torch'] or 'missing'}",
        report["platform"],
        *(f"device  {device}" for device in report["devices"]),
        *(
            f"plugin  {p['plugin']} {p['version']}: {p['components']} components" + ", observes runs" * p["observes_runs"]
            for p in report["plugins"]
        ),
        *(f"plugin  {name}: left out by GANZOO_PLUGINS" for name in report["left_out"]),
    ]
    for problem in report["problems"]:
        lines += ["", f"PROBLEM {problem['plugin']}: {problem['message']}"]
        lines += [f"    {line}" for line in problem["traceback"].splitlines()]
    count = len(report["problems"])
    return [*lines, "", f"{count} problem{'s' * (count != 1)}" if count else "no problems"]
