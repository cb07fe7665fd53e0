"""collapse.toml, and the trainings that it comes to."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from ganzoo.bench.protocols import DATA, content, find_suites, merged, protocols
from ganzoo.errors import UsageError
from ganzoo.registry import get_registry

EVERY = [suite for protocol in protocols() for suite in find_suites(protocol)]


def suite(name: str, protocol: str = "ganzoo"):  # type: ignore[no-untyped-def]
    [found] = find_suites(protocol, [name])
    return found


@pytest.mark.parametrize("suite", EVERY, ids=lambda suite: f"{suite.protocol}-{suite.name}")
def test_every_variant_of_every_suite_fits(suite) -> None:  # type: ignore[no-untyped-def]
    assert suite.expected
    assert set(suite.published) <= set(content()["recipes"])
    hashes, dataset = set(), None
    for row in suite.rows():
        plan = row.plan(dataset=dataset)
        config, dataset = plan.config, plan.dataset
        assert config.settings.kimg * 1000 == suite.steps * config.settings.batch
        assert config.settings.ema.half_life == 0
        assert [reg.name for reg in config.reg] == [reg["name"] for reg in row.table["reg"]]
        hashes.add(row.hash)
    assert len(hashes) == len(suite.recipes) * len(suite.cases)


def test_every_recipe_fits_the_ring() -> None:
    for row in find_suites("ganzoo", ["ring"], list(content()["recipes"]))[0].rows():
        row.plan()


def test_the_published_protocols() -> None:
    """Numbers of the papers and of their authors' code."""
    pac = suite("ring", "pacgan")
    assert (pac.steps, pac.samples, pac.held, pac.seeds) == (400_000, 2_500, 0, 10)
    plain, packed = pac.training("gan").plan().config, pac.training("pacgan4").plan().config
    assert (plain.settings.batch, packed.settings.batch) == (100, 400)
    assert (plain.gen.options["depth"], plain.gen.options["width"], plain.gen.options["norm"]) == (4, 400, "batch")
    assert (plain.disc.options["depth"], plain.disc.options["width"], plain.disc.options["pieces"]) == (3, 200, 5)
    assert (plain.settings.G.lr, plain.settings.G.betas) == (1e-4, (0.8, 0.999))
    assert pac.published["pacgan"] == [7.9, 0.956, 0.07]
    assert suite("grid", "pacgan").published["gan"] == [17.3, 0.948, 0.70]
    assert suite("grid", "pacgan").training("gan").plan().config.data.options["spacing"] == 2.0
    toy = suite("unrolled", "unrolled")
    config = toy.training("unrolled").plan().config
    assert (toy.steps, config.settings.batch, config.settings.D.lr, config.settings.G.lr) == (25_000, 512, 1e-4, 1e-3)
    assert config.reg[0].options["steps"] == 5


def test_stacked_has_a_narrow_discriminator() -> None:
    widths = {}
    for row in find_suites("ganzoo", ["stacked"], ["gan"])[0].rows():
        config = row.plan().config
        widths[row.case] = config.disc.options["channels"] / config.gen.options["channels"]
    assert widths == {"D 1/4": 0.25, "D 1/2": 0.5}


def test_other_steps_are_another_protocol() -> None:
    pac, [short] = suite("ring", "pacgan"), find_suites("pacgan", ["ring"], steps=1000)
    assert pac.published
    assert not short.published
    assert pac.training("gan").hash != short.training("gan").hash
    assert pac.training(DATA).hash == short.training(DATA).hash


def test_a_hash_is_of_what_decides_the_figures() -> None:
    ring = suite("ring")
    here = ring.training("gan")
    assert replace(here, seed=7).hash == here.hash
    others = [
        replace(here, steps=9),
        replace(here, samples=9),
        replace(here, looks=9),
        replace(here, held=0.5),
        replace(here, table={**here.table, "batch": 64}),
    ]
    assert len({here.hash, *(other.hash for other in others)}) == 6


def test_the_data_come_first_then_seed_by_seed() -> None:
    [ring] = find_suites("ganzoo", ["ring"], ["gan", "r1"])
    assert [(t.recipe, t.seed) for t in ring.trainings(2)] == [(DATA, 0), ("gan", 0), ("r1", 0), ("gan", 1), ("r1", 1)]
    assert len(list(ring.trainings())) == 1 + 2 * ring.seeds


def test_tables_are_merged_and_parts_replaced() -> None:
    base = {"disc": {"name": "mlp", "width": 8}, "batch": 4, "reg": [1]}
    assert merged(base, {"disc": {"depth": 2}, "reg": []}) == {
        "disc": {"name": "mlp", "width": 8, "depth": 2},
        "batch": 4,
        "reg": [],
    }
    assert merged(base, {"disc": {"name": "dcgan"}})["disc"] == {"name": "dcgan"}
    assert base["reg"] == [1]


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"protocol": "pacgna"}, "no protocol 'pacgna'. Did you mean 'pacgan'?"),
        ({"protocol": "ganzoo", "names": ["rings"]}, "no suite of the protocol 'ganzoo' 'rings'. Did you mean 'ring'?"),
        ({"protocol": "pacgan", "names": ["stacked"]}, "Suites: ring, grid"),
        ({"protocol": "ganzoo", "recipes": ["pacgan5"]}, "no recipe of this bench 'pacgan5'. Did you mean 'pacgan"),
        ({"protocol": "ganzoo", "steps": 5}, "--steps 5: samples are looked at 10 times"),
    ],
)
def test_what_is_not_there_is_refused(asked, says: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError) as err:
        find_suites(**asked)
    assert says in str(err.value)


def test_a_missing_plugin_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANZOO_PLUGINS", "ganzoo-core,ganzoo-dcgan")
    get_registry.cache_clear()
    try:
        with pytest.raises(UsageError, match=r"ring, pacgan: .*ganzoo-objectives"):
            suite("ring").training("pacgan").plan()
    finally:
        get_registry.cache_clear()


def test_protocols_are_read_without_torch() -> None:
    code = "import sys, ganzoo.bench.protocols as p; p.find_suites('ganzoo'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
