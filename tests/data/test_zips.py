from __future__ import annotations

import json
import struct
import subprocess
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganzoo.data.cache import materialise
from ganzoo.data.files import Zip
from ganzoo.data.zips import ZipReader
from ganzoo.errors import DataError, UsageError

Start = Callable[[str], "subprocess.Popen[str]"]


def png(value: int, side: int = 8) -> bytes:
    stream = BytesIO()
    Image.fromarray(np.full((side, side, 3), value, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def packed(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def with_sizes(path: Path, name: str, size: int) -> Path:
    """Make a member say that it unpacks to `size` bytes, in the directory and in its own header."""
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo(name).header_offset
    struct.pack_into("<I", data, start + 22, size)
    place = data.index(b"PK\x01\x02")
    while data[place + 46 : place + 46 + len(name)] != name.encode():
        place = data.index(b"PK\x01\x02", place + 1)
    struct.pack_into("<I", data, place + 24, size)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_images_and_labels(tmp_path: Path, method: int) -> None:
    members = {
        "set/cat/a.png": png(1),
        "set/dog/b.png": png(2),
        "set/dog/": b"",
        "__MACOSX/set/._a.png": b"x",
        "set/readme.txt": b"x",
    }
    data = Zip(path=str(packed(tmp_path / "a.zip", members, method)))
    assert data.names == ["set/cat/a.png", "set/dog/b.png"]
    assert data.spec.classes == ("cat", "dog")
    store = materialise(data)
    assert store.fields["real"][:, 0, 0, 0].tolist() == [1, 2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "the-cache"]  # nothing was extracted


def test_dataset_json(tmp_path: Path) -> None:
    members = {"00000/a.png": png(1), "00000/b.png": png(2)}
    table = json.dumps({"labels": [["00000/a.png", 3], ["00000/b.png", 0]]}).encode()
    data = Zip(path=str(packed(tmp_path / "a.zip", {**members, "dataset.json": table})))
    assert data.labels is not None
    assert data.labels.tolist() == [3, 0]
    assert data.spec.classes == ("0", "1", "2", "3")
    null = Zip(path=str(packed(tmp_path / "b.zip", {**members, "dataset.json": b'{"labels": null}'})))
    assert null.labels is None
    with pytest.raises(UsageError, match="null"):
        Zip(path=str(tmp_path / "b.zip"), labels=True)


@pytest.mark.parametrize(
    "name",
    ["../evil.png", "a/../../evil.png", "/etc/evil.png", "..\\evil.png", "C:\\evil.png", "c:/evil.png", "\\\\host\\evil.png"],
)
def test_members_that_lead_out(tmp_path: Path, name: str) -> None:
    path = packed(tmp_path / "a.zip", {"good.png": png(1), name: png(2)})
    with pytest.raises(DataError, match=r"is refused: .* leads out of it") as caught:
        Zip(path=str(path))
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)


def test_a_link_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good.png", png(1))
        link = zipfile.ZipInfo("link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match=r"link\.png is a link"):
        Zip(path=str(path))


def test_a_member_that_packs_more_than_it_says_is_refused_at_once(tmp_path: Path, random: np.random.Generator) -> None:
    path = packed(tmp_path / "a.zip", {"good.png": png(1), "bomb.png": random.bytes(100_000)})
    with pytest.raises(DataError, match=r"bomb\.png says 100 bytes"):
        Zip(path=str(with_sizes(path, "bomb.png", 100)))


def test_a_member_that_unpacks_to_more_than_it_says_is_refused_when_read(tmp_path: Path) -> None:
    members = {f"{index:03}.png": png(index % 256) for index in range(300)}
    members["bomb.png"] = png(9) + bytes(50_000_000)  # packs into 50 kB, so that only reading shows the lie
    path = with_sizes(packed(tmp_path / "a.zip", members), "bomb.png", 60_000)
    data = Zip(path=str(path))
    with pytest.raises(DataError, match=r"bomb\.png unpacks to more than the 60,000 bytes"):
        materialise(data)


def test_an_archive_that_says_it_unpacks_to_far_more_is_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", {"good.png": png(1), "zeros.bmp": bytes(80_000_000)})
    with pytest.raises(DataError, match=r"it unpacks from .* to 80,0"):
        Zip(path=str(path))


def test_overlapping_members_are_refused(tmp_path: Path, random: np.random.Generator) -> None:
    path = packed(tmp_path / "a.zip", {"a.png": random.bytes(5000), "b.png": b"x" * 10}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    struct.pack_into("<II", data, entry + 20, 5000, 5000)  # b says that it is as long as a, whose bytes it would share
    struct.pack_into("<I", data, entry + 42, 0)
    path.write_bytes(data)
    with pytest.raises(DataError, match="overlap"):
        Zip(path=str(path))


def test_encrypted_or_no_zip_or_cut_short(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.zip", {"a.png": png(1)})
    whole = path.read_bytes()
    for junk in (b"", b"hello", whole[: len(whole) // 2]):
        path.write_bytes(junk)
        with pytest.raises(DataError, match="is not a zip, or is damaged"):
            Zip(path=str(path))
    data = bytearray(whole)
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="encrypted"):
        Zip(path=str(path))


def test_a_damaged_member_is_skipped_and_named(tmp_path: Path) -> None:
    members = {f"{index:03}.png": png(index % 256) for index in range(200)}
    path = packed(tmp_path / "a.zip", members, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        data[archive.getinfo("007.png").header_offset + 60] ^= 255
    path.write_bytes(data)
    store = materialise(Zip(path=str(path)))
    assert [name for name, _ in store.skipped] == ["007.png"]
    assert "CRC" in store.skipped[0][1]
    assert store.fields["real"][:, 0, 0, 0].tolist() == [index for index in range(200) if index != 7]


def test_a_damaged_dataset_json(tmp_path: Path) -> None:
    members = {"a.png": png(1), "dataset.json": b'{"labels": [["a.png", 0]]}'}
    path = packed(tmp_path / "a.zip", members, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b'"labels"', b'"babels"'))
    with pytest.raises(DataError, match=r"cannot read dataset\.json .*CRC"):
        Zip(path=str(path))
    with pytest.raises(DataError, match="damaged"):
        Zip(path=str(packed(path, members | {"dataset.json": b"[" * 100_000})))


def test_empty_zip(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images"):
        Zip(path=str(packed(tmp_path / "a.zip", {})))


def test_many_threads_and_a_forked_process_read_at_once(tmp_path: Path, start: Start) -> None:
    members = {f"{index}.png": bytes([index]) * 5000 for index in range(64)}
    reader = ZipReader(packed(tmp_path / "a.zip", members))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(reader.read, list(members) * 20)) == list(members.values()) * 20
    code = f"""
import os
from pathlib import Path
from ganzoo.data.zips import ZipReader
reader = ZipReader(Path({str(tmp_path / "a.zip")!r}))
child = os.fork()
for _ in range(200):
    for index in range(64):
        assert reader.read(f"{{index}}.png") == bytes([index]) * 5000
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    process = start(code)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
