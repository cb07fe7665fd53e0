"""Held to ganzoo's contracts, as `ganzoo check ganzoo-translation` does."""

from __future__ import annotations

from ganzoo.testing import parametrize_with_checks


@parametrize_with_checks("ganzoo-translation")
def test_contracts(check):
    check()
