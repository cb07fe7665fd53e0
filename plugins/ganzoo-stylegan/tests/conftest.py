"""Networks in float64 whose parameters are all at work."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def at_work():
    """A network in float64 and eval mode with noise on each parameter: biases and strengths start at zero."""

    def change(network):
        network = network.double().eval()
        with torch.no_grad():
            for p in network.parameters():
                p.add_(torch.randn_like(p) * (0.2 * p.abs().mean() + 0.1))
        return network

    return change
