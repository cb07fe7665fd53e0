"""Checks of games: `check_...(entry, data, options)`, played with the tiny networks of `partners` on data that suit them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

import torch
from torch import Tensor, nn

from ganzoo.interfaces import Batch, Game, Phase, Play, Regularizer
from ganzoo.plugin import DataSpec
from ganzoo.registry import Entry
from ganzoo.testing.cases import NO_OPTIONS, Options, differing, generator_inputs, group_of, make_batch
from ganzoo.testing.contracts import Skip, check, expect
from ganzoo.testing.partners import PartnerGenerator, make_game

_CLOSE = 1e-6  # in float64, of the largest gradient
_LR = 0.05


# ---- playing by hand


@contextmanager
def learning(game: Game, player: str) -> Iterator[dict[str, nn.Parameter]]:
    """Only this player's trainable parameters ask for gradients, as in the trainer; yields them by name."""
    flags = [(p, p.requires_grad) for net in game.players.values() for p in net.parameters()]
    own = {name: p for name, p in game.players[player].named_parameters() if p.requires_grad}
    for p, _ in flags:
        p.requires_grad_(False)
        p.grad = None
    for p in own.values():
        p.requires_grad_(True)
    try:
        yield own
    finally:
        for p, flag in flags:
            p.requires_grad_(flag)
            p.grad = None


def gradients(game: Game, phase: Phase, batches: Sequence[Batch], nimg: int = 0) -> dict[str, Tensor]:
    """Of one phase over these micro-batches, weighted by their size."""
    whole = sum(len(batch["real"]) for batch in batches)
    with learning(game, phase.player) as own:
        for batch in batches:
            for name, term in game.losses(phase, batch, nimg):
                expect(term.dim() == 0, f"scalar terms in phase {phase.name}", f"{name} of shape {list(term.shape)}")
                expect(bool(term.isfinite()), f"finite terms in phase {phase.name}", f"{name} = {float(term.detach())}")
                if term.requires_grad:
                    (term * (len(batch["real"]) / whole)).backward()
            game.stats.clear()
        return {name: p.grad.clone() for name, p in own.items() if p.grad is not None}


def step(game: Game, phase: Phase, batch: Batch, nimg: int = 0) -> None:
    """One step of plain gradient descent in this phase."""
    parameters = dict(game.players[phase.player].named_parameters())
    found = gradients(game, phase, [batch], nimg)
    with torch.no_grad():
        for name, gradient in found.items():
            parameters[name].sub_(_LR * gradient)
    game.after_step(phase.player)


def completed(game: Game, data: DataSpec, n: int, seed: int = 0) -> Batch:
    """A random batch with what the game draws."""
    return game.draw(make_batch(data, n, seed), torch.Generator().manual_seed(seed))


def weights(game: Game) -> dict[str, dict[str, Tensor]]:
    """Copies of every parameter, by player and name."""
    return {player: {name: p.detach().clone() for name, p in net.named_parameters()} for player, net in game.players.items()}


def who_moved(before: dict[str, dict[str, Tensor]], after: dict[str, dict[str, Tensor]]) -> set[str]:
    """The players of whom a parameter changed."""
    return {player for player in before if differing(before[player], after[player])}


def expect_micro_batches_agree(game: Game, data: DataSpec, group: int) -> None:
    """Gradients of two halves, weighted, are those of the batch, in float64. Skip where the phases draw at random."""
    game = game.double().train()
    n = 4 * group
    batch = {name: t.double() if t.is_floating_point() else t for name, t in completed(game, data, n).items()}
    halves = [{name: t[part] for name, t in batch.items()} for part in (slice(0, n // 2), slice(n // 2, n))]
    for phase in game.phases():
        results = []
        for seed, batches in ((0, [batch]), (1, [batch]), (0, halves)):
            torch.manual_seed(seed)
            results.append(gradients(copy.deepcopy(game), phase, batches))
        whole, again, parts = results
        if differing(whole, again):
            raise Skip(f"phase {phase.name} draws at random, so that no two passes compare")
        expect(
            whole.keys() == parts.keys(),
            f"the same parameters reached in phase {phase.name}",
            sorted(whole.keys() ^ parts.keys()),
        )
        scale = max((float(g.abs().max()) for g in whole.values()), default=0.0)
        apart = max((float((whole[name] - parts[name]).abs().max()) for name in whole), default=0.0)
        expect(
            apart <= _CLOSE * scale,
            f"the gradient of phase {phase.name} from two micro-batches to be that of the batch, unless `couples` says",
            f"a difference of {apart / (scale or 1):.2g} of the largest gradient",
        )


# ---- checks


@check("players are 'G' and 'D'; each phase has a name of its own and a player, and each player a phase in every round")
def check_game_phases(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    game = make_game(entry, data, options)
    expect(set(game.players) == {"G", "D"}, "players G and D", sorted(game.players))
    expect(len(game.matches) > 0, "at least one match in game.matches", "none")
    phases = game.phases()
    names = [phase.name for phase in phases]
    expect(len(set(names)) == len(names), "one name a phase", names)
    for phase in phases:
        expect(phase.player in game.players, f"a player of the game in phase {phase.name}", phase.player)
        good = phase.every >= 1 and phase.repeat >= 1 and phase.start >= 0
        expect(good, "every and repeat at least 1, start at least 0", phase)
    main = {phase.player for phase in phases if phase.every == 1}
    expect(main == {"G", "D"}, "a phase with every = 1 for each player", f"for {', '.join(sorted(main)) or 'none'}")


@check("draw adds what G eats, from the generator and labels alone; records stay as they are, and 'x' may be one of them")
def check_game_draw(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    game = make_game(entry, data, options)
    n = 4 * group_of(entry, options)
    batch = make_batch(data, n)
    kept = {name: value.clone() for name, value in batch.items()}
    state = torch.get_rng_state()
    one, two, other = (game.draw(batch, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    expect(torch.equal(state, torch.get_rng_state()), "draws from the given generator", "torch's global random state moved")
    expect(
        "x" in one and len(one["x"]) == n,
        f"'x' [{n}, ...] in the batch",
        {name: list(value.shape) for name, value in one.items()},
    )
    expect(not differing(one, two), "the same from the same generator", f"{', '.join(differing(one, two))} differs")
    changed = differing(kept, {name: one[name] for name in kept if name in one})
    expect(not changed, "the batch's own records unchanged", f"{', '.join(changed)} changed")
    if data.source is None:
        expect(differing(one, other), "something else from another generator", "the same")
    # Of ranks that share a batch none has all images: see Game.draw.
    unseen = {name: torch.full_like(value, torch.nan) if value.is_floating_point() else value for name, value in batch.items()}
    blind = game.draw(unseen, torch.Generator().manual_seed(0))
    drawn = {name: value for name, value in one.items() if not any(value is record for record in batch.values())}
    wrong = differing(drawn, {name: blind[name] for name in drawn})
    expect(not wrong, "nothing computed of images, only passed on", f"{', '.join(wrong)} is")


@check("each phase moves its player's parameters and no other's, with finite terms")
def check_game_moves_own_player(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    game = make_game(entry, data, options).train()
    n = 4 * group_of(entry, options)
    for phase in game.phases():
        before = weights(game)
        for i in range(2):
            step(game, phase, completed(game, data, n, seed=i), nimg=i * n)
        moved = who_moved(before, weights(game))
        expect(
            moved == {phase.player},
            f"phase {phase.name} to move {phase.player} alone",
            f"it moved {', '.join(sorted(moved)) or 'nobody'}",
        )


class _Probe(Regularizer):
    """Costs nothing, and notes the phases in which it is asked what it costs; `now` holds the one that is played."""

    double_backward = True

    def __init__(self, data: DataSpec, player: str, every: int, now: list[Phase]) -> None:
        super().__init__(data)
        self.players, self.every, self.now = frozenset({player}), every, now
        self.asked: list[Phase] = []

    def forward(self, play: Play) -> Tensor | None:
        self.asked += self.now
        return None


@check("each interval of the regularizers has a phase that asks for their penalty; with double_backward it says `twice`")
def check_game_regularizers(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    now: list[Phase] = []
    kinds = [(player, every) for player in ("D", "G") for every in (1, 2)]
    regs = [(f"{player}{every}", partial(_Probe, player=player, every=every, now=now)) for player, every in kinds]
    game = make_game(entry, data, options, regs=regs).train()
    batch = completed(game, data, 4 * group_of(entry, options))
    for phase in game.phases():
        now[:] = [phase]
        gradients(game, phase, [batch])
    for probe in (probe for match in game.matches for probe in match.regs):
        (player,) = probe.players
        expect(
            {(phase.player, phase.every) for phase in probe.asked} == {(player, probe.every)},
            f"a phase of {player} with every={probe.every} that plays the regularizers of that interval: see Match.phases",
            f"they are played in {', '.join(phase.name for phase in probe.asked) or 'none'}",
        )
        once = [phase.name for phase in probe.asked if not phase.twice]
        expect(not once, f"twice=True in phase {', '.join(once)}, for a regularizer with double_backward", "False")


@check("micro-batches equal the batch, unless `couples` says what couples its samples")
def check_game_micro_batches(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    if entry.component.couples:
        raise Skip(f"it says what couples them: {entry.component.couples}")
    expect_micro_batches_agree(make_game(entry, data, options), data, group_of(entry, options))


@check("generate(G, batch) makes samples [N, *data.shape] of a drawn batch, and with a copy of G as well")
def check_game_generate(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    game = make_game(entry, data, options).eval()
    n = 4 * group_of(entry, options)
    batch = completed(game, data, n)
    twin = copy.deepcopy(game.players["G"])
    with torch.no_grad():
        made = game.generate(game.players["G"], batch)
        expect(tuple(made.shape) == (n, *data.shape), f"samples {[n, *data.shape]}", list(made.shape))
        expect(torch.equal(made, game.generate(twin, batch)), "the same from a copy of G", "other samples")
        for p in twin.parameters():
            p.zero_()
        expect(
            not torch.equal(made, game.generate(twin, batch)), "samples of the network that it is given", "those of its own G"
        )


@check(
    "made_by(G, to) gives a network of G and the data that it was built for; it refuses with ValueError what it does not make"
)
def check_game_made_by(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    game = make_game(entry, data, options).eval()
    player = copy.deepcopy(game.players["G"])
    own = {id(p) for p in player.parameters()}
    names = [*(["B"] if data.source is not None else []), *data.domains]
    said = [game.made_by(player, to) for to in (None, *names)]
    with suppress(ValueError):  # not every game goes back
        said.append(game.made_by(player, "A"))
    refused = False
    try:
        game.made_by(player, "no such thing")
    except ValueError:
        refused = True
    expect(refused, "ValueError for 'no such thing'", "a network")
    for network, spec in said:
        expect(isinstance(spec, DataSpec), "a DataSpec beside the network", type(spec).__name__)
        expect({id(p) for p in network.parameters()} <= own, "a network of the player that it is given", "another")
        PartnerGenerator(spec).load_state_dict(network.state_dict())  # as an exported model is opened
        x, condition = generator_inputs(network, spec, 2)
        with torch.no_grad():
            made = network(x, condition)
        expect(tuple(made.shape) == (2, *spec.shape), f"samples {[2, *spec.shape]}", list(made.shape))


@check("settle(G, batch) calls each network that made_by gives, of the G that it is given: for batch-norm statistics")
def check_game_settles(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    game = make_game(entry, data, options).eval()
    player = copy.deepcopy(game.players["G"])
    networks = [game.made_by(player, None)[0]]
    with suppress(ValueError):
        networks.append(game.made_by(player, "A")[0])
    called: list[nn.Module] = []
    for network in networks:
        network.register_forward_hook(lambda network, *_: called.append(network))
    with torch.no_grad():
        game.settle(player, completed(game, data, 4 * group_of(entry, options)))
    for network in networks:
        expect(any(each is network for each in called), "a pass through each of them", f"{len(called)} passes, none in one")


@check("a game is its own checkpoint: its state_dict, loaded into a new game, gives the same terms")
def check_game_state_dict(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    n = 4 * group_of(entry, options)
    game, other = make_game(entry, data, options).train(), make_game(entry, data, options, seed=1).train()
    for i, phase in enumerate(game.phases()):
        step(game, phase, completed(game, data, n, seed=i), nimg=i * n)
    other.load_state_dict(copy.deepcopy(game.state_dict()))
    expect_same_terms(game, other, data, n)


def expect_same_terms(game: Game, other: Game, data: DataSpec, n: int, nimg: int = 10_000) -> None:
    """Every phase's terms on one batch, bit for bit."""
    batch = completed(game, data, n, seed=9)
    for phase in game.phases():
        found = []
        for each in (game, other):
            torch.manual_seed(4)
            with learning(each, phase.player):
                found.append({name: term.detach() for name, term in each.losses(phase, batch, nimg)})
            each.stats.clear()
        wrong = differing(*found)
        seen = {name: [float(terms[name]) for terms in found if name in terms] for name in wrong}
        expect(not wrong, f"the same terms in phase {phase.name}", seen)


CHECKS = (
    check_game_phases,
    check_game_draw,
    check_game_moves_own_player,
    check_game_regularizers,
    check_game_micro_batches,
    check_game_generate,
    check_game_made_by,
    check_game_settles,
    check_game_state_dict,
)
