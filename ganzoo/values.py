"""Values of options as text: how they are read, given the type that is asked for, and how they are written.

`NAME[:OPTION=VALUE,...]`: only the first colon separates. A value is written as in TOML (`[0, .9]`, `true`, `2e-4`, `"a,b"`),
else it is a bare word; `none` is None; a nested part is `name(option=value,...)`. The annotation decides the type, not the look
of the text: text stays `Raw` until `coerce` meets the annotation. What comes from a TOML file goes the same way, half typed.
"""

from __future__ import annotations

import json
import math
import os
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from ganzoo.errors import GanzooError, PluginError, UsageError, did_you_mean
from ganzoo.plugin import FilePath, Part

PartMaker = Callable[[Part, str], Part]  # (part with options as given, kind) -> the part resolved

_CLOSES = {"(": ")", "[": "]"}
_NESTED = re.compile(r"([^\s(]+)\s*\((.*)\)", re.DOTALL)
_BARE = re.compile(r"[^\s,\"'\[\](){}=]+")
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


class Raw(str):
    """A value as it was typed: neither unquoted nor converted."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Spec:
    """`NAME:OPTION=VALUE,...` taken apart; the values wait for their annotations."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)


# ---- text -> Spec


def parse_spec(text: str) -> Spec:
    """Take `NAME[:OPTION=VALUE,...]` apart. Raises UsageError."""
    name, colon, rest = text.strip().partition(":")
    if not name:
        raise UsageError(f"'{text}' has no name; write NAME or NAME:OPTION=VALUE,...")
    if re.search(r"[\s,=()\[\]\"']", name.strip()):
        raise UsageError(f"'{text}' is no name; options follow a colon: NAME:OPTION=VALUE,...")
    if colon and not rest.strip():
        raise UsageError(f"'{text}' has nothing after ':'; write {name}:OPTION=VALUE,... or {name} alone")
    return Spec(name.strip(), _parse_options(rest, text))


def parse_resolution(text: str) -> tuple[int, int]:
    """`64` or `64x32` (height x width) as (height, width). Raises UsageError."""
    match = re.fullmatch(r"\s*(\d{1,6})(?:\s*[x×]\s*(\d{1,6}))?\s*", text)
    if match is None or 0 in (sides := (int(match[1]), int(match[2] or match[1]))):
        raise UsageError(f"resolution '{text}' is not understood; write 64, or 64x32 for height x width")
    return sides


def _parse_options(text: str, whole: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for item in split_items(text, whole):
        name, equals, value = (piece.strip() for piece in item.partition("="))
        if not name or not equals or not value:
            raise UsageError(f"'{item.strip()}' in '{whole}' is no OPTION=VALUE" + ('; empty text is ""' if equals else ""))
        if name in options:
            raise UsageError(f"option '{name}' is given twice in '{whole}'")
        options[name] = Raw(value)
    return options


def split_items(text: str, whole: str) -> list[str]:
    """The pieces between commas that are outside brackets and quotes. A quote opens at the start of a value only (it's)."""
    pieces: list[str] = []
    stack: list[str] = []
    begin = at = 0
    fresh = True  # where a value starts
    while at < len(text):
        char = text[at]
        if fresh and char in "\"'":
            at, fresh = _string_end(text, at, whole), False
            continue
        if char in _CLOSES:
            stack.append(_CLOSES[char])
        elif stack and char in ")]":
            if char != stack.pop():
                raise UsageError(f"brackets do not match in '{whole}'; put a value that has odd brackets in quotes")
        elif char == "," and not stack:
            pieces.append(text[begin:at])
            begin = at + 1
        fresh = char in ",([=" or (fresh and char.isspace())
        at += 1
    if stack:
        raise UsageError(f"'{stack[-1]}' is missing in '{whole}'; put a value that has odd brackets in quotes")
    if text[begin:].strip():
        pieces.append(text[begin:])
    return pieces


def _string_end(text: str, at: int, whole: str) -> int:
    quote = text[at]
    end = at + 1
    while end < len(text) and text[end] != quote:
        end += 2 if text[end] == "\\" and quote == '"' else 1
    if end >= len(text):
        raise UsageError(f"a closing {quote} is missing in '{whole}'")
    return end + 1


def _unquote(text: str, where: str) -> str:
    """The text itself; where it was typed as a TOML string, what that holds."""
    if not isinstance(text, Raw) or text[:1] not in ('"', "'") or _string_end(text, 0, text) != len(text):
        return str(text)
    import tomllib

    try:
        return str(tomllib.loads(f"v={text}")["v"])
    except tomllib.TOMLDecodeError as err:
        raise UsageError(f"{where}: {text} is no TOML string: {err}") from None


# ---- text or TOML value -> the type of the annotation


def coerce(value: Any, annotation: Any, where: str, part: PartMaker | None = None) -> Any:
    """`value` (Raw text, a TOML value or a Python value) as `annotation` says.

    Annotations: bool, int, float, str, FilePath, X | None, unions, Literal, tuple[T, ...], tuple[T, U], list[T],
    Annotated[Part, kind].
    Numbers in text are converted; a whole float passes for an int. `part` resolves nested parts; without it they keep their
    options as given. Raises UsageError, whose message `where` opens.
    """
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        if args[0] is Part:
            return _part(value, args[1], where, part)
        found = coerce(value, args[0], where, part)
        return _path(found, where) if annotation == FilePath else found
    if origin in (Union, types.UnionType):
        return _union(value, annotation, where, part)
    if origin is Literal:
        return _literal(value, annotation, where)
    if origin in (tuple, list):
        return _sequence(value, annotation, where, part)
    if annotation in _WORDS:
        return _scalar(value, annotation, where)
    raise PluginError(f"{where}: the annotation {annotation!r} is none that an option can have")


def _wrong(value: Any, annotation: Any, where: str, more: str = "") -> UsageError:
    shown = f"'{value}'" if isinstance(value, str) else format_value(value)
    return UsageError(f"{where} takes {describe(annotation)}, not {shown}.{more}")


def _scalar(value: Any, kind: type, where: str) -> Any:
    if kind is str:
        if isinstance(value, str):
            return _unquote(value, where)
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        raise _wrong(value, kind, where, " Put it in quotes.")
    given = _unquote(value, where).lower() if isinstance(value, str) else value
    if kind is bool:
        given = {"true": True, "false": False}.get(given, given) if isinstance(given, str) else given
        if isinstance(given, bool):
            return given
    elif not isinstance(given, bool):
        if isinstance(given, str):
            given = _number(given)
        if isinstance(given, Integral):
            return kind(given)
        if isinstance(given, Real) and not math.isnan(given) and (kind is float or float(given).is_integer()):
            return kind(float(given))
    raise _wrong(value, kind, where)


def _number(text: str) -> int | float | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None


def _path(text: str, where: str) -> str:
    path = str(Path(os.path.expanduser(text)).absolute())  # not abspath: what link/.. means, the file system decides
    try:
        path.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{where}: {path!r} is not UTF-8, and run.toml could not hold it; rename it") from None
    return path


def _union(value: Any, annotation: Any, where: str, part: PartMaker | None) -> Any:
    members = list(get_args(annotation))
    if type(None) in members:
        if value is None or (isinstance(value, str) and _unquote(value, where).lower() == "none"):
            return None
        members.remove(type(None))
        if len(members) == 1 and members[0] not in _WORDS:
            return coerce(value, members[0], where, part)
    quoted = isinstance(value, str) and (not isinstance(value, Raw) or value[:1] in ('"', "'"))
    # Choices first; text last, because any bare word is text, but first for what is text beyond doubt.
    members.sort(key=lambda m: 0 if _is_literal(m) else (1 if quoted else 3) if m is str else 2)
    for member in members:
        try:
            return coerce(value, member, where, part)
        except UsageError:
            continue
    words = [c for m in members if _is_literal(m) for c in get_args(m) if isinstance(c, str)]
    raise _wrong(value, annotation, where, did_you_mean(str(value), words))


def _is_literal(annotation: Any) -> bool:
    origin: Any = get_origin(annotation)
    return origin is Literal


def _literal(value: Any, annotation: Any, where: str) -> Any:
    choices = get_args(annotation)
    for choice in choices:
        if isinstance(value, str):
            if _unquote(value, where) == (choice if isinstance(choice, str) else format_value(choice)):
                return choice
        elif value == choice and isinstance(value, bool) == isinstance(choice, bool):
            return choice
    raise _wrong(value, annotation, where, did_you_mean(str(value), [c for c in choices if isinstance(c, str)]))


def _sequence(value: Any, annotation: Any, where: str, part: PartMaker | None) -> Any:
    origin = get_origin(annotation)
    args: tuple[Any, ...] = get_args(annotation)
    if isinstance(value, Raw) and value[:1] == "[" and value[-1:] == "]":
        items: Any = [Raw(item.strip()) for item in split_items(value[1:-1], value)]
        if "" in items:
            raise UsageError(f"{where}: nothing between two commas in {value}")
    elif isinstance(value, (list, tuple)):
        items = value
    else:
        raise _wrong(value, annotation, where)
    if origin is list or (args and args[-1] is Ellipsis):
        args = args[:1] * len(items)
    if len(items) != len(args):
        raise _wrong(value, annotation, where)
    pairs = enumerate(zip(items, args, strict=True), 1)
    return origin(coerce(item, arg, f"{where}, item {n},", part) for n, (item, arg) in pairs)


def _part(value: Any, kind: str, where: str, make: PartMaker | None) -> Part:
    if isinstance(value, Part):
        given = value
    elif isinstance(value, str):
        text = _unquote(value, where)
        nested = _NESTED.fullmatch(text)
        given = Part(nested[1], _parse_options(nested[2], text)) if nested else Part(text)
    elif isinstance(value, Mapping) and isinstance(value.get("name"), str):
        given = Part(value["name"], {name: v for name, v in value.items() if name != "name"})
    else:
        raise UsageError(f"{where} takes a {kind}, written name(option=value), not {format_value(value)}")
    return make(given, kind) if make is not None else given


# ---- the way back: values and types as text


def format_spec(name: str, options: Mapping[str, Any]) -> str:
    """What `parse_spec` reads back as the same name and options."""
    return name + ":" * bool(options) + _format_options(options)


def format_value(value: Any) -> str:
    """A value as typed on the command line: a bare word where it can be, else as in TOML."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, str):
        bare = _BARE.fullmatch(value) and value.lower() not in ("true", "false") and _number(value) is None
        return str(value) if bare else _quote(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(format_value, value))}]"
    if isinstance(value, Part):
        return f"{value.name}({_format_options(value.options)})" if value.options else value.name
    if isinstance(value, Mapping):
        return toml_text(value)
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def to_toml_value(value: Any) -> Any:
    """A value as TOML and JSON can hold it: None is "none", a part a table of its name and options. `coerce` undoes it."""
    if value is None:
        return "none"
    if isinstance(value, Part):
        return {"name": value.name} | {name: to_toml_value(v) for name, v in value.options.items()}
    if isinstance(value, Mapping):
        return {str(name): to_toml_value(v) for name, v in value.items()}
    return [to_toml_value(v) for v in value] if isinstance(value, (list, tuple)) else value


def toml_text(value: Any) -> str:
    """One value written as TOML, tables inline."""
    value = to_toml_value(value)
    if isinstance(value, str):
        return _quote(value)
    if isinstance(value, list):
        return f"[{', '.join(map(toml_text, value))}]"
    if isinstance(value, dict):
        pairs = (f"{key if re.fullmatch(r'[A-Za-z0-9_-]+', key) else _quote(key)} = {toml_text(v)}" for key, v in value.items())
        return f"{{ {', '.join(pairs)} }}" if value else "{}"
    if isinstance(value, (bool, int, float)):
        return str(value).lower()
    raise GanzooError(f"{value!r} cannot be written to TOML")


def describe(annotation: Any, words: Mapping[Any, str] = _WORDS) -> str:
    """What an option takes, in words ("a whole number or none"); with other `words`, as a type."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return f"a {args[1]}" if args[0] is Part else describe(args[0], words)
    if origin in (Union, types.UnionType):
        return " or ".join(describe(arg, words) for arg in args)
    if origin is Literal:
        return " or ".join(format_value(arg) for arg in args)
    if origin is list or (origin is tuple and args[-1] is Ellipsis):
        return f"a list [{describe(args[0], words)}, ...]"
    if origin is tuple:
        return f"[{', '.join(describe(arg, words) for arg in args)}]"
    if annotation is type(None):
        return "none"
    return words.get(annotation) or str(getattr(annotation, "__name__", annotation))


def type_text(annotation: Any) -> str:
    """The type of an option, short: "float or none"."""
    return describe(annotation, {})


def _format_options(options: Mapping[str, Any]) -> str:
    return ",".join(f"{name}={format_value(value)}" for name, value in options.items())


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
