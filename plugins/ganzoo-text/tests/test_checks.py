"""Held to ganzoo's contracts, as `ganzoo check ganzoo-text` does."""

from __future__ import annotations

from ganzoo.testing import parametrize_with_checks


@parametrize_with_checks("ganzoo-text")
def test_contracts(check):
    check()
