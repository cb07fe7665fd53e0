"""A loop by hand over ganzoo's own networks, loss and regularizers: the least that a good user would write.

It draws its batches, freezes the player that rests, steps fused Adam, averages G and sums what it would log; it has no phases,
no micro-batches, no checkpoints. What the trainer costs is told beside it.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor

from ganzoo.assembly import Plan
from ganzoo.games.match import Match
from ganzoo.interfaces import Score


class Training:
    """For games of one match on images without labels; the regularizers are those of the plan, among the four known here."""

    def __init__(self, plan: Plan, device: torch.device | str = "cpu") -> None:
        settings, self.device = plan.config.settings, torch.device(device)
        game = plan.build().to(device).to(memory_format=torch.channels_last)
        game.requires_grad_(True)
        self.match: Match = game.matches[0]
        self.gen, self.disc, self.loss = self.match.gen, self.match.disc, self.match.loss
        self.z_dim, self.prior, self.bf16 = game.z_dim, game.prior, settings.precision == "bf16"
        self.half_life = 1000 * float(settings.ema.half_life)
        self.average = copy.deepcopy(self.gen).requires_grad_(False)
        regs = dict(zip(self.match.names, self.match.regs, strict=True))
        self.spectral, self.penalty = regs.pop("spectral-norm", None), regs.pop("gradient-penalty", None)
        self.r1, self.path = regs.pop("r1", None), regs.pop("path-length", None)
        assert not regs, regs
        rates = {"lr": 2e-4, "betas": settings.G.betas}
        if self.r1 is not None:
            rates["lr"] = 2.5e-3
        self.gen_optimizer, self.disc_optimizer = (
            torch.optim.Adam(
                net.parameters(),
                lr=rates["lr"] * ratio,
                betas=[float(beta) ** ratio for beta in rates["betas"]],
                fused=True,
            )
            for net, ratio in ((self.gen, lazy(self.path)), (self.disc, lazy(self.r1)))
        )
        self.round = 0
        self.sums: dict[str, Tensor] = {}

    def step(self, real: Tensor) -> None:
        self.learns(self.disc, self.gen)
        self.disc_step(real)
        if self.r1 is not None and self.round % self.r1.every == 0:
            self.r1_step(real)
        self.learns(self.gen, self.disc)
        self.gen_step(real)
        if self.path is not None and self.round % self.path.every == 0:
            self.path_step(real)
        self.round += 1
        with torch.no_grad():
            weight = 1 - 0.5 ** (len(real) / self.half_life) if self.half_life else 1.0
            torch._foreach_lerp_(list(self.average.parameters()), list(self.gen.parameters()), weight)
            for mine, other in zip(self.average.buffers(), self.gen.buffers(), strict=True):
                mine.copy_(other)

    def fetch(self) -> dict[str, float]:
        """Means of what was summed since the last call."""
        sums, self.sums = self.sums, {}
        return {name: value.item() for name, value in sums.items()}

    def learns(self, net: torch.nn.Module, other: torch.nn.Module) -> None:
        net.requires_grad_(True)
        other.requires_grad_(False)

    def noise(self, like: Tensor) -> Tensor:
        z = torch.empty(len(like), self.z_dim, device=self.device)
        return z.normal_() if self.prior == "normal" else z.uniform_(-1, 1)

    def precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def score(self, images: Tensor) -> Score:
        score = self.disc(images, {})
        score.logits = score.logits.float()
        return score

    def log(self, **values: Tensor) -> None:
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach()

    def disc_step(self, real: Tensor) -> None:
        self.disc_optimizer.zero_grad()
        with self.precision():
            with torch.no_grad():
                fake = self.gen(self.noise(real), {}).float()
            on_real, on_fake = self.score(real), self.score(fake)
            loss = self.loss.d(on_real, on_fake).mean()
        self.log(disc=loss, real=on_real.logits.mean(), fake=on_fake.logits.mean())
        if self.penalty is not None:
            share = torch.rand(len(real), 1, 1, 1, device=self.device)
            between = torch.lerp(fake, real, share).requires_grad_()
            norms = slopes(self.disc(between, {}).logits, between).sqrt()
            penalty = self.penalty.weight * (norms - 1).square().mean()
            self.log(penalty=penalty)
            loss = loss + penalty
        loss.backward()
        self.disc_optimizer.step()
        if self.spectral is not None:
            self.spectral.after_step("D", self.match)

    def r1_step(self, real: Tensor) -> None:
        self.disc_optimizer.zero_grad()
        real = real.detach().requires_grad_()
        penalty = self.r1.gamma / 2 * slopes(self.disc(real, {}).logits, real).mean()
        self.log(r1=penalty)
        (penalty * self.r1.every).backward()
        self.disc_optimizer.step()

    def gen_step(self, real: Tensor) -> None:
        self.gen_optimizer.zero_grad()
        with self.precision():
            fake = self.gen(self.noise(real), {}).float()
            loss = self.loss.g(self.score(fake), lambda: self.score(real)).mean()
        self.log(gen=loss)
        loss.backward()
        self.gen_optimizer.step()

    def path_step(self, real: Tensor) -> None:
        self.gen_optimizer.zero_grad()
        w = self.gen.mapping(self.noise(real)[: math.ceil(len(real) * self.path.share)], {})
        images = self.gen.synthesis(w)
        y = torch.randn_like(images) / math.sqrt(math.prod(images.shape[2:]))
        lengths = (torch.autograd.grad((images * y).sum(), w, create_graph=True)[0].square().sum(2).mean(1)).sqrt()
        self.path.mean.lerp_(lengths.detach().mean(), self.path.decay)
        penalty = self.path.weight * (lengths - self.path.mean).square().mean()
        self.log(path=penalty)
        (penalty * self.path.every).backward()
        self.gen_optimizer.step()


def slopes(outputs: Tensor, inputs: Tensor) -> Tensor:
    """Squared norms of the gradients of outputs with respect to inputs, [N]."""
    return torch.autograd.grad(outputs.sum(), inputs, create_graph=True)[0].square().sum((1, 2, 3)) + 1e-12


def lazy(reg: object) -> float:
    """What Adam's rates are multiplied by and raised to (StyleGAN2, appendix B)."""
    every = getattr(reg, "every", None)
    return every / (every + 1) if every else 1.0
