"""Pages that people write, with a place for figures: what stands between two marks is replaced, the rest stays."""

from __future__ import annotations

import os
from pathlib import Path

from ganzoo.errors import UsageError

Marks = tuple[str, str]  # lines of their own


def around(page: Path, marks: Marks, option: str, what: str) -> tuple[str, str]:
    """The text up to the place for `what` and from its end, with the marks. Raises UsageError, of `option`, without a place."""
    try:
        text = page.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise UsageError(f"{option} {page} cannot be read: {getattr(err, 'strerror', None) or err}") from None
    if not os.access(page, os.W_OK):
        raise UsageError(f"{option} {page} may not be written to; choose another")
    text += "" if text.endswith("\n") else "\n"  # the last line is one too
    begin, end = (f"{mark}\n" for mark in marks)
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if text.count(begin) != 1 or not found:
        raise UsageError(
            f"{option} {page} has no place for {what}: put the lines {marks[0]} and {marks[1]} where its figures belong, once"
        )
    return before + begin, end + after
