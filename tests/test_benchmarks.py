from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_what_plugins_cost_at_start_up() -> None:
    program = [sys.executable, str(BENCHMARKS / "plugins.py"), "--plugins", "3", "--runs", "1"]
    figures = json.loads(subprocess.run([*program, "--json"], capture_output=True, text=True, check=True).stdout)
    assert set(figures) == {"list", "help", "list without", "help without"}
    assert all(seconds > 0 for seconds in figures.values())
    assert "3 plugins" in subprocess.run(program, capture_output=True, text=True, check=True).stdout
