from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganzoo.data import hashing
from ganzoo.data.cache import Refused, materialise
from ganzoo.data.dataset import Dataset
from ganzoo.data.files import Folder
from ganzoo.data.hashing import cache_dir, content_digest
from ganzoo.errors import DataError
from ganzoo.plugin import DataSpec

Start = Callable[[str], "subprocess.Popen[str]"]


class Numbered(Dataset):
    """Image i is filled with i mod 251, its source with the half of it; records in `bad` cannot be read."""

    def __init__(self, count: int, bad: tuple[int, ...] = (), shape: tuple[int, ...] = (3, 4, 5)) -> None:
        self.names = [f"{index:05}.png" for index in range(count)]
        self.labels = np.arange(count) % 7
        self.captions = [f"picture {index}" for index in range(count)]
        self.notices: list[str] = ["from the start"]
        self.spec = DataSpec("image", shape, classes=tuple("abcdefg"), source=DataSpec("points", (2,)))
        self.bad = bad
        self._seen: list[int] = []

    def fingerprint(self) -> str:
        return f"numbered {len(self)} {self.bad}"

    @property
    def decoded(self) -> int:
        return len(self._seen)

    def decode(self, index: int) -> dict[str, np.ndarray[Any, Any]]:
        self._seen.append(index)
        if index in self.bad:
            raise OSError(f"record {index} is\ntwo lines")
        if index == 3 and "late" not in self.notices:
            self.notices.append("late")
        return {"real": np.full(self.spec.shape, index % 251, np.uint8), "source": np.full(2, index / 2, np.float32)}


class Told(Numbered):
    """And with the vector of its caption, [index, -index]."""

    def __init__(self, count: int, bad: tuple[int, ...] = ()) -> None:
        super().__init__(count, bad)
        self.spec = self.spec.replace(text=2)

    def fingerprint(self) -> str:
        return f"told {super().fingerprint()}"

    def decode(self, index: int) -> dict[str, np.ndarray[Any, Any]]:
        return {**super().decode(index), "text": np.array([index, -index], np.float32)}


def test_vectors_of_captions_stay_with_their_records() -> None:
    for _ in range(2):  # decoded, then from the cache
        store = materialise(Told(300, bad=(7, 200)))
        kept = [i for i in range(300) if i not in (7, 200)]
        assert store.fields["text"].dtype == np.float32
        assert store.fields["text"].tolist() == [[i, -i] for i in kept]
        assert real(store) == [i % 251 for i in kept]
        assert list(store.captions or ()) == [f"picture {i}" for i in kept]


def real(store: Any) -> list[int]:
    assert (store.fields["real"] == store.fields["real"][:, :1, :1, :1]).all()
    return list(store.fields["real"][:, 0, 0, 0])


def entries(cache: Path) -> list[Path]:
    return sorted(path for path in (cache / "data").iterdir() if path.suffix != ".lock")


def test_decoded_once_then_mapped(cache: Path) -> None:
    data, seen = Numbered(300), []
    store = materialise(data, progress=lambda done, total: seen.append((done, total)), workers=3)
    assert seen == [(done, 300) for done in range(1, 301)]
    assert real(store) == [index % 251 for index in range(300)]
    assert store.fields["source"][:, 1].tolist() == [index / 2 for index in range(300)]
    assert isinstance(store.fields["real"], np.memmap)
    assert not store.fields["real"].flags.writeable
    assert (len(store), store.skipped, store.notices) == (300, [], ["from the start", "late"])
    assert store.labels is data.labels
    assert store.captions is data.captions

    again = Numbered(300)
    store = materialise(again)
    assert again.decoded == 0
    assert real(store) == [index % 251 for index in range(300)]
    assert store.notices == ["from the start", "late"]
    assert len(entries(cache)) == 1


def test_what_belongs_together_stays_together(cache: Path) -> None:
    bad = (0, 57, 299)
    kept = [index for index in range(300) if index not in bad]
    for _ in range(2):  # decoded, then from the cache
        store = materialise(Numbered(300, bad))
        assert len(store) == 297
        assert real(store) == [index % 251 for index in kept]
        assert store.fields["source"][:, 0].tolist() == [index / 2 for index in kept]
        assert list(store.names) == [f"{index:05}.png" for index in kept]
        assert store.labels is not None
        assert store.labels.tolist() == [index % 7 for index in kept]
        assert store.captions == [f"picture {index}" for index in kept]
        assert store.skipped == [(f"{index:05}.png", f"record {index} is") for index in bad]
        assert store.notices[-1].startswith(
            "3 of 300 records cannot be read and are left out: 00000.png (record 0 is); 00057.png"
        )


def test_more_than_one_percent_is_an_error(cache: Path) -> None:
    assert len(materialise(Numbered(200, (1, 2)))) == 198
    with pytest.raises(DataError, match=r"more than 1% of 200 .*00001\.png \(record 1 is\); 00002\.png .*; 00003\.png"):
        materialise(Numbered(200, (1, 2, 3)))
    with pytest.raises(DataError, match="more than 1% of 3"):
        materialise(Numbered(3, (0, 1, 2)))
    with pytest.raises(DataError, match="is empty"):
        materialise(Numbered(0))
    assert len(entries(cache)) == 1


def test_one_corrupt_image_in_a_thousand(make: Callable[..., Path], random: np.random.Generator) -> None:
    images = random.integers(0, 256, (1000, 4, 4, 3), dtype=np.uint8)
    path = make("set", {f"{'ab'[index % 2]}/{index:04}.png": image for index, image in enumerate(images)})
    (path / "b" / "0501.png").write_bytes((path / "b" / "0501.png").read_bytes()[:50])
    store = materialise(Folder(path=str(path)))
    assert len(store) == 999
    assert [name for name, _ in store.skipped] == ["b/0501.png"]
    assert "b/0501.png" in store.notices[-1]
    assert store.labels is not None
    for name, label, pixels in zip(store.names, store.labels, store.fields["real"], strict=True):
        assert "ab"[label] == name[0]
        assert np.array_equal(pixels, images[int(name[2:6])].transpose(2, 0, 1))


def test_what_a_passing_error_lost_is_read_at_a_later_start(cache: Path) -> None:
    class OnBadDisk(Numbered):
        errors: dict[int, Exception]

        def decode(self, index: int) -> dict[str, np.ndarray[Any, Any]]:
            if index in self.errors:
                raise self.errors[index]
            return super().decode(index)

    data = OnBadDisk(400, bad=(9,))  # one damaged record, which stays away
    data.errors = {5: OSError(5, "Input/output error"), 7: MemoryError()}
    assert len(materialise(data)) == 397
    data.errors = {}
    assert len(materialise(data)) == 397  # another process of the same start
    (entry,) = entries(cache)
    os.utime(entry / "meta.json", (1e9, 1e9))
    assert len(materialise(data)) == 399
    data.errors = {5: OSError(2, "gone for good")}
    shutil.rmtree(entry)
    materialise(data)
    os.utime(entry / "meta.json", (1e9, 1e9))
    before = data.decoded
    assert len(materialise(data)) == 398  # tried again, in vain: the entry is as good as it can be
    assert data.decoded == before


def test_a_decoder_that_breaks_its_promise_is_named() -> None:
    class Wrong(Numbered):
        def decode(self, index: int) -> dict[str, np.ndarray[Any, Any]]:
            return {"real": np.zeros((3, 4, 4), np.uint8), "source": np.zeros(2, np.float32)}

    with pytest.raises(DataError, match=r"uint8 \[3, 4, 4\], the data set promised uint8 \[3, 4, 5\]"):
        materialise(Wrong(5))


def test_a_record_may_condemn_the_data_set(cache: Path) -> None:
    class Hostile(Numbered):
        def decode(self, index: int) -> dict[str, np.ndarray[Any, Any]]:
            if index == 600:
                raise Refused("a bomb")
            return super().decode(index)

    with pytest.raises(Refused, match="a bomb"):
        materialise(Hostile(1000))
    assert entries(cache) == []


def test_arrays_need_no_cache(cache: Path) -> None:
    class Whole(Numbered):
        def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
            return {"real": np.ones((len(self), 3, 4, 5), np.uint8), "source": np.ones((len(self), 2), np.float32)}

    assert len(materialise(Whole(5))) == 5
    assert not cache.exists()
    data = Whole(5)
    data.names = data.names[:4]
    assert len(materialise(data)) == 4
    data.arrays = lambda: {"real": np.ones((4, 3, 4, 5), np.uint8)}  # type: ignore[method-assign]
    with pytest.raises(DataError, match="do not fit"):
        materialise(data)


def cut(entry: Path) -> None:
    with (entry / "real.npy").open("r+b") as file:
        file.truncate(file.seek(0, 2) - 1)


def lengthened(entry: Path) -> None:
    with (entry / "source.npy").open("ab") as file:
        file.write(b"x")


def other_shape(entry: Path) -> None:
    np.save(entry / "real.npy", np.zeros((300, 3, 5, 4), np.uint8))


def other_format(entry: Path) -> None:
    table = json.loads((entry / "meta.json").read_text())
    (entry / "meta.json").write_text(json.dumps(table | {"format": 999}))


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        lengthened,
        other_shape,
        other_format,
        lambda entry: (entry / "meta.json").unlink(),
        lambda entry: (entry / "meta.json").write_text("{"),
        lambda entry: (entry / "meta.json").write_text("[]"),
        lambda entry: (entry / "meta.json").write_text('{"format": 1, "skipped": [[999, "x"]], "sizes": {}, "notices": []}'),
        lambda entry: (entry / "source.npy").unlink(),
        lambda entry: (entry / "real.npy").write_bytes(b""),
        lambda entry: (shutil.rmtree(entry), entry.mkdir()),
    ],
)
@pytest.mark.parametrize("locks", [True, False])
def test_a_damaged_entry_is_made_again(
    cache: Path, damage: Callable[[Path], object], locks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not locks:
        monkeypatch.setattr("ganzoo.data.cache.wait_for", lambda lock: False)
    materialise(Numbered(300))
    (entry,) = entries(cache)
    damage(entry)
    data = Numbered(300)
    assert real(materialise(data)) == [index % 251 for index in range(300)]
    assert data.decoded == 300
    assert entries(cache) == [entry]
    materialise(data)
    assert data.decoded == 300


def test_settings_and_content_have_entries_of_their_own(cache: Path, make: Callable[..., Path]) -> None:
    path = make("set", {f"{name}/a.png": np.full((8, 8, 3), 9, np.uint8) for name in "ab"})
    for count, options in enumerate([{}, {"res": (4, 4)}, {"channels": "grey"}, {"labels": False}], 1):
        materialise(Folder(path=str(path), **options))
        assert len(entries(cache)) == min(count, 3)  # labels are no pixels


MANY = """
import sys, time
import numpy as np
from ganzoo.data.cache import materialise
from ganzoo.data.dataset import Dataset
from ganzoo.plugin import DataSpec

class Slow(Dataset):
    spec = DataSpec("image", (3, 16, 16))
    names = [str(index) for index in range(200)]
    decoded = 0

    def fingerprint(self):
        return "slow"

    def decode(self, index):
        type(self).decoded += 1
        time.sleep(0.002)
        return {"real": np.full((3, 16, 16), index, np.uint8)}

LOCK
print("started", flush=True)
store = materialise(Slow(), workers=1)
assert store.fields["real"][:, 0, 0, 0].tolist() == list(range(200))
print("decoded", Slow.decoded)
"""


@pytest.mark.parametrize("locks", [True, False])
def test_several_processes_at_once(cache: Path, start: Start, locks: bool) -> None:
    code = MANY.replace("LOCK", "" if locks else "import ganzoo.data.cache as c; c.wait_for = lambda lock: False")
    running = [start(code) for _ in range(4)]
    outputs = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0] * 4, outputs
    decoded = [int(output.split()[-1]) for output in outputs]
    assert sum(decoded) == 200 if locks else all(count in (0, 200) for count in decoded)
    assert len(entries(cache)) == 1


def test_killed_while_decoding(cache: Path, start: Start) -> None:
    for delay in (0.05, 0.2, 0.35):
        process = start(MANY.replace("LOCK", ""))
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
    assert all(path.name.startswith(".") for path in entries(cache))  # nothing that looks whole
    process = start(MANY.replace("LOCK", ""))
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    (entry,) = entries(cache)  # and what the killed ones left is gone
    assert not entry.name.startswith(".")


def test_a_disk_that_fills(cache: Path) -> None:
    code = """
import resource
from pathlib import Path
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
""" + MANY.replace("LOCK", "Slow.spec = DataSpec('image', (3, 16, 16))").replace(
        "store = materialise(Slow(), workers=1)",
        """
from ganzoo.errors import DataError
try:
    materialise(Slow(), workers=1)
except DataError as error:
    print(error)
    raise SystemExit(error.exit_code)
""",
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stderr
    assert str(cache) in done.stdout
    assert "File too large" in done.stdout
    assert "GANZOO_CACHE" in done.stdout
    assert entries(cache) == []


def test_too_little_space_is_found_before_decoding(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    data = Numbered(300)
    with pytest.raises(DataError, match=r"No space left.*20.4 kB are needed.*GANZOO_CACHE"):
        materialise(data)
    assert data.decoded == 0


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "file"))
    store = materialise(Numbered(300, (4,)))
    assert real(store) == [index % 251 for index in range(300) if index != 4]
    assert store.names[4] == "00005.png"
    assert any("cannot be written" in notice for notice in store.notices)
    monkeypatch.setattr("ganzoo.data.cache.available_memory", lambda: 1000)
    with pytest.raises(DataError, match="set GANZOO_CACHE"):
        materialise(Numbered(300))


def test_no_warning_and_no_open_file_is_left() -> None:
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    stores = [materialise(Numbered(count)) for count in range(20, 30)]
    del stores
    after = len(os.listdir("/proc/self/fd")) if before else 0
    assert after <= before + 2
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANZOO_CACHE", "~/here")
    assert cache_dir() == Path.home() / "here"
    monkeypatch.delenv("GANZOO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache")
    assert cache_dir() == Path("/var/cache/ganzoo")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_dir() == Path.home() / ".cache" / "ganzoo"


def test_contents_are_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = []
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode() * 10_000)
        os.utime(tmp_path / name, (1e9, 1e9))
        files.append((name, tmp_path / name))
    first = content_digest(files)
    with monkeypatch.context() as patch:
        patch.setattr(hashing, "_hash", lambda path: pytest.fail("read again"))
        assert content_digest(files) == first
    (tmp_path / "b").write_bytes(b"x" * 10_000)
    assert content_digest(files) != first
    changed = content_digest(files)
    (tmp_path / "b").write_bytes(b"y" * 10_000)  # the same size, in what may be the same tick of the clock
    assert content_digest(files) != changed
    (tmp_path / "b").write_bytes(b"b" * 10_000)
    assert content_digest(files) == first
    (tmp_path / "b").unlink()
    assert content_digest(files) != first
