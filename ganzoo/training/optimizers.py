"""A player's optimizer: torch.optim's by name, with schedules, lazy-phase correction, clipping and state by parameter name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn, optim

from ganzoo.config import PlayerConfig
from ganzoo.errors import UsageError, did_you_mean
from ganzoo.interfaces import Phase
from ganzoo.options import parse_spec
from ganzoo.training.schedules import Schedule

# These want a closure or sparse gradients, which phases do not have.
_UNFIT = {"Optimizer", "LBFGS", "SparseAdam"}
# Those that CUDA graphs can hold (capturable) and whose state begins at zero, to which a recording puts it back.
_RECORDED = (optim.Adam, optim.AdamW, optim.Adamax, optim.RAdam, optim.RMSprop, optim.Adadelta)


def optimizer_class(name: str) -> type[optim.Optimizer]:
    """torch.optim's class by its name in any case; timm's factory knows what torch lacks. Raises UsageError."""
    known = {
        key.lower(): cls
        for key, cls in vars(optim).items()
        if inspect.isclass(cls) and issubclass(cls, optim.Optimizer) and key not in _UNFIT
    }
    if name.lower() in known:
        return known[name.lower()]
    import timm.optim  # 3 s, only where torch has no such rule

    if name.lower() in timm.optim.list_optimizers():
        return timm.optim.get_optimizer_class(name.lower())
    hint = did_you_mean(name.lower(), known)
    raise UsageError(f"no optimizer named '{name}'.{hint} torch has {', '.join(sorted(known))}; timm adds more")


def lazy_ratio(player: str, phases: Iterable[Phase]) -> float:
    """Main steps over all steps of the player (StyleGAN2, appendix B): Adam's lr is multiplied by it, its betas raised to it.

    Rules whose step is as large as the gradient need nothing: N times the gradient each N-th round is the same on average.
    """
    mine = [phase for phase in phases if phase.player == player]
    main = sum(phase.repeat for phase in mine if phase.every == 1)
    lazy = sum(phase.repeat / phase.every for phase in mine if phase.every > 1)
    return main / (main + lazy) if main else 1.0


class PlayerOptimizer:
    """Everything that moves one player's parameters."""

    def __init__(
        self,
        player: str,
        network: nn.Module,
        config: PlayerConfig,
        phases: Iterable[Phase],
        total_kimg: float,
        graphs: bool = False,
    ) -> None:
        self.player, self.config = player, config
        self.graphs = graphs  # steps are recorded in CUDA graphs: rates and moments keep their places in memory
        self.parameters = {name: p for name, p in network.named_parameters() if p.requires_grad}
        spec = parse_spec(config.optimizer)
        cls = optimizer_class(spec.name)
        accepted = inspect.signature(cls).parameters
        options = _options(f"{player}.optimizer", spec.name, spec.options, accepted)
        if config.betas is not None and "betas" not in accepted:
            given = f"{player}.betas = {list(config.betas)}"
            raise UsageError(f"{given}: optimizer '{spec.name}' has no betas; --set {player}.betas=none drops them")
        self._lr = Schedule(config.lr, total_kimg, f"{player}.lr")
        self._betas: list[Schedule] | None = None
        self._ratio = lazy_ratio(player, phases) if "betas" in accepted else 1.0
        if "betas" in accepted:
            betas, own = config.betas or accepted["betas"].default, accepted["betas"].default
            if isinstance(own, Iterable) and len(betas) != len(tuple(own)):
                given = f"{player}.betas = {list(betas)}"
                raise UsageError(f"{given}: optimizer '{spec.name}' has {len(tuple(own))}: {list(own)} unless told otherwise")
            self._betas = [Schedule(beta, total_kimg, f"{player}.betas", below=1) for beta in betas]
            options["betas"] = tuple(schedule.at(0) for schedule in self._betas)
        if "fused" in accepted and all(p.device.type in ("cpu", "cuda") for p in self.parameters.values()):
            options.setdefault("fused", True)
        lr: Any = self._lr.at(0)
        if graphs and "capturable" in accepted:
            options["capturable"] = True
            lr = torch.tensor(lr, device=next(iter(self.parameters.values())).device)
        try:
            self.torch = cls(list(self.parameters.values()), lr=lr, **options)
        except (TypeError, ValueError, RuntimeError) as err:
            raise UsageError(f"{player}.optimizer = '{config.optimizer}': {err}") from None
        self._began = _numbers(self.torch.param_groups[0])

    def begin(self, kimg: float) -> None:
        """Before a phase of this player: its rates at this time, empty gradients."""
        group, lr = self.torch.param_groups[0], self._lr.at(kimg) * self._ratio
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr
        if self._betas is not None:
            # float: Adam refuses an integer beta
            group["betas"] = tuple(float(schedule.at(kimg)) ** self._ratio for schedule in self._betas)
        self.clear()

    def clear(self) -> None:
        self.torch.zero_grad(set_to_none=True)

    def why_not(self) -> str | None:
        """Why a step cannot be recorded in a CUDA graph; None where it can."""
        if type(self.torch) not in _RECORDED:
            known = ", ".join(cls.__name__.lower() for cls in _RECORDED)
            return f"{self.player}.optimizer = '{self.config.optimizer}' cannot be recorded; these can: {known}"
        if self._betas is not None and not all(schedule.constant for schedule in self._betas):
            return f"{self.player}.betas change with time"
        return None

    def step(self) -> Tensor:
        """Clip, step; the norm of the whole gradient before clipping, still on the device."""
        gradients = [p.grad for p in self.parameters.values() if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if self.config.clip is not None:
            nn.utils.clip_grads_with_norm_(self.parameters.values(), self.config.clip, norm)
        self.torch.step()
        return norm

    @property
    def lr(self) -> float:
        """The rate of the last step, lazy correction included."""
        return float(self.torch.param_groups[0]["lr"])

    def state_dict(self) -> dict[str, Tensor]:
        """Moments and step counts as "PARAMETER:KEY"; plain numbers that a rule counts in, "PARAMETER:KEY!" and ":KEY!"."""
        out = {}
        for name, p in self.parameters.items():
            held = self.torch.state.get(p, {})
            out.update({f"{name}:{key}": value for key, value in held.items() if isinstance(value, Tensor)})
            out.update({f"{name}:{key}!": _packed(value) for key, value in _numbers(held).items()})
        counted = _numbers(self.torch.param_groups[0]).items() - self._began.items()
        return out | {f":{key}!": _packed(value) for key, value in counted if key != "lr"}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        if self.graphs and self.torch.state:
            for full, held in self.state_dict().items():
                held.copy_(state[full]) if full in state else held.zero_()
            return
        self.torch.state.clear()
        group = self.torch.param_groups[0]
        group.update({key: value for key, value in self._began.items() if key != "lr"})
        for full, value in state.items():
            name, _, key = full.rpartition(":")
            if key.endswith("!"):
                (self.torch.state[self.parameters[name]] if name else group)[key[:-1]] = value.item()
                continue
            p = self.parameters[name]
            if value.shape == p.shape and value.dim() > 0:
                # With other strides than its weight's, fused Adam on channels_last is silently wrong.
                value = torch.empty_like(p, dtype=value.dtype).copy_(value)
            else:
                value = value.clone() if key == "step" and not self._step_on_device else value.to(p.device, copy=True)
            self.torch.state[p][key] = value

    @property
    def _step_on_device(self) -> bool:
        group = self.torch.param_groups[0]
        return bool(group.get("fused") or group.get("capturable"))

    def rule(self) -> Callable[..., Any] | None:
        """This optimizer's update as a differentiable function with its live moments; None where there is none written."""
        group = self.torch.param_groups[0]
        plain = not (group.get("amsgrad") or group.get("maximize") or group.get("nesterov") or group.get("weight_decay"))
        rules = {optim.Adam: _adam, optim.SGD: _sgd}
        for cls, rule in rules.items():
            if plain and type(self.torch) is cls:
                return lambda live, params, grads, state: rule(self.torch, live, params, grads, state)
        return None


def _numbers(held: Mapping[str, Any]) -> dict[str, bool | int | float]:
    return {key: value for key, value in held.items() if isinstance(value, (bool, int, float))}


def _packed(value: bool | int | float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else None)


def expect_resumable(player: str, config: PlayerConfig) -> None:
    """Refuse a rule whose memory no checkpoint could hold, after a step of its own. Raises UsageError."""
    weight = nn.ParameterList([torch.ones(3, 2)])
    optimizer = PlayerOptimizer(player, weight, config, [], 1.0)
    optimizer.begin(0)
    weight[0].sum().backward()
    refused = f"{player}.optimizer = '{config.optimizer}'"
    with torch.random.fork_rng(devices=[]):  # some draw
        try:
            optimizer.torch.step()
        except RuntimeError as err:
            raise UsageError(f"{refused} does not step after a plain backward pass ({err}); choose another") from None
    held = optimizer.torch.state[weight[0]]
    if odd := held.keys() - _numbers(held) - {key for key, value in held.items() if isinstance(value, Tensor)}:
        raise UsageError(f"{refused} remembers what no checkpoint can hold ({', '.join(sorted(odd))}); choose another")


def _options(where: str, name: str, given: Mapping[str, Any], accepted: Mapping[str, Any]) -> dict[str, Any]:
    options = {}
    for key, value in given.items():
        if key not in accepted or key in ("params", "lr", "betas"):
            allowed = sorted(set(accepted) - {"params", "lr", "betas"})
            raise UsageError(
                f"{where}: '{name}' has no option '{key}'.{did_you_mean(key, allowed)} It has {', '.join(allowed)}"
            )
        try:
            options[key] = {"true": True, "false": False}[value] if value in ("true", "false") else float(value)
        except (TypeError, ValueError):
            raise UsageError(f"{where}: {key}={value}: write a number, true or false") from None
    return options


def _adam(
    optimizer: optim.Optimizer,
    live: Mapping[str, nn.Parameter],
    params: Mapping[str, Tensor],
    grads: Mapping[str, Tensor],
    state: Any,
) -> tuple[dict[str, Tensor], Any]:
    # All parameters as one vector: a small D is dozens of tensors, and a graph of k steps is made of operations on them.
    group = optimizer.param_groups[0]
    lr, (b1, b2), eps = group["lr"], group["betas"], group["eps"]
    sizes = [p.numel() for p in params.values()]
    if state is None:
        held = [(optimizer.state.get(live[name], {}), p) for name, p in params.items()]
        # Copies: the optimizer moves its moments in place while this graph may still be alive.
        m, v = (_vector(h[key] if h else torch.zeros_like(p) for h, p in held) for key in ("exp_avg", "exp_avg_sq"))
        t = torch.stack([torch.as_tensor(h.get("step", 0.0), dtype=p.dtype, device=p.device) for h, p in held])
    else:
        m, v, t = state
    g, t = _vector(grads[name] for name in params), t + 1
    m, v = m.lerp(g, 1 - b1), v.lerp(g * g, 1 - b2)
    c1, c2 = (_spread(1 - beta**t, sizes) for beta in (b1, b2))
    # sqrt at v = 0 has an infinite derivative, and dead ReLUs give exact zeros.
    step = lr * (m / c1) / ((v / c2 + eps**2).sqrt() + eps)
    out = {name: p - part.view_as(p) for (name, p), part in zip(params.items(), step.split(sizes), strict=True)}
    return out, (m, v, t)


def _vector(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([t.reshape(-1) for t in tensors])


def _spread(values: Tensor, sizes: list[int]) -> Tensor:
    """values[i], sizes[i] times."""
    return torch.cat([value.expand(size) for value, size in zip(values.unbind(), sizes, strict=True)])


def _sgd(
    optimizer: optim.Optimizer,
    live: Mapping[str, nn.Parameter],
    params: Mapping[str, Tensor],
    grads: Mapping[str, Tensor],
    state: Any,
) -> tuple[dict[str, Tensor], Any]:
    group = optimizer.param_groups[0]
    lr, momentum, dampening = group["lr"], group["momentum"], group["dampening"]
    out, after = {}, {}
    for name, p in params.items():
        g = grads[name]
        if momentum:
            held = optimizer.state.get(live[name], {}).get("momentum_buffer") if state is None else state[name]
            g = g if held is None else momentum * held.clone() + (1 - dampening) * g
            after[name] = g
        out[name] = p - lr * g
    return out, after
