"""Held to ganzoo's contracts, as `ganzoo check ganzoo-lite0` does."""

from __future__ import annotations

from ganzoo.testing import parametrize_with_checks


@parametrize_with_checks("ganzoo-lite0")
def test_contracts(check):
    check()
