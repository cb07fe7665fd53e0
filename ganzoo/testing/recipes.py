"""Checks of recipes: `check_...(entry, data)`; `data` is a data set's table, for a recipe that names none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ganzoo.assembly import make_plan, read_recipe
from ganzoo.config import Layer, flatten_config, recipe_values
from ganzoo.registry import Entry, get_registry
from ganzoo.rehearsal import rehearse
from ganzoo.testing.contracts import check, expect


@check("it assembles without a notice, shapes pass through it, and all that it says is in the configuration")
def check_recipe_arrives(entry: Entry, data: Mapping[str, Any] | None = None) -> None:
    registry = get_registry()
    table = registry.load(entry)
    expect(table.get("paper") == entry.component.paper, f"paper = {entry.component.paper!r}, as declared", table.get("paper"))
    above = Layer("the check")
    if data is not None:
        above.set_part("data", data)
    plan = make_plan(registry, above, read_recipe(registry, entry))
    expect(not plan.notices, "no notice", "; ".join(plan.notices))
    resolved = dict(flatten_config(plan.config.to_dict()))
    rows = [row for row in recipe_values(table) if data is None or not row["key"].startswith("data.")]
    lost = [f"{row['key']} = {row['value']!r}" for row in rows if not _arrived(row["value"], resolved.get(row["key"]))]
    expect(not lost, "each value in the resolved configuration", f"others for {', '.join(lost)}")
    regs = [row["value"] for row in rows if row["key"] == f"reg.{row['value']}.name"]
    expect(regs == [spec.name for spec in plan.config.reg], f"the regularizers {regs} alone", [r.name for r in plan.config.reg])
    rehearse(plan)


@check("each value says where it comes from, and each source is of a value")
def check_recipe_sources(entry: Entry, data: Mapping[str, Any] | None = None) -> None:
    table = get_registry().load(entry)
    rows = recipe_values(table)
    silent = [row["key"] for row in rows if not row["source"]]
    expect(not silent, "a source in [sources] for each value", f"none for {', '.join(silent)}")
    idle = [s for s in table.get("sources", {}) if not any(row["key"] == s or row["key"].startswith(f"{s}.") for row in rows)]
    expect(not idle, "each key of [sources] to begin a value's", f"{', '.join(idle)} of none")


def _arrived(said: object, resolved: object) -> bool:
    """ "auto" may have become a number."""
    return said == resolved or (said == "auto" and isinstance(resolved, (int, float)))


CHECKS = (check_recipe_arrives, check_recipe_sources)
