"""ganzoo's training beside plain steps, another library's and a loop by hand: images/s, overhead, memory, start-up.

    python benchmarks/training.py [--blocks 10] [--only NAME]... [--threads 1] [--json FILE] [--smoke]

Everything of a table runs in one process, block by block in turn, another first each time; a ratio is that of two blocks of one
turn, and shown are medians and quartiles. On a CPU it is CPU seconds of the process that are compared, which are steadier than
the clock where others compute too. NAME is that of a table: a row below, "overhead", "memory" or "startup".
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ganzoo.assembly import Plan, make_plan
from ganzoo.bench.startup import STAGES, start
from ganzoo.bench.timing import Spent, Spread, interleaved, machine, peak_memory
from ganzoo.bench.training import make_trainer, play
from ganzoo.cli.train import layer_of
from ganzoo.data.cache import materialise
from ganzoo.registry import get_registry

CPU = torch.device("cpu")
DATA = ("data=emoji", "data.labels=false", "flip=false")
NARROW = tuple(f"{player}.channels=64" for player in ("gen", "disc"))
STYLE = (
    *(f"{player}.{key}=128" for player in ("gen", "disc") for key in ("channels", "max_channels")),
    *("gen.mapping_layers=2", "disc.minibatch_stddev=4"),
)


@dataclass(frozen=True)
class Row:
    """One recipe at one size, beside the plain step of the same networks.

    sets      what makes the recipe that size, as `ganzoo train --set` takes it
    plain     the baseline's module and the options of its Training
    rounds    of a block: a multiple of the lazy intervals
    regs      regularizers in place of the recipe's, as `--reg` takes them
    elsewhere images/s of other libraries' own steps as a share of the tutorial's, measured on another machine
    """

    recipe: str
    sets: tuple[str, ...]
    plain: tuple[str, dict[str, Any]]
    rounds: int
    regs: tuple[str, ...] = ()
    elsewhere: float | None = None

    def plan(self, *more: str) -> Plan:
        sets = ("precision=fp32", *DATA, *self.sets, *more)
        given = {"recipe": self.recipe, "device": "cpu", "sets": sets, "reg": self.regs}
        return make_plan(get_registry(), layer_of(get_registry(), given))


def style(size: int, batch: int, path: bool = False) -> Row:
    sets = (f"batch={batch}", f"data.res=[{size}, {size}]", *STYLE)
    plain = ("stylegan2", {"size": size, "path_length": path})
    elsewhere = 0.053 if (size, path) == (32, False) else None
    return Row("stylegan", sets, plain, 16, () if path else ("none", "r1:gamma=1,every=16"), elsewhere)


SMALL = ("data.res=[32, 32]", "batch=64", *NARROW)
ROWS = {
    "dcgan": Row("dcgan", (*SMALL, "gen.kernel=4", "disc.kernel=4"), ("tutorial", {}), 4),
    "sngan": Row("sngan", (*SMALL, "D.steps=1"), ("sngan", {}), 2, elsewhere=0.19),
    "wgan-gp": Row("wgan-gp", (*SMALL, "D.steps=1"), ("wgan_gp", {}), 2, elsewhere=0.13),
    "stylegan2-32": style(32, 16),
    "stylegan2-64": style(64, 8),
    "stylegan2-32-path": style(32, 16, path=True),
    "stylegan2-64-path": style(64, 32, path=True),
}
OVERHEAD = {"dcgan": 4, "sngan": 2, "stylegan2-32-path": 4}  # rounds of a block: both are in the same lazy phase always
MEMORY = "stylegan2-64-path"
TABLES = (*(name for name in ROWS if not name.endswith("path")), "overhead", "startup", "memory")


@dataclass
class Side:
    """One of those that are compared: `images` a call."""

    call: Callable[[], object]
    images: int
    spent: list[Spent] = field(default_factory=list)


class Batches:
    """The images of a plan's data, drawn at random as a user would."""

    def __init__(self, plan: Plan, layout: torch.memory_format = torch.contiguous_format) -> None:
        self.images = torch.tensor(materialise(plan.dataset).fields["real"][:])
        self.size, self.layout = plan.config.settings.batch, layout

    def draw(self) -> torch.Tensor:
        images = self.images[torch.randint(len(self.images), (self.size,))]
        return images.to(torch.float32, memory_format=self.layout) / 127.5 - 1


def plain(module: str, options: dict[str, Any], plan: Plan, rounds: int) -> Side:
    training, batches = importlib.import_module(f"baselines.{module}").Training(**options), Batches(plan)

    def block() -> None:
        for _ in range(rounds):
            training.step(batches.draw())

    return Side(block, rounds * batches.size)


def bare(plan: Plan, rounds: int) -> Side:
    from baselines.bare import Training

    training, batches = Training(plan), Batches(plan, torch.channels_last)

    def block() -> None:
        for _ in range(rounds):
            training.step(batches.draw())
        training.fetch()

    return Side(block, rounds * batches.size)


def ganzoo(plan: Plan, rounds: int) -> Side:
    trainer = make_trainer(plan, CPU)
    return Side(lambda: play(trainer, rounds), rounds * trainer.batch)


def sides(name: str) -> dict[str, Side]:
    """Who stands in a row's table. The tutorial's step is in each, as the measure of all."""
    row, tutorial = ROWS[name], ROWS["dcgan"]
    out = {"tutorial step": plain(*tutorial.plain, tutorial.plan(), tutorial.rounds)}
    if name == "dcgan" and importlib.util.find_spec("torchgan") is not None:
        out["torchgan"] = plain("torchgan", {}, row.plan(), row.rounds)
    elif name != "dcgan":
        out["plain step"] = plain(*row.plain, row.plan(), row.rounds)
    for precision in ("fp32", "bf16"):
        out[f"ganzoo {precision}"] = ganzoo(row.plan(f"precision={precision}"), row.rounds)
        if name == "dcgan":  # the tutorial shares them, so that this is the same work
            plan = row.plan(f"precision={precision}", "shared_fakes=true")
            out[f"ganzoo {precision}, shared fakes"] = ganzoo(plan, row.rounds)
    return out


def ratios(of: Side, to: Side) -> Spread:
    """How many times as fast `of` is as `to`, turn by turn."""
    pairs = zip(of.spent, to.spent, strict=True)
    return Spread.of([(mine.on(CPU) / of.images) ** -1 * (its.on(CPU) / to.images) for mine, its in pairs])


def timed(contenders: dict[str, Side], blocks: int) -> None:
    spent = interleaved({name: side.call for name, side in contenders.items()}, blocks, CPU)
    for name, side in contenders.items():
        side.spent = spent[name]


def speed(name: str, blocks: int) -> dict[str, Any]:
    contenders = sides(name)
    timed(contenders, blocks)
    measures = [side for side in ("tutorial step", "torchgan", "plain step") if side in contenders]
    rows = {}
    for label, side in contenders.items():
        rows[label] = {
            "images_per_cpu_second": Spread.of([side.images / took.cpu for took in side.spent]).to_dict(),
            "images_per_second": Spread.of([side.images / took.wall for took in side.spent]).to_dict(),
            **{f"over {to}": ratios(side, contenders[to]).to_dict() for to in measures if to != label},
        }
    return {"elsewhere": ROWS[name].elsewhere, "batch": ROWS[name].plan().config.settings.batch, "rows": rows}


def overhead(blocks: int) -> dict[str, Any]:
    """CPU seconds of the trainer over those of the bare loop, path length included where the recipe has it."""
    found = {}
    for name, rounds in OVERHEAD.items():
        plan = ROWS[name].plan()
        contenders = {"bare": bare(plan, rounds), "ganzoo": ganzoo(plan, rounds)}
        timed(contenders, 2 * blocks)
        found[name] = ratios(contenders["bare"], contenders["ganzoo"]).to_dict()
    return found


def memory(times: int) -> dict[str, Any]:
    """Peak bytes above those after the imports: each in processes of its own, in turn."""
    seen: dict[str, list[float]] = {"bare": [], "ganzoo": []}
    more = ["--smoke"] if "--smoke" in sys.argv else []
    for _ in range(times):
        for who, peaks in seen.items():
            command = [sys.executable, __file__, "--child", who, *more]
            peaks.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    found: dict[str, Any] = {who: Spread.of(peaks).to_dict() for who, peaks in seen.items()}
    return {**found, "ratio": round(found["ganzoo"]["median"] / found["bare"]["median"], 4)}


def child(who: str) -> None:
    """The most that nine rounds took, the first with both lazy phases: in fewer the heap has not settled."""
    imported = peak_memory(CPU)
    side = {"bare": bare, "ganzoo": ganzoo}[who](ROWS[MEMORY].plan(), 1 if "--smoke" in sys.argv else 9)
    side.call()
    print(peak_memory(CPU) - imported)


def startup(times: int) -> dict[str, Any]:
    """Seconds of `ganzoo train` to the end of its first round: with an empty cache of images, and with a full one."""
    seen: dict[str, list[dict[str, Any]]] = {"cold": [], "warm": []}
    for _ in range(times):
        with tempfile.TemporaryDirectory() as cache:
            for runs in seen.values():
                runs.append(start((), {**os.environ, "GANZOO_CACHE": cache}))
    found = {}
    for name, runs in seen.items():
        stages = {stage: Spread.of([run["seconds"][stage] for run in runs]).to_dict() for stage in STAGES}
        whole = Spread.of([sum(run["seconds"].values()) for run in runs]).to_dict()
        found[name] = {"seconds": whole, "cpu": Spread.of([run["cpu"] for run in runs]).to_dict(), "stages": stages}
    return found


def measure(tables: Sequence[str], blocks: int, times: int, tell: Callable[[str, Any], None]) -> dict[str, Any]:
    """`blocks` of each in a table of speed, twice as many for the overhead; `times` processes of each for the others."""
    found: dict[str, Any] = {"machine": machine(CPU), "blocks": blocks, "tables": {}}
    others: dict[str, Callable[[int], Any]] = {"overhead": overhead, "memory": memory, "startup": startup}
    for name in tables:
        if name in ROWS:
            table = speed(name, blocks)
        else:
            table = others[name](blocks if name == "overhead" else times)
        found["tables"][name] = table
        tell(name, table)
    return found


def show(name: str, table: Any) -> None:
    """Markdown."""
    print(f"\n{name}\n")
    if name in ROWS:
        measures = list(dict.fromkeys(key for row in table["rows"].values() for key in row if key.startswith("over ")))
        print(f"| | images a CPU second | by the clock | {' | '.join(measures)} |")
        print("|---|---:|---:|" + "---:|" * len(measures))
        for label, row in table["rows"].items():
            cells = [said(row["images_per_cpu_second"], "{:.4g}"), said(row["images_per_second"], "{:.4g}")]
            cells += [said(row[key], "{:.2f}") if key in row else "" for key in measures]
            print(f"| {label} | {' | '.join(cells)} |")
        if table["elsewhere"]:
            share = table["rows"]["plain step"]["over tutorial step"]["median"]
            print(f"\nThe plain step is at {share:.3f} of the tutorial's; other libraries' own were at {table['elsewhere']}.")
    elif name == "overhead":
        print("| CPU time of the trainer over the bare loop's | |\n|---|---:|")
        for recipe, ratio in table.items():
            print(f"| {recipe} | {said(ratio, '{:.3f}')} |")
    elif name == "memory":
        for who in ("bare", "ganzoo"):
            print(f"{who}: {said({key: value / 2**20 for key, value in table[who].items()}, '{:.0f}')} MiB")
        print(f"ratio: {table['ratio']:.3f}")
    else:
        print("| seconds | cold | warm |\n|---|---:|---:|")
        for stage in STAGES:
            print(f"| {stage} | " + " | ".join(said(table[run]["stages"][stage], "{:.2f}") for run in table) + " |")
        print("| in all | " + " | ".join(said(table[run]["seconds"], "{:.2f}") for run in table) + " |")
        print("| CPU seconds in all | " + " | ".join(said(table[run]["cpu"], "{:.2f}") for run in table) + " |")
    sys.stdout.flush()


def said(spread: dict[str, float], form: str) -> str:
    low, median, high = (form.format(spread[key]) for key in ("low", "median", "high"))
    return median if low == high else f"{median} ({low}-{high})"


def smoke() -> None:
    """Networks and blocks as small as they can be: does everything still run? The figures mean nothing."""
    narrow = tuple(f"{player}.{key}=16" for player in ("gen", "disc") for key in ("channels", "max_channels"))

    def small(row: Row) -> Row:
        module, options = row.plain
        own = {"base": 16 * options["size"], "most": 16} if module == "stylegan2" else {"channels": 16}
        sets = (*row.sets, "batch=8", *(text for text in narrow if module == "stylegan2" or ".channels" in text))
        return replace(row, sets=sets, plain=(module, {**options, **own}), rounds=1)

    ROWS.update({name: small(row) for name, row in ROWS.items()})
    OVERHEAD.update(dict.fromkeys(OVERHEAD, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=10, metavar="N")
    parser.add_argument("--only", action="append", choices=TABLES, metavar="NAME", help=", ".join(TABLES))
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="torch's; processes of their own have as many")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--smoke", action="store_true", help="small networks, two blocks: does it run?")
    parser.add_argument("--child", choices=("bare", "ganzoo"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    if args.smoke:
        smoke()
    if args.child:
        child(args.child)
        return
    blocks, times = (2, 1) if args.smoke else (args.blocks, 5)
    found = measure(args.only or TABLES, blocks, times, show)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
