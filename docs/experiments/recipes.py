"""Trains every recipe that a laptop can train, and writes docs/recipes.md with a picture each.

    python docs/experiments/recipes.py               # all, one after another; what is done is not run again
    python docs/experiments/recipes.py sngan-small   # these alone
    python docs/experiments/recipes.py --table       # the page alone, from the runs that are there

Runs are kept in runs/recipes/NAME and go on where they were stopped. What a person says of the pictures is in
docs/recipes/remarks.toml.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from ganzoo.models import plan_of
from ganzoo.registry import get_registry
from ganzoo.rehearsal import rehearse
from ganzoo.runs import Run

HERE = Path(__file__).parent
PAGE, PICTURES = HERE.parent / "recipes.md", HERE.parent / "recipes"
RUNS = Path("runs") / "recipes"
INTRODUCTION = """# The recipes, trained on a laptop

Each `-small` recipe has the losses, regularizers and kind of networks of the recipe that it is named for, at a size that two
CPU cores train in minutes, on data that need no download. `ganzoo info recipe NAME` prints every value and where it comes
from; `ganzoo train --recipe NAME` trains it.

Made by `python docs/experiments/recipes.py`: seed 0, {machine}. The machine is shared, so minutes and images a second (both
players' updates included; median over the run) are what was seen, not a benchmark. Diversity is the mean distance between two
fakes over that between two reals (of one class where there are labels), over the last tenth of the run: 1 is as varied as the
data.

| recipe | data | parameters G, D | kimg | G steps | minutes | images/s | diversity | |
|---|---|---|---|---|---|---|---|---|
"""


def names() -> list[str]:
    return [entry.name for entry in get_registry().select("recipe") if entry.name.endswith("-small")]


def train(name: str) -> None:
    out = RUNS / name
    if not (out / "run.toml").exists():
        subprocess.run([sys.executable, "-m", "ganzoo", "train", "--recipe", name, "--out", str(out)], check=False)
    elif not done(out):
        subprocess.run([sys.executable, "-m", "ganzoo", "resume", str(out)], check=False)


def done(path: Path) -> bool:
    run = Run(path)
    log = run.log()
    return bool(log) and log[-1]["kimg"] >= run.config()["kimg"]


def row(name: str, remarks: dict[str, str]) -> tuple[str, str]:
    """A line of the table and a section with the picture."""
    run = Run(RUNS / name)
    table, log = run.config(), run.log()
    counts = ", ".join(f"{number / 1e6:.2f} M" for number in rehearse(plan_of(run)).parameters.values())
    late = [line["diversity"] for line in log[-max(1, len(log) // 10) :] if "diversity" in line]
    steps = round(table["kimg"] * 1000 / table["batch"]) * table["G"]["steps"]
    size = "x".join(map(str, table["spec"]["shape"][1:])) or "points"
    data = f"{table['data']['name']} {size}" + (
        f", {len(table['spec']['classes'])} classes" if "classes" in table["spec"] else ""
    )
    cells = [
        f"[{name}](#{name})",
        data,
        counts,
        f"{table['kimg']:g}",
        f"{steps:,}",
        f"{sum(line['seconds'] for line in log) / 60:.1f}",
        f"{statistics.median(line['images_per_second'] for line in log):.0f}",
        f"{statistics.mean(late):.2f}" if late else "",
        remarks.get(name, {}).get("verdict", ""),
    ]
    shutil.copyfile(run.samples()[0], PICTURES / f"{name}.png")
    said = f"\n{remarks[name]['said']}\n" if name in remarks else ""
    paper = get_registry().find("recipe", name).component
    section = f"## {name}\n\n{paper.summary} ({paper.paper}).\n{said}\n![samples of {name}](recipes/{name}.png)\n"
    return f"| {' | '.join(cells)} |", section


def page(machine: str) -> str:
    file = PICTURES / "remarks.toml"
    remarks: dict[str, Any] = tomllib.loads(file.read_text()) if file.exists() else {}
    finished = [name for name in names() if (RUNS / name / "run.toml").exists() and done(RUNS / name)]
    rows = [row(name, remarks) for name in finished]
    return INTRODUCTION.format(machine=machine) + "\n".join(line for line, _ in rows) + "\n\n" + "\n".join(s for _, s in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--table", action="store_true", help="train nothing")
    parser.add_argument("--machine", default="2 CPU cores (AVX512-BF16), no GPU, PyTorch 2.15")
    given = parser.parse_args()
    for name in [] if given.table else given.names or names():
        train(name)
        print(json.dumps({"recipe": name, "done": done(RUNS / name)}), flush=True)
    PICTURES.mkdir(exist_ok=True)
    PAGE.write_text(page(given.machine))


if __name__ == "__main__":
    main()
