"""Records that are trained on and records that are held out, told apart by their names."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

from ganzoo.errors import UsageError

Split = Literal["train", "held-out", "all"]


def chosen(names: Sequence[str], split: Split, held_out: float) -> list[int]:
    """The records of a split: a name is held out or not whatever the other names are. Raises UsageError where none is left."""
    if not 0 <= held_out < 1:
        raise UsageError(f"held_out={held_out} must be a share from 0 to below 1")
    hashes = [hashlib.sha256(repr((name,)).encode()).hexdigest() for name in names]
    kept_back = [int(hashed[:12], 16) / 16**12 < held_out for hashed in hashes]
    found = [i for i, back in enumerate(kept_back) if split == "all" or back == (split == "held-out")]
    if not found:
        raise UsageError(f"split={split}: none of {len(names)} images is in it; choose another held_out than {held_out}")
    return found
