"""The package checks: the distributions of this repository pass, and each check catches one that breaks its contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from torch import nn

from ganzoo.interfaces import DataSpec, Regularizer
from ganzoo.registry import Entry
from ganzoo.testing import COMPONENT_CHECKS, PACKAGE_CHECKS, Check, package

from ..conftest import Site
from .conftest import name_of, tried

RECIPE = """
from ganzoo.plugin import Component, hookimpl
ganzoo_api = 1
@hookimpl
def ganzoo_components():
    yield Component("recipe", "lone", "nowhere:lone.toml", summary="generated")
"""


OBSERVER = """
from ganzoo.plugin import hookimpl
class Plugin:
    ganzoo_api = 1
    @hookimpl
    def ganzoo_run_end(self, run): pass
plugin = Plugin()
"""


# ---- distributions with one fault each

QUIETLY = package.check_package_imports_quietly
FAULTY: list[tuple[Check, str, str, str]] = [
    (package.check_package_loads, "fails", "raise RuntimeError('no')", "no problem; seen: RuntimeError: no"),
    (package.check_package_loads, "junk", RECIPE.replace('"recipe"', '"wizard"'), "unknown kind 'wizard'"),
    (
        package.check_package_loads,
        "empty",
        RECIPE.replace("yield", "return ()\n    yield"),
        "components, or hooks that observe runs; seen: neither",
    ),
    (package.check_package_imports_light, "heavy", "import numpy\n" + RECIPE, "numpy imported with it"),
    (QUIETLY, "prints", RECIPE + "print('hello')", "its entry module is imported; seen: changes in the terminal: hello"),
    (QUIETLY, "writes", RECIPE + "open('cache.txt', 'w').close()", "files in the working directory"),
    (QUIETLY, "sets", RECIPE + "import os; os.environ['OMP_NUM_THREADS'] = '7'", "environment variables"),
    (QUIETLY, "path", RECIPE + "import sys; sys.path.append('/nowhere')", "sys.path"),
    (package.check_package_states, "no-api", RECIPE.replace("ganzoo_api = 1", ""), "ganzoo_api = 1"),
    (package.check_package_states, "no-licence", RECIPE, "a licence in pyproject.toml"),
    (package.check_package_names, "takes", RECIPE.replace('"lone"', '"dcgan"'), "'dcgan', which ganzoo-dcgan offers"),
    (package.check_package_files, "torn", RECIPE, "every file that was installed; seen: 1 gone, such as torn_gone.py"),
]
# What METADATA of a sound plugin says, and what is missed where a line is not there.
SAID = {
    "Summary: Made for a test": "a description of one line",
    "Keywords: more,ganzoo-plugin": 'keywords = .*"ganzoo-plugin"',
    "Requires-Dist: ganzoo-core>=0.1; python_version > '3'": 'a dependency "ganzoo-core>=0.1"; seen: none',
    "License-Expression: MIT": "a licence",
}


@pytest.mark.parametrize(
    ("check", "dist", "body", "words"), FAULTY, ids=lambda value: value if isinstance(value, str) else None
)
def test_faulty_distributions_are_caught(
    site: Site, check: Check, dist: str, body: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # one of them writes there
    site.add(dist, body)
    describe(site, dist, *([] if dist == "no-licence" else ["License-Expression: MIT"]))
    if dist == "torn":
        Path(site.root, "torn-1.0.dist-info", "RECORD").write_text("torn_gone.py,,\n")
    with pytest.raises(AssertionError, match=words) as caught:
        check(dist)
    assert str(caught.value).startswith(f"{dist}: expected")
    assert f"Contract: {check.contract}" in str(caught.value)  # type: ignore[attr-defined]


@pytest.mark.parametrize("check", PACKAGE_CHECKS, ids=name_of)
def test_a_plugin_that_only_observes_passes(site: Site, check: Check) -> None:
    site.add("watches", OBSERVER, entry="main = MODULE:plugin")
    describe(site, "watches", *SAID)
    check("watches")


@pytest.mark.parametrize("gone", [line for line in SAID if not line.startswith("License")])
def test_what_metadata_leave_out_is_caught(site: Site, gone: str) -> None:
    site.add("quiet", RECIPE)
    describe(site, "quiet", *(line for line in SAID if line != gone))
    with pytest.raises(AssertionError, match=SAID[gone]):
        package.check_package_described("quiet")


def test_a_readme_and_a_lower_bound_are_asked_for(site: Site) -> None:
    site.add("bare", RECIPE)
    metadata = describe(site, "bare", *SAID)
    metadata.write_text(metadata.read_text().replace("Words.", ""))
    with pytest.raises(AssertionError, match="a README"):
        package.check_package_described("bare")
    metadata.write_text(metadata.read_text().replace("ganzoo-core>=0.1", "ganzoo-core<2") + "Words.")
    with pytest.raises(AssertionError, match="a lower bound, .*; seen: ganzoo-core<2"):
        package.check_package_described("bare")


def test_a_command_of_ganzoo_s_own_name_is_caught(site: Site) -> None:
    site.add("commands", RECIPE)
    info = Path(site.root, "commands-1.0.dist-info", "entry_points.txt")
    info.write_text(info.read_text() + "[ganzoo.commands]\ntrain = json:dumps\n")
    with pytest.raises(AssertionError, match="commands of other names than ganzoo's own; seen: train"):
        package.check_package_names("commands")


def test_a_file_that_the_wheel_leaves_out_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ganzoo.cli import group

    monkeypatch.chdir(tmp_path)
    assert group.run(["new", "loss", "torn"]) == 0
    project = tmp_path / "ganzoo-torn"
    weights = project / "src" / "ganzoo_torn" / "weights"
    weights.mkdir()
    (weights / "a.safetensors").touch()
    monkeypatch.setattr(package, "_top_levels", lambda distribution: ["ganzoo_torn"])
    monkeypatch.setattr(package, "source_of", lambda distribution: project)
    package.check_package_files("ganzoo-core")
    (project / ".gitignore").write_text("*.safetensors\n")  # which hatchling heeds
    with pytest.raises(AssertionError, match="in the wheel; seen: ganzoo_torn/weights/a.safetensors left out"):
        package.check_package_files("ganzoo-core")


def test_a_target_that_sets_torch_is_caught(site: Site) -> None:
    component = 'yield Component("recipe", "lone", "nowhere:lone.toml", summary="generated")'
    offers = RECIPE.replace(component, 'yield Component("loss", "lone", "loud_target:Loss", summary="generated")')
    site.add("loud", offers, files={"loud_target.py": "import torch\ntorch.set_default_dtype(torch.float64)\n"})
    package.check_package_imports_light("loud")
    with pytest.raises(AssertionError, match="its targets' modules are imported; seen: changes in torch's default dtype"):
        QUIETLY("loud")


def describe(site: Site, dist: str, *lines: str) -> Path:
    """Add these to its METADATA."""
    metadata = Path(site.root, f"{dist.replace('-', '_')}-1.0.dist-info", "METADATA")
    metadata.write_text(metadata.read_text().replace("\n\n", "\n" + "\n".join(lines) + "\n\n", 1))
    return metadata


# ---- components with one fault each


class Documented(Regularizer):
    """Says what its option means.

    Options:
        weight: how strong
    """

    def __init__(self, data: DataSpec, *, weight: float = 1.0) -> None:
        super().__init__(data)


class Silent(Regularizer):
    """Says nothing of its option."""

    def __init__(self, data: DataSpec, *, weight: float = 1.0) -> None:
        super().__init__(data)


class WithoutAnnotation(Regularizer):
    """Options:
    weight: how strong
    """

    def __init__(self, data: DataSpec, *, weight=1.0) -> None:  # type: ignore[no-untyped-def]
        super().__init__(data)


class WrongDefault(Regularizer):
    """One default among words it does not know.

    Options:
        mode: which
    """

    def __init__(self, data: DataSpec, *, mode: Literal["a", "b"] = "c") -> None:  # type: ignore[assignment]
        super().__init__(data)


class PositionalOption(Regularizer):
    """An option that is not keyword-only."""

    def __init__(self, data: DataSpec, weight: float = 1.0) -> None:
        super().__init__(data)


def takes_a_width(data: DataSpec, width: int) -> nn.Module:
    return nn.Linear(1, width)


def makes_a_linear(data: DataSpec) -> nn.Module:
    return nn.Linear(1, 1)


RECOMMENDED: list[tuple[dict[str, Any], str]] = [
    ({"batch": -3}, "batch = -3: it must be greater than 0"),
    ({"G": {"betas": 7}}, "G.betas takes"),
    ({"G": {"lr": "fast"}}, "G.lr: 'fast' is no schedule"),
    ({"D.optimizer": "adma"}, "no optimizer named 'adma'"),
    ({"D.optimizer": "sgd:nestrov=true"}, "'sgd' has no option 'nestrov'"),
    ({"ema.half_life": "long"}, "ema.half_life: 'long' is no schedule"),
    ({"disc": "nosuchdisc:foo=1"}, "there is no discriminator 'nosuchdisc'"),
    ({"reg": ["r1:gama=10"]}, "regularizer 'r1' has no option 'gama'"),
    ({"reg": ["r1"], "reg.r1.gama": 10}, "regularizer 'r1' has no option 'gama'"),
    ({"aug": {"name": "diffaugment", "cutout": "some"}}, "option 'cutout' takes"),
]
FAULTY_COMPONENTS: list[tuple[Check, Entry, str]] = [
    (package.check_component_declared, tried("regularizer", Documented, provides={"haed"}), "seen: haed"),
    (package.check_component_declared, tried("regularizer", Documented, min_group="groups"), "seen: groups"),
    (package.check_component_declared, tried("generator", Documented, recommends={"D.rate": 1}), "unknown key 'D.rate'"),
    *(
        (package.check_component_declared, tried("generator", Documented, recommends=recommends), words)
        for recommends, words in RECOMMENDED
    ),
    (package.check_component_target, tried("generator", takes_a_width), "before the keyword-only options"),
    (package.check_component_target, tried("loss", Documented), "a subclass of ganzoo.interfaces.Loss; seen: Documented"),
    (package.check_component_target, tried("regularizer", makes_a_linear), "a ganzoo.interfaces.Regularizer; seen: Linear"),
    (package.check_component_target, tried("regularizer", PositionalOption), "data before the keyword-only options"),
    (package.check_component_options, tried("regularizer", Silent), "for each option; seen: none for weight"),
    (package.check_component_options, tried("regularizer", WithoutAnnotation), "has no annotation"),
    (package.check_component_options, tried("regularizer", WrongDefault), "a default of mode that fits its annotation"),
]


@pytest.mark.parametrize("check", COMPONENT_CHECKS, ids=name_of)
def test_a_sound_component_passes(check: Check) -> None:
    check(tried("regularizer", Documented))


@pytest.mark.parametrize(("check", "entry", "words"), FAULTY_COMPONENTS, ids=range(len(FAULTY_COMPONENTS)))
def test_faulty_components_are_caught(check: Check, entry: Entry, words: str) -> None:
    with pytest.raises(AssertionError, match=words) as caught:
        check(entry)
    assert f"Contract: {check.contract}" in str(caught.value)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "recommends",
    [
        {"G.lr": "cosine(2e-4, 5e-5)", "D.optimizer": "sgd:momentum=.5", "ema.half_life": "auto", "reg": ["none"]},
        {
            "reg": [{"name": "r1", "gamma": 10.0}],
            "reg.r1.every": 4,
            "aug": "none",
            "disc": "ganzoo-dcgan/dcgan",
            "loss": "hinge",
        },
        {"data": "folder:path=here,res=32"},
    ],
    ids=str,
)
def test_what_can_be_played_with_may_be_recommended(recommends: dict[str, Any]) -> None:
    package.check_component_declared(tried("generator", Documented, recommends=recommends))


def test_so_may_a_part_that_is_not_installed_and_is_in_the_catalogue(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    catalog = '[[plugin]]\ndistribution = "ganzoo-far"\nsummary = "Far."\nhomepage = "https://example.org"\n'
    (tmp_path / "registry.toml").write_text(f'format = 1\n{catalog}discriminator = ["faraway"]\n')
    monkeypatch.setenv("GANZOO_CATALOG", str(tmp_path / "registry.toml"))
    package.check_component_declared(tried("generator", Documented, recommends={"disc": "faraway:width=3"}))


def test_a_summary_is_asked_for() -> None:
    from dataclasses import replace

    entry = tried("regularizer", Documented)
    silent = replace(entry, component=replace(entry.component, summary=""))
    with pytest.raises(AssertionError, match="a summary of one line; seen: none"):
        package.check_component_declared(silent)


def test_each_check_catches_something() -> None:
    assert {check for check, *_ in FAULTY} == set(PACKAGE_CHECKS) - {package.check_package_described}
    assert {check for check, *_ in FAULTY_COMPONENTS} == set(COMPONENT_CHECKS)
