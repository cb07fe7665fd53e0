"""StyleGAN2 (Karras et al. 2020, arXiv:1912.04958) as its equations read: no step is merged with another.

A modulated convolution makes the weights of every sample and runs them as groups; resampling sets zeros between the places,
filters at every place, and throws away what it does not keep; bias, leaky ReLU and gain are three passes.
R1 every 16 rounds, style mixing, noise; where asked for, path length every 4 rounds on half of the batch.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def filtered(x: Tensor, up: int = 1, down: int = 1, before: int = 0, after: int = 0, gain: float = 1.0) -> Tensor:
    """Zeros between the places, `before` and `after` zeros around, the filter [1, 3, 3, 1] both ways, every `down`th place."""
    n, c, h, w = x.shape
    if up > 1:
        spaced = x.new_zeros(n, c, h, up, w, up)
        spaced[:, :, :, 0, :, 0] = x
        x = spaced.reshape(n, c, h * up, w * up)
    x = F.pad(x, (before, after, before, after))
    line = torch.tensor([1.0, 3.0, 3.0, 1.0], device=x.device) / 8
    taps = (gain * torch.outer(line, line)).to(x.dtype)
    x = F.conv2d(x, taps[None, None].repeat(c, 1, 1, 1), groups=c)
    return x[:, :, ::down, ::down]


def activated(x: Tensor, bias: Tensor) -> Tensor:
    x = x + bias.view(1, -1, *[1] * (x.ndim - 2))
    return F.leaky_relu(x, 0.2) * math.sqrt(2)


class Linear(nn.Module):
    """Equalised learning rate: N(0, 1/m) weights, divided by the root of the inputs when used, times m."""

    def __init__(self, inputs: int, outputs: int, bias: float = 0.0, multiplier: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / multiplier)
        self.bias = nn.Parameter(torch.full((outputs,), bias / multiplier))
        self.multiplier, self.scale = multiplier, multiplier / math.sqrt(inputs)

    def forward(self, x: Tensor, active: bool = False) -> Tensor:
        x, bias = x @ (self.weight * self.scale).t(), self.bias * self.multiplier
        return activated(x, bias) if active else x + bias


class Mapping(nn.Module):
    def __init__(self, z_dim: int, w_dim: int, depth: int, layers: int) -> None:
        super().__init__()
        self.layers = layers
        self.hidden = nn.ModuleList(Linear(w_dim if i else z_dim, w_dim, multiplier=0.01) for i in range(depth))
        self.register_buffer("mean_w", torch.zeros(w_dim))

    def forward(self, z: Tensor, mixing: float = 0.0) -> Tensor:
        w = self.style(z)
        if self.training:
            self.mean_w.copy_(w.detach().mean(0).lerp(self.mean_w, 0.995))
        styles = w[:, None].repeat(1, self.layers, 1)
        if self.training and mixing:
            cut = torch.randint(1, self.layers, (len(z), 1), device=z.device)
            mixed = torch.rand(len(z), 1, device=z.device) < mixing
            late = torch.arange(self.layers, device=z.device) >= cut
            styles = torch.where((mixed & late)[:, :, None], self.style(torch.randn_like(z))[:, None], styles)
        return styles

    def style(self, z: Tensor) -> Tensor:
        x = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        for layer in self.hidden:
            x = layer(x, active=True)
        return x


class StyledConv(nn.Module):
    def __init__(self, inputs: int, outputs: int, w_dim: int, size: int, up: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.style = Linear(w_dim, inputs, bias=1.0)
        self.strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise", torch.randn(1, 1, size, size))
        self.size, self.up = size, up

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        n, c, height, width = x.shape
        scale = 1 / math.sqrt(9 * c)
        weight = scale * self.weight[None] * self.style(w)[:, None, :, None, None]  # [N, O, I, 3, 3]
        weight = weight * (weight.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
        x = x.reshape(1, n * c, height, width)
        if self.up:
            weight = weight.transpose(1, 2).reshape(n * c, -1, 3, 3)
            x = F.conv_transpose2d(x, weight, stride=2, groups=n)
            x = filtered(x.view(n, -1, *x.shape[2:]), before=1, after=1, gain=4.0)
        else:
            x = F.conv2d(x, weight.reshape(-1, c, 3, 3), padding=1, groups=n).view(n, -1, height, width)
        noise = torch.randn(n, 1, self.size, self.size, device=x.device) if self.training else self.noise
        return activated(x + noise * self.strength, self.bias)


class ToImage(nn.Module):
    def __init__(self, inputs: int, w_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))
        self.style = Linear(w_dim, inputs, bias=1.0)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        n, c, height, width = x.shape
        weight = self.weight[None] * (self.style(w) / math.sqrt(c))[:, None, :, None, None]
        x = F.conv2d(x.reshape(1, n * c, height, width), weight.reshape(-1, c, 1, 1), groups=n)
        return x.view(n, 3, height, width) + self.bias[:, None, None]


class Synthesis(nn.Module):
    def __init__(self, size: int, maps: list[int], w_dim: int) -> None:
        super().__init__()
        self.layers = 2 * len(maps)
        self.constant = nn.Parameter(torch.randn(maps[0], 4, 4))
        self.convs = nn.ModuleList([StyledConv(maps[0], maps[0], w_dim, 4, up=False)])
        for k in range(1, len(maps)):
            self.convs.append(StyledConv(maps[k - 1], maps[k], w_dim, 4 << k, up=True))
            self.convs.append(StyledConv(maps[k], maps[k], w_dim, 4 << k, up=False))
        self.to_image = nn.ModuleList(ToImage(width, w_dim) for width in maps)

    def forward(self, w: Tensor) -> Tensor:
        x = self.convs[0](self.constant.repeat(len(w), 1, 1, 1), w[:, 0])
        image = self.to_image[0](x, w[:, 1])
        for k in range(1, len(self.to_image)):
            x = self.convs[2 * k - 1](x, w[:, 2 * k - 1])
            x = self.convs[2 * k](x, w[:, 2 * k])
            image = filtered(image, up=2, before=2, after=1, gain=4.0) + self.to_image[k](x, w[:, 2 * k + 1])
        return image


class Generator(nn.Module):
    def __init__(self, size: int, maps: list[int], z_dim: int, depth: int) -> None:
        super().__init__()
        self.synthesis = Synthesis(size, maps, z_dim)
        self.mapping = Mapping(z_dim, z_dim, depth, self.synthesis.layers)

    def forward(self, z: Tensor, mixing: float = 0.0) -> Tensor:
        return self.synthesis(self.mapping(z, mixing))


class Conv(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, bias: bool = True, down: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.kernel, self.down, self.scale = kernel, down, 1 / math.sqrt(inputs * kernel**2)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * self.scale
        if not self.down:
            x = F.conv2d(x, weight, padding=self.kernel // 2)
        elif self.kernel == 3:
            x = F.conv2d(filtered(x, before=2, after=2), weight, stride=2)
        else:
            x = F.conv2d(filtered(x, down=2, before=1, after=1), weight)
        return x if self.bias is None else activated(x, self.bias)


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = Conv(inputs, inputs, 3)
        self.second = Conv(inputs, outputs, 3, down=True)
        self.skip = Conv(inputs, outputs, 1, bias=False, down=True)

    def forward(self, x: Tensor) -> Tensor:
        return (self.second(self.first(x)) + self.skip(x)) * math.sqrt(0.5)


class Discriminator(nn.Module):
    """Images to logits [N]."""

    def __init__(self, maps: list[int], group: int = 4) -> None:
        super().__init__()
        top, self.group = maps[0], group
        self.from_image = Conv(3, maps[-1], 1)
        self.blocks = nn.ModuleList(Block(maps[k], maps[k - 1]) for k in range(len(maps) - 1, 0, -1))
        self.mix = Conv(top + 1, top, 3)
        self.hidden = Linear(top * 16, top)
        self.head = Linear(top, 1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.from_image(images)
        for block in self.blocks:
            x = block(x)
        groups = x.view(-1, self.group, *x.shape[1:])
        spread = (groups.var(1, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))
        told = spread.repeat_interleave(self.group).view(-1, 1, 1, 1).repeat(1, 1, 4, 4)
        x = self.mix(torch.cat([x, told], 1))
        return self.head(self.hidden(x.flatten(1), active=True)).view(-1)


class Training:
    """Widths are min(base / side, most); the lazy phases are steps of their own, with Adam's rates as appendix B has them."""

    def __init__(
        self,
        device: torch.device | str = "cpu",
        size: int = 32,
        base: int = 8192,
        most: int = 128,
        z_dim: int = 512,
        depth: int = 2,
        gamma: float = 1.0,
        path_length: bool = True,
        half_life: float = 20_000,
    ) -> None:
        self.z_dim, self.gamma, self.half_life = z_dim, gamma, half_life
        self.r1_every, self.path_every, self.rounds = 16, 4 if path_length else None, 0
        maps = [min(base // side, most) for side in (4 << k for k in range(size.bit_length() - 2))]
        self.gen = Generator(size, maps, z_dim, depth).to(device)
        self.disc = Discriminator(maps).to(device)
        self.average = copy.deepcopy(self.gen).requires_grad_(False)
        self.mean_length = torch.zeros((), device=device)
        self.gen_optimizer = self.adam(self.gen, self.path_every)
        self.disc_optimizer = self.adam(self.disc, self.r1_every)

    @staticmethod
    def adam(net: nn.Module, every: int | None) -> torch.optim.Adam:
        ratio = every / (every + 1) if every else 1.0
        return torch.optim.Adam(net.parameters(), lr=2.5e-3 * ratio, betas=(0.0, 0.99**ratio), eps=1e-8)

    def noise(self, like: Tensor) -> Tensor:
        return torch.randn(len(like), self.z_dim, device=like.device)

    def step(self, real: Tensor) -> dict[str, float]:
        said = self.disc_step(real)
        if self.rounds % self.r1_every == 0:
            said["D/r1"] = self.r1_step(real)
        said |= self.gen_step(real)
        if self.path_every and self.rounds % self.path_every == 0:
            said["G/path-length"] = self.path_step(real)
        self.rounds += 1
        with torch.no_grad():
            beta = 0.5 ** (len(real) / self.half_life)
            for mine, other in zip(self.average.parameters(), self.gen.parameters(), strict=True):
                mine.copy_(other.lerp(mine, beta))
            for mine, other in zip(self.average.buffers(), self.gen.buffers(), strict=True):
                mine.copy_(other)
        return said

    def disc_step(self, real: Tensor) -> dict[str, float]:
        self.gen.requires_grad_(False)
        self.disc.requires_grad_(True)
        self.disc_optimizer.zero_grad()
        fake = self.gen(self.noise(real), mixing=0.9)
        on_real, on_fake = self.disc(real), self.disc(fake)
        loss = F.softplus(-on_real).mean() + F.softplus(on_fake).mean()
        loss.backward()
        self.disc_optimizer.step()
        return {"D/loss": loss.item(), "D/real": on_real.mean().item(), "D/fake": on_fake.mean().item()}

    def r1_step(self, real: Tensor) -> float:
        self.disc_optimizer.zero_grad()
        real = real.detach().requires_grad_()
        (slope,) = torch.autograd.grad(self.disc(real).sum(), real, create_graph=True)
        penalty = self.gamma / 2 * slope.square().sum((1, 2, 3)).mean()
        (penalty * self.r1_every).backward()
        self.disc_optimizer.step()
        return penalty.item()

    def gen_step(self, real: Tensor) -> dict[str, float]:
        self.gen.requires_grad_(True)
        self.disc.requires_grad_(False)
        self.gen_optimizer.zero_grad()
        loss = F.softplus(-self.disc(self.gen(self.noise(real), mixing=0.9))).mean()
        loss.backward()
        self.gen_optimizer.step()
        return {"G/loss": loss.item()}

    def path_step(self, real: Tensor) -> float:
        self.gen_optimizer.zero_grad()
        w = self.gen.mapping(self.noise(real)[: len(real) // 2], mixing=0.9)
        images = self.gen.synthesis(w)
        y = torch.randn_like(images) / math.sqrt(images.shape[2] * images.shape[3])
        (slope,) = torch.autograd.grad((images * y).sum(), w, create_graph=True)
        lengths = slope.square().sum(2).mean(1).sqrt()
        self.mean_length = self.mean_length.lerp(lengths.detach().mean(), 0.01)
        penalty = 2 * (lengths - self.mean_length).square().mean()
        (penalty * self.path_every).backward()
        self.gen_optimizer.step()
        return penalty.item()
