"""Held to ganzoo's contracts, as `ganzoo check ganzoo-resnet` does."""

from __future__ import annotations

from ganzoo.testing import parametrize_with_checks


@parametrize_with_checks("ganzoo-resnet")
def test_contracts(check):
    check()
