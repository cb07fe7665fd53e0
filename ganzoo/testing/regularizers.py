"""Checks of regularizers: `check_...(entry, data, options)`, in a match of the tiny networks of `partners`."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from ganzoo.games.match import Play
from ganzoo.interfaces import Batch, Game, Match, Regularizer
from ganzoo.plugin import DataSpec
from ganzoo.registry import Entry
from ganzoo.testing.cases import NO_OPTIONS, Options, differing, group_of, on_another_device
from ganzoo.testing.contracts import Skip, check, expect
from ganzoo.testing.games import completed, expect_micro_batches_agree, expect_same_terms, learning, step, weights, who_moved
from ganzoo.testing.partners import make_game, make_trainer, opened, play

_ROUNDS = 3


@check("it says whose phases it joins (players, of G and D), how often (every), and which inputs must ask for gradients")
def check_regularizer_declared(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    reg = _regularizer(_match(make_game(entry, data, options)))
    expect(isinstance(reg, Regularizer), "a ganzoo.interfaces.Regularizer", type(reg).__name__)
    expect(bool(reg.players) and reg.players <= {"G", "D"}, "players of G and D", reg.players)
    expect(isinstance(reg.every, int) and reg.every >= 1, "every, a whole number of rounds from 1", reg.every)
    expect(reg.input_grad <= {"real", "fake"}, "input_grad of 'real' and 'fake'", reg.input_grad)
    overridden = [
        name for name, method in vars(Regularizer).items() if callable(method) and getattr(type(reg), name) is not method
    ]
    mine = sorted(set(overridden) - {"__init__"})
    expect(bool(mine), "at least one method of Regularizer overridden", "none: it does nothing")


@check("D's phases reach D alone, and G's G alone: no gradient for the other player, none of its parameters moved")
def check_regularizer_own_player(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    game = _warm(entry, data, options)
    n = _n(entry, options)
    for phase in game.phases():
        other = "G" if phase.player == "D" else "D"
        before = weights(game)
        batch = completed(game, data, n, seed=5)
        with learning(game, phase.player):
            # G is left open in D's phase: nothing may go through it. D is shut in G's, as in the trainer.
            if other == "G":
                game.players["G"].requires_grad_(True)
            for _, term in game.losses(phase, batch, 10_000):
                if term.requires_grad:
                    term.backward()
            strays = [name for name, p in game.players[other].named_parameters() if p.grad is not None and p.grad.any()]
            game.stats.clear()
        expect(not strays, f"no gradient for {other} in phase {phase.name}", f"at {', '.join(strays)}")
        step(game, phase, batch, 10_000)
        moved = who_moved(before, weights(game))
        expect(
            moved <= {phase.player}, f"phase {phase.name} to move {phase.player} alone", f"it moved {', '.join(sorted(moved))}"
        )


@check(
    "a penalty is a scalar or [N], finite, with a gradient for the player whose phase it joins; of a gradient: double_backward"
)
def check_regularizer_penalty(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    game = _warm(entry, data, options)
    match = _match(game)
    reg = _regularizer(match)
    if type(reg).forward is Regularizer.forward:
        raise Skip("it has no penalty")
    n = _n(entry, options)
    for player in sorted(reg.players):
        with learning(game, player) as own:
            batch = completed(game, data, n, seed=5)
            with _backward_passes() as open_to_another:
                term = reg(Play(match, player, batch, 10_000, reg.input_grad))
            expect(
                reg.double_backward or not any(open_to_another),
                "double_backward = True of a penalty that takes a gradient with create_graph=True: fp32 passes, not compiled",
                "double_backward = False",
            )
            if term is None:
                continue
            fits = isinstance(term, Tensor) and term.dim() <= 1
            expect(fits, "a scalar or [N]", list(term.shape) if isinstance(term, Tensor) else type(term).__name__)
            expect(bool(term.isfinite().all()), "a finite penalty", term.tolist())
            found = torch.autograd.grad(term.mean(), list(own.values()), allow_unused=True) if term.requires_grad else []
            reached = [g for g in found if g is not None and g.any()]
            idle = term.requires_grad and not term.any()  # one that has not begun, or costs nothing here
            expect(bool(reached) or idle, f"a gradient for {player}", "none at any of its parameters")
            expect(all(bool(g.isfinite().all()) for g in reached), f"a finite gradient for {player}", "NaN or infinity")


@contextmanager
def _backward_passes() -> Iterator[list[bool]]:
    """Of each pass back through a module of the networks whether it made a graph, so that it can be differentiated again.

    Hooks run as the pass does, with gradients on or off; torch.autograd.grad itself may be held under any name.
    """
    found: list[bool] = []

    def watch(module: nn.Module, args: object, out: object) -> None:
        if isinstance(out, Tensor) and out.requires_grad:
            out.register_hook(lambda _: found.append(torch.is_grad_enabled()))

    handle = register_module_forward_hook(watch)
    try:
        yield found
    finally:
        handle.remove()


@check("`attach` is called once a match and is all that changes the networks' parameters: optimizers know those from then on")
def check_regularizer_attaches_once(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    game = _warm(entry, data, options, rounds=0)
    before = _identities(game)
    n = _n(entry, options)
    for i in range(_ROUNDS):
        for phase in game.phases():
            step(game, phase, completed(game, data, n, seed=i), i * n)
    after = _identities(game)
    expect(before == after, "the same parameters after some steps as after attach", f"others under {_named(before, after)}")


@check("all that its next penalty or show depends on is in buffers: a new match with this one's state gives the same terms")
def check_regularizer_state_dict(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    trainer, other = make_trainer(entry, data, options), make_trainer(entry, data, options, seed=1)
    play(trainer, _ROUNDS)
    fresh, played = _remembers(make_trainer(entry, data, options).game), _remembers(trainer.game)
    moved = [name for name in fresh.keys() | played.keys() if fresh.get(name) != played.get(name)]
    expect(
        not moved, "no Python value that changes while it plays: state is a buffer", f"changes of {', '.join(sorted(moved))}"
    )
    odd = [name for name, value in trainer.game.state_dict().items() if not isinstance(value, Tensor)]
    expect(not odd, "a state_dict of tensors only", f"{', '.join(odd)} is none")
    other.restore(trainer.capture())
    expect_same_terms(opened(trainer), opened(other), data, _n(entry, options))


@check("copy.deepcopy of a match works after some steps, gives the same terms and shares nothing")
def check_regularizer_deepcopy(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    game = _warm(entry, data, options)
    twin = copy.deepcopy(game)
    n = _n(entry, options)
    kept = copy.deepcopy(game.state_dict())
    expect_same_terms(copy.deepcopy(game), twin, data, n)
    for phase in twin.phases():
        step(twin, phase, completed(twin, data, n, seed=6), 10_000)
    moved = differing(kept, game.state_dict())
    expect(not moved, "an original that steps of its copy do not change", f"{', '.join(moved)} moved")


@check("micro-batches equal the batch, unless `couples` says what couples its samples")
def check_regularizer_couples(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    if entry.component.couples:
        raise Skip(f"it says what couples them: {entry.component.couples}")
    expect_micro_batches_agree(_warm(entry, data, options, rounds=0), data, group_of(entry, options))


@check("it can be built, attached and shown to D on torch.device('meta'), where `--dry-run` rehearses")
def check_regularizer_meta(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    n = _n(entry, options)
    logits = []
    batch = completed(make_game(entry, data, options), data, n)
    for device in ("cpu", "meta"):
        with torch.device(device), torch.no_grad():
            game = make_game(entry, data, options).train()
            stray = [name for name, value in game.state_dict().items() if value.device.type != device]
            expect(not stray, f"everything on {device} when built there", f"{', '.join(stray)} elsewhere")
            here = Play(_match(game), "D", {name: value.to(device) for name, value in batch.items()}, 0)
            logits.append([tuple(score.per_sample().shape) for score in (here.real_score, here.fake_score)])
    expect(logits[0] == logits[1], f"logits {logits[0]} on the meta device", logits[1])
    on_another_device(lambda: _play_on_meta(make_game(entry, data, options).train(), batch))


def _play_on_meta(game: Game, batch: Batch) -> None:
    match, reg = _match(game.to("meta")), _regularizer(_match(game))
    there = {name: value.to("meta") for name, value in batch.items()}
    for player in ("D", "G"):
        with learning(game, player):
            play = Play(match, player, there, 0, reg.input_grad)
            play.real_score, play.fake_score  # noqa: B018  what D is shown
            if player in reg.players:
                reg(play)


def _n(entry: Entry, options: Options) -> int:
    return 4 * group_of(entry, options)


def _match(game: Game) -> Match:
    match: Match = game.matches[0]
    return match


def _regularizer(match: Match) -> Regularizer:
    reg: Regularizer = match.regs[0]
    return reg


def _warm(entry: Entry, data: DataSpec, options: Options, rounds: int = _ROUNDS) -> Game:
    """A game after some rounds, so that state is no longer what it was at first."""
    trainer = make_trainer(entry, data, options)
    play(trainer, rounds)
    return opened(trainer)


def _remembers(game: Game) -> dict[str, object]:
    """The plain Python values that the regularizer and its modules hold."""
    held: dict[str, object] = {}
    for where, module in _regularizer(_match(game)).named_modules():
        for name, value in vars(module).items():
            if not name.startswith("_") and isinstance(value, (bool, int, float, str, type(None))):
                held[f"{where}.{name}".lstrip(".")] = value
    return held


def _identities(game: Game) -> dict[str, int]:
    return {f"{player}.{name}": id(p) for player, net in game.players.items() for name, p in net.named_parameters()}


def _named(before: dict[str, int], after: dict[str, int]) -> str:
    return ", ".join(sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name)))


CHECKS = (
    check_regularizer_declared,
    check_regularizer_own_player,
    check_regularizer_penalty,
    check_regularizer_attaches_once,
    check_regularizer_state_dict,
    check_regularizer_deepcopy,
    check_regularizer_couples,
    check_regularizer_meta,
)
