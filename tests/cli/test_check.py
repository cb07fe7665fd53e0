"""`ganzoo check`: its table, what it counts as failed, and which plugins it takes."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ..conftest import Site, declaring

if TYPE_CHECKING:
    from tests.cli.conftest import Cli

FAULTY = """
from ganzoo.interfaces import Dataset, Loss
class Sums(Loss):
    def d(self, real, fake): return (fake.logits - real.logits).sum()
    def g(self, fake, real): return -fake.logits
class Asks(Dataset):
    def __init__(self, *, path: str): ...
"""


@pytest.fixture
def slips(site: Site) -> str:
    """A plugin with a fault: it sums; and a data set that cannot be tried."""
    offers = declaring(("loss", "sums"), target="slips_target:Sums")
    offers += "    yield Component('dataset', 'asks', 'slips_target:Asks', summary='generated')\n"
    site.add("slips", offers, files={"slips_target.py": FAULTY})
    sys.modules.pop("slips_target", None)
    return "slips"


def test_the_table(cli: Cli, slips: str) -> None:
    out, _ = cli("check", slips, code=1)
    assert out.startswith("slips 1.0: ")
    assert "loss sums " in out
    found = out[out.index("FAILED loss sums: check_loss_mean") :].splitlines()
    assert [line.split()[0] for line in found[1:5]] == ["on", "expected", "seen", "contract"]
    assert found[4].endswith("terms are means over the batch: doubling it changes no loss's size")
    assert "COULD NOT BE TRIED\n  dataset asks: check_dataset_records: it needs path" in out


def test_as_objects(cli: Cli, slips: str) -> None:
    out, _ = cli("check", slips, "--json", code=1)
    rows = {(row["subject"], row["check"]): row for row in json.loads(out)}
    row = rows["loss sums", "check_loss_mean"]
    assert row["outcome"] == "failed"
    assert row["expected"].endswith("for the batch twice over too")
    assert row["seen"]
    assert rows["dataset asks", "check_dataset_labels"]["outcome"] == "untried"
    assert rows["package", "check_package_loads"]["outcome"] == "passed"


def test_strict_counts_what_could_not_be_tried(cli: Cli, site: Site) -> None:
    body = FAULTY.replace("(Dataset):", '(Dataset):\n    """Records.\n\n    Options:\n        path: a file\n    """')
    site.add("asks", declaring(("dataset", "asks"), target="asks_target:Asks"), files={"asks_target.py": body})
    facts = ["Summary: Records", "Keywords: ganzoo-plugin", "Requires-Dist: ganzoo-core>=0.1", "License-Expression: MIT"]
    metadata = site.root / "asks-1.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("\n\n", "\n" + "\n".join(facts) + "\n\n"))
    out, _ = cli("check", "asks")
    assert "failed" not in out
    assert "7 could not be tried" in out
    cli("check", "asks", "--strict", code=1)


def test_what_is_expected_to_fail(cli: Cli, site: Site) -> None:
    body = declaring(("loss", "sums"), target="known_target:Sums")
    body += "ganzoo_expected_failures = {'check_loss_mean': 'it sums', 'check_loss_pure': 'who knows'}\n"
    site.add("knows", body, files={"known_target.py": FAULTY})
    out, _ = cli("check", "knows", code=1)
    assert "FAILED, AS EXPECTED\n  loss sums: check_loss_mean: it sums" in out
    failed = out[out.index("FAILED loss sums: check_loss_pure") :]
    assert "it passes: expect it no longer" in failed


def test_what_a_plugin_prints_is_not_among_the_results(cli: Cli, site: Site) -> None:
    chatty = "(Loss):\n    def __init__(self, data):\n        super().__init__(data)\n        print('hello')\n"
    files = {"chatty_target.py": FAULTY.replace("(Loss):", chatty)}
    site.add("chatty", declaring(("loss", "sums"), target="chatty_target:Sums"), files=files)
    out, err = cli("check", "chatty", "--json", code=1)
    assert json.loads(out)
    assert "hello" in err


def test_an_entry_module_that_exits(cli: Cli, site: Site) -> None:
    site.add("leaves", "import sys\nsys.exit(0)\n")
    out, _ = cli("check", "leaves", code=1)
    assert "FAILED package: check_package_loads" in out


def test_a_file_that_the_wheel_of_a_project_leaves_out(cli: Cli) -> None:
    cli("new", "loss", "torn")
    Path("ganzoo-torn/src/ganzoo_torn/table.json").write_text("{}")
    Path("ganzoo-torn/.gitignore").write_text("*.json\n")  # which hatchling heeds
    out, _ = cli("check", "./ganzoo-torn", code=1)
    assert "seen      ganzoo_torn/table.json left out" in out


def test_a_plugin_that_is_left_out(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANZOO_PLUGINS", "ganzoo-emoji")
    cli.fails("check", "ganzoo-dcgan", code=2, says=("ganzoo-dcgan is left out by GANZOO_PLUGINS",))


def test_a_broken_catalogue_is_not_the_plugin_s_fault(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("broken.toml").write_text("format = ")
    monkeypatch.setenv("GANZOO_CATALOG", "broken.toml")
    cli.fails("check", "ganzoo-dcgan", code=2, says=("the catalogue broken.toml is broken",))


def test_a_wheel(cli: Cli, tmp_path: Path) -> None:
    from ganzoo.testing.wheels import build_wheel

    cli("new", "regularizer", "wheeled")
    wheel = build_wheel(Path("ganzoo-wheeled"), tmp_path)
    out, _ = cli("check", str(wheel))
    assert out.startswith("ganzoo-wheeled 0.1.0: ")


@pytest.mark.parametrize(
    ("plugin", "says"),
    [
        ("nobody", "no distribution 'nobody' is installed"),
        ("torch", "torch is no plugin"),
        ("./nowhere", "./nowhere is not there"),
        ("./file", "neither a folder nor a wheel"),
        ("./empty", "is no project: its pyproject.toml cannot be read"),
        ("./odd", "build-backend a name in it"),
        ("./torn.whl", "torn.whl is no wheel"),
        ("./bare.whl", "it has no metadata of one distribution"),
        ("dcgan", "Did you mean 'ganzoo-dcgan'?"),
    ],
)
def test_what_it_refuses(cli: Cli, plugin: str, says: str) -> None:
    Path("empty").mkdir()
    Path("odd").mkdir()
    Path("odd/pyproject.toml").write_text("[build-system]\nbuild-backend = 7\n")
    Path("file").touch()
    Path("torn.whl").write_bytes(b"no zip")
    with zipfile.ZipFile("bare.whl", "w") as archive:
        archive.writestr("a.py", "")
    cli.fails("check", plugin, code=2, says=(says,))


def test_a_project_that_does_not_build_is_one_line(cli: Cli) -> None:
    cli("new", "loss", "broken")
    project = Path("ganzoo-broken/pyproject.toml")
    project.write_text(project.read_text().replace("version =", "vision ="))
    cli.fails("check", "./ganzoo-broken", code=1, says=("could not be built",))
