"""Reading a zip that may be hostile: never extracted, nothing taken at its word."""

from __future__ import annotations

import copy
import os
import re
import stat
import threading
import zipfile
import zlib
from io import BytesIO
from pathlib import Path
from typing import IO

from ganzoo.data.cache import Refused
from ganzoo.data.listing import printable
from ganzoo.errors import DataError

_MOST_RATIO = 200  # of unpacked to packed size; photographs have 1, flat drawings as bitmaps below 100, zeros 1,000
_ALWAYS_FINE = 64 << 20  # bytes unpacked that no ratio makes suspicious
_LARGEST = 2 << 30  # bytes of one member: above what the largest image that Pillow admits can need


class ZipReader:
    """The members of a zip, read from memory by any number of threads and processes (a handle each).

    DataError where it is no zip or damaged; Refused (a DataError) where a name leads out of it, a member is a link or
    encrypted, or the sizes are a lie. What the directory declares is checked here; what members really unpack to, as they are
    read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        try:
            members = self._handle().infolist()
        except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise DataError(f"{path} is not a zip, or is damaged: {error}") from error
        self._members: dict[str, zipfile.ZipInfo] = {}
        for member in members:
            name = self._checked_name(member)
            if not name.endswith("/"):
                self._members[name] = member
        self._check_sizes(members)

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def names(self) -> list[str]:
        return list(self._members)

    def read(self, name: str) -> bytes:
        """A member's bytes. Refused where it unpacks to more than it says, ValueError where it is damaged."""
        member = self._members[name]
        if member.file_size > _LARGEST:
            raise ValueError(f"larger than {_LARGEST >> 30} GiB")
        asked = copy.copy(member)
        # The standard reader stops at the declared size, and checks the CRC of what came so far there; its chunks are 4 KiB.
        asked.file_size += 1 << 16
        try:
            with self._handle().open(asked) as stream:
                data = stream.read(member.file_size + 1)  # one byte more shows whether anything follows
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise ValueError(str(error)) from error
        if len(data) > member.file_size:
            raise self._refused(f"{printable(name)} unpacks to more than the {member.file_size:,} bytes that it says")
        return data

    def stream(self, name: str, whole: bool) -> IO[bytes]:
        """A member as a file; without `whole`, unpacked as far as it is read."""
        return BytesIO(self.read(name)) if whole else self._handle().open(self._members[name])

    def _handle(self) -> zipfile.ZipFile:
        """This thread's own (and this process's: a forked child would share the file's position with its parent)."""
        if getattr(self._local, "process", None) != os.getpid():
            self._local.handle = zipfile.ZipFile(self._path)
            self._local.process = os.getpid()
        handle: zipfile.ZipFile = self._local.handle
        return handle

    def _checked_name(self, member: zipfile.ZipInfo) -> str:
        name = member.filename.replace("\\", "/")
        if name.startswith("/") or re.match("[A-Za-z]:", name) or ".." in name.split("/"):
            raise self._refused(f"{printable(member.filename)} leads out of it")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise self._refused(f"{printable(name)} is a link")
        if member.flag_bits & 1:
            raise self._refused(f"{printable(name)} is encrypted")
        return name

    def _check_sizes(self, members: list[zipfile.ZipInfo]) -> None:
        for member in members:
            # Packing never adds more than a few bytes in a thousand.
            if member.compress_size > 1.25 * member.file_size + 1024:
                name = printable(member.filename)
                raise self._refused(f"{name} says {member.file_size:,} bytes but is packed into {member.compress_size:,}")
        packed, unpacked = sum(m.compress_size for m in members), sum(m.file_size for m in members)
        size = self._path.stat().st_size
        if packed > size:
            raise self._refused(f"its members overlap: {packed:,} bytes in a file of {size:,}")
        if unpacked > max(_ALWAYS_FINE, _MOST_RATIO * size):
            raise self._refused(f"it unpacks from {size:,} to {unpacked:,} bytes")

    def _refused(self, why: str) -> Refused:
        return Refused(f"{self._path} is refused: {why}; unpack it yourself if you trust it, and give the folder")
