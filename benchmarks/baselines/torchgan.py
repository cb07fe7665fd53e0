"""DCGAN by torchgan (PyPI): its networks, its losses and the step that each loss brings, in the order of its trainer.

torchgan imports torchvision. What its trainer does beside these steps (records of gradients and losses) is left out.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchgan.losses import MinimaxDiscriminatorLoss, MinimaxGeneratorLoss
from torchgan.models import DCGANDiscriminator, DCGANGenerator


class Training:
    def __init__(self, device: torch.device | str = "cpu", z_dim: int = 100, channels: int = 64) -> None:
        self.device = torch.device(device)
        self.gen = DCGANGenerator(z_dim, out_size=32, step_channels=channels).to(device)
        self.disc = DCGANDiscriminator(in_size=32, step_channels=channels).to(device)
        self.gen_optimizer = torch.optim.Adam(self.gen.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.disc_optimizer = torch.optim.Adam(self.disc.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.losses = MinimaxGeneratorLoss(), MinimaxDiscriminatorLoss()

    def step(self, real: Tensor) -> dict[str, float]:
        gen_loss, disc_loss = self.losses
        return {
            "G/loss": gen_loss.train_ops(self.gen, self.disc, self.gen_optimizer, self.device, len(real)),
            "D/loss": disc_loss.train_ops(self.gen, self.disc, self.disc_optimizer, real, self.device),
        }
