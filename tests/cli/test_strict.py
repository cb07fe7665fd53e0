"""Opening what was trained with other plugins than are installed: a warning, or with --strict a refusal."""

from __future__ import annotations

import importlib
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ganzoo as library
from ganzoo import provenance, registry
from ganzoo.errors import RunError
from ganzoo.runs import Run
from ganzoo.training import launch
from ganzoo.training.display import Quiet

if TYPE_CHECKING:
    from conftest import Site

    from tests.cli.conftest import Cli

PARTS = """
from torch import nn

class Plain(nn.Module):
    def __init__(self, data):
        super().__init__()
        self.z_dim, self.shape = 4, data.shape
        self.out = nn.Linear(4, 3 * 8 * 8)

    def forward(self, x, condition):
        return self.out(x).unflatten(1, self.shape).tanh()

class Judge(nn.Module):
    def __init__(self, data):
        super().__init__()
        self.head = nn.Linear(3 * 8 * 8, 1)

    def forward(self, images, condition):
        return self.head(images.flatten(1)).squeeze(1)
"""
OTHER = "(here is an edited or other build)"
LOOKS = [
    ("sample", "PATH", "--n", "2", "--out", "a.png"),
    ("explore", "PATH", "--interpolate", "--steps", "2", "--out", "b.png"),
]


@dataclass
class Own:
    """ganzoo-own, which offers a generator, and ganzoo-judge, a discriminator; both trained in "run"."""

    site: Site

    def edit(self, dist: str = "own") -> None:
        with next(self.site.root.glob(f"{dist}_parts_*.py")).open("a") as f:
            f.write("# edited\n")

    def upgrade(self, dist: str = "own") -> None:
        (info,) = self.site.root.glob(f"ganzoo_{dist}-*.dist-info")
        (info / "METADATA").write_text((info / "METADATA").read_text().replace("Version: 1.0", "Version: 1.1"))


@pytest.fixture
def own(cli: Cli, site: Site) -> Own:
    for dist, kind, name in (("own", "generator", "Plain"), ("judge", "discriminator", "Judge")):
        module = f"{dist}_parts_{id(site)}"
        entry = (
            "from ganzoo.plugin import Component, hookimpl\n@hookimpl\ndef ganzoo_components():\n"
            f"    yield Component({kind!r}, {name.lower()!r}, '{module}:{name}', summary='generated')\n"
        )
        site.add(f"ganzoo-{dist}", entry, files={f"{module}.py": PARTS})
    cli("train", "--gen", "plain", "--disc", "judge", "--data", "emoji:labels=false", "--res", "8", "--batch", "8",
        "--kimg", "0.016", "--device", "cpu", "--out", "run")  # fmt: skip
    return Own(site)


def looks(path: str) -> list[list[str]]:
    return [[path if word == "PATH" else word for word in look] for look in LOOKS]


def fresh() -> None:
    importlib.invalidate_caches()
    registry.get_registry.cache_clear()
    provenance.digest.cache_clear()


def test_what_is_as_it_was_is_opened_without_a_word(cli: Cli, own: Own) -> None:
    table = tomllib.loads(Path("run/run.toml").read_text())
    files = table["files"]
    assert files.keys() == {"ganzoo-core", *(offer.split()[0] for offer in table["components"].values())}
    assert {"ganzoo-judge", "ganzoo-own"} < files.keys()
    assert all(len(value) == 16 and int(value, 16) >= 0 for value in files.values())
    for command in (["export", "run"], *looks("run"), *looks("run/model")):
        assert cli(*command, "--strict")[1] == ""
    out, err = cli("resume", "run", "--kimg", "0.024", "--strict")
    assert "was trained with" not in out + err
    assert tomllib.loads(Path("run/run.toml").read_text())["files"] == files
    config = json.loads(Path("run/model/config.json").read_text())
    assert config["files"] == {name: files[name] for name in ("ganzoo-core", "ganzoo-own")}


@pytest.mark.parametrize(
    ("change", "what"), [("edit", f"other files of ganzoo-own 1.0 {OTHER}"), ("upgrade", "ganzoo-own 1.0 (here is 1.1)")]
)
def test_another_generator_is_a_warning_or_refused(change: str, what: str, cli: Cli, own: Own) -> None:
    cli("export", "run", "--out", "model")
    getattr(own, change)()
    for path in ("run", "model"):
        mend = f"{path} was trained with {what}: install what it was trained with, or leave --strict out"
        for command in looks(path):
            cli.refused(*command, "--strict", code=1, says=(mend,))
            assert cli(*command)[1] == f"ganzoo: {path} was trained with {what}: results may differ\n"
    cli.refused("export", "run", "--strict", code=1, says=(what, "--strict"))
    cli.refused("resume", "run", "--kimg", "0.024", "--strict", code=1, says=(what, "--strict"))
    out, _ = cli("resume", "run", "--kimg", "0.024")
    assert [line for line in out.splitlines() if "was trained with" in line] == [
        f"run was trained with {what}: results may differ"
    ]
    assert "run run, from 0.016 kimg" in out
    assert "done: run" in out


def test_an_export_hands_on_what_the_run_was_trained_with(cli: Cli, own: Own) -> None:
    own.upgrade()
    own.edit()
    assert "ganzoo-own 1.0 (here is 1.1)" in cli("export", "run")[1]
    assert "| gen | plain | ganzoo-own 1.0 |" in Path("run/model/README.md").read_text()
    assert "run/model was trained with ganzoo-own 1.0 (here is 1.1)" in cli(*looks("run/model")[0])[1]


def test_only_what_makes_samples_matters_to_samples(cli: Cli, own: Own) -> None:
    own.edit("judge")
    own.upgrade()
    cli("export", "run", "--out", "model")
    for path in ("run", "model"):
        for command in looks(path):
            assert cli(*command)[1].count("was trained with") == 1
    both = f"run was trained with other files of ganzoo-judge 1.0 {OTHER} and ganzoo-own 1.0 (here is 1.1): install what"
    cli.refused("resume", "run", "--strict", code=1, says=(both,))
    assert cli("resume", "run")[0].count("was trained with") == 2


def test_what_did_not_record_its_files_goes_by_versions(cli: Cli, own: Own) -> None:
    cli("export", "run", "--out", "model")
    text = Path("run/run.toml").read_text()
    before, _, rest = text.partition("[files]\n")
    Path("run/run.toml").write_text(before + rest[rest.index("[") :])
    config = json.loads(Path("model/config.json").read_text())
    del config["files"]
    Path("model/config.json").write_text(json.dumps(config))
    own.edit()
    for command in (["export", "run"], *looks("run"), *looks("model")):
        assert cli(*command)[1] == ""
        cli.fails(*command, "--strict", code=1, says=("files of ganzoo-own 1.0 that were not recorded",))
    assert "was trained with" not in cli("resume", "run", "--kimg", "0.024")[0]
    assert "[files]" not in Path("run/run.toml").read_text()
    own.upgrade()
    cli.refused("resume", "run", "--strict", code=1, says=("ganzoo-own 1.0 (here is 1.1)",))


def test_damaged_records_are_named(cli: Cli, own: Own) -> None:
    cli("export", "run", "--out", "model")
    text = Path("run/run.toml").read_text()
    before, _, rest = text.partition("[files]\n")
    Path("run/run.toml").write_text("files = 3\n" + before + rest[rest.index("[") :])
    for command in (("resume", "run"), looks("run")[0]):
        cli.refused(*command, code=1, says=("run/run.toml is damaged: its [files] is not there",))
    config = json.loads(Path("model/config.json").read_text())
    Path("model/config.json").write_text(json.dumps({**config, "files": 3}))
    cli.refused(*looks("model")[0], code=1, says=("model is damaged or no exported model",))


def test_the_library_warns_and_refuses_too(cli: Cli, own: Own, capfd: pytest.CaptureFixture[str]) -> None:
    cli("export", "run", "--out", "model")
    own.edit()
    for path in ("run", "model"):
        fresh()
        assert library.load(path).sample(1).shape == (1, 3, 8, 8)
        warned = f"ganzoo: {path} was trained with other files of ganzoo-own 1.0 {OTHER}: results may differ\n"
        assert capfd.readouterr().err == warned
        with pytest.raises(RunError, match=f"^{path} was trained with other files of ganzoo-own 1.0"):
            library.load(path, strict=True)
    with pytest.raises(RunError, match="^run was trained with other files of ganzoo-own 1.0"):
        launch.resume("run", Quiet(), strict=True)
    assert not Run("run").in_use()
