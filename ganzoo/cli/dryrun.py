"""What `ganzoo train --dry-run` prints: TOML that --config reads back, with the rest as comments."""

from __future__ import annotations

from typing import Any

import click

from ganzoo.fitting import coupled
from ganzoo.rehearsal import describe, rehearse
from ganzoo.training.trainer import choose_device


def show(plan: Any) -> None:
    """The resolved configuration with origins, each player's parameters and output shape, and every check."""
    from ganzoo.training.launch import evaluation_of

    shapes = rehearse(plan)
    evaluation_of(plan, choose_device(plan.config.settings.device))
    origins = {key: (value, origin) for key, value, origin in describe(plan)}
    for line in _annotated(plan.config.to_toml(), origins):
        click.echo(line)
    click.echo("")
    for name, count in shapes.parameters.items():
        made = (
            f"samples {list(shapes.generated)}"
            if name == "G"
            else f"logits {' '.join(str(list(s)) for s in shapes.logits)} a sample"
        )
        click.echo(f"# {name}: {count:,} parameters, {made}")
    for line in plan.checks:
        click.echo(f"# ok: {line}")
    for line in coupled(plan.chosen):
        click.echo(f"# computed over a (micro-)batch: {line}")
    for line in plan.notices:
        click.echo(f"# notice: {line}")


def _annotated(toml: str, origins: dict[str, tuple[str, str]]) -> list[str]:
    """Each line with where its value came from."""
    out, table, part = [], "", ""
    for line in toml.splitlines():
        if line.startswith("["):
            table = line.strip("[]")
            out.append(line)
            continue
        key, equals, value = line.partition(" = ")
        if not equals:
            out.append(line)
            continue
        if table == "reg" and key == "name":
            part = f"reg.{value.strip(chr(34))}"
        prefix = part if table == "reg" else table
        full = prefix if key == "name" and prefix else f"{prefix}.{key}" if prefix else key
        origin = origins[full][1] if full in origins else ""
        out.append(f"{line:<44} # {origin}" if origin else line)
    return out
