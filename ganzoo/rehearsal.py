"""A plan played through with shapes alone: no memory, no data. And what `--dry-run` tells of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from ganzoo.assembly import Plan
from ganzoo.config import Settings, flatten_config
from ganzoo.errors import PluginError, UsageError
from ganzoo.fitting import guard
from ganzoo.options import format_value
from ganzoo.plugin import DataSpec
from ganzoo.training.schedules import Schedule


@dataclass(frozen=True, slots=True)
class Shapes:
    """What `--dry-run` tells of the players: parameters and output shapes."""

    parameters: dict[str, int]
    generated: tuple[int, ...]
    logits: tuple[tuple[int, ...], ...]


def rehearse(plan: Plan) -> Shapes:
    """Build the game on torch's meta device and pass shapes through it: no memory, no data. UsageError, PluginError."""
    import torch

    settings = plan.config.settings
    with torch.device("meta"):
        game = plan.build()
    rule = _optimizers(game, settings)["D"].rule()
    Schedule(settings.ema.half_life, settings.kimg, "ema.half_life")
    _expect_phases(plan, game)
    for match in game.matches:
        match.d_rule = rule
    size = settings.micro_batch or settings.batch
    with torch.device("meta"):
        logits, *_ = [_pass(plan, game, n) for n in (size, settings.batch % size) if n]  # the last micro-batch may be smaller
    counts = {name: sum(p.numel() for p in net.parameters() if p.requires_grad) for name, net in game.players.items()}
    return Shapes(counts, plan.data.shape, logits)


def _expect_phases(plan: Plan, game: Any) -> None:
    """A penalty joins the phases of its player and interval: without any it would say nothing, silently."""
    from ganzoo.interfaces import Regularizer

    known = {(phase.player, phase.every) for phase in game.phases()}
    for match in game.matches:
        for name, reg in zip(match.names, match.regs, strict=True):
            for player in sorted(reg.players) if type(reg).forward is not Regularizer.forward else ():
                if (player, reg.every) not in known:
                    part = plan.chosen["game"]
                    every = "in every round" if reg.every == 1 else f"every {reg.every} rounds"
                    raise PluginError(f"{part} of {part.entry.dist} has no phase of {player} {every}, where '{name}' belongs")


def _optimizers(game: Any, settings: Settings) -> dict[str, Any]:
    """Each player's optimizer on stand-ins of its parameters: names, options, rates and schedules are checked."""
    import torch
    from torch import nn

    from ganzoo.training.optimizers import PlayerOptimizer, expect_resumable

    out = {}
    for name, player in game.players.items():
        shapes = [p.shape for p in player.parameters() if p.requires_grad]
        stand_ins = nn.ParameterList(torch.zeros(()).expand(shape) for shape in shapes)
        out[name] = PlayerOptimizer(name, stand_ins, getattr(settings, name), game.phases(), settings.kimg)
        expect_resumable(name, getattr(settings, name))
    return out


def _pass(plan: Plan, game: Any, n: int) -> tuple[tuple[int, ...], ...]:
    """n samples through G, D and whatever looks ahead; the shapes of a sample's logits. Raises UsageError or PluginError."""
    import torch

    from ganzoo.games.match import Play

    def batch_of(spec: DataSpec) -> Any:
        return torch.zeros((), device="cpu").expand(n, *spec.shape)

    batch = {"real": batch_of(plan.data)}
    if plan.data.classes:
        batch["labels"] = torch.zeros((), dtype=torch.int64, device="cpu").expand(n)
    if plan.data.source is not None:
        batch["source"] = batch_of(plan.data.source)
    if plan.data.text:
        batch["text"] = torch.zeros((), device="cpu").expand(n, plan.data.text)
    failed = f"failed on a batch of {n}"
    drawn = guard(plan.chosen["game"], lambda: game.draw(batch, torch.Generator("cpu")), failed)
    batch = {name: t.to("meta") for name, t in drawn.items()}
    gen, disc = plan.chosen["gen"], plan.chosen["disc"]
    fake = guard(gen, lambda: game.generate(game.players["G"], batch), failed)
    made = list(fake.shape) if isinstance(fake, torch.Tensor) else type(fake).__name__
    if made != (wanted := [n, *plan.data.shape]):
        raise PluginError(
            f"{gen} of {gen.entry.dist} made {made} from a batch of {n}, but {plan.chosen['data']} holds {wanted}"
        )
    shapes: list[tuple[int, ...]] = []
    for match in game.matches:
        shown: list[int] = []  # samples, or packs of them
        with match.disc.register_forward_pre_hook(lambda module, args, shown=shown: shown.append(len(args[0]))):
            said = guard(disc, partial(_logits, Play(match, "D", batch, 0)), failed)
        for shape in said:
            if shape[:1] != (shown[0],):
                raise PluginError(
                    f"{disc} of {disc.entry.dist} gave logits {list(shape)} for {shown[0]} inputs: {shown[0]} must be first"
                )
        shapes += [shape[1:] for shape in said]
        _look_ahead(Play(match, "G", batch, 0))
    return tuple(shapes)


def _logits(play: Any) -> list[tuple[int, ...]]:
    return [tuple(head.logits.shape) for head in play.real_score.heads()]


def _look_ahead(play: Any) -> None:
    """Let the regularizers make G's opponent, for the sake of what they refuse by a UsageError (D's optimizer has no rule)."""
    for reg in play.match.regs:
        try:
            play.critic = reg.opponent(play.critic, play)
        except UsageError:
            raise
        except Exception:  # without memory no autocast, no second derivative of some layers: that is no misfit
            return


def describe(plan: Plan) -> list[tuple[str, str, str]]:
    """(key, value, origin) of everything in the configuration, for `--dry-run`; a part's own key holds its name."""
    rows = []
    for full, value in flatten_config(plan.config.to_dict()):
        key = full.removesuffix(".name")
        if key != "format":
            rows.append((key, format_value(value), plan.origins.get(key, plan.origins.get(key.rpartition(".")[0], "default"))))
    return rows
