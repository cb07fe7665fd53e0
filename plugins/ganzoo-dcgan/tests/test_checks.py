"""Held to ganzoo's contracts, as `ganzoo check ganzoo-dcgan` does."""

from __future__ import annotations

from ganzoo.testing import parametrize_with_checks


@parametrize_with_checks("ganzoo-dcgan")
def test_contracts(check):
    check()
