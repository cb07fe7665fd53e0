"""One tree of exceptions. The command line prints the message as one line and exits with `exit_code`."""

from __future__ import annotations

from collections.abc import Iterable


class GanzooError(Exception):
    """A failure while working: disk full, data unreadable, a run in use. One line that says what mends it."""

    exit_code = 1


class UsageError(GanzooError):
    """Something asked for that is unknown, ill-typed or does not fit. Found before any data is read."""

    exit_code = 2


class PluginError(GanzooError):
    """A plugin's part could not be loaded or failed while it was built."""


class DataError(GanzooError):
    """Data that is not there or cannot be read."""


class RunError(GanzooError):
    """A run directory that is in use, damaged or not a run."""


class NonFiniteError(GanzooError):
    """A loss or gradient became NaN or infinite."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the nearest of `known`, or the empty string."""
    from difflib import get_close_matches  # 3 ms, and only errors need it

    names = list(known)
    close = get_close_matches(name, names, 1) or get_close_matches(name.lower(), names, 1)
    return f" Did you mean '{close[0]}'?" if close else ""
