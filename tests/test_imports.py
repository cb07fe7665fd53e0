"""What must be light: importing these takes neither torch nor timm nor numpy, and rich only a terminal."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENTRY_MODULES = [
    module
    for pyproject in sorted(ROOT.glob("plugins/*/pyproject.toml"))
    for module in tomllib.loads(pyproject.read_text())["project"]["entry-points"]["ganzoo"].values()
]
LIGHT = [
    "import ganzoo",
    "import ganzoo.plugin, ganzoo.hookspecs, ganzoo.errors, ganzoo.options",
    "import ganzoo.registry; ganzoo.registry.get_registry()",
    "import ganzoo.catalog; ganzoo.catalog.get_catalog()",
    "import ganzoo.config",
    "import ganzoo.runs",
    "import ganzoo.provenance; ganzoo.provenance.digest('ganzoo-core')",
    "import ganzoo; ganzoo.list_components()",
    *(f"import {module}; list(getattr({module}, 'ganzoo_components', list)())" for module in ENTRY_MODULES),
    *(
        f"from ganzoo.cli.group import run; run({args!r})"
        for args in ([], ["--help"], ["--version"], ["list"], ["list", "--all", "--json"])
    ),
    *(
        f"from ganzoo.cli.group import run; run({args!r})"
        for args in (
            ["list", "--help"],
            ["runs"],
            ["train", "--help"],
            ["train", "--gen", "no-such"],
            ["train", "--loss", "no-such"],
            ["nonsense"],
            ["search", "hinge"],
            ["anomaly", "fit", "--help"],
            ["arena", "--help"],
        )
    ),
    *(
        f"from ganzoo.cli.group import run; run({args!r})"
        for args in (["catalog"], ["catalog", "check"], ["catalog", "entry", "ganzoo-core"], ["install", "hinge"])
    ),
]


@pytest.mark.parametrize("code", LIGHT)
def test_light(code: str, tmp_path: Path) -> None:
    sources = [str(path) for path in ROOT.glob("plugins/*/src")]
    check = "print('HEAVY', sorted({'torch', 'timm', 'numpy', 'rich', 'PIL'} & set(sys.modules)))"
    program = f"import sys; sys.path += {sources!r}\n{code}\n{check}"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "HEAVY []"
