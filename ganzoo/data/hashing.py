"""What a cache entry is named by: digests of settings and of file contents."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

_SETTLED = 2.0  # seconds: a file changed more recently may change again within one tick of the file system's clock


def cache_dir() -> Path:
    """Where decoded data are kept: GANZOO_CACHE, else XDG_CACHE_HOME/ganzoo, else ~/.cache/ganzoo. It need not exist."""
    if own := os.environ.get("GANZOO_CACHE"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ganzoo"


def digest(*parts: object) -> str:
    """Hex digest of plain values (what JSON can hold; tuples as lists)."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()


def digest_of_labels(labels: Any) -> str:
    """Hex digest of class indices [N], "" of None."""
    return "" if labels is None else digest(labels.astype("<i8").tobytes().hex())


def content_digest(files: Iterable[tuple[str, Path]]) -> str:
    """Hex digest of (name, content) pairs in the order given, whatever machine or folder they lie in.

    All bytes are hashed once; then the digest is looked up by paths, sizes and modification times, so that a second start
    reads no file. A file that cannot be read counts as such.
    """
    rows = [(name, path, *_stat(path)) for name, path in files]
    key = digest(*((name, os.fsencode(path.absolute()).hex(), size, changed) for name, path, size, changed in rows))
    known = cache_dir() / "hashes" / key
    try:
        if len(text := known.read_text()) == 40:
            return text
    except (OSError, ValueError):
        pass  # not hashed yet, or not readable: hash
    with ThreadPoolExecutor(8) as pool:
        hashes = list(pool.map(_hash, (path for _, path, _, _ in rows)))
    result = digest(*zip((name for name, *_ in rows), hashes, strict=True))
    newest = max((changed for *_, changed in rows), default=0)
    if None not in hashes and newest / 1e9 < time.time() - _SETTLED:
        _remember(known, result)
    return result


def _stat(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns


def _hash(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=20)).hexdigest()
    except OSError:
        return None


def _remember(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}-{os.getpid()}")
        temporary.write_text(text)
        temporary.replace(path)
    except OSError:
        pass  # the index only saves time
