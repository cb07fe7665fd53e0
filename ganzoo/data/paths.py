"""Paths that a user gave."""

from __future__ import annotations

from pathlib import Path

from ganzoo.errors import DataError, UsageError


def existing(path: str) -> Path:
    """`path` with ~ expanded. UsageError where nothing is there, DataError where it may not be looked at."""
    try:
        found = Path(path).expanduser()
        found.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"there is no '{path}'; data sets by name: ganzoo list dataset") from None
    except (OSError, RuntimeError, ValueError) as error:  # no permission; no home for ~user; a NUL in the path
        raise DataError(f"cannot read '{path}': {error}") from error
    return found
