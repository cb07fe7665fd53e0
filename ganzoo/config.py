"""RunConfig: all that decides a training, and its TOML. One parser for recipes, --config, run.toml and the command line.

Torch-free. Component tables hold `name` and options; everything else is a setting with a dotted key ("G.lr").
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from ganzoo.errors import UsageError, did_you_mean
from ganzoo.options import Option, Raw, Spec, coerce, options_of, parse_spec, to_toml_value, toml_text
from ganzoo.plugin import KIND_OF

FORMAT = 1


def _positive(where: str, **values: float | None) -> None:
    for name, value in values.items():
        if value is not None and not value > 0:
            raise UsageError(f"{where}{name} = {value:g}: it must be greater than 0")


@dataclass(frozen=True, kw_only=True)
class PlayerConfig:
    """How one player learns.

    Options:
        optimizer: one of torch.optim's by its lower-case name, with its options: adam, "adam:eps=1e-8", "sgd:momentum=.5"
        lr: learning rate: a number, or a schedule such as "linear(2e-4, 0)"
        betas: Adam's betas, numbers or schedules; none: the optimizer's own
        clip: gradients are scaled down to this norm over the whole player; none: never
        steps: optimizer steps a round, each beyond the first on fresh data (n_D); 0: the player rests, as in pre-training
    """

    optimizer: str = "adam"
    lr: float | str = 2e-4
    betas: tuple[float | str, float | str] | None = None
    clip: float | None = None
    steps: int = 1


@dataclass(frozen=True, kw_only=True)
class EmaConfig:
    """The averaged generator.

    Options:
        half_life: in kimg, a number or a schedule as of a learning rate; 0: no averaging; auto: batch * 10 / 32 (StyleGAN2)
        ramp: at most this share of the images seen so far as half-life, so that the first weights are forgotten; none: no ramp
    """

    half_life: float | str = 10.0
    ramp: float | None = 0.05

    def __post_init__(self) -> None:
        for name, value in (("half_life", self.half_life), ("ramp", self.ramp)):
            if isinstance(value, (int, float)) and not 0 <= value < math.inf:
                raise UsageError(f"ema.{name} = {value:g}: it must be a number from 0")


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """What is written while training.

    Options:
        every: kimg between checkpoints; none: a twentieth of the budget, or 15 minutes if that comes first
        keep: the newest N are kept
        milestone: one is kept each so many kimg, whatever `keep` says; none: none
        images: kimg between sheets of samples; none: a twentieth of the budget
        tick: kimg between lines of the log; none: a hundredth of the budget, at most 10 kimg
    """

    every: float | None = None
    keep: int = 2
    milestone: float | None = None
    images: float | None = None
    tick: float | None = None

    def __post_init__(self) -> None:
        _positive("checkpoint.", every=self.every, keep=self.keep, milestone=self.milestone, images=self.images, tick=self.tick)


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """Figures that are taken while training: `ganzoo list metric`. The first of them says which checkpoint is the best.

    Options:
        metrics: METRIC[-FEATURES[-SIZE]][:OPTION=VALUE], as kid-lite0-128; none are taken without
        every: kimg between them; none: a tenth of the budget
        samples: fakes, each time
        reals: records of the training data that they are held against, at most
        hold_out: this share of the records is not trained on: what D says of them, beside the others, tells whether it overfits
        patience: stop after so many kimg without a better figure of the first metric; none: never
    """

    metrics: tuple[str, ...] = ()
    every: float | None = None
    samples: int = 2000
    reals: int = 10_000
    hold_out: float = 0.1
    patience: float | None = None

    def __post_init__(self) -> None:
        _positive("eval.", every=self.every, samples=self.samples, reals=self.reals, patience=self.patience)
        if not 0 <= self.hold_out <= 0.5:
            raise UsageError(f"eval.hold_out = {self.hold_out:g}: it must be from 0 to 0.5")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything in a run's configuration that is no component.

    Options:
        recipe: the recipe that the values below started from
        batch: images a round
        micro_batch: images a forward pass, to fit memory; none: the batch
        sync_bn: where ranks share a batch, batch norm takes its statistics over all of it; false: each over its own slice
        kimg: budget in thousands of images seen
        seed: of weights, data order, latents and noise
        device: auto, cpu, cuda, cuda:N or mps
        precision: bf16 runs the networks in bfloat16, weights, penalties and losses stay in fp32; auto: bf16 where the device
            is fast at it
        channels_last: memory layout of images and convolutions; auto: where there are convolutions
        flip: mirror images left to right, half of the time
        in_memory: keep the decoded data on the device; none: where it fits
        shared_fakes: G makes one batch a round, for the first step of both players (DCGAN's tutorial): a pass of G less
        tf32: let CUDA devices round what convolutions and products of matrices multiply to 10 bits, but where a gradient is
            differentiated again
        compile: networks by torch.compile, but where a gradient is differentiated again; the first rounds take minutes, and
            noise that networks draw is other noise
        graphs: record each phase as a CUDA graph: for small networks, whose kernels take less time than to launch them
        G: how the generator learns
        D: how the discriminator learns
        ema: the averaged generator
        checkpoint: what is written while training
        eval: figures that are taken while training
    """

    recipe: str | None = None
    batch: int = 64
    micro_batch: int | None = None
    sync_bn: bool = False
    kimg: float = 1000.0
    seed: int = 0
    device: str = "auto"
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    channels_last: Literal["auto"] | bool = "auto"
    flip: bool = False
    in_memory: bool | None = None
    shared_fakes: bool = False
    tf32: bool = True
    compile: bool = False
    graphs: bool = False
    G: PlayerConfig = field(default_factory=PlayerConfig)
    D: PlayerConfig = field(default_factory=PlayerConfig)
    ema: EmaConfig = field(default_factory=EmaConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)

    def __post_init__(self) -> None:
        _positive("", batch=self.batch, micro_batch=self.micro_batch, kimg=self.kimg)
        if not 1 <= self.kimg * 1000 < math.inf:
            raise UsageError(f"kimg = {self.kimg:g}: the budget is in thousands of images, from 0.001 (one image)")
        for name, player in (("G.", self.G), ("D.", self.D)):
            _positive(name, clip=player.clip)
            if player.steps < 0:
                raise UsageError(f"{name}steps = {player.steps}: it must be at least 0; 0 lets the player rest")
        if self.shared_fakes and self.micro_batch and self.micro_batch < self.batch:
            raise UsageError(
                "shared_fakes keeps the graph of a whole batch of fakes: --set shared_fakes=false, or no micro_batch"
            )
        if not 0 <= self.seed < 2**31:
            raise UsageError(f"seed = {self.seed}: it must be from 0 to 2147483647")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A resolved training: every component with every option, every setting. `to_toml` and `layer_from_toml` are inverse."""

    gen: Spec
    disc: Spec
    loss: Spec
    game: Spec
    data: Spec
    reg: tuple[Spec, ...] = ()
    aug: Spec | None = None
    settings: Settings = field(default_factory=Settings)

    def to_dict(self) -> dict[str, Any]:
        """As run.toml holds it: None is written "none", and every default is there."""
        out: dict[str, Any] = {"format": FORMAT}
        out.update(_plain(self.settings))
        for key in ("gen", "disc", "loss", "game", "data"):
            out[key] = _table(getattr(self, key))
        out["aug"] = _table(self.aug) if self.aug is not None else "none"
        out["reg"] = [_table(spec) for spec in self.reg]
        return out

    def to_toml(self) -> str:
        return dump_toml(self.to_dict())


@cache
def settings_keys() -> dict[str, Option]:
    """Every setting by dotted key, with annotation, default and meaning."""
    out: dict[str, Option] = {}

    def walk(cls: type, prefix: str) -> None:
        for option in options_of(cls).values():
            if is_dataclass(option.annotation):
                walk(option.annotation, f"{prefix}{option.name}.")  # type: ignore[arg-type]
            else:
                out[prefix + option.name] = option

    walk(Settings, "")
    return out


def make_settings(values: Mapping[str, Any]) -> Settings:
    """Settings from dotted keys. Raises UsageError for a value of the wrong type or range."""
    nested: dict[str, dict[str, Any]] = {"": {}}
    for key, value in values.items():
        group, _, name = key.rpartition(".")
        nested.setdefault(group, {})[name] = coerce(value, settings_keys()[key].annotation, key)
    groups = {name: option.annotation for name, option in options_of(Settings).items()}
    top = nested.pop("")
    return Settings(**top, **{group: groups[group](**table) for group, table in nested.items()})


@dataclass(slots=True)
class Layer:
    """One source of configuration: what it says, and its name for `--dry-run`.

    soft: only recommended: what does not fit is dropped with a notice, not refused.
    regs_replace: its regularizers are the whole set (a recipe, --config), not additions (--reg).
    """

    origin: str
    soft: bool = False
    parts: dict[str, Spec | None] = field(default_factory=dict)
    regs: list[Spec] | None = None
    regs_replace: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    options: dict[str, dict[str, Any]] = field(default_factory=dict)  # "gen" or "reg.NAME" -> options, from --set

    def set(self, key: str, value: Any) -> None:
        """One dotted key: a setting, an option of a part ("gen.channels"), or of a regularizer ("reg.r1.gamma")."""
        head, _, rest = key.partition(".")
        if key in settings_keys():
            self.settings[key] = value
        elif head in KIND_OF and head != "reg" and rest:
            self.options.setdefault(head, {})[rest] = value
        elif head == "reg" and "." in rest:
            name, _, option = rest.rpartition(".")
            self.options.setdefault(f"reg.{name}", {})[option] = value
        elif key in KIND_OF:
            self.set_part(key, value)
        else:
            known = [*settings_keys(), *KIND_OF, *(f"{part}.OPTION" for part in KIND_OF)]
            raise UsageError(f"{self.origin}: unknown key '{key}'.{did_you_mean(key, known)} Known: {', '.join(sorted(known))}")

    def set_text(self, text: str) -> None:
        """KEY=VALUE as `--set` takes it."""
        key, equals, value = text.partition("=")
        if not equals or not value.strip():
            raise UsageError(f"--set {text}: write KEY=VALUE, such as --set G.lr=1e-4")
        key = key.strip()
        whole = key in KIND_OF and key != "reg"  # a part, whose own options are in the text
        self.set(key, value.strip() if whole else Raw(value.strip()))

    def set_part(self, key: str, value: Any) -> None:
        """A component: "name:option=value", a table with `name`, or none; for `reg` a list of those."""
        if key == "reg":
            items = value if isinstance(value, list) else [value]
            specs = [self._spec("reg", item) for item in items]
            self.regs = [spec for spec in specs if spec is not None]
        else:
            spec = self._spec(key, value)
            if spec is None and key != "aug":
                raise UsageError(
                    f"{self.origin}: '{key} = none': only aug and reg can be none; a game needs its {KIND_OF[key]}"
                )
            self.parts[key] = spec

    def _spec(self, key: str, value: Any) -> Spec | None:
        if value is None or value == "none":
            return None
        if isinstance(value, str):
            return parse_spec(value)
        if isinstance(value, Mapping) and isinstance(value.get("name"), str):
            return Spec(value["name"], {k: v for k, v in value.items() if k != "name"})
        raise UsageError(f'{self.origin}: {key} = {value!r}: write "NAME:option=value" or a table with name = "NAME"')


# Tables of run.toml that record, and decide nothing.
RECORDS = frozenset({"format", "components", "files", "summary", "paper", "number", "note", "sources", "spec", "dataset"})


def layer_from_dict(table: Mapping[str, Any], origin: str, *, soft: bool = False, regs_replace: bool = True) -> Layer:
    """A recipe's, a config file's or run.toml's content as a layer. Raises UsageError for what it does not know."""
    if (version := table.get("format", FORMAT)) != FORMAT:
        raise UsageError(f"{origin}: format = {version!r}: this ganzoo reads format {FORMAT}; upgrade ganzoo-core")
    layer = Layer(origin, soft, regs_replace=regs_replace)
    groups = {key.partition(".")[0] for key in settings_keys() if "." in key}
    for key, value in table.items():
        if key in RECORDS:
            continue
        if key in groups:
            if not isinstance(value, Mapping):
                raise UsageError(f"{origin}: '{key}' must be a table, as in [{key}]")
            for name, inner in value.items():
                layer.set(f"{key}.{name}", inner)
        else:
            layer.set(key, value)
    return layer


def read_config(path: Path) -> Layer:
    """A --config file as a layer. Raises UsageError."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as err:
        raise UsageError(f"--config {path}: not TOML: {err}") from None
    except (OSError, UnicodeDecodeError) as err:
        raise UsageError(f"--config {path} cannot be read: {getattr(err, 'strerror', None) or err}") from None
    return layer_from_dict(table, f"--config {path}")


def flatten(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Keys and values of a table, nested ones with dots between."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def flatten_config(table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The same of a recipe's or run.toml's content: a part's name is "gen.name", a regularizer's option "reg.NAME.OPTION"."""
    layer = Layer("the table")
    for key in KIND_OF.keys() & table.keys():
        layer.set_part(key, table[key])
    parts: dict[str, Any] = {key: _table(spec) if spec else "none" for key, spec in layer.parts.items()}
    rest = {key: value for key, value in table.items() if key != "reg"}
    return flatten({**rest, **parts, "reg": {spec.name: _table(spec) for spec in layer.regs or ()}})


def recipe_values(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each value of a recipe with where it comes from: "key", "value", "source" (None where the recipe does not say).

    [sources] goes by key or by what a key begins with, up to a dot; the longest wins.
    """
    sources, rows = table.get("sources", {}), []
    for key, value in flatten_config({key: value for key, value in table.items() if key not in RECORDS}):
        words = key.split(".")
        starts = [".".join(words[:n]) for n in range(len(words), 0, -1)]
        rows.append({"key": key, "value": value, "source": next((sources[s] for s in starts if s in sources), None)})
    return rows


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    return to_toml_value(value)


def _table(spec: Spec) -> dict[str, Any]:
    return {"name": spec.name, **{name: to_toml_value(value) for name, value in spec.options.items()}}


def dump_toml(table: Mapping[str, Any]) -> str:
    """TOML of plain values: scalars first, then tables, then arrays of tables."""
    simple = {k: v for k, v in table.items() if not _is_table(v) and not _is_tables(v)}
    lines = [f"{_key(k)} = {toml_text(v)}" for k, v in simple.items()]
    for name, inner in table.items():
        for header, content in [(f"[{_key(name)}]", inner)] if _is_table(inner) else []:
            lines += ["", header, *(f"{_key(k)} = {toml_text(v)}" for k, v in content.items())]
        for content in inner if _is_tables(inner) else []:
            lines += ["", f"[[{_key(name)}]]", *(f"{_key(k)} = {toml_text(v)}" for k, v in content.items())]
    return "\n".join(lines) + "\n"


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(_is_table(v) for v in value)


def _key(name: str) -> str:
    return name if name.replace("-", "").replace("_", "").isalnum() and name.isascii() else toml_text(name)
