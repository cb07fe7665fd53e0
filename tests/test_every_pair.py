"""Every valid combination of the installed parts trains: each phase moves its player alone, and all stays finite.

What is valid is for assembly to say; what it refuses must name both sides. Data are tiny, and so are the networks.
"""

from __future__ import annotations

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
ARRAYS: Mapping[str, tuple[tuple[int, ...], int]] = {
    "images": ((3, 8, 8), 0),
    "classes": ((3, 8, 8), 3),
    "grey": ((1, 8, 8), 0),
    "wide": ((3, 8, 16), 0),
    "odd": ((3, 9, 9), 0),
    "signal": ((1, 16), 0),
    "labelled-signal": ((1, 16), 3),
}
SETS: Mapping[str, Spec] = {
    "ring": Spec("ring", {"n": 64}),
    "labelled-ring": Spec("ring", {"n": 64, "labels": True}),
    "grid": Spec("grid", {"n": 64}),
    "swissroll": Spec("swissroll", {"n": 64}),
    "spiral": Spec("spiral", {"n": 64}),
    "emoji": Spec("emoji", {"res": [8, 8]}),
    "emoji-unlabelled": Spec("emoji", {"res": [8, 8], "labels": False}),
    "emoji-pairs": Spec("emoji-pairs", {"res": [8, 8]}),
}
DATA = [*ARRAYS, *SETS]

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
    source = (plan_data.source is not None) == ("translate" in component.provides) if entry.kind == "generator" else True
    return bool(modality and size and labels and source)


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("disc", DISCRIMINATORS, ids=lambda entry: f"D-{entry.name}")
@pytest.mark.parametrize("gen", GENERATORS, ids=lambda entry: f"G-{entry.name}")
def test_every_pair(gen: Entry, disc: Entry, name: str, data: dict[str, Spec]) -> None:
    spec = data[name]
    wanted = REGISTRY.build(REGISTRY.find("dataset", spec.name), spec.options).spec
    unfit = [entry for entry in (gen, disc) if not declares(entry, wanted)]
    if not unfit:
        train(plan_of(gen, disc, spec))
        return
    with pytest.raises(UsageError) as refused:
        plan_of(gen, disc, spec)
    said = str(refused.value)
    assert any(str(entry) in said for entry in unfit), said
    assert f"dataset '{spec.name}'" in said
    able = [other.name for other in REGISTRY.select(unfit[0].kind) if declares(other, wanted)]
    assert "--res" in said or all(name in said for name in able), said


def test_every_kind_of_data_has_a_pair() -> None:
    """Or the test above would pass with nothing trained."""
    for modality, shape in (("image", (3, 8, 8)), ("points", (2,)), ("signal", (1, 16))):
        for entries in (GENERATORS, DISCRIMINATORS):
            able = [e for e in entries if not e.component.modality or modality in e.component.modality]
            assert able, f"no {entries[0].kind} for {modality} data {shape}"


def variants(kind: str) -> list[Any]:
    """Each component of a kind, with its defaults and in ways that use another path: lazy, and for both players."""
    found = []
    for entry in REGISTRY.select(kind):
        known = options_of(REGISTRY.load(entry))
        options = [
            {},
            *({name: value} for name, value in (("every", 2), ("player", "both"), ("second_order", False)) if name in known),
        ]
        found += [
            pytest.param(entry, given, id=f"{entry.name}{''.join(f'-{k}={v}' for k, v in given.items())}") for given in options
        ]
    return found


PAIRS = [("dcgan", "dcgan", "images"), ("mlp", "mlp", "labelled-ring"), ("mlp", "dcgan", "grey"), ("dcgan", "mlp", "classes")]
in_pairs = pytest.mark.parametrize(("gen", "disc", "name"), PAIRS, ids=["-".join(pair) for pair in PAIRS])


def train_or_refuse(entry: Entry, key: str, options: dict[str, Any], pair: tuple[str, str, Spec]) -> None:
    """A part in a pair: trained where it fits the data, else refused with both named."""
    gen, disc = REGISTRY.find("generator", pair[0]), REGISTRY.find("discriminator", pair[1])
    data = REGISTRY.build(REGISTRY.find("dataset", pair[2].name), pair[2].options).spec
    assert BATCH % group_of(entry, options) == 0
    given = {key: Spec(entry.name, options)}
    if declares(entry, data):
        trainer = train(plan_of(gen, disc, pair[2], given))
        assert len(trainer.moved) >= 2 * ROUNDS
        return
    with pytest.raises(UsageError) as refused:
        plan_of(gen, disc, pair[2], given)
    assert str(entry) in str(refused.value)
    assert f"dataset '{pair[2].name}'" in str(refused.value)


@in_pairs
@pytest.mark.parametrize(("entry", "options"), variants("loss"))
def test_every_loss(entry: Entry, options: dict[str, Any], gen: str, disc: str, name: str, data: dict[str, Spec]) -> None:
    train_or_refuse(entry, "loss", options, (gen, disc, data[name]))


@in_pairs
@pytest.mark.parametrize(("entry", "options"), variants("regularizer"))
def test_every_regularizer(
    entry: Entry, options: dict[str, Any], gen: str, disc: str, name: str, data: dict[str, Spec]
) -> None:
    train_or_refuse(entry, "reg", options, (gen, disc, data[name]))


@in_pairs
@pytest.mark.parametrize(("entry", "options"), variants("augmentation"))
def test_every_augmentation(
    entry: Entry, options: dict[str, Any], gen: str, disc: str, name: str, data: dict[str, Spec]
) -> None:
    train_or_refuse(entry, "aug", options, (gen, disc, data[name]))


def test_every_part_that_can_be_chosen_is_trained_here() -> None:
    """Each installed loss, regularizer and augmentation fits at least two of the pairs."""
    shapes = {"images": ("image", ()), "labelled-ring": ("points", (1,)), "grey": ("image", ()), "classes": ("image", (1,))}
    for kind in ("loss", "regularizer", "augmentation"):
        for entry in REGISTRY.select(kind):
            takes, refuses = entry.component.modality, entry.component.labels == "refused"
            fits = [
                1
                for *_, name in PAIRS
                for modality, classes in [shapes[name]]
                if (not takes or modality in takes) and not (refuses and classes)
            ]
            assert len(fits) >= 2, f"{entry} is trained with {len(fits)} pairs"
