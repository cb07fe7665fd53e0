"""DCGAN as torch's tutorial trains it: one batch of fakes for both players, BCE on a sigmoid, Adam as it comes.

The tutorial's networks at 32x32. Where no norm follows, layers have biases, as ganzoo's do.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Generator(nn.Module):
    def __init__(self, z_dim: int = 100, channels: int = 64) -> None:
        super().__init__()
        c = channels
        self.main = nn.Sequential(
            nn.ConvTranspose2d(z_dim, 4 * c, 4, 1, 0, bias=False),
            nn.BatchNorm2d(4 * c),
            nn.ReLU(True),
            nn.ConvTranspose2d(4 * c, 2 * c, 4, 2, 1, bias=False),
            nn.BatchNorm2d(2 * c),
            nn.ReLU(True),
            nn.ConvTranspose2d(2 * c, c, 4, 2, 1, bias=False),
            nn.BatchNorm2d(c),
            nn.ReLU(True),
            nn.ConvTranspose2d(c, 3, 4, 2, 1),
            nn.Tanh(),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.main(z[:, :, None, None])


class Discriminator(nn.Module):
    """Images to probabilities [N]."""

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        c = channels
        self.main = nn.Sequential(
            nn.Conv2d(3, c, 4, 2, 1),
            nn.LeakyReLU(0.2, True),
            nn.Conv2d(c, 2 * c, 4, 2, 1, bias=False),
            nn.BatchNorm2d(2 * c),
            nn.LeakyReLU(0.2, True),
            nn.Conv2d(2 * c, 4 * c, 4, 2, 1, bias=False),
            nn.BatchNorm2d(4 * c),
            nn.LeakyReLU(0.2, True),
            nn.Conv2d(4 * c, 1, 4, 1, 0),
            nn.Sigmoid(),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.main(images).view(-1)


def start(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


class Training:
    def __init__(self, device: torch.device | str = "cpu", z_dim: int = 100, channels: int = 64) -> None:
        self.z_dim = z_dim
        self.gen = Generator(z_dim, channels).apply(start).to(device)
        self.disc = Discriminator(channels).apply(start).to(device)
        self.criterion = nn.BCELoss()
        self.gen_optimizer = torch.optim.Adam(self.gen.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.disc_optimizer = torch.optim.Adam(self.disc.parameters(), lr=2e-4, betas=(0.5, 0.999))

    def step(self, real: Tensor) -> dict[str, float]:
        ones, zeros = real.new_ones(len(real)), real.new_zeros(len(real))

        self.disc.zero_grad()
        on_real = self.disc(real)
        real_loss = self.criterion(on_real, ones)
        real_loss.backward()
        fake = self.gen(torch.randn(len(real), self.z_dim, device=real.device))
        on_fake = self.disc(fake.detach())
        fake_loss = self.criterion(on_fake, zeros)
        fake_loss.backward()
        self.disc_optimizer.step()

        self.gen.zero_grad()
        again = self.disc(fake)
        gen_loss = self.criterion(again, ones)
        gen_loss.backward()
        self.gen_optimizer.step()
        return {
            "D/loss": (real_loss + fake_loss).item(),
            "G/loss": gen_loss.item(),
            "D/real": on_real.mean().item(),
            "D/fake": on_fake.mean().item(),
        }
