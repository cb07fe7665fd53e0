"""What many installed plugins cost at start-up: CPU seconds of `ganzoo list` and `ganzoo --help` with and without them."""

from __future__ import annotations

import argparse
import compileall
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

COMPONENTS = ("generator", "discriminator", "loss", "regularizer", "encoder")
LIST_TARGET = 1.0  # seconds of CPU
HELP_TARGET = 0.150  # beyond what it takes without them
README = "Metadata holds the whole read-me, and whoever parses metadata pays for it.\n\n" * 40
ENTRY_MODULE = """from ganzoo.plugin import Component, hookimpl

ganzoo_api = 1


@hookimpl
def ganzoo_components():
"""
METADATA = """Metadata-Version: 2.4
Name: {dist}
Version: 1.0
Summary: A generated plugin
Requires-Dist: ganzoo-core

"""
GANZOO = (sys.executable, "-m", "ganzoo")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plugins", type=int, default=500, metavar="N", help="how many distributions, of five components each")
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="of each command, interleaved; the median counts")
    parser.add_argument("--json", action="store_true", help="one object, for programs")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        install(Path(place), args.plugins)
        figures = measure(Path(place), args.plugins, args.runs)
    print(json.dumps(figures, indent=2) if args.json else table(figures, args.plugins))


def install(place: Path, plugins: int) -> None:
    """Distributions as pip would leave them: a compiled module and a .dist-info each."""
    for n in range(plugins):
        module, dist = f"generated_plugin_{n:04}", f"generated-plugin-{n:04}"
        offers = "".join(
            f"    yield Component({kind!r}, 'part-{n:04}', '{module}.nets:Net', summary='The {kind} of plugin {n}',\n"
            "                    paper='arXiv:1406.2661', modality={'image'}, resolutions='power of two from 8')\n"
            for kind in COMPONENTS
        )
        (place / f"{module}.py").write_text(ENTRY_MODULE + offers)
        info = place / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(METADATA.format(dist=dist) + README)
        (info / "entry_points.txt").write_text(f"[ganzoo]\nmain = {module}\n")
    compileall.compile_dir(place, quiet=1)


def measure(place: Path, plugins: int, runs: int) -> dict[str, float]:
    """The median CPU seconds of each command; in turn, so that what else the machine does falls on all alike."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("GANZOO_")}
    path = os.pathsep.join(filter(None, [str(place), plain.get("PYTHONPATH")]))
    beside = plain | {"PYTHONPATH": path}
    rows = json.loads(subprocess.run([*GANZOO, "list", "--json"], env=beside, check=True, capture_output=True).stdout)
    assert sum(row["plugin"].startswith("generated-plugin-") for row in rows) == plugins * len(COMPONENTS)
    commands = {
        "list": (["list", "--json"], beside),
        "help": (["--help"], beside),
        "list without": (["list", "--json"], plain),
        "help without": (["--help"], plain),
    }
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, (command, env) in commands.items():
            taken[name].append(cpu_seconds(command, env))
    return {name: round(statistics.median(seconds), 3) for name, seconds in taken.items()}


def cpu_seconds(command: list[str], env: dict[str, str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*GANZOO, *command], env=env, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def table(figures: dict[str, float], plugins: int) -> str:
    more = figures["help"] - figures["help without"]
    return "\n".join(
        (
            f"CPU seconds          {plugins} plugins     none    target",
            f"ganzoo list --json   {figures['list']:11.3f}  {figures['list without']:7.3f}    {plugins} plugins: {LIST_TARGET}",
            f"ganzoo --help        {figures['help']:11.3f}  {figures['help without']:7.3f}    {HELP_TARGET} more: {more:.3f}",
        )
    )


if __name__ == "__main__":
    main()
