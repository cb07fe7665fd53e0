"""Writes reference.md from the code: `python docs/plugins/reference.py`. A test holds the page against what this gives."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING
from pathlib import Path
from typing import Any, get_args

from ganzoo import hookspecs, interfaces, plugin, testing
from ganzoo.games import match
from ganzoo.plugin import KINDS, Component, Labels
from ganzoo.testing.checks import CHECKS, COMPONENT_CHECKS, PACKAGE_CHECKS, TRAINING_CHECKS

PAGE = Path(__file__).with_name("reference.md")
HEAD = """\
# The plugin interface, all of it

Written from the code by `python docs/plugins/reference.py`; a test holds it to the code. A gentle start is in
[the tutorial](tutorial.md).

A plugin is a distribution with an entry point in the group `ganzoo`, whose module states `ganzoo_api = {api}` and implements
hooks with `ganzoo.plugin.hookimpl`. Further commands of `ganzoo` are click commands, entry points in the group
`ganzoo.commands`. The entry module is imported by every command: nothing in it may import torch, numpy or timm.
"""
BUILT = {
    "generator": "`target(data, **options)`, an `nn.Module`: `forward(x, condition)` of noise [N, z_dim] (its attribute "
    "`z_dim`) or a source image returns samples [N, *data.shape], images in [-1, 1].",
    "discriminator": "`target(data, **options)`, an `nn.Module`: `forward(images, condition)` returns a `Score`, or bare "
    "logits.",
    "loss": "`target(data, **options)`, a `Loss`.",
    "regularizer": "`target(data, **options)`, a `Regularizer`.",
    "augmentation": "`target(data, **options)`, an `Augment`.",
    "game": "`target(data, parts, **options)`, a `Game`.",
    "dataset": "`target(**options)`, a `Dataset`.",
    "metric": "`target(data, **options)`, a `Metric`.",
    "features": "`target(data, **options)`, `Features`.",
    "encoder": "`target(**options)`, an `Encoder`.",
    "recipe": "A TOML file of run.toml's keys, `target` `package:path.toml`, with `[sources]` that says where each value comes "
    "from.",
}
CONTRACTS: tuple[type, ...] = (
    interfaces.Score,
    interfaces.Loss,
    interfaces.Regularizer,
    match.Play,
    match.Critic,
    match.Match,
    interfaces.Augment,
    interfaces.Game,
    interfaces.Phase,
    interfaces.Dataset,
    interfaces.Modes,
    interfaces.Features,
    interfaces.Encoder,
    interfaces.Sampled,
    interfaces.Measured,
    interfaces.Metric,
)


def page() -> str:
    """All of reference.md."""
    return (
        "\n".join([HEAD.format(api=plugin.API), *_hooks(), *_component(), *_kinds(), *_contracts(), *_checks()]).rstrip() + "\n"
    )


def _hooks() -> Iterator[str]:
    yield "## Hooks\n"
    yield "Every one is optional.\n"
    for name, hook in vars(hookspecs).items():
        if name.startswith("ganzoo_"):
            yield f"```python\ndef {name}{_plain(inspect.signature(hook))}\n```\n\n{_doc(hook)}\n"


def _component() -> Iterator[str]:
    yield "## What a plugin declares\n"
    yield f"```python\n{_signature('Component', Component)}\n```\n"
    yield f"```text\n{_doc(Component)}\n```\n"
    yield f"`labels` is one of {', '.join(f'`{word}`' for word in get_args(Labels))}.\n"
    yield f"```text\nResolutions: {_doc(plugin.Resolutions)}\n```\n"
    yield f"```python\n{_signature('DataSpec', plugin.DataSpec)}\n```\n\n{_doc(plugin.DataSpec)}\n"
    yield "### Capabilities\n"
    yield "What `provides` and `needs` may name, and what each promises.\n\n| name | contract |\n|---|---|"
    yield from (f"| `{name}` | {contract} |" for name, contract in interfaces.CAPABILITIES.items())
    yield ""


def _kinds() -> Iterator[str]:
    yield "## How each kind is built\n"
    yield from (f"- **{kind}**: {BUILT[kind]}" for kind in KINDS)
    yield ""
    yield "Options are the keyword-only parameters: each has an annotation, a default and a line under `Options:` in the "
    yield "docstring."
    yield ""


def _contracts() -> Iterator[str]:
    yield "## Contracts\n"
    yield "All are in `ganzoo.interfaces`.\n"
    for contract in CONTRACTS:
        yield f"### {contract.__name__}\n"
        lines = list(_members(contract))
        yield "\n".join(["```python", f"class {contract.__name__}:", *lines, "```", ""])
        yield f"```text\n{_doc(contract)}\n```\n"


def _members(contract: type) -> Iterator[str]:
    """Attributes and methods that a plugin may use, with their docstrings' first lines."""
    defaults = {f.name: f.default for f in getattr(contract, "__dataclass_fields__", {}).values() if f.default is not MISSING}
    for name, annotation in inspect.get_annotations(contract).items():
        if not name.startswith("_"):
            default = defaults.get(name, MISSING if defaults else vars(contract).get(name, MISSING))
            yield f"    {name}: {annotation}" + ("" if default is MISSING else f" = {default!r}")
    for name, member in vars(contract).items():
        if name.startswith("_") and name not in ("__init__", "__call__", "__len__"):
            continue
        function: Any = getattr(member, "func", getattr(member, "fget", member))
        if not inspect.isfunction(function) or (name == "__init__" and hasattr(contract, "__dataclass_fields__")):
            continue
        said = _doc(function).split("\n")[0] if function.__doc__ else ""
        if function is member:
            shown = f"def {name}{_plain(inspect.signature(function))}"
        else:
            shown = f"{name}: {inspect.signature(function).return_annotation}"
        yield f"    {shown}" + (f"  # {said}" if said else "")


def _checks() -> Iterator[str]:
    yield "## The conformance checks\n"
    yield f"```text\n{_doc(testing)}\n```\n"
    yield "What each holds its subject to:\n"
    groups = {
        "package": PACKAGE_CHECKS,
        "every component": COMPONENT_CHECKS,
        **CHECKS,
        "whatever plays in a training": TRAINING_CHECKS,
    }
    for name, checks in groups.items():
        yield f"**{name}**\n"
        yield from (f"- `{check.__name__}`: {check.contract}" for check in checks)  # type: ignore[attr-defined]
        yield ""


def _signature(name: str, cls: type) -> str:
    parameters = [f"    {_plain(p)}," for p in inspect.signature(cls).parameters.values()]
    return "\n".join([f"{name}(", *parameters, ")"]).replace("<factory>", "{}")


def _plain(thing: object) -> str:
    """A signature or parameter without the quotes around its annotations."""
    return re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(thing))


def _doc(thing: Any) -> str:
    return textwrap.dedent(inspect.getdoc(thing) or "").strip()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
