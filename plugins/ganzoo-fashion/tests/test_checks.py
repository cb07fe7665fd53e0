"""Held to ganzoo's contracts, as `ganzoo check ganzoo-fashion` does."""

from __future__ import annotations

from ganzoo.testing import parametrize_with_checks


@parametrize_with_checks("ganzoo-fashion")
def test_contracts(check):
    check()
