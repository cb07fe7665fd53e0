"""The command line: one file a command, each imported only when it is called.

The group lives in its own module, because `ganzoo.cli.list` hides the built-in `list` in this one.
"""

from __future__ import annotations

from ganzoo.cli.group import main

__all__ = ["main"]
