"""SNGAN at 32x32 without any care for speed: maps are doubled before a convolution and averaged after it.

Residual networks of Miyato et al. 2018 (arXiv:1802.05957), hinge loss, torch's own spectral norm, one D step to a G step.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm


def doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


class UpBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)])
        self.up = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.convolution = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(doubled(F.relu(self.norms[0](x))))
        y = self.convolution(F.relu(self.norms[1](y)))
        return y + self.shortcut(doubled(x))


class Generator(nn.Module):
    def __init__(self, z_dim: int = 128, channels: int = 64) -> None:
        super().__init__()
        self.project = nn.Linear(z_dim, channels * 16)
        self.blocks = nn.ModuleList(UpBlock(channels, channels) for _ in range(3))
        self.norm = nn.BatchNorm2d(channels)
        self.image = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        # The places before the channels, as ganzoo has it: another order of the same weights.
        x = self.project(z).view(len(z), 4, 4, -1).permute(0, 3, 1, 2).contiguous()
        for block in self.blocks:
            x = block(x)
        return torch.tanh(self.image(F.relu(self.norm(x))))


class DownBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, first: bool) -> None:
        super().__init__()
        self.first = first
        hidden = outputs if first else inputs
        self.convolution = nn.Conv2d(inputs, hidden, 3, padding=1)
        self.down = nn.Conv2d(hidden, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.convolution(x if self.first else F.relu(x))
        y = F.avg_pool2d(self.down(F.relu(y)), 2)
        return y + F.avg_pool2d(self.shortcut(x), 2)


class FlatBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        y = self.convolutions[0](F.relu(x))
        return x + self.convolutions[1](F.relu(y))


class Discriminator(nn.Module):
    """Images to logits [N]; `pool` of the places is a sum or a mean."""

    def __init__(self, channels: int = 64, pool: str = "sum") -> None:
        super().__init__()
        self.pool = pool
        self.blocks = nn.ModuleList([DownBlock(3, channels, True), DownBlock(channels, channels, False)])
        self.blocks.extend(FlatBlock(channels) for _ in range(2))
        self.head = nn.Linear(channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        x = images
        for block in self.blocks:
            x = block(x)
        x = F.relu(x)
        return self.head(x.sum((2, 3)) if self.pool == "sum" else x.mean((2, 3))).view(-1)


def start(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


def normalised(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        spectral_norm(module)


class Training:
    def __init__(self, device: torch.device | str = "cpu", z_dim: int = 128, channels: int = 64) -> None:
        self.z_dim = z_dim
        self.gen = Generator(z_dim, channels).apply(start).to(device)
        self.disc = Discriminator(channels).apply(start).apply(normalised).to(device)
        self.gen_optimizer = torch.optim.Adam(self.gen.parameters(), lr=2e-4, betas=(0.0, 0.9))
        self.disc_optimizer = torch.optim.Adam(self.disc.parameters(), lr=2e-4, betas=(0.0, 0.9))

    def noise(self, like: Tensor) -> Tensor:
        return torch.randn(len(like), self.z_dim, device=like.device)

    def step(self, real: Tensor) -> dict[str, float]:
        self.disc_optimizer.zero_grad()
        with torch.no_grad():
            fake = self.gen(self.noise(real))
        on_real, on_fake = self.disc(real), self.disc(fake)
        disc_loss = F.relu(1 - on_real).mean() + F.relu(1 + on_fake).mean()
        disc_loss.backward()
        self.disc_optimizer.step()

        self.gen_optimizer.zero_grad()
        gen_loss = -self.disc(self.gen(self.noise(real))).mean()
        gen_loss.backward()
        self.gen_optimizer.step()
        return {
            "D/loss": disc_loss.item(),
            "G/loss": gen_loss.item(),
            "D/real": on_real.mean().item(),
            "D/fake": on_fake.mean().item(),
        }
