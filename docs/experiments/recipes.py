"""Trains every recipe that a laptop can train, and writes docs/recipes.md with a picture each.

    python docs/experiments/recipes.py               # all, one after another; what is done is not run again
    python docs/experiments/recipes.py sngan-small   # these alone
    python docs/experiments/recipes.py --table       # the page alone, from the runs that are there

Runs are kept in runs/recipes/NAME and go on where they were stopped. What a finished one says is kept in
docs/recipes/figures.json, so that the page needs no run that is gone; what a person says of the pictures is in
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

from ganzoo.loading import plan_of
from ganzoo.registry import get_registry
from ganzoo.rehearsal import rehearse
from ganzoo.runs import Run

HERE = Path(__file__).parent
PAGE, PICTURES = HERE.parent / "recipes.md", HERE.parent / "recipes"
FIGURES = PICTURES / "figures.json"
RUNS = Path("runs") / "recipes"
AFTER = {"srgan-small": "srresnet-small", "esrgan-small": "rrdb-small"}  # whose weights they start from
INTRODUCTION = """# The recipes, trained on a laptop

Each `-small` recipe has the losses, regularizers and kind of networks of the recipe that it is named for, at a size that two
CPU cores train in minutes, on data that need no download. `ganzoo info recipe NAME` prints every value and where it comes
from; `ganzoo train --recipe NAME` trains it.

Made by `python docs/experiments/recipes.py`: seed 0, {machine}.
Two trainings ran side by side, one thread each, with other work beside: minutes and images a second (both players' updates
included; median over the run) are what was seen, no benchmark. Diversity is the mean distance between two fakes over that
between two reals (of one class where there are labels), over the last tenth of the run: 1 is as varied as the data.

| recipe | data | parameters G, D | kimg | G steps | minutes | images/s | diversity | |
|---|---|---|---|---|---|---|---|---|
"""


def names() -> list[str]:
    """Each after the one that it starts from."""
    found = [entry.name for entry in get_registry().select("recipe") if entry.name.endswith("-small")]
    return sorted(found, key=lambda name: name in AFTER)


def train(name: str) -> None:
    out = RUNS / name
    if not (out / "run.toml").exists():
        start = ["--init-from", str(RUNS / AFTER[name])] if name in AFTER else []
        subprocess.run([sys.executable, "-m", "ganzoo", "train", "--recipe", name, "--out", str(out), *start], check=False)
    elif not done(out):
        subprocess.run([sys.executable, "-m", "ganzoo", "resume", str(out)], check=False)


def done(path: Path) -> bool:
    run = Run(path)
    log = run.log()
    return bool(log) and log[-1]["kimg"] >= run.config()["kimg"]


def figures_of(name: str) -> dict[str, Any]:
    """What a finished run says of itself."""
    run = Run(RUNS / name)
    table, log = run.config(), run.log()
    late = [line["diversity"] for line in log[-max(1, len(log) // 10) :] if "diversity" in line]
    return {
        "data": f"{table['data']['name']} {'x'.join(map(str, table['spec']['shape'][1:])) or 'points'}",
        "classes": len(table["spec"].get("classes", ())),
        "parameters": rehearse(plan_of(run)).parameters,
        "kimg": table["kimg"],
        "steps": round(table["kimg"] * 1000 / table["batch"]) * table["G"]["steps"],
        "minutes": round(sum(line["seconds"] for line in log) / 60, 1),
        "images_per_second": round(statistics.median(line["images_per_second"] for line in log)),
        "diversity": round(statistics.mean(late), 2) if late else None,
    }


def collect() -> None:
    """Figures and picture of each finished run, beside what was collected before."""
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    for name in names():
        if (RUNS / name / "run.toml").exists() and done(RUNS / name):
            figures[name] = figures_of(name)
            shutil.copyfile(Run(RUNS / name).samples()[0], PICTURES / f"{name}.png")
    FIGURES.write_text(json.dumps(dict(sorted(figures.items())), indent=1) + "\n")


def row(name: str, figures: dict[str, Any], verdict: str) -> str:
    cells = [
        f"[{name}](#{name})",
        figures["data"] + (f", {figures['classes']} classes" if figures["classes"] else ""),
        ", ".join(f"{number / 1e6:.2f} M" for number in figures["parameters"].values()),
        f"{figures['kimg']:g}",
        f"{figures['steps']:,}",
        f"{figures['minutes']:.1f}",
        f"{figures['images_per_second']}",
        f"{figures['diversity']:.2f}" if figures["diversity"] is not None else "",
        verdict,
    ]
    return f"| {' | '.join(cells)} |"


def section(name: str, said: str) -> str:
    recipe = get_registry().find("recipe", name).component
    words = f"\n{said}\n" if said else ""
    return f"## {name}\n\n{recipe.summary} ({recipe.paper}).\n{words}\n![samples of {name}](recipes/{name}.png)\n"


def page(machine: str) -> str:
    file = PICTURES / "remarks.toml"
    remarks: dict[str, Any] = tomllib.loads(file.read_text()) if file.exists() else {}
    figures = json.loads(FIGURES.read_text())
    finished = [name for name in names() if name in figures]
    rows = [row(name, figures[name], remarks.get(name, {}).get("verdict", "")) for name in finished]
    sections = [section(name, remarks.get(name, {}).get("said", "")) for name in finished]
    return INTRODUCTION.format(machine=machine) + "\n".join(rows) + "\n\n" + "\n".join(sections)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--table", action="store_true", help="train nothing: collect what is finished")
    parser.add_argument("--machine", default="2 CPU cores (AVX512-BF16), no GPU, PyTorch 2.15")
    given = parser.parse_args()
    for name in [] if given.table else given.names or names():
        train(name)
        print(json.dumps({"recipe": name, "done": done(RUNS / name)}), flush=True)
    PICTURES.mkdir(exist_ok=True)
    collect()
    PAGE.write_text(page(given.machine))


if __name__ == "__main__":
    main()
