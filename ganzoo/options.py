"""What a component takes: the keyword-only parameters of its target, with annotation, default and meaning (its docstring)."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ganzoo.errors import PluginError, UsageError, did_you_mean
from ganzoo.values import (
    PartMaker,
    Raw,
    Spec,
    coerce,
    describe,
    format_spec,
    format_value,
    parse_resolution,
    parse_spec,
    to_toml_value,
    toml_text,
    type_text,
)

__all__ = [
    "Option",
    "PartMaker",
    "Raw",
    "Spec",
    "coerce",
    "describe",
    "fill_auto",
    "format_spec",
    "format_value",
    "options_of",
    "parse_resolution",
    "parse_spec",
    "resolve",
    "to_toml_value",
    "toml_text",
    "type_text",
]


@dataclass(frozen=True, slots=True)
class Option:
    """One keyword-only parameter of a target. `default` means nothing where `required`."""

    name: str
    annotation: Any
    default: Any
    required: bool
    meaning: str


def options_of(target: Any) -> dict[str, Option]:
    """The keyword-only parameters of a function, or of a class's `__init__`, in order.

    Where an `__init__` passes **options on, those of the next class are options too. The meanings are from the docstring's
    section `Options:`. Raises PluginError for a parameter without annotation, or with one that cannot be resolved.
    """
    options: dict[str, Option] = {}
    meanings = _meanings(target)
    for function in _signatures(target):
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.kind is not parameter.KEYWORD_ONLY or name in options:
                continue
            if name == "name":
                raise PluginError(f"{function.__qualname__}: no option may be called 'name': run.toml keeps the part's there")
            required = parameter.default is parameter.empty
            default = None if required else parameter.default
            options[name] = Option(name, _annotation(function, name), default, required, meanings.get(name, ""))
    return options


def resolve(
    target: Any, given: Mapping[str, Any], who: str, fill: bool = True, part: PartMaker | None = None
) -> dict[str, Any]:
    """`given` with the types that the target's annotations ask for, and with its defaults where `fill`.

    `who` names the component in messages: "generator 'dcgan'". Raises UsageError for an unknown, ill-typed or missing option,
    PluginError where the target's own default does not fit its annotation.
    """
    known = options_of(target)
    for name in given:
        if name not in known:
            takes = f"It takes {', '.join(known)}." if known else "It takes none."
            raise UsageError(f"{who} has no option '{name}'.{did_you_mean(name, known)} {takes}")
    out: dict[str, Any] = {}
    for name, option in known.items():
        if name in given:
            out[name] = coerce(given[name], option.annotation, f"{who}: option '{name}'", part)
        elif fill and option.required:
            raise UsageError(f"{who} needs its option '{name}' ({describe(option.annotation)}): add :{name}=...")
        elif fill:
            try:
                out[name] = coerce(option.default, option.annotation, f"{who}: the default of '{name}'", part)
            except UsageError as err:
                raise PluginError(str(err)) from err
    return out


def fill_auto(target: Any, options: Mapping[str, Any], data: Any, batch: int) -> dict[str, Any]:
    """The options with each "auto" replaced by the number that `target.auto(data, batch)` gives for it."""
    automatic = [name for name, value in options.items() if value == "auto"]
    rule = getattr(target, "auto", None)
    if not automatic or rule is None:
        return dict(options)
    numbers = rule(data, batch)
    return {name: numbers.get(name, value) if name in automatic else value for name, value in options.items()}


def _signatures(target: Any) -> Iterator[Any]:
    """The functions whose keyword-only parameters are options: one, or several where **options are passed on."""
    if not isinstance(target, type):
        yield target
        return
    for cls in target.__mro__:
        function = cls.__dict__.get("__init__")
        if not isinstance(function, types.FunctionType):
            continue
        yield function
        if not any(p.kind is p.VAR_KEYWORD for p in inspect.signature(function).parameters.values()):
            return


def _annotation(function: Any, name: str) -> Any:
    """One resolved annotation. The others may name what is imported for the type checker only."""
    function = inspect.unwrap(function)
    where = f"option '{name}' of {getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', '?')}"
    annotation = inspect.signature(function).parameters[name].annotation
    if annotation is inspect.Parameter.empty:
        raise PluginError(f"{where} has no annotation, so no value can be read for it")
    only = types.SimpleNamespace(__annotations__={name: annotation})
    try:
        return typing.get_type_hints(only, getattr(function, "__globals__", {}), include_extras=True)[name]
    except Exception as err:
        raise PluginError(f"{where}: the annotation '{annotation}' cannot be resolved: {err}") from err


def _meanings(target: Any) -> dict[str, str]:
    texts = [target.__doc__]
    if isinstance(target, type):
        texts = [
            text
            for cls in target.__mro__[:-1]
            for text in (cls.__doc__, getattr(cls.__dict__.get("__init__"), "__doc__", None))
        ]
    found: dict[str, str] = {}
    for text in texts:
        for name, meaning in _options_section(inspect.cleandoc(text or "")):
            found.setdefault(name, meaning)
    return found


def _options_section(doc: str) -> Iterator[tuple[str, str]]:
    lines = doc.splitlines()
    starts = [n for n, line in enumerate(lines) if line.strip() == "Options:"]
    if not starts:
        return
    heading = _indent(lines[starts[0]])
    entry, name, meaning = None, "", ""
    for line in filter(str.strip, lines[starts[0] + 1 :]):
        indent = _indent(line)
        if indent <= heading:
            break
        entry = indent if entry is None else entry
        if indent <= entry:
            if name:
                yield name, meaning
            name, _, meaning = (piece.strip() for piece in line.partition(":"))
        else:
            meaning = f"{meaning} {line.strip()}".strip()
    if name:
        yield name, meaning


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
