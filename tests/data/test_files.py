from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganzoo.data.cache import materialise
from ganzoo.data.decoding import COLOUR_LOST, DEEP
from ganzoo.data.files import Array, Folder, Zip, open_path
from ganzoo.errors import DataError, UsageError

Make = Callable[..., Path]


def flat(value: int, height: int = 8, width: int = 8, channels: int = 3) -> np.ndarray[Any, Any]:
    return np.full((height, width, channels) if channels > 1 else (height, width), value, np.uint8)


def test_sub_folders_are_classes(make: Make) -> None:
    files = {"dog/b.png": flat(1), "cat/deep/er/a.png": flat(2), "cat/z.jpg": flat(3), "Äpfel/x.PNG": flat(4)}
    junk = {
        ".hidden.png": b"",
        "__MACOSX/cat/a.png": b"",
        "cat/.a.png": b"",
        "readme.txt": b"hello",
        "dog/Thumbs.db": b"",
        "empty/x.txt": b"",
    }
    data = Folder(path=str(make("set", files | junk)))
    assert data.names == ["cat/deep/er/a.png", "cat/z.jpg", "dog/b.png", "Äpfel/x.PNG"]
    assert data.spec.classes == ("cat", "dog", "Äpfel")
    assert data.labels is not None
    assert data.labels.tolist() == [0, 0, 1, 2]
    assert data.labels.dtype == np.int64
    assert data.spec.shape == (3, 8, 8)
    assert list(data.notices) == []
    assert [int(data.decode(index)["real"][0, 0, 0]) for index in range(4)] == [2, 3, 1, 4]


def test_a_flat_folder_has_no_labels(make: Make) -> None:
    path = make("set", {"a.png": flat(1), "b.png": flat(2)})
    data = Folder(path=str(path))
    assert data.labels is None
    assert data.spec.classes == ()
    with pytest.raises(UsageError, match=r"labels=true.*no sub-folders"):
        Folder(path=str(path), labels=True)


def test_a_folder_around_everything_is_no_class(make: Make) -> None:
    path = make("set", {"data/train/cat/a.png": flat(1), "data/train/dog/a.png": flat(2)})
    assert Folder(path=str(path)).spec.classes == ("cat", "dog")
    path = make("one", {"images/a.png": flat(1), "images/b.png": flat(2)})
    assert Folder(path=str(path)).labels is None
    with pytest.raises(UsageError, match="only sub-folder is no class"):
        Folder(path=str(path), labels=True)


def test_images_beside_class_folders(make: Make) -> None:
    path = make("set", {"cat/a.png": flat(1), "dog/a.png": flat(2), "stray.png": flat(3)})
    data = Folder(path=str(path))
    assert data.labels is None
    assert len(data) == 3
    assert any("stray.png" in notice for notice in data.notices)
    with pytest.raises(UsageError, match="not all"):
        Folder(path=str(path), labels=True)


def test_labels_false_ignores_them(make: Make) -> None:
    data = Folder(path=str(make("set", {"cat/a.png": flat(1), "dog/a.png": flat(2)})), labels=False)
    assert data.labels is None
    assert data.spec.classes == ()


def test_dataset_json_goes_before_folders(make: Make) -> None:
    files = {"00000/a.png": flat(1), "00000/b.png": flat(2), "00001/c.png": flat(3)}
    rows = [["00000/a.png", 2], ["00001/c.png", 0], ["00000/b.png", 2], ["gone.png", 7]]
    data = Folder(path=str(make("set", {**files, "dataset.json": json.dumps({"labels": rows}).encode()})))
    assert data.labels is not None
    assert data.labels.tolist() == [2, 2, 0]
    assert data.spec.classes == ("0", "1", "2")
    path = make("null", {**files, "dataset.json": b'{"labels": null}'})
    assert Folder(path=str(path)).labels is None
    with pytest.raises(UsageError, match="null"):
        Folder(path=str(path), labels=True)
    other = make("other", {**files, "dataset.json": b'{"title": "not ours"}'})
    assert Folder(path=str(other)).spec.classes == ("00000", "00001")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (b"{", "damaged"),
        (b'{"labels": 3}', "must be null or a list"),
        (b'{"labels": [["a.png", -1]]}', "is not"),
        (b'{"labels": [["a.png", 99999999999]]}', "is not"),
        (b'{"labels": [["a.png", true]]}', "is not"),
        (b'{"labels": [["a.png"]]}', "is not"),
        (b'{"labels": [["b.png", 1]]}', "no label for 1 of 1"),
    ],
)
def test_a_damaged_dataset_json(make: Make, table: bytes, message: str) -> None:
    path = make("set", {"a.png": flat(1), "dataset.json": table})
    with pytest.raises(DataError, match=message):
        Folder(path=str(path))
    assert Folder(path=str(path), labels=False).labels is None


def test_size_is_theirs_if_they_agree_and_chosen_if_not(make: Make) -> None:
    assert Folder(path=str(make("same", {"a.png": flat(1, 7, 13), "b.png": flat(1, 7, 13)}))).spec.shape == (3, 7, 13)
    sizes = [(300, 100), (70, 90), (40, 500)]  # short sides 100, 70, 40: median 70
    files = {f"{index}.png": flat(1, *size) for index, size in enumerate(sizes)}
    data = Folder(path=str(make("mixed", files)))
    assert data.spec.shape == (3, 64, 64)
    assert any("64x64" in notice and "--res" in notice for notice in data.notices)
    large = {f"{index}.png": flat(1, 400 + index, 400) for index in range(3)}
    assert Folder(path=str(make("large", large))).spec.shape == (3, 128, 128)
    data = Folder(path=str(tmp := make("mixed", files)), res=(24, 32))
    assert data.spec.shape == (3, 24, 32)
    assert list(data.notices) == []
    assert data.decode(0)["real"].shape == (3, 24, 32)
    assert tmp.is_dir()


def test_impossible_sizes(make: Make) -> None:
    path = make("set", {"a.png": flat(1)})
    np.save(path / "a.npy", np.zeros((2, 8, 8, 3), np.uint8))
    for res in ((0, 5), (4, -1)):
        with pytest.raises(UsageError, match="at least 1"):
            Folder(path=str(path), res=res)
        with pytest.raises(UsageError, match="at least 1"):
            Array(path=str(path / "a.npy"), res=res)


def test_turned_by_exif_sizes_agree(make: Make) -> None:
    path = make("set", {"a.jpg": flat(1, 6, 9)})
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(flat(1, 9, 6)).save(path / "b.jpg", exif=exif)
    assert Folder(path=str(path)).spec.shape == (3, 6, 9)


def test_channels(make: Make) -> None:
    path = make("mixed", {"a.png": flat(1, channels=1), "b.png": flat(2)})
    assert Folder(path=str(path)).spec.channels == 3
    assert Folder(path=str(path), channels="grey").spec.channels == 1
    assert Folder(path=str(path), channels="rgba").decode(0)["real"][:, 0, 0].tolist() == [1, 1, 1, 255]
    grey = make("grey", {"a.png": flat(1, channels=1), "b.png": flat(2, channels=1)})
    assert Folder(path=str(grey)).spec.shape == (1, 8, 8)
    assert Folder(path=str(grey), channels="rgb").spec.shape == (3, 8, 8)


def test_notices_of_16_bits_and_lost_colour(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = make("deep", {f"{index}.png": np.full((8, 8), 65535, np.uint16) for index in range(3)})
    data = Folder(path=str(deep))
    assert list(data.notices) == [DEEP]
    assert materialise(data).notices == [DEEP]
    assert data.decode(0)["real"].max() == 255

    monkeypatch.setattr("ganzoo.data.files._LOOKED_AT", 2)  # the first and the last
    late = {"0.png": flat(1, channels=1), "1.png": flat(2), "2.png": flat(3, channels=1)}
    late_path = make("late", late)
    for _ in range(2):  # decoded, then from the cache: said both times
        data = Folder(path=str(late_path))
        assert data.spec.channels == 1
        assert materialise(data).notices == [COLOUR_LOST]


def test_the_constructor_reads_no_pixels(make: Make, monkeypatch: pytest.MonkeyPatch, random: np.random.Generator) -> None:
    path = make("set", {"a.png": random.integers(0, 256, (64, 64, 3), dtype=np.uint8)})
    whole = (path / "a.png").read_bytes()
    (path / "a.png").write_bytes(whole[:100])  # header, and the beginning of the pixels
    data = Folder(path=str(path))
    assert data.spec.shape == (3, 64, 64)
    with pytest.raises(OSError, match="truncated"):
        data.decode(0)


def test_links_are_followed_once(make: Make) -> None:
    path = make("set", {"cat/a.png": flat(1), "dog/b.png": flat(2)})
    elsewhere = make("elsewhere", {"c.png": flat(3)})
    (path / "fox").symlink_to(elsewhere)
    (path / "cat" / "up").symlink_to(path)
    (path / "dog" / "dead.png").symlink_to(path / "gone.png")
    (path / "dog" / "itself.png").symlink_to("itself.png")
    os.mkfifo(path / "dog" / "pipe.png")
    data = Folder(path=str(path))
    assert data.names == ["cat/a.png", "dog/b.png", "dog/dead.png", "dog/itself.png", "fox/c.png"]
    assert data.spec.classes == ("cat", "dog", "fox")


@pytest.mark.parametrize("labels", [None, False, True])
def test_an_empty_folder(make: Make, tmp_path: Path, labels: bool | None) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no images \(it is empty"):
        Folder(path=str(tmp_path / "empty"), labels=labels)
    with pytest.raises(DataError, match=r"2 other files.*\.txt"):
        Folder(path=str(make("text", {"a.txt": b"x", "b.txt": b"y"})), labels=labels)


def test_nothing_readable(make: Make) -> None:
    with pytest.raises(DataError, match=r"none of 2 images can be read: a\.png \(not an image"):
        Folder(path=str(make("bad", {"a.png": b"x", "b.png": b"y"})))


def test_absent_or_no_folder(make: Make, tmp_path: Path) -> None:
    for kind in (Folder, Zip, Array):
        with pytest.raises(UsageError, match="there is no"):
            kind(path=str(tmp_path / "absent"))
        with pytest.raises((UsageError, DataError), match="null byte"):
            kind(path="a\0b")
    path = make("set", {"a.png": flat(1)})
    with pytest.raises(UsageError, match="not a folder"):
        Folder(path=str(path / "a.png"))
    for kind in (Zip, Array):
        with pytest.raises(UsageError, match="is a folder"):
            kind(path=str(path))


def test_open_path(make: Make, tmp_path: Path) -> None:
    path = make("set", {"a.png": flat(1), "b.ZIP": b"", "c.npz": b"", "d.npy": b"", "e.txt": b""})
    assert open_path(str(path)) == ("folder", {"path": str(path)})
    assert [open_path(str(path / name))[0] for name in ("b.ZIP", "c.npz", "d.npy")] == ["zip", "array", "array"]
    with pytest.raises(UsageError, match=r"give its folder"):
        open_path(str(path / "a.png"))
    with pytest.raises(UsageError, match=r"\.npz or \.npy"):
        open_path(str(path / "e.txt"))
    with pytest.raises(UsageError, match="there is no"):
        open_path(str(tmp_path / "nowhere"))


def test_the_fingerprint_is_of_content_and_settings(make: Make, tmp_path: Path) -> None:
    files = {"cat/a.png": flat(1), "dog/b.png": flat(2)}
    first, copy = make("one", files), make("two", files)
    original = Folder(path=str(first)).fingerprint()
    assert Folder(path=str(copy)).fingerprint() == original
    assert Folder(path=str(first), labels=False).fingerprint() == original  # the pixels are the same
    assert Folder(path=str(first), res=(4, 4)).fingerprint() != original
    assert Folder(path=str(first), fit="contain").fingerprint() != original
    assert Folder(path=str(first), channels="grey").fingerprint() != original
    Image.fromarray(flat(3)).save(copy / "cat/a.png")
    assert Folder(path=str(copy)).fingerprint() != original
    Image.fromarray(flat(1)).save(copy / "cat/a.png")
    assert Folder(path=str(copy)).fingerprint() == original
    (copy / "cat/a.png").rename(copy / "cat/c.png")
    assert Folder(path=str(copy)).fingerprint() != original


def test_torch_is_left_alone(start: Callable[[str], Any]) -> None:
    names = ("arrays", "cache", "dataset", "decoding", "files", "hashing", "listing", "pictures", "points", "zips")
    process = start(f"import sys, {', '.join('ganzoo.data.' + name for name in names)}; assert 'torch' not in sys.modules")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path / "set")
    os.makedirs(folder)
    Image.fromarray(flat(5)).save(tmp_path / "x.png")
    os.rename(os.fsencode(tmp_path / "x.png"), folder + b"/\xff\xfe.png")
    store = materialise(Folder(path=str(tmp_path / "set")))
    assert store.fields["real"].mean() == 5
