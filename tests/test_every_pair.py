"""Every valid combination of the installed parts trains: each phase moves its player alone, and all stays finite.

What is valid is for the declarations to say; what does not fit is refused with both sides named. Data are tiny, and so are the
networks: the smallest images that both of a pair can do.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch

from ganzoo.assembly import Plan, make_plan
from ganzoo.config import Layer
from ganzoo.data.cache import materialise
from ganzoo.data.sampling import Sampler
from ganzoo.errors import UsageError
from ganzoo.fitting import go_together
from ganzoo.interfaces import Batch, Phase
from ganzoo.options import Spec, options_of
from ganzoo.plugin import Resolutions
from ganzoo.registry import Entry, get_registry
from ganzoo.rehearsal import rehearse
from ganzoo.testing.cases import group_of, small_options
from ganzoo.testing.games import weights, who_moved
from ganzoo.training.trainer import Trainer

ROUNDS = 3
BATCH = 8

# By name: shape of one record, classes. Written as .npz files; images are uint8, the rest floats.
SIDES = (8, 16, 32, 64)
ARRAYS: Mapping[str, tuple[tuple[int, ...], int]] = {
    **{f"images-{side}": ((3, side, side), 0) for side in SIDES},
    **{f"classes-{side}": ((3, side, side), 3) for side in SIDES},
    **{f"grey-{side}": ((1, side, side), 3) for side in SIDES},
    **{f"wide-{side}": ((3, side, 2 * side), 0) for side in SIDES},
    "odd": ((3, 9, 9), 0),
    "signal": ((1, 16), 0),
    "labelled-signal": ((1, 16), 3),
}
SETS: Mapping[str, Spec] = {
    "ring": Spec("ring", {"n": 64}),
    "labelled-ring": Spec("ring", {"n": 64, "labels": True}),
    "grid": Spec("grid", {"n": 64}),
    "emoji": Spec("emoji", {"res": [8, 8]}),
    "emoji-pairs": Spec("emoji-pairs", {"res": [8, 8]}),
    "emoji-styles": Spec("emoji-styles", {"res": [8, 8]}),
}
# Each is tried with every pair; of those with a size the smallest that both networks can do.
TRAINED = ("images", "classes", "signal", "labelled-ring", "emoji-pairs")
# Each is tried with every network, beside a partner that can do anything.
APIECE = ("grey", "wide", "ring", "labelled-signal", "grid", "emoji")
PARTNERS = ("mlp", "mlp")

REGISTRY = get_registry()
GENERATORS, DISCRIMINATORS = REGISTRY.select("generator"), REGISTRY.select("discriminator")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as context:
        context.setenv("GANZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Spec]:
    """Data sets by name."""
    root, random = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    specs = dict(SETS)
    for name, (shape, classes) in ARRAYS.items():
        images = len(shape) == 3
        values = (
            random.integers(0, 256, (32, *shape), np.uint8) if images else random.normal(size=(32, *shape)).astype(np.float32)
        )
        labels = {"labels": np.arange(32) % classes} if classes else {}
        np.savez(root / f"{name}.npz", x=values, **labels)
        specs[name] = Spec("array", {"path": str(root / f"{name}.npz"), "layout": "nchw" if images else "ncl"})
    return specs


def plan_of(gen: Entry, disc: Entry, data: Spec, parts: Mapping[str, Any] | None = None) -> Plan:
    """A tiny game of these; everything else as it comes."""
    layer = Layer("the test", regs_replace=True)
    layer.parts["data"] = data
    for key, entry in (("gen", gen), ("disc", disc)):
        layer.parts[key] = Spec(entry.name, dict(small_options(REGISTRY.load(entry))))
    layer.parts["loss"] = Spec("non-saturating", {})
    layer.parts["game"] = Spec("adversarial", {})
    layer.parts["aug"], layer.regs = None, []
    for key, value in (parts or {}).items():
        if key == "reg":
            layer.regs = [value]
        else:
            layer.parts[key] = value
    layer.settings.update({"batch": BATCH, "kimg": ROUNDS * BATCH / 1000, "device": "cpu", "precision": "fp32"})
    return make_plan(REGISTRY, layer)


class Watched(Trainer):
    """Notes whom each step moved."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.moved: list[tuple[Phase, set[str]]] = []

    def _step(self, phase: Phase, batch: Batch) -> None:
        before = weights(self.game)
        super()._step(phase, batch)
        self.moved.append((phase, who_moved(before, weights(self.game))))


def train(plan: Plan) -> Watched:
    """Rehearse as `ganzoo train` does, then three rounds, judged."""
    rehearse(plan)
    settings = plan.config.settings
    store = materialise(plan.dataset)
    sampler = Sampler(store, batch=settings.batch, seed=0, device="cpu", in_memory=True)
    trainer = Watched(plan.build(), sampler, settings, torch.device("cpu"))
    assert trainer.train() == "done"
    assert trainer.round == ROUNDS
    for phase, moved in trainer.moved:
        assert moved == {phase.player}, f"phase {phase.name} moved {sorted(moved)}"
    played = {phase.name for phase, _ in trainer.moved}
    assert played == {phase.name for phase in trainer.phases}
    stats = trainer.fetch()  # raises where a loss or a gradient is not finite
    assert {"D/loss", "G/loss", "D/grad", "G/grad"} <= stats.keys()
    for tensors in trainer.capture().values():
        assert all(bool(value.isfinite().all()) for value in tensors.values())
    with torch.no_grad():
        batch = trainer.game.draw(sampler.draw(), torch.Generator().manual_seed(0))
        made = trainer.game.generate(trainer.ema.network, batch)
    assert tuple(made.shape) == (BATCH, *plan.data.shape)
    assert bool(made.isfinite().all())
    return trainer


def declares(entry: Entry, plan_data: Any) -> bool:
    """Whether the component says that it can do such data: the same question as assembly's, asked another way."""
    component = entry.component
    modality = not component.modality or plan_data.modality in component.modality
    size = component.resolutions is None or Resolutions(component.resolutions).admits(plan_data.resolution)
    labels = (component.labels != "required" or plan_data.classes) and (component.labels != "refused" or not plan_data.classes)
    eats_images = plan_data.source is not None or bool(plan_data.domains)
    source = eats_images == ("translate" in component.provides) if entry.kind == "generator" else True
    return bool(modality and size and labels and source)


def side_for(name: str, *entries: Entry) -> str:
    """ "images" as "images-16", say: the smallest that all of them can do, or 8 where there is none."""
    if name not in ("images", "classes", "grey", "wide"):
        return name
    wide = 2 if name == "wide" else 1
    for side in SIDES:
        if all(Resolutions(e.component.resolutions or "any").admits((side, wide * side)) for e in entries):
            return f"{name}-{side}"
    return f"{name}-{SIDES[0]}"


def spec_of(data: Spec) -> Any:
    return REGISTRY.build(REGISTRY.find("dataset", data.name), data.options).spec


def train_or_refuse(gen: Entry, disc: Entry, data: Spec) -> None:
    """A pair on data: trained where both say that they can do it, else refused with both sides and what would do."""
    wanted = spec_of(data)
    unfit = [entry for entry in (gen, disc) if not declares(entry, wanted)]
    if not unfit:
        train(plan_of(gen, disc, data))
        return
    with pytest.raises(UsageError) as refused:
        plan_of(gen, disc, data)
    said = str(refused.value)
    assert any(str(entry) in said for entry in unfit), said
    assert f"dataset '{data.name}'" in said
    able = [other.name for other in REGISTRY.select(unfit[0].kind) if declares(other, wanted)]
    assert "--res" in said or "labels" in said or all(name in said for name in able), said


by_name = {"ids": lambda entry: f"{entry.kind[0].upper()}-{entry.name}"}


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("disc", DISCRIMINATORS, **by_name)
@pytest.mark.parametrize("gen", GENERATORS, **by_name)
def test_every_pair(gen: Entry, disc: Entry, name: str, data: dict[str, Spec]) -> None:
    train_or_refuse(gen, disc, data[side_for(name, gen, disc)])


@pytest.mark.parametrize("name", APIECE)
@pytest.mark.parametrize("entry", [*GENERATORS, *DISCRIMINATORS], **by_name)
def test_every_network_on_every_kind_of_data(entry: Entry, name: str, data: dict[str, Spec]) -> None:
    gen, disc = (REGISTRY.find(kind, name) for kind, name in zip(("generator", "discriminator"), PARTNERS, strict=True))
    pair = (entry, disc) if entry.kind == "generator" else (gen, entry)
    train_or_refuse(*pair, data[side_for(name, *pair)])


@pytest.mark.parametrize("disc", DISCRIMINATORS, **by_name)
@pytest.mark.parametrize("gen", GENERATORS, **by_name)
def test_a_size_that_neither_was_made_for(gen: Entry, disc: Entry, data: dict[str, Spec]) -> None:
    train_or_refuse(gen, disc, data["odd"])


def test_every_network_is_trained() -> None:
    """Or the tests above would pass with everything refused."""
    kinds = {"images": ("image", (3, 8, 8)), "points": ("points", (2,)), "signal": ("signal", (1, 16))}
    for modality, _ in kinds.values():
        for entries in (GENERATORS, DISCRIMINATORS):
            assert any(not e.component.modality or modality in e.component.modality for e in entries)
    for entry in (*GENERATORS, *DISCRIMINATORS):
        can = Resolutions(entry.component.resolutions or "any")
        assert any(can.admits((side, side)) for side in SIDES), f"{entry} does none of the sizes here"


# ---- losses, regularizers, augmentations

# Generator, discriminator and data, cheap ones first; each part is trained with the first few that it fits.
PAIRS = [
    ("dcgan", "dcgan", "images"),
    ("mlp", "mlp", "labelled-ring"),
    ("mlp", "acgan", "grey"),
    ("stylegan", "resnet", "images"),
    ("stylegan", "acgan", "classes"),
    ("dcgan", "patch", "images"),
    ("unet", "patch", "emoji-pairs"),
    ("resnet-translator", "mlp", "emoji-pairs"),
    ("stargan", "stargan", "emoji-styles"),
    ("stargan", "mlp", "emoji-styles"),
]
MOST = 4


def variants(kind: str) -> list[Any]:
    """Each component of a kind, with its defaults and in ways that use another path: lazy, and for both players."""
    found = []
    for entry in REGISTRY.select(kind):
        known = options_of(REGISTRY.load(entry))
        other = (("every", 2), ("player", "both"), ("second_order", False), ("fakes", 10.0), ("p", 0.5))
        options = [{}, *({name: value} for name, value in other if name in known and known[name].default is not True)]
        found += [
            pytest.param(entry, given, id=f"{entry.name}{''.join(f'-{k}={v}' for k, v in given.items())}") for given in options
        ]
    return found


def fitting_pairs(part: Entry, data: Mapping[str, Spec]) -> list[tuple[Entry, Entry, Spec]]:
    """The pairs that the part fits by what all of them declare."""
    found = []
    for gen_name, disc_name, name in PAIRS:
        gen, disc = REGISTRY.find("generator", gen_name), REGISTRY.find("discriminator", disc_name)
        spec = data[side_for(name, gen, disc)]
        provided = gen.component.provides | disc.component.provides | _of_the_usual_loss()
        provided |= REGISTRY.find("dataset", spec.name).component.provides
        game = game_for(part).component
        if game.needs <= provided:
            provided |= game.provides
        lacking = part.component.needs - provided if part.kind != "loss" else frozenset()
        if ("domains" in game.provides) != bool(spec_of(spec).domains):
            continue
        if declares(part, spec_of(spec)) and not lacking:
            found.append((gen, disc, spec))
    return found


def game_for(part: Entry) -> Entry:
    """One that provides what the part needs of a game; else that of one against one."""
    games = REGISTRY.select("game")
    return next((g for g in games if part.component.needs & g.component.provides), REGISTRY.find("game", "adversarial"))


def _of_the_usual_loss() -> frozenset[str]:
    return REGISTRY.find("loss", "non-saturating").component.provides


def train_part(part: Entry, key: str, options: dict[str, Any], data: Mapping[str, Spec]) -> None:
    pairs = fitting_pairs(part, data)
    assert len(pairs) >= 2, f"{part} fits {len(pairs)} of the pairs here"
    assert BATCH % group_of(part, options) == 0
    for gen, disc, spec in pairs[:MOST]:
        game = Spec(game_for(part).name, {})
        trainer = train(plan_of(gen, disc, spec, {key: Spec(part.name, options), "game": game}))
        assert len(trainer.moved) >= 2 * ROUNDS


@pytest.mark.parametrize(("entry", "options"), variants("loss"))
def test_every_loss(entry: Entry, options: dict[str, Any], data: dict[str, Spec]) -> None:
    train_part(entry, "loss", options, data)


@pytest.mark.parametrize(("entry", "options"), variants("regularizer"))
def test_every_regularizer(entry: Entry, options: dict[str, Any], data: dict[str, Spec]) -> None:
    train_part(entry, "reg", options, data)


@pytest.mark.parametrize(("entry", "options"), variants("augmentation"))
def test_every_augmentation(entry: Entry, options: dict[str, Any], data: dict[str, Spec]) -> None:
    train_part(entry, "aug", options, data)


# ---- two that do not go together

KEYS = {"generator": "gen", "discriminator": "disc", "loss": "loss", "regularizer": "reg", "augmentation": "aug"}
CHOSEN = [entry for kind in KEYS for entry in REGISTRY.select(kind)]
MISFITS = [
    pytest.param(one, other, id=f"{one.name}-{other.name}")
    for one, other in itertools.combinations(CHOSEN, 2)
    if (one.kind != other.kind or one.kind == "regularizer") and not go_together([one, other], REGISTRY)
]


@pytest.mark.parametrize(("one", "other"), MISFITS)
def test_misfits_are_refused_with_both_named(one: Entry, other: Entry, data: dict[str, Spec]) -> None:
    """With labels and without, among partners that each of the two alone would go with."""
    asked = {KEYS[entry.kind]: entry for entry in (one, other)}
    for key, entries in (("gen", GENERATORS), ("disc", DISCRIMINATORS)):
        able = [e for e in entries if all(go_together([e, asked_for], REGISTRY) for asked_for in (one, other))]
        asked.setdefault(key, next((e for e in able if e.name == "mlp"), (able or entries)[0]))
    translates = "translate" in asked["gen"].component.provides
    for name in ("emoji-pairs",) if translates else ("classes-32", "images-32"):
        layer = Layer("the test", regs_replace=True)
        layer.parts["data"] = data[name]
        for key in ("gen", "disc", "loss", "aug"):
            if key in asked:
                layer.parts[key] = Spec(asked[key].name, {})
        layer.regs = [Spec(entry.name, {}) for entry in (one, other) if entry.kind == "regularizer"]
        layer.settings["batch"] = 32
        with pytest.raises(UsageError) as refused:
            make_plan(REGISTRY, layer)
        said = str(refused.value)
        assert str(one) in said, said
        assert str(other) in said, said


def test_there_are_misfits() -> None:
    assert len(MISFITS) > 20
