"""`python -m ganzoo`: the command line, where the script is not on PATH (torchrun starts ranks this way)."""

from __future__ import annotations

from ganzoo.cli import main

if __name__ == "__main__":
    main()
