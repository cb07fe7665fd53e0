"""Mode collapse on points whose modes can be counted, over paired seeds.

    python docs/experiments/collapse.py ring --seeds 5     # also: grid, unrolled
    python docs/experiments/collapse.py --page             # of what has been run, the tables of docs/mode-collapse.md

`ring` and `grid` are ganzoo's short protocol: both players 2 x 128, batch 128 (packs, where packing is on), z of 2, Adam,
10,000 steps, 10,000 samples. `unrolled` is the toy of the authors' notebook (arXiv:1611.02163) in batches of 128, with D as
fast as G, for 5,000 steps (theirs: 512, a tenth of G's rate, 25,000: there neither player had found the ring after 10,000).
Each finished seed is a line in docs/experiments/results/SUITE.jsonl; what is there is not run again.
"""

from __future__ import annotations

import argparse
import json
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ganzoo.assembly import make_plan
from ganzoo.config import Layer, layer_from_dict
from ganzoo.data.cache import materialise
from ganzoo.data.sampling import Sampler
from ganzoo.registry import get_registry
from ganzoo.training.trainer import Trainer

HERE = Path(__file__).parent
RESULTS, PAGE = HERE / "results", HERE.parent / "mode-collapse.md"
SAMPLES, LOOKS = 10_000, 10
ADAM = {"optimizer": "adam", "lr": 1e-3, "betas": [0.5, 0.999]}
SHORT: dict[str, Any] = {
    "gen": "mlp:z_dim=2,width=128,depth=2",
    "disc": "mlp:width=128,depth=2",
    "loss": "non-saturating",
    "game": "adversarial",
    "ema": {"half_life": 0.0},
    "G": ADAM,
    "D": ADAM,
}
TOY: dict[str, Any] = {
    "gen": "mlp:z_dim=256,width=128,depth=2,activation=tanh,init=orthogonal,gain=1.4",
    "disc": "mlp:width=128,depth=2,activation=tanh,init=orthogonal,gain=1.4",
    "loss": "minimax",
    "game": "adversarial",
    "ema": {"half_life": 0.0},
    "G": ADAM,
    "D": ADAM,
}
ZERO_CENTRED = ["r1:gamma=0.1", "r2:gamma=0.1"]
# By suite: the data, steps, and the variants that are compared.
SUITES: dict[str, tuple[dict[str, Any], int, dict[str, dict[str, Any]]]] = {
    "ring": (
        {**SHORT, "data": "ring"},
        10_000,
        {
            "gan": {},
            "minibatch": {"reg": ["minibatch-discrimination:kernels=16,dim=5"]},
            "pacgan2": {"reg": ["packing:m=2"], "batch": 256},
            "r1": {"reg": ZERO_CENTRED[:1]},
            "relativistic": {"loss": "relativistic"},
            "relativistic r1 r2": {"loss": "relativistic", "reg": ZERO_CENTRED},
            "relativistic r1 r2, gamma 1": {"loss": "relativistic", "reg": ["r1:gamma=1", "r2:gamma=1"]},
        },
    ),
    "unrolled": (
        {**TOY, "data": "ring"},
        5_000,
        {"0 steps": {}, "5 steps": {"reg": ["unrolled:steps=5"]}, "10 steps": {"reg": ["unrolled:steps=10"]}},
    ),
}
SUITES["grid"] = ({**SHORT, "data": "grid"}, SUITES["ring"][1], SUITES["ring"][2])


def count_modes(samples: np.ndarray[Any, Any], centres: np.ndarray[Any, Any], sigma: float) -> dict[str, float]:
    """Modes that hold at least 1% of the samples, the share within 3 sigma, and KL(samples || uniform) over modes, nats."""
    distance = np.linalg.norm(samples[:, None] - centres[None], axis=2)
    nearest, near = distance.argmin(1), distance.min(1) < 3 * sigma
    held = np.bincount(nearest[near], minlength=len(centres)) / len(samples)
    share = np.bincount(nearest, minlength=len(centres)) / len(samples)
    kl = float(sum(p * np.log(p * len(centres)) for p in share if p > 0))
    return {"modes": int((held >= 0.01).sum()), "quality": float(near.mean()), "kl": kl}


def play(suite: str, variant: str, seed: int, steps: int) -> dict[str, Any]:
    """One training; what was counted at each tenth of it."""
    base, _, variants = SUITES[suite]
    table = {"batch": 128, "device": "cpu", "precision": "fp32", "seed": seed, **base, **variants[variant]}
    table["kimg"] = table["batch"] * steps / 1000
    plan = make_plan(get_registry(), Layer("the experiment"), layer_from_dict(table, "the experiment"))
    sampler = Sampler(materialise(plan.dataset), batch=table["batch"], seed=seed, device="cpu", in_memory=True)
    trainer = Trainer(plan.build(), sampler, plan.config.settings, torch.device("cpu"))
    gen, total, looks, began = trainer.game.players["G"], trainer.total, [], time.perf_counter()
    z = torch.randn(SAMPLES, trainer.game.z_dim, generator=torch.Generator().manual_seed(10_000 + seed))
    for look in range(1, LOOKS + 1):
        trainer.total = total * look // LOOKS
        trainer.train()
        with torch.no_grad():
            made = gen.eval()(z, {}).numpy()
        gen.train()
        looks.append(count_modes(made, plan.dataset.centres, plan.dataset.sigma))
    seconds = round(time.perf_counter() - began, 1)
    return {"suite": suite, "variant": variant, "seed": seed, "steps": steps, "seconds": seconds, "looks": looks}


def table(suite: str, rows: list[dict[str, Any]]) -> str:
    """Markdown: mean and standard error over seeds at the end, modes of every seed, and modes lost between looks."""
    lines = ["| | seeds | modes | within 3 sigma | reverse KL | modes of each seed | lost on the way |", "|---" * 7 + "|"]
    for variant in SUITES[suite][2]:
        mine = sorted((row for row in rows if row["variant"] == variant), key=lambda row: row["seed"])
        if not mine:
            continue
        last = [row["looks"][-1] for row in mine]
        lost = [sum(max(0, a["modes"] - b["modes"]) for a, b in zip(r["looks"], r["looks"][1:], strict=False)) for r in mine]
        cells = [_spread([look[key] for look in last]) for key in ("modes", "quality", "kl")]
        each = " ".join(str(look["modes"]) for look in last)
        lines.append(f"| {variant} | {len(mine)} | {' | '.join(cells)} | {each} | {_spread(lost)} |")
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    error = np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{np.mean(values):.2f} ± {error:.2f}"


def results(suite: str, steps: int) -> list[dict[str, Any]]:
    file = RESULTS / f"{suite}.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return [row for row in rows if row["steps"] == steps]


def write_page() -> None:
    """Put the tables of what has been run between the page's markers."""
    text = PAGE.read_text()
    for suite, (_, steps, _) in SUITES.items():
        begin, end = f"<!-- {suite} -->\n", f"<!-- end of {suite} -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}{table(suite, results(suite, steps))}\n{end}{after}"
    PAGE.write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", nargs="?", choices=list(SUITES))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, help="other than the protocol's")
    parser.add_argument("--page", action="store_true", help="write the page")
    given = parser.parse_args()
    if given.suite:
        steps = given.steps or SUITES[given.suite][1]
        done = {(row["variant"], row["seed"]) for row in results(given.suite, steps)}
        for seed, variant in product(range(given.seeds), SUITES[given.suite][2]):
            if (variant, seed) in done:
                continue
            row = play(given.suite, variant, seed, steps)
            RESULTS.mkdir(exist_ok=True)
            with (RESULTS / f"{given.suite}.jsonl").open("a") as out:
                out.write(json.dumps(row) + "\n")
            print(f"{variant}, seed {seed}: {row['looks'][-1]} in {row['seconds']} s", flush=True)
        print(table(given.suite, results(given.suite, steps)))
    if given.page:
        write_page()


if __name__ == "__main__":
    main()
