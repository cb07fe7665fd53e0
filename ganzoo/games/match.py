"""A match: one generator against one discriminator, with its own loss, regularizers and augmentation.

A game asks `Match.losses` for the terms of a phase; regularizers look at a `Play`, whose members are computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ganzoo.errors import UsageError
from ganzoo.interfaces import Augment, Batch, Condition, Loss, Phase, Regularizer, Score
from ganzoo.plugin import DataSpec

Params = dict[str, Tensor]
# (live parameters, parameters, gradients, state) -> (parameters, state): an optimizer's rule, differentiable
Rule = Callable[[Mapping[str, nn.Parameter], Params, Params, Any], tuple[Params, Any]]

NO_RULE = (
    "a look-ahead differentiates D's own update rule, which this optimizer lacks: --set D.optimizer=adam or sgd, without "
    "weight_decay, amsgrad, maximize and nesterov"
)
CONDITIONS = ("labels", "source", "text")


def condition_of(batch: Batch) -> Condition:
    """What the networks may look at beside their input."""
    return {key: batch[key] for key in CONDITIONS if key in batch}


class Critic:
    """D as everybody in the match sees it: shows, augmentation, network, Score. Can be seated on other parameters."""

    def __init__(self, play: Play, params: Params | None = None) -> None:
        self._play, self._params = play, params

    def with_params(self, params: Params) -> Critic:
        """The same critic with these parameters (names as in disc.named_parameters()); its buffers are then copies."""
        return Critic(self._play, params)

    def __call__(self, images: Tensor, condition: Condition, real: bool | None = None) -> Score:
        match = self._play.match
        for reg in match.shows_before:
            images = reg.show(images, self._play, real)
        images, condition = _augmented(match.augment, images, condition)
        for reg in match.shows_after:
            images = reg.show(images, self._play, real)
        if self._params is None:
            said = match.disc(images, condition)
        else:
            # A look-ahead must not move batch-norm statistics: it writes to clones.
            buffers = {name: buffer.clone() for name, buffer in match.disc.named_buffers()}
            said = functional_call(match.disc, {**buffers, **self._params}, (images, condition))
        return _in_fp32(said if isinstance(said, Score) else Score(said))


def _augmented(augment: nn.Module, images: Tensor, condition: Condition) -> tuple[Tensor, Condition]:
    """Images, and a source of their size with the same draws: a D that sees both compares them place by place."""
    source = condition.get("source")
    if not isinstance(augment, Augment) or source is None or source.shape[2:] != images.shape[2:]:
        return augment(images), condition
    device = images.device
    random: Any = torch if device.type in ("cpu", "meta") else torch.get_device_module(device)
    where = (device,) if device.type == "cuda" else ()
    before = random.get_rng_state(*where)
    shown, after = augment(images), random.get_rng_state(*where)
    # An augmentation is made for the image's channels: where the source has others, one of its channels at a time.
    same = source.shape[1] == images.shape[1]
    moved = []
    for part in (source,) if same else source.split(1, 1):
        random.set_rng_state(before, *where)
        moved.append(augment(part) if same else augment(part.expand(-1, images.shape[1], -1, -1)).mean(1, keepdim=True))
    random.set_rng_state(after, *where)
    return shown, {**condition, "source": torch.cat(moved, 1)}


def _in_fp32(score: Score) -> Score:
    """Losses are computed in fp32 whatever the networks ran in (float64 stays, for tests)."""
    logits = score.logits

    def lift(t: Tensor) -> Tensor:
        return t.float() if t.dtype in (torch.bfloat16, torch.float16) else t

    return replace(score, logits=lift(logits) if isinstance(logits, Tensor) else tuple(map(lift, logits)))


class Play:
    """What a phase may look at.

    player      "D" or "G", whose phase this is
    nimg        images seen before this round; progress: the same as a share of the budget, 0 to 1
    batch       the (micro-)batch; x: what G eats
    condition   labels, source, text: what the fakes are made of; real_condition: what the reals are of (labels may differ)
    real, fake  [N, *shape]; `fake` has a graph in G's phase only; leaves that require grad where input_grad asks
    real_score, fake_score, critic
    own_fake_score   of `fake` itself: a pass of its own where a regularizer `swaps` what D is shown for it, else fake_score
    """

    def __init__(
        self,
        match: Match,
        player: str,
        batch: Batch,
        nimg: int,
        leaves: frozenset[str] = frozenset(),
        fake: Tensor | None = None,
    ) -> None:
        self.match, self.player, self.batch, self.nimg = match, player, batch, nimg
        self.gen, self.disc, self.x = match.gen, match.disc, batch["x"]
        self.real_condition = condition_of(batch)
        self.condition = {**self.real_condition, "labels": batch["asked"]} if "asked" in batch else self.real_condition
        self._seated: Critic | None = None
        self._leaves = leaves
        if fake is not None:
            self.fake = self._leaf(fake, "fake")

    @property
    def critic(self) -> Critic:
        # Made when asked for: held, it would close a circle, and the samples would stay until the garbage collector comes.
        return self._seated or Critic(self)

    @critic.setter
    def critic(self, critic: Critic | None) -> None:
        self._seated = critic

    @property
    def progress(self) -> float:
        return min(1.0, self.nimg / self.match.budget) if self.match.budget else 0.0

    @cached_property
    def real(self) -> Tensor:
        return self._leaf(self.batch["real"], "real")

    @cached_property
    def fake(self) -> Tensor:
        fake = self.match.make(self)
        fake = fake.float() if fake.dtype == torch.bfloat16 else fake
        return fake if self.player == "G" else self._leaf(fake, "fake")

    @cached_property
    def real_score(self) -> Score:
        return self.critic(self.real, self.real_condition, real=True)

    @cached_property
    def fake_score(self) -> Score:
        return self.critic(self.fake, self.condition, real=False)

    @cached_property
    def own_fake_score(self) -> Score:
        swapped = self.player == "D" and any(reg.swaps for reg in self.match.regs)
        return self.critic(self.fake, self.condition) if swapped else self.fake_score

    def d_loss(self, critic: Critic) -> Tensor:
        """D's adversarial loss of this play's real and fake under `critic`: a scalar."""
        return self.match.d_loss(
            critic(self.real, self.real_condition, real=True), critic(self.fake, self.condition, real=False)
        )

    def d_params(self) -> dict[str, nn.Parameter]:
        """D's trainable parameters by name, live: clone before changing."""
        return {name: p for name, p in self.disc.named_parameters() if name in self.match.trainable}

    def d_step(self, params: Params, grads: Params, state: Any = None) -> tuple[Params, Any]:
        """One step of D's own update rule, differentiable, from its live moments and learning rate (state None: the first)."""
        if self.match.d_rule is None:
            raise UsageError(NO_RULE)
        return self.match.d_rule(self.d_params(), params, grads, state)

    def apart(self, leaves: frozenset[str]) -> Play:
        """The same samples for passes of their own: what a penalty under bf16 differentiates twice."""
        fake = self.__dict__.get("fake")
        return Play(self.match, self.player, self.batch, self.nimg, leaves, fake if self.player != "G" else None)

    def _leaf(self, images: Tensor, which: str) -> Tensor:
        images = images.detach()
        return images.requires_grad_() if which in self._leaves else images


class Match(nn.Module):
    """One generator, one discriminator, and their own copies of loss, regularizers and augmentation.

    The networks belong to the game's players; a match only refers to them, so that a checkpoint holds them once.
    """

    def __init__(
        self,
        gen: nn.Module,
        disc: nn.Module,
        loss: Loss,
        regs: Sequence[tuple[str, Regularizer]] = (),
        augment: Augment | None = None,
        data: DataSpec | None = None,
    ) -> None:
        super().__init__()
        self._players = (gen, disc)  # a tuple: Module does not register what is inside
        self._reverse: tuple[Match, ...] = ()
        self.data = data
        self.loss = loss
        self.names = [name for name, _ in regs]
        self.regs = nn.ModuleList(reg for _, reg in regs)
        self.augment: nn.Module = augment if augment is not None else nn.Identity()
        self.budget = 0  # images; the trainer sets both
        self.d_rule: Rule | None = None
        self._sharing = False  # whether D's next fakes are for G too
        self._shared: tuple[Tensor, Tensor] | None = None  # x, and what G made of it in D's phase, with its graph
        changes_shape = [type(reg).data is not Regularizer.data for reg in self.regs]
        self.shows_before = tuple(r for r, late in zip(self.regs, changes_shape, strict=True) if _shows(r) and not late)
        self.shows_after = tuple(r for r, late in zip(self.regs, changes_shape, strict=True) if _shows(r) and late)
        for reg in sorted(self.regs, key=lambda reg: bool(reg.parametrizes)):
            reg.attach(self)
        if isinstance(self.augment, Augment):
            self.augment.attach(self)
        # Read once: the trainer switches requires_grad off in the other's phases.
        self.trainable = frozenset(name for name, p in disc.named_parameters() if p.requires_grad)
        self._learned = [p for p in gen.parameters() if p.requires_grad]

    @property
    def gen(self) -> nn.Module:
        return self._players[0]

    @property
    def disc(self) -> nn.Module:
        return self._players[1]

    @property
    def reverse(self) -> Match:
        """The match of the other direction, in a game that provides 'reverse'."""
        return self._reverse[0]

    def pair_with(self, match: Match) -> None:
        """Make the two each other's `reverse`."""
        self._reverse, match._reverse = (match,), (self,)

    def phases(self, player: str, start: int = 0) -> list[Phase]:
        """The player's main phase and one for each lazy interval among its regularizers."""
        mine = [reg for reg in self.regs if player in reg.players]
        return [
            Phase(
                f"{player}/main" if every == 1 else f"{player}/every{every}",
                player,
                every,
                start=start,
                twice=any(reg.double_backward and reg.every == every for reg in mine)
                or (player == "G" and every == 1 and any(type(reg).opponent is not Regularizer.opponent for reg in self.regs)),
            )
            for every in sorted({1, *(reg.every for reg in mine)})
        ]

    def share_fakes(self) -> None:
        """From here on the first fakes that D sees are kept, graph and all, for G's phase of the same batch."""
        self._sharing, self._shared = True, None

    def make(self, play: Play) -> Tensor:
        """What G makes of a play's x: with a graph in G's phase, and in D's where that is shared."""
        if self._shared is not None and self._shared[0] is play.x:
            fake = self._shared[1]
            if play.player == "G":  # after its step G would make others
                self._shared = None
            return fake
        if not self._sharing or play.player == "G":
            with torch.set_grad_enabled(play.player == "G" and torch.is_grad_enabled()):
                return self.gen(play.x, play.condition)  # type: ignore[no-any-return]
        for p in self._learned:
            p.requires_grad_(True)
        fake = self.gen(play.x, play.condition)
        for p in self._learned:
            p.requires_grad_(False)
        self._sharing, self._shared = False, (play.x, fake)
        return fake

    def d_loss(self, real: Score, fake: Score) -> Tensor:
        return _sum(self.loss.d(r, f).mean() for r, f in zip(real.heads(), fake.heads(), strict=True))

    def g_loss(self, fake: Score, real: Callable[[], Score]) -> Tensor:
        def head(i: int) -> Callable[[], Score]:
            return lambda: real().heads()[i]

        return _sum(self.loss.g(f, head(i)).mean() for i, f in enumerate(fake.heads()))

    def losses(self, phase: Phase, batch: Batch, nimg: int, stats: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """The terms of one phase; what the log shows goes to `stats`, detached."""
        player, device = phase.player, batch["real"].device.type
        regs = [(n, r) for n, r in zip(self.names, self.regs, strict=True) if player in r.players and r.every == phase.every]
        low = torch.is_autocast_enabled(device)
        # Through a bf16 pass R1's gradient is 2.4% off: what is differentiated twice gets fp32 passes of its own.
        apart = [(n, r) for n, r in regs if low and r.double_backward]
        shared = [(n, r) for n, r in regs if not (low and r.double_backward)]
        play = Play(self, player, batch, nimg, _leaves(shared))
        terms = list(self._main(play, stats)) if phase.every == 1 else []
        terms += self._penalties(play, shared, stats)
        if terms:
            yield phase.name, _sum(terms)
        if apart:
            with torch.autocast(device, enabled=False):
                terms = self._penalties(play.apart(_leaves(apart)), apart, stats)
            if terms:
                yield f"{phase.name} ({', '.join(name for name, _ in apart)})", _sum(terms)
        play.critic = None  # a look-ahead's opponent holds the play

    def _main(self, play: Play, stats: dict[str, Tensor]) -> Iterator[Tensor]:
        if play.player == "D":
            real, fake = play.real_score, play.fake_score
            loss = self.d_loss(real, fake)
            with torch.no_grad():
                if isinstance(self.augment, Augment):
                    self.augment.observe(real, fake)
                    stats.update({f"D/{name}": value for name, value in self.augment.stats().items()})
                r, f = real.per_sample(), fake.per_sample()
                stats["D/real"], stats["D/fake"] = r.mean(), f.mean()
                r, f = self.loss.verdict(real), self.loss.verdict(fake)
                stats["D/wins"] = (r > f).float().mean()
                if not self.loss.relative:
                    stats["D/sign"] = r.sign().mean()  # towards 1 where D overfits (Karras et al. 2020, r_t)
        else:
            for reg in self.regs:
                play.critic = reg.opponent(play.critic, play)
            loss = self.g_loss(play.fake_score, lambda: play.real_score)
            with torch.no_grad():
                spread = diversity(play.batch["real"], play.real_condition)
                # 1 where these reals say nothing: one sample a class, or all alike.
                stats["diversity"] = torch.where(spread > 0, diversity(play.fake, play.condition) / spread, 1.0)
        stats[f"{play.player}/loss"] = loss.detach()
        if not any(play.player in reg.replaces for reg in self.regs):
            yield loss

    def _penalties(self, play: Play, regs: list[tuple[str, Regularizer]], stats: dict[str, Tensor]) -> list[Tensor]:
        terms = []
        for name, reg in regs:
            term = reg(play)
            if term is not None:
                terms.append(term.mean())
                stats[f"{play.player}/{name}"] = terms[-1].detach()
        return terms

    def after_step(self, player: str) -> None:
        with torch.no_grad():
            for reg in self.regs:
                reg.after_step(player, self)


@dataclass
class Parts:
    """What a game is built from: each call makes a new part, built for `data`.

    `initialise` sees each network (role "G" or "D") before anything is attached to it: fine-tuning loads weights there. Where
    a player has several, `name` is what it holds this one under: a run's weights find their network by it.
    """

    make_gen: Callable[[DataSpec], nn.Module]
    make_disc: Callable[[DataSpec], nn.Module]
    make_loss: Callable[[DataSpec], Loss]
    make_regs: Sequence[tuple[str, Callable[[DataSpec], Regularizer]]] = ()
    make_augment: Callable[[DataSpec], Augment] | None = None
    initialise: Callable[[str, nn.Module, str], None] = lambda role, network, name: None

    def generator(self, data: DataSpec, name: str = "") -> nn.Module:
        gen = self.make_gen(data)
        self.initialise("G", gen, name)
        return gen

    def match(self, gen: nn.Module, data: DataSpec, name: str = "") -> Match:
        """A match of `gen` against a new discriminator of `data`, with its own loss, regularizers and augmentation."""
        regs = [(name, make(data)) for name, make in self.make_regs]
        shown = data
        for _, reg in regs:
            shown = reg.data(shown)
        disc = self.make_disc(shown)
        self.initialise("D", disc, name)
        augment = self.make_augment(data) if self.make_augment else None
        return Match(gen, disc, self.make_loss(data), regs, augment, data)


def diversity(samples: Tensor, condition: Condition) -> Tensor:
    """Mean distance between two samples of a batch; where there are labels, between two of the same class."""
    flat = samples.detach().float()
    if flat.ndim == 4 and flat.shape[-1] > 32:  # distances need no fine detail
        flat = nn.functional.interpolate(flat, size=(32, 32), mode="area")
    flat = flat.flatten(1)
    labels = condition.get("labels")
    n = len(flat)
    same = flat.new_ones(n, n) if labels is None else (labels[:, None] == labels[None]).to(flat.dtype)
    same = same - torch.diag(torch.diagonal(same))
    return (torch.cdist(flat, flat) * same).sum() / same.sum().clamp(min=1)


def _leaves(regs: list[tuple[str, Regularizer]]) -> frozenset[str]:
    return frozenset().union(*(reg.input_grad for _, reg in regs))


def _shows(reg: Regularizer) -> bool:
    return type(reg).show is not Regularizer.show


def _sum(terms: Any) -> Tensor:
    first, *rest = terms
    for term in rest:
        first = first + term
    return first
