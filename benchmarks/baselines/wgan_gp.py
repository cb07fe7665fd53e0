"""WGAN-GP at 32x32 on the networks of `sngan`, without spectral norm: the penalty in each D step, one of them to a G step.

Gulrajani et al. 2017 (arXiv:1704.00028), equation 3, with weight 10.
"""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.sngan import Discriminator, Generator, start


class Training:
    def __init__(self, device: torch.device | str = "cpu", z_dim: int = 128, channels: int = 64, weight: float = 10.0) -> None:
        self.z_dim, self.weight = z_dim, weight
        self.gen = Generator(z_dim, channels).apply(start).to(device)
        self.disc = Discriminator(channels, pool="mean").apply(start).to(device)
        self.gen_optimizer = torch.optim.Adam(self.gen.parameters(), lr=2e-4, betas=(0.0, 0.9))
        self.disc_optimizer = torch.optim.Adam(self.disc.parameters(), lr=2e-4, betas=(0.0, 0.9))

    def noise(self, like: Tensor) -> Tensor:
        return torch.randn(len(like), self.z_dim, device=like.device)

    def penalty(self, real: Tensor, fake: Tensor) -> Tensor:
        share = torch.rand(len(real), 1, 1, 1, device=real.device)
        between = (share * real + (1 - share) * fake).requires_grad_()
        (slope,) = torch.autograd.grad(self.disc(between).sum(), between, create_graph=True)
        return ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()

    def step(self, real: Tensor) -> dict[str, float]:
        self.disc_optimizer.zero_grad()
        with torch.no_grad():
            fake = self.gen(self.noise(real))
        on_real, on_fake = self.disc(real).mean(), self.disc(fake).mean()
        penalty = self.penalty(real, fake)
        disc_loss = on_fake - on_real + self.weight * penalty
        disc_loss.backward()
        self.disc_optimizer.step()

        self.gen_optimizer.zero_grad()
        gen_loss = -self.disc(self.gen(self.noise(real))).mean()
        gen_loss.backward()
        self.gen_optimizer.step()
        return {
            "D/loss": disc_loss.item(),
            "G/loss": gen_loss.item(),
            "D/real": on_real.item(),
            "D/fake": on_fake.item(),
            "D/penalty": penalty.item(),
        }
