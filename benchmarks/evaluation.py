"""What `ganzoo eval` costs beside the network that it looks through.

    python benchmarks/evaluation.py [--images 2000] [--blocks 3]

In one process, interleaved, in CPU seconds of the process (this is steadier than the clock where others compute too): the
network's own forward passes over as many reals and fakes, at the size that it sees, in batches as `ganzoo eval` has them; an
evaluation (kid, with coverage and memorization) with an empty cache; and one that finds the reals' vectors there. Generation is
left out: the fakes are images at hand. Printed: each block, and the medians of the ratios.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch

from ganzoo.metrics.evaluation import evaluate
from ganzoo.plugin import DataSpec
from ganzoo.registry import create

SIZE, SIDE, BATCH = 128, 32, 32


def seconds(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--blocks", type=int, default=3)
    given = parser.parse_args()
    network = create("features", "lite0", DataSpec("image", (3, SIZE, SIZE)))
    batch = torch.rand(BATCH, 3, SIZE, SIZE) * 2 - 1

    @torch.no_grad()
    def forward() -> None:
        for _ in range(2 * given.images // BATCH):
            network(batch)

    with tempfile.TemporaryDirectory() as place:
        random = np.random.default_rng(0)
        for name in ("real", "fake"):
            np.savez(Path(place, f"{name}.npz"), samples=random.integers(0, 256, (given.images, 3, SIDE, SIDE), dtype=np.uint8))

        def measure() -> None:
            evaluate(f"{place}/fake.npz", ["kid-lite0-128"], against=f"{place}/real.npz", samples=given.images, device="cpu")

        forward()  # the first is slower
        rows = []
        for block in range(given.blocks):
            os.environ["GANZOO_CACHE"] = f"{place}/{block}"
            own, first, second = seconds(forward), seconds(measure), seconds(measure)
            rows.append((first / own, second / first))
            print(
                f"network {own:.1f} s, evaluation {first:.1f} s ({first / own:.2f}), "
                f"again {second:.1f} s ({second / first:.2f})"
            )
    print(
        f"medians: {median(r[0] for r in rows):.2f} of the network's own; again {median(r[1] for r in rows):.2f} of the first"
    )


if __name__ == "__main__":
    main()
