"""Held to ganzoo's contracts, as `ganzoo check ganzoo-r3gan` does."""

from __future__ import annotations

from ganzoo.testing import parametrize_with_checks


@parametrize_with_checks("ganzoo-r3gan")
def test_contracts(check):
    check()
