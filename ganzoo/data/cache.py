"""Data decoded once: a directory of .npy files a data set, opened as memory maps."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ganzoo.data.dataset import Dataset
from ganzoo.data.hashing import cache_dir, digest
from ganzoo.data.listing import printable
from ganzoo.errors import DataError
from ganzoo.plugin import DataSpec

Array = np.ndarray[Any, Any]
Progress = Callable[[int, int], None]  # records done, records in all

_FORMAT = 1
_CHUNK = 16  # records a task
_SETTLED = 60.0  # seconds: the processes of one start read one entry, so what it lacks is not tried again sooner
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Refused(DataError):
    """Raised by `Dataset.decode` for a record that condemns the whole data set, where anything else only loses the record."""


class Lost(NamedTuple):
    """A record that could not be read; `passing` where memory or the disk may be why, so that another start may read it."""

    record: int
    reason: str
    passing: bool


Skipped = list[Lost]


@dataclass(frozen=True, slots=True)
class Store:
    """A data set's decoded records; those that could not be read are left out everywhere.

    fields   "real", "source" and "text" where they are: uint8 [N, C, H, W] or float32 [N, ...], memory maps or arrays
    skipped  (name, reason) of each record left out
    notices  the data set's, and what decoding added
    """

    spec: DataSpec
    fields: dict[str, Array]
    names: Sequence[str]
    labels: Array | None
    captions: Sequence[str] | None
    skipped: list[tuple[str, str]]
    notices: list[str]

    def __len__(self) -> int:
        return len(self.names)


def materialise(dataset: Dataset, *, progress: Progress | None = None, workers: int | None = None) -> Store:
    """All records of `dataset`: at once where it offers `arrays()`, else from the cache, where they are decoded into first.

    Two processes may ask at once: one decodes, both read. `workers` are threads (Pillow decodes and resizes outside
    Python's lock). Where the cache cannot be written the records stay in memory, and a notice says so. DataError: more than
    1% of the records unreadable, or all; no space left.
    """
    if not len(dataset):
        raise DataError("the data set is empty")
    fields = fields_of(dataset.spec)
    if (arrays := dataset.arrays()) is not None:
        return _store(dataset, _checked(arrays, fields, len(dataset)), [], [])
    job = _Job(dataset, fields, workers or cores(), progress)
    shapes = [(name, shape, dtype.str) for name, (shape, dtype) in fields.items()]
    place = cache_dir() / "data" / digest(_FORMAT, dataset.fingerprint(), shapes, len(dataset))
    if (found := _read(place, job)) is not None:
        return found
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = place.with_suffix(".lock").open("ab")
    except OSError as error:
        if error.errno in _FULL:
            raise _no_space(place, error, job) from error
        return _in_memory(
            job, f"the cache {cache_dir()} cannot be written ({error.strerror}): decoded into memory, again at each start"
        )
    with lock:
        locked = wait_for(lock)
        found = _read(place, job)  # another run may have finished while this one waited
        return found or _build(place, job, locked)


def available_memory() -> int:
    """Bytes of main memory that can be taken without swapping; 0 where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):
        return 0


def fields_of(spec: DataSpec) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Shape and type of one record's fields."""
    specs = {"real": spec} | ({"source": spec.source} if spec.source else {})
    fields = {name: (s.shape, np.dtype(np.uint8 if s.modality == "image" else np.float32)) for name, s in specs.items()}
    return fields | ({"text": ((spec.text,), np.dtype(np.float32))} if spec.text else {})


def cores() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class _Job:
    """Decoding one data set: what to expect, and in which order it comes."""

    dataset: Dataset
    fields: dict[str, tuple[tuple[int, ...], np.dtype[Any]]]
    workers: int
    progress: Progress | None

    @property
    def nbytes(self) -> int:
        return len(self.dataset) * sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in self.fields.values())

    def records(self, skipped: Skipped) -> Iterator[dict[str, Array]]:
        """The readable records in order; the others go to `skipped`. DataError when those are too many."""
        total = len(self.dataset)
        with closing(self._decoded()) as decoded:
            for index, record in enumerate(decoded):
                if isinstance(record, Lost):
                    skipped.append(record)
                    if len(skipped) * 100 > total:
                        some = self.named(skipped, 3)
                        raise DataError(f"more than 1% of {total:,} records cannot be read; repair or remove them: {some}")
                else:
                    yield record
                if self.progress is not None:
                    self.progress(index + 1, total)

    def named(self, skipped: Skipped, most: int) -> str:
        names = self.dataset.names
        some = "; ".join(f"{printable(names[lost.record])} ({lost.reason})" for lost in skipped[:most])
        return some + (f" and {len(skipped) - most} more" if len(skipped) > most else "")

    def _decoded(self) -> Generator[dict[str, Array] | Lost, None, None]:
        total = len(self.dataset)
        waiting: deque[Future[list[dict[str, Array] | Lost]]] = deque()
        with ThreadPoolExecutor(self.workers) as pool:
            try:
                for start in range(0, total, _CHUNK):
                    waiting.append(pool.submit(self._chunk, range(start, min(start + _CHUNK, total))))
                    if len(waiting) > 2 * self.workers:
                        yield from waiting.popleft().result()
                while waiting:
                    yield from waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _chunk(self, indices: range) -> list[dict[str, Array] | Lost]:
        return [self.one(index) for index in indices]

    def one(self, index: int) -> dict[str, Array] | Lost:
        try:
            record = self.dataset.decode(index)
            return {name: _check_field(name, record[name], *self.fields[name]) for name in self.fields}
        except Refused:
            raise
        except Exception as error:  # an unreadable record, whatever its decoder raises
            text = str(error).strip().splitlines()
            # An OSError of the system has a number, Pillow's of a damaged image has none.
            passing = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None)
            return Lost(index, printable(text[0]) if text else type(error).__name__, passing)


def _check_field(name: str, value: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    if value.shape != shape or value.dtype != dtype:
        raise ValueError(f"'{name}' is {value.dtype} {list(value.shape)}, the data set promised {dtype} {list(shape)}")
    if dtype.kind == "f" and not np.isfinite(value).all():
        raise ValueError(f"'{name}' holds values that are not finite")
    return value


def _checked(
    arrays: Mapping[str, Array], fields: dict[str, tuple[tuple[int, ...], np.dtype[Any]]], count: int
) -> dict[str, Array]:
    try:
        return {name: _check_field(name, arrays[name], (count, *shape), dtype) for name, (shape, dtype) in fields.items()}
    except (KeyError, ValueError) as error:
        raise DataError(f"the data set's arrays do not fit its description: {error}") from error


def _store(dataset: Dataset, fields: dict[str, Array], skipped: Skipped, notices: list[str]) -> Store:
    """Fields (without the skipped records already) beside the names, labels and captions that belong to them."""
    lost = {one.record for one in skipped}
    kept = [index for index in range(len(dataset)) if index not in lost]
    names, labels, captions = dataset.names, dataset.labels, dataset.captions
    return Store(
        spec=dataset.spec,
        fields=fields,
        names=[names[index] for index in kept] if lost else names,
        labels=None if labels is None else labels[kept] if lost else labels,
        captions=None if captions is None else [captions[index] for index in kept] if lost else captions,
        skipped=[(names[one.record], one.reason) for one in skipped],
        notices=list(dict.fromkeys([*dataset.notices, *notices])),
    )


def _said(job: _Job, before: Sequence[str], skipped: Skipped) -> list[str]:
    """What decoding added to the data set's notices, and the records that it lost."""
    said = sorted(set(job.dataset.notices) - set(before))
    if skipped:
        said.append(f"{len(skipped)} of {len(job.dataset):,} records cannot be read and are left out: {job.named(skipped, 10)}")
    return said


def _in_memory(job: _Job, notice: str) -> Store:
    free = available_memory()
    if free and job.nbytes > free:
        raise DataError(
            f"{notice}, but they need {_size(job.nbytes)}, more than there is; set GANZOO_CACHE to a writable directory"
        )
    before, skipped = list(job.dataset.notices), Skipped()
    fields = {name: np.empty((len(job.dataset), *shape), dtype) for name, (shape, dtype) in job.fields.items()}
    count = 0
    for record in job.records(skipped):
        for name, array in fields.items():
            array[count] = record[name]
        count += 1
    fields = {name: array[:count] for name, array in fields.items()}
    return _store(job.dataset, fields, skipped, [notice, *_said(job, before, skipped)])


def _build(place: Path, job: _Job, locked: bool) -> Store:
    """Decode into a directory beside `place`, and rename it there when it is whole."""
    if locked:  # nobody else builds this entry: what lies here is damaged, or was left by a run that was killed
        for left in (place, *place.parent.glob(f".{place.name}-*")):
            shutil.rmtree(left, ignore_errors=True)
    temporary = place.with_name(f".{place.name}-{uuid.uuid4().hex}")
    try:
        if shutil.disk_usage(place.parent).free < job.nbytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        temporary.mkdir()
        _write(temporary, job)
        _sync(temporary)
        try:
            temporary.rename(place)
        except OSError:  # something is there: another run's entry, where there are no locks, or a damaged one
            if _read(place, job) is None:
                shutil.rmtree(place)
                temporary.rename(place)
        _sync(place.parent)
    except OSError as error:
        if error.errno in _FULL:
            raise _no_space(place, error, job) from error
        raise DataError(
            f"cannot write the cache {place.parent}: {error.strerror}; set GANZOO_CACHE to another directory"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    found = _read(place, job)
    if found is None:
        raise DataError(f"the cache entry {place} changed while it was written; delete it and start again")
    return found


def _write(directory: Path, job: _Job) -> None:
    before, skipped = list(job.dataset.notices), Skipped()
    total = len(job.dataset)
    with ExitStack() as stack:
        files = {name: stack.enter_context((directory / f"{name}.npy").open("wb")) for name in job.fields}
        for name, file in files.items():
            _npy_header(file, total, *job.fields[name])
        for record in job.records(skipped):
            for name, file in files.items():
                file.write(np.ascontiguousarray(record[name]).data)
        for name, file in files.items():
            if skipped:  # the header has the same length for any smaller number
                file.seek(0)
                _npy_header(file, total - len(skipped), *job.fields[name])
            file.flush()
            os.fsync(file.fileno())
    sizes = {name: (directory / f"{name}.npy").stat().st_size for name in job.fields}
    table = {"format": _FORMAT, "sizes": sizes, "skipped": skipped, "notices": _said(job, before, skipped)}
    with (directory / "meta.json").open("w") as text:
        json.dump(table, text)
        text.flush()
        os.fsync(text.fileno())


def _npy_header(file: BinaryIO, count: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    table = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (count, *shape)}
    np.lib.format.write_array_header_1_0(file, table)


def _read(place: Path, job: _Job) -> Store | None:
    """A whole cache entry; None where there is none, it is incomplete or damaged, or a record that it lacks can be read now."""
    try:
        table = json.loads((place / "meta.json").read_text())
        skipped = [Lost(int(index), str(reason), bool(passing)) for index, reason, passing in table["skipped"]]
        fields = {}
        for name, (shape, dtype) in job.fields.items():
            path = place / f"{name}.npy"
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            whole = path.stat().st_size == table["sizes"][name]
            if not whole or array.shape != (len(job.dataset) - len(skipped), *shape) or array.dtype != dtype:
                return None
            fields[name] = array
        if table["format"] != _FORMAT:
            return None
        settled = time.time() - (place / "meta.json").stat().st_mtime > _SETTLED
        if settled and any(lost.passing and not isinstance(job.one(lost.record), Lost) for lost in skipped):
            return None
        return _store(job.dataset, fields, skipped, [str(notice) for notice in table["notices"]])
    except (OSError, ValueError, LookupError, TypeError, EOFError):
        return None


def wait_for(lock: BinaryIO) -> bool:
    """Lock an open file once no other process holds it; False where there are no locks. Closing the file unlocks it."""
    try:
        import fcntl

        fcntl.flock(lock, fcntl.LOCK_EX)
    except (ImportError, OSError):  # Windows; some network file systems
        return False  # whoever is done last discards its work
    return True


def _sync(directory: Path) -> None:
    try:
        handle = os.open(directory, os.O_RDONLY)
    except OSError:
        return  # Windows opens no directories
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _no_space(place: Path, error: OSError, job: _Job) -> DataError:
    return DataError(
        f"no space for the decoded data in {place.parent} ({error.strerror}; {_size(job.nbytes)} are needed): "
        f"free some, or set GANZOO_CACHE to a directory on another disk"
    )


def _size(nbytes: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if nbytes < 1000:
            return f"{nbytes:.3g} {unit}"
        nbytes /= 1000
    return f"{nbytes:.3g} GB"
