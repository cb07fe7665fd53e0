"""Which code a run was trained with: a hash of the files of each distribution, recorded, and compared when the run is opened.

It tells an edit or another build from what was there; it is no signature, and no protection from a plugin that means harm.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import metadata, util
from pathlib import Path
from typing import Any

from ganzoo.catalog import canonical
from ganzoo.errors import RunError
from ganzoo.registry import CORE, GROUP, get_registry

_BIG = 1_000_000  # bytes; weights and images, which nobody edits by hand, and which take longer to read than all the code
_SOURCES = (".py", ".toml", ".json")


@functools.cache
def digest(distribution: str) -> str | None:
    """16 hex digits over the files of an installed distribution, once a process: what is imported does not change either.

    None where it is not installed or does not say which files are its own (no RECORD).
    """
    try:
        found = metadata.distribution(distribution)
        rows = [(*row, "")[:2] for row in csv.reader((found.read_text("RECORD") or "").splitlines()) if row]
        origin = json.loads(found.read_text("direct_url.json") or "{}")
    except (metadata.PackageNotFoundError, UnicodeDecodeError, json.JSONDecodeError, csv.Error):
        return None
    if origin.get("dir_info", {}).get("editable") or any("/" not in name and name.endswith(".pth") for name, _ in rows):
        lines = [_line(name, path) for name, path in _sources(found)] if rows else []
    else:
        lines = [_line(name, Path(str(found.locate_file(name))), known) for name, known in rows if _comes_with_it(name)]
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()[:16] if lines else None


def record(distributions: Iterable[str]) -> dict[str, str]:
    """The digest of each of these and of the core, by name; what has none is left out."""
    digests = {name: digest(name) for name in sorted({*distributions, CORE})}
    return {name: value for name, value in digests.items() if value is not None}


def differences(recorded: Mapping[str, Any], only: str | None = None, strict: bool = False) -> list[str]:
    """Where what is installed is not what a run's table or a model's configuration recorded: a phrase a distribution.

    `only` is the key of one component, to go by the distribution that offers it alone. Files that were not recorded are not
    compared, unless `strict`: then nobody knows.
    """
    components = recorded.get("components", {}).items()
    offers = [str(offer).rpartition(" ") for key, offer in components if only in (None, key)]
    versions, files = {name: version for name, _, version in offers}, recorded.get("files", {})
    here = {canonical(plugin.distribution): plugin.version for plugin in get_registry().plugins}
    found = []
    for name in sorted(versions if only else versions | files):
        then, now = versions.get(name), here.get(canonical(name))
        what = f"{name} {then}" if then else name
        if now is None:
            found.append(f"{what} (which is not loaded here)")
        elif then not in (None, now):
            found.append(f"{what} (here is {now})")
        elif name in files and files[name] != digest(name):
            found.append(f"other files of {what} (here is an edited or other build)")
        elif strict and name not in files:
            found.append(f"files of {what} that were not recorded")
    return found


def check(
    path: Path, recorded: Mapping[str, Any], say: Callable[[str], None], strict: bool = False, only: str | None = None
) -> None:
    """Say each of the `differences` of the run or model at `path`. Raises RunError that names them all where `strict`."""
    found = differences(recorded, only, strict)
    if found and strict:
        raise RunError(
            f"{path} was trained with {' and '.join(found)}: install what it was trained with, or leave --strict out"
        )
    for what in found:
        say(f"{path} was trained with {what}: results may differ")


def _line(name: str, path: Path, known: str = "") -> str:
    """A file as in RECORD: name, hash, size. A file that cannot be read has neither."""
    try:
        size = path.stat().st_size
        content = known if known and size > _BIG else hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return f"{name},,\n"
    return f"{name},{content},{size}\n"


def _comes_with_it(name: str) -> bool:
    """Whether a file of RECORD is of the code: scripts, bytecode and what stands beside RECORD depend on who installs it."""
    first = name.partition("/")[0]
    return first not in ("", "..", "bin", "Scripts") and not first.endswith(".dist-info") and not name.endswith(".pyc")


def _sources(found: metadata.Distribution) -> Iterator[tuple[str, Path]]:
    """The source files of an editable install, wherever its packages are imported from."""
    for package in {point.value.partition(":")[0].partition(".")[0] for point in found.entry_points.select(group=GROUP)}:
        spec = util.find_spec(package)  # of a package at the top, which imports nothing
        if spec is None:
            continue
        if spec.submodule_search_locations is None and spec.origin:
            yield f"{package}.py", Path(spec.origin)
        for folder in map(Path, spec.submodule_search_locations or ()):
            for path in folder.rglob("*"):
                if path.suffix in _SOURCES:
                    yield f"{package}/{path.relative_to(folder).as_posix()}", path
