"""Who wins, where each value came from, and what is dropped or refused."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from ganzoo.assembly import Plan, make_plan
from ganzoo.cli.train import layer_of
from ganzoo.config import Layer, layer_from_dict
from ganzoo.errors import UsageError
from ganzoo.registry import get_registry
from ganzoo.rehearsal import describe, rehearse

OPTIONS = (
    "recipe",
    "evals",
    "eval_every",
    "gen",
    "disc",
    "loss",
    "aug",
    "game",
    "data",
    "res",
    "batch",
    "micro_batch",
    "kimg",
    "seed",
    "device",
    "precision",
)


def plan(*, config: str | None = None, sets: tuple[str, ...] = (), reg: tuple[str, ...] = (), **given: str) -> Plan:
    """As `ganzoo train` makes it: keyword arguments are its options."""
    layer = layer_of(get_registry(), {**dict.fromkeys(OPTIONS), **given, "sets": sets, "reg": reg})
    return make_plan(
        get_registry(), layer, layer_from_dict(tomllib.loads(config), "--config f.toml") if config is not None else None
    )


def regs(made: Plan) -> dict[str, dict[str, object]]:
    return {spec.name: dict(spec.options) for spec in made.config.reg}


def test_nothing_at_all_takes_the_default_recipe() -> None:
    made = plan()
    assert made.config.settings.recipe == "emoji"
    assert made.config.data.name == "emoji"
    assert made.origins["gen"] == "default recipe 'emoji'"


def test_the_default_recipe_goes_by_the_data(tmp_path: Path) -> None:
    import numpy as np

    assert plan(data="ring").config.settings.recipe == "points"
    np.save(tmp_path / "waves.npy", np.zeros((8, 1, 32), np.float32))
    made = plan(data=str(tmp_path / "waves.npy"))
    assert made.config.settings.recipe == "signal"
    assert made.data.modality == "signal"


def test_one_network_takes_its_recommended_partner_and_settings() -> None:
    for made in (plan(gen="mlp", data="ring"), plan(disc="mlp", data="ring")):
        assert (made.config.gen.name, made.config.disc.name, made.config.settings.recipe) == ("mlp", "mlp", None)
        assert made.origins["loss"].startswith("recommended by")
        assert made.origins["G.lr"].startswith("recommended by")


def test_later_wins() -> None:
    config = 'recipe = "dcgan"\nbatch = 12\nkimg = 7\n[gen]\nname = "dcgan"\nchannels = 5\n[G]\nlr = 3e-3\n'
    made = plan(config=config, kimg="9", sets=("gen.z_dim=6",), gen="dcgan:embedding=3")
    settings = made.config.settings
    assert (settings.batch, settings.kimg, settings.G.lr, settings.D.lr) == (12, 9.0, 3e-3, 2e-4)
    assert made.config.gen.options["channels"] == 5  # of --config: another option of the same component
    assert made.config.gen.options["embedding"] == 3
    assert made.config.gen.options["z_dim"] == 6
    assert made.config.gen.options["kernel"] == 5  # of the recipe
    assert made.config.gen.options["class_norm"] is False
    origins = {
        key: made.origins[key]
        for key in ("batch", "kimg", "D.lr", "gen.channels", "gen.z_dim", "gen.kernel", "gen.class_norm", "seed")
    }
    assert origins == {
        "batch": "--config f.toml", "kimg": "command line", "D.lr": "recipe 'dcgan'", "gen.channels": "--config f.toml",
        "gen.z_dim": "command line", "gen.kernel": "recipe 'dcgan'", "gen.class_norm": "default", "seed": "default",
    }  # fmt: skip


def test_another_component_starts_anew() -> None:
    made = plan(recipe="dcgan", disc="mlp")
    assert "kernel" not in made.config.disc.options
    assert made.config.gen.options["kernel"] == 5


def test_a_recipes_resolution_is_for_any_images(tmp_path: Path) -> None:
    from PIL import Image

    for i in range(3):
        Image.new("RGB", (70, 50), (i, 0, 0)).save(tmp_path / f"{i}.png")
    made = plan(data=str(tmp_path))
    assert made.data.shape == (3, 32, 32)
    assert made.origins["data.res"] == "default recipe 'emoji'"
    assert plan(data=str(tmp_path), res="16").data.shape == (3, 16, 16)
    assert plan(data="ring").data.shape == (2,)


def test_reg_adds_and_none_empties() -> None:
    base = set(regs(plan()))
    assert base
    assert set(regs(plan(reg=("weight-clip:c=.02",)))) == base | {"weight-clip"}
    assert regs(plan(reg=("weight-clip:c=.02",)))["weight-clip"] == {"c": 0.02}
    assert regs(plan(reg=("none",))) == {}
    assert set(regs(plan(reg=("none", "r2")))) == {"r2"}
    assert regs(plan(sets=("reg.r1.gamma=7",)))["r1"]["gamma"] == 7.0
    assert regs(plan(config="reg = []")) == {}
    assert set(regs(plan(config='[[reg]]\nname = "r2"', reg=("weight-clip",)))) == {"r2", "weight-clip"}


def test_numbers_that_scale_are_written_down() -> None:
    made = plan(reg=("none", "r1"), res="16", batch="32")
    gamma = regs(made)["r1"]["gamma"]
    assert gamma == pytest.approx(2e-4 * 16 * 16 / 32)
    assert made.origins["reg.r1.gamma"] == "auto, from 3x16x16 and batch 32"


def test_what_was_only_recommended_is_dropped_with_a_notice() -> None:
    """The default recipe's augmentation is for images; on points it was nobody's wish."""
    made = plan(config='gen = "mlp"\ndisc = "mlp"\ndata = "ring"')
    assert made.config.aug is None
    soft = Layer("recommended by a test", soft=True)
    soft.set_part("aug", "diffaugment")
    from ganzoo import assembly

    layers = assembly._layers(
        get_registry(),
        [layer_of(get_registry(), {**dict.fromkeys(OPTIONS), "data": "ring", "gen": "mlp", "sets": (), "reg": ()})],
    )[0]
    merged = assembly._Merged([layers[0], soft, *layers[1:]])
    loaded = {key: assembly._choose(get_registry(), key, part) for key, part in merged.parts.items()}
    loaded["data"].target = get_registry().load(loaded["data"].entry)
    dataset, _ = assembly._dataset(get_registry(), loaded["data"], {})
    notices: list[str] = []
    assembly._fit(get_registry(), loaded, dataset, notices)
    assert "aug" not in loaded
    assert "diffaugment" in notices[0]
    assert "only recommended" in notices[0]


def test_what_was_asked_for_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"augmentation 'diffaugment' does not fit: it takes image data, and dataset 'ring' holds points"
    ):
        plan(gen="mlp", data="ring", aug="diffaugment")


def test_the_resolved_configuration_reproduces_itself() -> None:
    made = plan(reg=("packing:m=2",), sets=("data.labels=false",), micro_batch="8")
    again = plan(config=made.config.to_toml())
    assert again.config.to_toml() == made.config.to_toml()
    assert again.config == made.config


def test_everything_has_an_origin() -> None:
    made = plan(reg=("r2",))
    rows = {key: origin for key, _, origin in describe(made)}
    assert all(rows.values())
    assert rows["reg.r2"] == "command line"
    assert rows["reg.r2.gamma"].startswith("auto")


def test_shapes_without_memory() -> None:
    shapes = rehearse(plan(res="16"))
    assert shapes.generated == (3, 16, 16)
    import ganzoo

    data = plan(res="16").data
    gen = ganzoo.create("generator", "dcgan", data, **plan(res="16").config.gen.options)
    assert shapes.parameters["G"] == sum(p.numel() for p in gen.parameters())


def test_a_data_set_or_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ganzoo.assembly import data_spec

    monkeypatch.chdir(tmp_path)
    Path("emoji").mkdir()
    Path("mine").mkdir()
    registry = get_registry()
    assert data_spec("emoji", registry).name == "emoji"  # a data set's name wins
    assert data_spec("./emoji", registry).name == "folder"
    assert data_spec("mine", registry).options == {"path": str(Path("mine").absolute())}  # found from anywhere
    assert data_spec("ganzoo-emoji/emoji:res=16", registry).name == "ganzoo-emoji/emoji"
    assert data_spec(f"folder:path={tmp_path}/mine", registry).name == "folder"
    with pytest.raises(UsageError, match=r"Did you mean 'emoji'.*Nor is there a file or folder 'emjoi' here"):
        data_spec("emjoi", registry)
