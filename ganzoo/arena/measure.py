"""One run measured, in a process of its own: `python -m ganzoo.arena.measure RUN METRIC SAMPLES DEVICE FILE` writes FILE.

It may need more memory than there is, and a feature network is a plugin's code.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ganzoo.errors import GanzooError
from ganzoo.runs import write_atomically


def main(run: str, metric: str, samples: str, device: str, file: str) -> int:
    from ganzoo.metrics.evaluation import evaluate

    try:
        results = evaluate(run, [metric], samples=int(samples), seed=0, device=device)
        write_atomically(Path(file), json.dumps([result.to_dict() for result in results]).encode())
    except GanzooError as err:
        print(f"ganzoo: {err}", file=sys.stderr)
        return err.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
