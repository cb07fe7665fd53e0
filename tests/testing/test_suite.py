"""A distribution's checks as one: `cases_of`, and through pytest."""

from __future__ import annotations

from pathlib import Path

import pytest

from ganzoo.errors import UsageError
from ganzoo.registry import get_registry
from ganzoo.testing import CHECKS, COMPONENT_CHECKS, PACKAGE_CHECKS, TRAINING_CHECKS, Failure, Skip, Untried, cases_of
from ganzoo.testing import parametrize_with_checks as with_checks
from ganzoo.testing.checks import PLAYING
from ganzoo.testing.suite import expected_failures

from ..conftest import Site, declaring

pytest_plugins = ["pytester"]


@with_checks("ganzoo-core")
def test_the_core_s_own_components(check):  # type: ignore[no-untyped-def]
    check()


@pytest.mark.parametrize("distribution", sorted({entry.dist for entry in get_registry().entries}))
def test_every_check_of_a_kind_is_among_the_cases(distribution: str) -> None:
    cases = cases_of(distribution)
    names = [case.name for case in cases]
    assert len(set(names)) == len(names)
    wanted = len(PACKAGE_CHECKS)
    for entry in get_registry().select(pattern=f"{distribution}/*"):
        wanted += len(COMPONENT_CHECKS) - (entry.kind == "recipe") + len(CHECKS[entry.kind])
        wanted += len(TRAINING_CHECKS) if entry.kind in PLAYING else 0
    assert len(cases) == wanted


def named(distribution: str, name: str):  # type: ignore[no-untyped-def]
    (case,) = (case for case in cases_of(distribution) if case.name == name)
    return case


def test_what_cannot_be_loaded_fails_and_what_cannot_be_tried_says_so(site: Site) -> None:
    site.add("odd", declaring(("loss", "gone"), ("dataset", "asks"), target="asks_much:Asks"))
    with pytest.raises(Failure, match="No module named 'asks_much'"):
        named("odd", "loss gone: check_component_target")()
    with pytest.raises(Untried, match="its target could not be loaded"):
        named("odd", "loss gone: check_loss_pure")()
    (site.root / "asks_much.py").write_text(
        "from ganzoo.interfaces import Dataset\nclass Asks(Dataset):\n    def __init__(self, *, path: str): ...\n"
    )
    with pytest.raises(Untried, match=r"it needs path: .*trial="):
        named("odd", "dataset asks: check_dataset_records")()


def test_a_component_says_what_it_is_tried_with() -> None:
    named("ganzoo-core", "dataset folder: check_dataset_labels")()  # by a function that writes images
    named("ganzoo-projected", "features timm: check_features_meta")()  # by options, or it would fetch weights


def test_a_check_that_applies_to_no_data_is_skipped() -> None:
    with pytest.raises(Skip, match="it does not provide 'style'"):
        named("ganzoo-dcgan", "generator dcgan: check_generator_style")()


def test_unknown_distributions_and_no_plugins_are_refused() -> None:
    with pytest.raises(UsageError, match="no distribution 'ganzoo-dcgam' is installed. Did you mean 'ganzoo-dcgan'"):
        cases_of("ganzoo-dcgam")
    with pytest.raises(UsageError, match="torch is no plugin"):
        cases_of("torch")


def test_expected_failures_are_named_and_explained() -> None:
    with pytest.raises(UsageError, match="to fail is 'check_loss_puer', which no check is. Did you mean 'check_loss_pure'"):
        with_checks("ganzoo-objectives", expected_failed_checks={"check_loss_puer": "because"})
    with pytest.raises(UsageError, match="the reason is missing why 'check_loss_pure'"):
        with_checks("ganzoo-objectives", expected_failed_checks={"check_loss_pure": " "})


def test_a_plugin_names_its_expected_failures_itself(site: Site) -> None:
    body = declaring(("loss", "gone"), target="nowhere:Gone") + "ganzoo_expected_failures = {'check_loss_pure': 'a reason'}\n"
    site.add("owns", body)
    assert expected_failures("owns", {"loss gone: check_loss_mean": "another"}) == {
        "check_loss_pure": "a reason",
        "loss gone: check_loss_mean": "another",
    }


HALVES = """
from torch import nn
def halved(side): return 1 << (side.bit_length() - 1)
class G(nn.Module):
    def __init__(self, data):
        super().__init__()
        self.z_dim, self.shape = 4, (data.channels, *map(halved, data.resolution))
    def forward(self, x, condition):
        return x.mean(1).tanh()[:, None, None, None].expand(-1, *self.shape)
class D(nn.Module):
    def __init__(self, data):
        super().__init__()
        self.head = nn.Linear(halved(data.shape[1]) * halved(data.shape[2]), 1)
    def forward(self, images, condition):
        return self.head(images.mean(1).flatten(1))[:, 0]
"""


@pytest.mark.parametrize(
    ("kind", "target", "words"),
    [("generator", "G", r"expected samples \[4, 3, 20, 40\]; seen: \[4, 3, 16, 32\]"), ("discriminator", "D", "no exception")],
)
def test_what_does_powers_of_two_alone_says_so(site: Site, kind: str, target: str, words: str) -> None:
    body = "from ganzoo.plugin import Component, hookimpl\n@hookimpl\ndef ganzoo_components():\n"
    for name, modality, resolutions in (
        ("boasts", "image", "any from 8"),
        ("honest", "image", "power of two from 8"),
        ("elsewhere", "smells", "any"),
    ):
        body += f"    yield Component({kind!r}, {name!r}, 'halves_target:{target}', "
        body += f"modality={modality!r}, resolutions={resolutions!r})\n"
    site.add("halves", body, files={"halves_target.py": HALVES})
    named("halves", f"{kind} honest: check_{kind}_shape")()
    with pytest.raises(Untried, match="no data suit it"):
        named("halves", f"{kind} elsewhere: check_{kind}_shape")()
    with pytest.raises(Failure, match=rf"on image \[3, 20, 40\]: .*{words}"):
        named("halves", f"{kind} boasts: check_{kind}_shape")()


def test_a_part_that_exits_fails(site: Site) -> None:
    exits = "from ganzoo.interfaces import Loss\nclass Exits(Loss):\n    def __init__(self, data): raise SystemExit(0)\n"
    site.add("exits", declaring(("loss", "exits"), target="exits_target:Exits"), files={"exits_target.py": exits})
    with pytest.raises(Failure, match="SystemExit: 0"):
        named("exits", "loss exits: check_loss_pure")()


def test_through_pytest(site: Site, pytester: pytest.Pytester) -> None:
    """A loss with one fault: caught by name, accepted where that is expected, and not where it passes after all."""
    faulty = "from ganzoo.interfaces import Loss\nclass Faulty(Loss):\n"
    faulty += "    def d(self, real, fake): return (fake.logits - real.logits).sum()\n"
    faulty += "    def g(self, fake, real): return -fake.logits\n"
    site.add("slips", declaring(("loss", "slips"), target="slips_target:Faulty"), files={"slips_target.py": faulty})
    for expected, outcomes in (
        ("{}", {"failed": 1, "xfailed": 0}),
        ("{'check_loss_mean': 'it sums'}", {"failed": 0, "xfailed": 1}),
        ("{'loss slips: check_loss_mean': 'it sums'}", {"failed": 0, "xfailed": 1}),
        ("{'check_loss_mean': 'it sums', 'check_loss_pure': 'wrong'}", {"failed": 1, "xfailed": 1}),
    ):
        test = "from ganzoo.testing import parametrize_with_checks\n"
        test += f"@parametrize_with_checks('slips', expected_failed_checks={expected})\n"
        test += "def test_contracts(check):\n    check()\n"
        pytester.makepyfile(test)
        done = pytester.runpytest_inprocess("-k", "check_loss_mean or check_loss_pure or check_loss_finite")
        done.assert_outcomes(
            passed=3 - outcomes["failed"] - outcomes["xfailed"], deselected=done.parseoutcomes()["deselected"], **outcomes
        )
        assert Path(pytester.path, "test_through_pytest.py").exists()
