from __future__ import annotations

import functools
import math
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganzoo.errors import PluginError, UsageError
from ganzoo.options import (
    Option,
    Raw,
    Spec,
    coerce,
    describe,
    fill_auto,
    format_spec,
    options_of,
    parse_resolution,
    parse_spec,
    resolve,
    to_toml_value,
    toml_text,
    type_text,
)
from ganzoo.plugin import DataSpec, FilePath, Part

if TYPE_CHECKING:
    from nowhere import Unknown

Dataset = Annotated[Part, "dataset"]
Auto = float | Literal["auto"]


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("dcgan", "dcgan", {}),
        (" dcgan ", "dcgan", {}),
        ("ganzoo-dcgan/dcgan:channels=32", "ganzoo-dcgan/dcgan", {"channels": "32"}),
        ("timm:backbone=a:b", "timm", {"backbone": "a:b"}),
        ("adam:betas=[0, .9],eps=1e-8", "adam", {"betas": "[0, .9]", "eps": "1e-8"}),
        ('x:a="b,c=d",e=\'f"\'', "x", {"a": '"b,c=d"', "e": "'f\"'"}),
        ("x:a=emoji(style=flat,res=[4, 4]),b=1", "x", {"a": "emoji(style=flat,res=[4, 4])", "b": "1"}),
        ("x:a=it's,b=2", "x", {"a": "it's", "b": "2"}),
        ("x: a = 1 , b = two words ,", "x", {"a": "1", "b": "two words"}),
        (r'x:a="\"],",b=:)', "x", {"a": r'"\"],"', "b": ":)"}),
        ("x:url=k=v", "x", {"url": "k=v"}),
    ],
)
def test_a_spec_is_taken_apart(text: str, name: str, options: dict[str, str]) -> None:
    spec = parse_spec(text)
    assert spec == Spec(name, options)
    assert all(isinstance(value, Raw) for value in spec.options.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no name"),
        (":a=1", "has no name"),
        ("x:", "nothing after ':'"),
        ("x:a", "'a' in 'x:a' is no OPTION=VALUE"),
        ("x:a=", 'empty text is ""'),
        ("x:=1", "no OPTION=VALUE"),
        ("x:a=1,,b=2", "no OPTION=VALUE"),
        ("x:a=1,a=2", "given twice"),
        ("x:a=[1,2", "']' is missing"),
        ("x:a=[1)", "brackets do not match"),
        ('x:a="b', 'closing " is missing'),
        ('x:a="b\\"', 'closing " is missing'),
    ],
)
def test_a_broken_spec_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_spec(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        # The annotation decides, not the look.
        (Raw("64"), int, 64),
        (Raw("64"), float, 64.0),
        (Raw("64"), str, "64"),
        (Raw("true"), str, "true"),
        (Raw("none"), str, "none"),
        (Raw("[0]"), str, "[0]"),
        (Raw('"64"'), str, "64"),
        (Raw("'a\\n'"), str, "a\\n"),
        (Raw(r'"a\u00e9"'), str, "aé"),
        ("'quoted in TOML'", str, "'quoted in TOML'"),
        (Path("a/b"), str, "a/b"),
        (Raw("1e3"), int, 1000),
        (Raw("-3"), int, -3),
        (2.0, int, 2),
        (Raw(".9"), float, 0.9),
        (Raw("2e-4"), float, 2e-4),
        (Raw("inf"), float, math.inf),
        (3, float, 3.0),
        (np.int64(3), int, 3),
        (np.float32(0.5), float, 0.5),
        (Raw("true"), bool, True),
        (Raw("False"), bool, False),
        (True, bool, True),
        # None is none, in text and in TOML.
        (Raw("none"), int | None, None),
        (Raw("None"), str | None, None),
        ("none", float | None, None),
        (None, float | None, None),
        (Raw("7"), int | None, 7),
        (Raw("x"), str | None, "x"),
        # Unions: choices, then numbers, then text.
        (Raw("auto"), Auto, "auto"),
        ("auto", Auto, "auto"),
        (Raw("1"), Auto, 1.0),
        (Raw("5"), int | str, 5),
        (Raw('"5"'), int | str, "5"),
        ("5", int | str, "5"),
        (Raw("five"), str | int, "five"),
        (Raw("5"), str | int, 5),
        (Raw("[1, 2]"), float | tuple[float, float], (1.0, 2.0)),
        (Raw("flat"), Literal["flat", "3d"], "flat"),
        (Raw("2"), Literal[1, 2], 2),
        (2, Literal[1, 2], 2),
        (Raw("true"), Literal[True, "maybe"], True),
        # Sequences.
        (Raw("[0, .9]"), tuple[float, float], (0.0, 0.9)),
        ([0, 0.9], tuple[float, float], (0.0, 0.9)),
        (Raw("[]"), tuple[int, ...], ()),
        (Raw("[1,2,3,]"), tuple[int, ...], (1, 2, 3)),
        (Raw('["a,b", c]'), list[str], ["a,b", "c"]),
        (Raw("[[1, 2], [3]]"), list[tuple[int, ...]], [(1, 2), (3,)]),
        (Raw("[none, 4]"), tuple[int | None, ...], (None, 4)),
        (Raw("[a, 3]"), tuple[str, int], ("a", 3)),
        (Raw("[4, 8]"), tuple[int, int] | None, (4, 8)),
        # Nested parts.
        (Raw("emoji"), Dataset, Part("emoji")),
        (Raw("z/emoji(style=flat, res=[4, 4])"), Dataset, Part("z/emoji", {"style": "flat", "res": "[4, 4]"})),
        (Raw("none"), Dataset | None, None),
        ({"name": "emoji", "style": "flat"}, Dataset, Part("emoji", {"style": "flat"})),
        (Part("emoji"), Dataset, Part("emoji")),
        (Raw("[a(x=1), b]"), list[Dataset], [Part("a", {"x": "1"}), Part("b")]),
        (Raw("3"), Annotated[int, "rounds"], 3),
        (Raw("/link/../b/"), FilePath, "/link/../b"),
        (Raw("none"), FilePath | None, None),
    ],
)
def test_the_annotation_decides_the_type(value: Any, annotation: Any, expected: Any) -> None:
    got = coerce(value, annotation, "here")
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    ("value", "annotation", "message"),
    [
        (Raw("x"), int, "here takes a whole number, not 'x'."),
        (Raw("1.5"), int, "a whole number"),
        (1.5, int, "not 1.5"),
        (True, int, "not true"),
        (Raw("true"), float, "a number"),
        (Raw("nan"), float, "a number"),
        (Raw("none"), float, "takes a number, not 'none'"),
        (Raw("1"), bool, "takes true or false, not '1'"),
        (1, bool, "not 1"),
        (64, str, "takes text, not 64. Put it in quotes."),
        (Raw(r'"\q"'), str, "no TOML string"),
        (Raw("atuo"), Auto, "takes a number or auto, not 'atuo'. Did you mean 'auto'?"),
        (Raw("x"), int | None, "takes a whole number or none, not 'x'"),
        (Raw("flt"), Literal["flat", "3d"], "takes flat or 3d, not 'flt'. Did you mean 'flat'?"),
        (True, Literal[1], "takes 1, not true"),
        (Raw("0"), tuple[float, float], "takes [a number, a number], not '0'"),
        (Raw("[0]"), tuple[float, float], "not '[0]'"),
        ("[0, 1]", tuple[float, float], "not '[0, 1]'"),
        (Raw("[0, x]"), tuple[float, float], "here, item 2, takes a number, not 'x'"),
        (Raw("[1,,2]"), tuple[int, ...], "nothing between two commas"),
        (Raw("3"), list[int], "takes a list [a whole number, ...]"),
        (3, Dataset, "takes a dataset, written name(option=value), not 3"),
        ({"nam": "x"}, Dataset, "written name(option=value)"),
        (Raw("emoji(style)"), Dataset, "no OPTION=VALUE"),
    ],
)
def test_what_does_not_fit_is_named_with_what_would(value: Any, annotation: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        coerce(value, annotation, "here")
    assert message in str(caught.value)


def test_an_annotation_that_no_option_can_have_is_the_plugins_fault() -> None:
    with pytest.raises(PluginError, match="dict"):
        coerce(Raw("1"), dict[str, int], "here")


@pytest.mark.parametrize(("text", "sides"), [("64", (64, 64)), ("64x32", (64, 32)), (" 8 x 16 ", (8, 16)), ("64×32", (64, 32))])
def test_resolution(text: str, sides: tuple[int, int]) -> None:
    assert parse_resolution(text) == sides


@pytest.mark.parametrize("text", ["", "0", "64x", "x64", "64x0", "-4", "64x32x3", "big", "1.5", "9999999"])
def test_resolution_refused(text: str) -> None:
    with pytest.raises(UsageError, match="64x32"):
        parse_resolution(text)


# ---- what a target takes


class Base:
    """A base.

    Options:
        width: channels of the widest layer,
            whatever the depth
        depth: layers: one or more

    Nothing: this is no option.
    """

    def __init__(self, data: Unknown, *, width: int = 64, depth: int = 3) -> None:
        self.data, self.width, self.depth = data, width, depth


class Heir(Base):
    """Passes the base's options on.

    Options:
        betas: Adam's
        depth: mine is deeper
    """

    def __init__(
        self, data: Unknown, other: Unknown = None, *, betas: tuple[float, float] = (0, 0.9), depth: int = 5, **base: Any
    ) -> None:
        super().__init__(data, depth=depth, **base)
        self.betas = betas


class Silent(Heir):
    pass


class Closed(Base):
    """Passes nothing on.

    Options:

    own: prose after the section, which happens to begin so
    """

    def __init__(self, data: Unknown, *, own: Literal["a", "b"] | None = None) -> None:
        super().__init__(data)


def function(data: Unknown, /, *, path: str, flip: bool = False) -> None:
    """A function.

    Options:
        path: where
        flip: left to right
    """


def test_options_are_the_keyword_only_parameters() -> None:
    assert list(options_of(function).values()) == [
        Option("path", str, None, True, "where"),
        Option("flip", bool, False, False, "left to right"),
    ]
    assert options_of(Base)["width"] == Option("width", int, 64, False, "channels of the widest layer, whatever the depth")
    assert options_of(Base)["depth"].meaning == "layers: one or more"
    assert list(options_of(Base)) == ["width", "depth"]
    assert options_of(int) == {}


@pytest.mark.parametrize("target", [Heir, Silent])
def test_options_through_inheritance(target: type) -> None:
    options = options_of(target)
    assert list(options) == ["betas", "depth", "width"]
    assert (options["depth"].default, options["depth"].meaning) == (5, "mine is deeper")
    assert options["width"].meaning == "channels of the widest layer, whatever the depth"
    assert target(None, **resolve(target, {"width": Raw("8")}, "it")).width == 8


def test_a_constructor_that_passes_nothing_on_has_its_own_options_only() -> None:
    assert list(options_of(Closed)) == ["own"]
    assert options_of(Closed)["own"].meaning == ""


def test_options_of_a_decorated_function() -> None:
    @functools.wraps(function)
    def wrapper(*args: Any, **options: Any) -> None:
        function(*args, **options)

    assert options_of(wrapper) == options_of(function)


def test_bad_targets_are_named() -> None:
    def bare(*, x=1): ...  # type: ignore[no-untyped-def]
    def unresolved(*, x: Unknown = 1) -> None: ...
    def ill(*, x: int = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013

    with pytest.raises(PluginError, match=r"option 'x' of .*bare has no annotation"):
        options_of(bare)
    with pytest.raises(PluginError, match=r"option 'x' of .*unresolved: the annotation 'Unknown' cannot be resolved"):
        options_of(unresolved)
    with pytest.raises(PluginError, match="the default of 'x' takes a whole number, not none"):
        resolve(ill, {}, "it")


def test_resolve_fills_in_converts_and_keeps_the_order() -> None:
    got = resolve(Heir, {"depth": Raw("7")}, "generator 'heir'")
    assert list(got.items()) == [("betas", (0.0, 0.9)), ("depth", 7), ("width", 64)]
    assert all(isinstance(beta, float) for beta in got["betas"])
    assert resolve(Heir, {"depth": Raw("7")}, "it", fill=False) == {"depth": 7}


def test_resolve_refuses() -> None:
    with pytest.raises(
        UsageError, match=r"^generator 'b' has no option 'widht'\. Did you mean 'width'\? It takes width, depth\.$"
    ):
        resolve(Base, {"widht": Raw("1")}, "generator 'b'")
    with pytest.raises(UsageError, match="It takes none"):
        resolve(int, {"a": Raw("1")}, "it")
    with pytest.raises(UsageError, match=r"^generator 'b': option 'width' takes a whole number, not 'wide'\.$"):
        resolve(Base, {"width": Raw("wide")}, "generator 'b'")
    with pytest.raises(UsageError, match=r"dataset 'f' needs its option 'path' \(text\)"):
        resolve(function, {}, "dataset 'f'")
    assert resolve(function, {}, "it", fill=False) == {}


def test_paths_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert coerce(Raw("pictures"), FilePath | None, "here") == str(tmp_path / "pictures")
    assert coerce(Path("pictures"), FilePath, "here") == str(tmp_path / "pictures")
    assert coerce(Raw("~/pictures"), FilePath, "here") == "/home/somebody/pictures"


def test_nested_parts_are_made_wherever_they_stand() -> None:
    def target(*, one: Dataset = Part("d"), some: list[Dataset], maybe: Dataset | None = None) -> None: ...

    def make(part: Part, kind: str) -> Part:
        return Part(part.name, part.options, f"{kind} {part.name}")

    got = resolve(target, {"some": Raw("[a, b(x=1)]")}, "it", part=make)
    assert (got["one"].target, [p.target for p in got["some"]], got["maybe"]) == ("dataset d", ["dataset a", "dataset b"], None)


def test_auto_is_filled_in_by_the_target() -> None:
    class Scaled:
        def __init__(self, data: DataSpec, *, gamma: Auto = "auto", mode: str = "auto", every: int = 4) -> None: ...

        @classmethod
        def auto(cls, data: DataSpec, batch: int) -> dict[str, object]:
            return {"gamma": 2e-4 * data.resolution[0] ** 2 / batch, "every": 1}

    data = DataSpec("image", (3, 32, 32))
    assert fill_auto(Scaled, {"gamma": "auto", "mode": "auto", "every": 4}, data, 16) == {
        "gamma": 0.0128,
        "mode": "auto",
        "every": 4,
    }
    assert fill_auto(Scaled, {"gamma": 1.0, "every": 4}, data, 16) == {"gamma": 1.0, "every": 4}
    assert fill_auto(Base, {"depth": "auto"}, data, 16) == {"depth": "auto"}


# ---- there and back


def everything(
    *,
    flag: bool = False,
    count: int = 0,
    rate: float = 0.0,
    text: str = "",
    maybe: float | None = None,
    choice: Literal["a", "b c", 3] = "a",
    auto: Auto = "auto",
    either: int | str = 0,
    truth: bool | str = False,
    pair: tuple[float, str] = (0.0, ""),
    numbers: tuple[int, ...] = (),
    words: list[str] = [],  # noqa: B006
    part: Dataset = Part("d"),
) -> None: ...


_finite = st.floats(allow_nan=False)
_values = st.fixed_dictionaries(
    {},
    optional={
        "flag": st.booleans(),
        "count": st.integers(-(2**63), 2**63 - 1),
        "rate": _finite,
        "text": st.text(st.characters(exclude_categories=["Cs"])),
        "maybe": st.none() | _finite,
        "choice": st.sampled_from(["a", "b c", 3]),
        "auto": st.just("auto") | _finite,
        "either": st.integers(-999, 999)
        | st.sampled_from(["5", "1e3", "-7", "x"])
        | st.text(st.characters(exclude_categories=["Cs"])),
        "truth": st.booleans() | st.sampled_from(["true", "False", "none", "0", "", "yes"]),
        "pair": st.tuples(_finite, st.text(st.sampled_from("ab,'\"[]() \\=\n\x7f"))),
        "numbers": st.lists(st.integers(-999, 999)).map(tuple),
        "words": st.lists(st.text(st.sampled_from("ab,'\"[]() \\="))),
    },
)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(_values)
def test_what_is_written_is_read_back(options: dict[str, Any]) -> None:
    spec = parse_spec(format_spec("n", options))
    assert spec.name == "n"
    assert resolve(everything, spec.options, "it", fill=False) == options

    table = {name: to_toml_value(value) for name, value in options.items()}
    text = "\n".join(f"{name} = {toml_text(value)}" for name, value in options.items())
    assert tomllib.loads(text) == table
    assert resolve(everything, tomllib.loads(text), "it", fill=False) == options


def test_nested_parts_are_read_back() -> None:
    def inner(*, style: str = "x", res: tuple[int, int] | None = None, deep: Dataset | None = None) -> None: ...

    def make(part: Part, kind: str) -> Part:
        return Part(part.name, resolve(inner, part.options, part.name, fill=False, part=make), inner)

    options = {"part": Part("a", {"style": 'odd, "one")', "res": (4, 8), "deep": Part("b", {"style": "c"}, inner)}, inner)}
    again = parse_spec(format_spec("n", options)).options
    assert resolve(everything, again, "it", fill=False, part=make) == options
    table = tomllib.loads(f"v = {toml_text(options['part'])}")["v"]
    assert resolve(everything, {"part": table}, "it", fill=False, part=make) == options


def test_types_in_words() -> None:
    assert describe(float | None) == "a number or none"
    assert describe(Dataset) == "a dataset"
    assert type_text(tuple[int, ...]) == "a list [int, ...]"
    assert type_text(Auto) == "float or auto"
    assert type_text(tuple[float, str]) == "[float, str]"
