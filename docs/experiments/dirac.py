"""The trainer's own update on two games small enough for pencil and paper (Mescheder, Geiger and Nowozin 2018).

    python docs/experiments/dirac.py     # prints the table of docs/theory.md and draws docs/theory.png (needs matplotlib)

Dirac-GAN: the data are the point 0, G makes the point theta, D(x) = psi x + b. In the linear-quadratic game G(z) = theta z and
D(x) = psi x^2 + b. Near the equilibrium psi = 0 a round (a step of D, then one of G, by plain gradient descent) is a linear
map; its eigenvalues decide: inside the unit circle the two converge, on it they circle for ever, outside they leave.
"""

from __future__ import annotations

import cmath
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from ganzoo.config import PlayerConfig, Settings
from ganzoo.games.adversarial import Adversarial
from ganzoo.games.match import Parts
from ganzoo.interfaces import Batch
from ganzoo.plugin import DataSpec
from ganzoo.registry import get_registry
from ganzoo.training.trainer import Trainer

Array = np.ndarray[Any, Any]
POINT = DataSpec("points", (1,))
GAMMA, SIGMA, SMOOTH, STEPS, PACK = 0.7, 0.8, 0.1, 5, 2


# ---- the two games


class Point(nn.Module):
    """theta, whatever the noise."""

    z_dim = 1

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, condition: Any) -> Tensor:
        return self.theta.expand(len(x), 1)


class Affine(nn.Module):
    """psi . x + b, x one point or a pack of them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.psi, self.b = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, condition: Any) -> Tensor:
        return x @ self.psi + self.b


class Scale(nn.Module):
    """theta z."""

    z_dim = 1

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, condition: Any) -> Tensor:
        return self.theta * x


class Quadratic(nn.Module):
    """psi x^2 + b."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.psi, self.b = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, condition: Any) -> Tensor:
        return x.square() @ self.psi + self.b


GAMES: Mapping[str, tuple[type[nn.Module], type[nn.Module], list[float], list[float]]] = {
    # G, D, reals, z; in the quadratic game each real meets a z of another size, or pairing losses would see equal pairs
    "dirac": (Point, Affine, [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]),
    "quadratic": (Scale, Quadratic, [2.0, -2.0, 1.0, -1.0], [1.0, -1.0, 2.0, -2.0]),
}


class FixedNoise(Adversarial):
    def draw(self, batch: Batch, generator: torch.Generator) -> Batch:
        return {**batch, "x": self.z}


class Repeated:
    """The same reals each round."""

    position = 0

    def __init__(self, real: Tensor) -> None:
        self.real = real

    def draw(self) -> Batch:
        return {"real": self.real}

    def state_dict(self) -> dict[str, int]:
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        pass


def make_trainer(game: str, loss: str, regs: Sequence[tuple[str, Mapping[str, Any]]], lr: float) -> Trainer:
    """ganzoo's own trainer on one of the games, in float64, both players by plain gradient descent."""
    registry = get_registry()

    def maker(kind: str, name: str, options: Mapping[str, Any]) -> Callable[[DataSpec], Any]:
        return lambda data: registry.build(registry.find(kind, name), options, data)

    gen, disc, reals, z = GAMES[game]
    parts = Parts(
        make_gen=lambda data: gen(),
        make_disc=lambda data: disc(data.channels),
        make_loss=maker("loss", loss, {}),
        make_regs=[(name, maker("regularizer", name, options)) for name, options in regs],
    )
    played = FixedNoise(POINT, parts).double()
    played.z = torch.tensor(z, dtype=torch.float64)[:, None]
    player = PlayerConfig(optimizer="sgd", lr=lr)
    settings = Settings(batch=len(reals), kimg=1e6, G=player, D=player)
    return Trainer(played, Repeated(torch.tensor(reals, dtype=torch.float64)[:, None]), settings, torch.device("cpu"))


def advance(trainer: Trainer, state: Array, rounds: int) -> Array:
    """(psi..., b, theta) after so many rounds of the trainer."""
    players = trainer.game.players
    where = [*players["D"].parameters(), *players["G"].parameters()]
    with torch.no_grad():
        nn.utils.vector_to_parameters(torch.from_numpy(state), where)
    trainer.round = trainer.nimg = 0
    trainer.total = rounds * trainer.batch
    with _balanced_noise():
        trainer.train()
    return nn.utils.parameters_to_vector(where).detach().numpy().copy()


@contextmanager
def _balanced_noise() -> Iterator[None]:
    """Unit noise whose first moments over four samples are those of independent draws for reals and for fakes."""
    calls = 0

    def signs(like: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return torch.tensor([[1, 1, -1, -1], [1, -1, 1, -1]][calls % 2], dtype=like.dtype)[:, None]

    with mock.patch.object(torch, "randn_like", signs):
        yield


def eigenvalues(trainer: Trainer, equilibrium: Array, rounds: int = 1, step: float = 1e-5) -> Array:
    """Of the trainer's update about an equilibrium, by central differences."""
    columns = []
    for direction in step * np.eye(len(equilibrium)):
        ahead, behind = (advance(trainer, equilibrium + sign * direction, rounds) for sign in (1, -1))
        columns.append((ahead - behind) / (2 * step))
    return np.linalg.eigvals(np.stack(columns, 1))


# ---- the same by hand


@dataclass(frozen=True)
class Slopes:
    """A loss at its equilibrium, where D says `level` everywhere.

    push   L_D's derivative by D's output on fakes; minus that on reals
    pull   minus L_G's derivative by D's output on fakes
    bend   second derivatives of L_D by D's outputs on reals and on fakes, alike
    pairs  the second derivative by the difference of a pair, or of a sample and the other side's mean, instead
    """

    push: float
    pull: float
    bend: float = 0.0
    pairs: float = 0.0
    level: float = 0.0


LOSSES: Mapping[str, Slopes] = {
    "minimax": Slopes(1 / 2, 1 / 2, bend=1 / 4),
    "non-saturating": Slopes(1 / 2, 1 / 2, bend=1 / 4),
    "hinge": Slopes(1, 1),
    "lsgan": Slopes(1 / 2, 1 / 2, bend=1, level=1 / 2),
    "wasserstein": Slopes(1, 1),
    "relativistic": Slopes(1 / 2, 1 / 2, pairs=1 / 4),
    "relativistic-average": Slopes(1, 1, pairs=1 / 4),
}

REGS: Mapping[str, list[tuple[str, Mapping[str, Any]]]] = {
    "none": [],
    "r1": [("r1", {"gamma": GAMMA})],
    "r2": [("r2", {"gamma": GAMMA})],
    "r1+r2": [("r1", {"gamma": GAMMA}), ("r2", {"gamma": GAMMA})],
    "instance-noise": [("instance-noise", {"sigma": SIGMA, "until": None})],
    "weight-clip": [("weight-clip", {"c": 1.0})],
    "packing": [("packing", {"m": PACK})],
    "label-smoothing": [("label-smoothing", {"real": SMOOTH})],
    "unrolled": [("unrolled", {"steps": STEPS})],
    "unrolled, first order": [("unrolled", {"steps": STEPS, "second_order": False})],
}
# What does not converge to the equilibrium, or has none here, and why.
PUSHED_OFF = ("gradient-penalty", "dragan")  # they want a slope of 1 where the equilibrium has 0
NOT_ADMITTED: Mapping[str, str] = {
    "auxiliary-classifier": "there are no classes",
    "consistency": "its transformations are of images",
    "cycle-consistency": "there is no way back",
    "domain-classification": "there are no classes",
    "domain-reconstruction": "there are no domains",
    "feature-matching": "D has no features",
    "identity": "there is no way back",
    "image-pool": "its images of some time ago are more state than the two players",
    "lecam": "its anchors are more state than the two players",
    "minibatch-discrimination": "D has no head",
    "minibatch-stddev": "D has no head",
    "path-length": "G has no styles",
    "perceptual": "no sample has a truth of its own",
    "pixel": "no sample has a truth of its own",
    "spectral-norm": "the equilibrium's weight is 0, which has no direction",
}


def admits(loss: str, reg: str) -> bool:
    """Label smoothing is for the logistic family."""
    return reg != "label-smoothing" or loss in ("minimax", "non-saturating")


def smoothed(loss: str) -> Slopes:
    """The logistic losses with the real target 1 - SMOOTH: D's level is where sigmoid(level) = (1 - SMOOTH) / 2."""
    fake = (1 - SMOOTH) / 2
    pull = fake if loss == "minimax" else 1 - fake
    return Slopes(fake, pull, bend=fake * (1 - fake), level=float(np.log(fake / (1 - fake))))


def dirac(loss: str, reg: str, lr: float) -> Array:
    """The eigenvalues of a round of the Dirac-GAN: those of D's level and of differences within a pack first.

    psi' = (1 - lr damping) psi - lr push theta, theta' = (1 - lr ahead) theta + lr (pull - level) psi': Vieta.
    """
    s = smoothed(loss) if reg == "label-smoothing" else LOSSES[loss]
    damping = {"r1": GAMMA, "r2": GAMMA, "r1+r2": 2 * GAMMA}.get(reg, 0.0)
    if reg == "instance-noise":  # noise on both sides makes D's error quadratic in psi
        damping = 2 * (s.bend + s.pairs) * SIGMA**2
    push = s.push * (PACK if reg == "packing" else 1)
    ahead, by_level = 0.0, 0.0
    if reg == "unrolled, first order":
        ahead = s.pull * STEPS * lr * push  # psi after k steps is psi - k lr push theta
    if reg == "unrolled":  # and it moves with theta; so does D's level, which G's loss looks at unless it has the reals' term
        ahead = 2 * s.pull * STEPS * lr * push
        if loss in ("non-saturating", "hinge", "lsgan"):
            forget = [(1 - 2 * lr * s.bend) ** (STEPS - 1 - j) for j in range(STEPS)]
            by_level = s.pull * s.bend * lr * sum(forget)
            ahead -= 2 * s.pull * s.bend * lr**2 * push * sum(j * w for j, w in enumerate(forget))
    turn = lr * (s.pull - by_level)
    trace = (1 - lr * damping) + (1 - lr * ahead - turn * lr * push)
    determinant = (1 - lr * damping) * (1 - lr * ahead)
    root = cmath.sqrt(trace**2 - 4 * determinant)
    others = [1 - 2 * lr * s.bend] + [1.0] * (PACK - 1 if reg == "packing" else 0)
    return np.array([*others, (trace + root) / 2, (trace - root) / 2])


def quadratic(loss: str, reg: str, lr: float) -> Array:
    """The eigenvalues of a round of the linear-quadratic game at theta = 1, from D's Hessian over (psi, b)."""
    s = LOSSES[loss]
    squares = np.square([GAMES["quadratic"][2], GAMES["quadratic"][3]])
    m2, m4 = squares.mean(), np.square(squares).mean()
    if loss == "relativistic":
        curve = s.pairs * np.square(squares[0] - squares[1]).mean()
    else:
        curve = 2 * s.bend * m4 + 2 * s.pairs * (m4 - m2**2)
    curve += {"r1": 4 * GAMMA * m2, "r2": 4 * GAMMA * m2, "r1+r2": 8 * GAMMA * m2}.get(reg, 0.0)
    hessian = np.array([[curve, 2 * s.bend * m2], [2 * s.bend * m2, 2 * s.bend]])
    d_step = np.eye(3)
    d_step[:2, :2] -= lr * hessian
    d_step[0, 2] = -lr * s.push * 2 * m2
    g_step = np.eye(3)
    g_step[2, 0] = lr * s.pull * 2 * m2
    return np.linalg.eigvals(g_step @ d_step)


def lazy_dirac(loss: str, every: int, lr: float) -> Array:
    """The eigenvalues of `every` rounds with R1 in the first of them alone, N times as strong."""
    s = LOSSES[loss]

    def of(*rows: tuple[float, float]) -> Array:
        return np.array(rows)

    main, penalty = of((1, -lr * s.push), (0, 1)), of((1 - lr * every * GAMMA, 0), (0, 1))
    g_step = of((1, 0), (lr * s.pull, 1))
    game = g_step @ penalty @ main
    for _ in range(every - 1):
        game = g_step @ main @ game
    level = (1 - 2 * lr * s.bend) ** every
    return np.array([level, *np.linalg.eigvals(game)])


def equilibrium(game: str, loss: str, reg: str = "none") -> Array:
    slopes = smoothed(loss) if reg == "label-smoothing" else LOSSES[loss]
    width = PACK if reg == "packing" else 1
    return np.array([*[0.0] * width, slopes.level, 0.0 if game == "dirac" else 1.0])


# ---- the figure


def main() -> None:
    import matplotlib.pyplot as plt

    lr, start = 0.2, np.array([0.0, 0.0, 1.0])
    shown = ["none", "r1", "instance-noise", "unrolled", "weight-clip", "gradient-penalty"]
    regs = {**REGS, "gradient-penalty": [("gradient-penalty", {"weight": 1.0})], "weight-clip": [("weight-clip", {"c": 0.5})]}
    losses = ["non-saturating", "hinge", "lsgan", "wasserstein", "relativistic"]
    figure, axes = plt.subplots(len(losses), len(shown), figsize=(2 * len(shown), 2 * len(losses)), sharex=True, sharey=True)
    for row, loss in zip(axes, losses, strict=True):
        for axis, reg in zip(row, shown, strict=True):
            trainer = make_trainer("dirac", loss, regs[reg], lr)
            state = start + np.array([0, LOSSES[loss].level, 0])
            path = [state]
            for _ in range(400):
                path.append(advance(trainer, path[-1], 1))
            psi, _, theta = np.stack(path).T
            axis.plot(theta, psi, color="#1f5fbf", linewidth=0.8)
            axis.plot(*[0, 0], "+", color="#c0392b")
            axis.set(xlim=(-2.2, 2.2), ylim=(-2.2, 2.2), aspect="equal", xticks=[0], yticks=[0])
            axis.grid(color="#e6e6e6")
            if loss == losses[0]:
                axis.set_title(reg, fontsize=9)
            if reg == shown[0]:
                axis.set_ylabel(f"{loss}\n$\\psi$", fontsize=9)
            if loss == losses[-1]:
                axis.set_xlabel("$\\theta$", fontsize=9)
    figure.tight_layout()
    out = Path(__file__).parents[1] / "theory.png"
    figure.savefig(out, dpi=80)
    print(f"largest |eigenvalue| of the rotating pair, learning rate {lr}", *_table(lr), out, sep="\n")


def _table(lr: float) -> Iterator[str]:
    columns = [reg for reg in REGS if reg != "r1+r2"]
    yield f"| loss | {' | '.join(columns)} |"
    yield "|---" * (len(columns) + 1) + "|"
    for loss in LOSSES:
        cells = [f"{abs(dirac(loss, reg, lr)[-2:]).max():.4f}" if admits(loss, reg) else "-" for reg in columns]
        yield f"| {loss} | {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
