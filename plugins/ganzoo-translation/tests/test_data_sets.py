"""Data sets for translation: what is paired with what, splits, computed sources, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ganzoo.data.cache import materialise
from ganzoo.data.decoding import COLOUR_LOST
from ganzoo.errors import UsageError
from ganzoo.registry import create
from ganzoo_translation.data_sets import chosen


def write(folder, names, size=(8, 12), first=0):
    """Plain images, each of its own grey."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names, first):
        Image.new("RGB", (size[1], size[0]), (i, i, i)).save(folder / name)


def value(dataset, index, field="real"):
    pixels = dataset.decode(index)[field]
    assert pixels.min() == pixels.max()
    return int(pixels.flat[0])


@pytest.fixture
def folders(tmp_path):
    write(tmp_path / "a", [f"{i}.png" for i in range(5)])
    write(tmp_path / "b", [f"{i}.png" for i in range(5)], first=100)
    return {"source": str(tmp_path / "a"), "target": str(tmp_path / "b")}


def test_pairs_go_by_name_whatever_the_ending(tmp_path):
    write(tmp_path / "a", ["x.png", "y.bmp"])
    write(tmp_path / "b", ["y.png", "x.bmp"], first=100)
    dataset = create("dataset", "paired", source=str(tmp_path / "a"), target=str(tmp_path / "b"), split="all")
    assert len(dataset) == 2
    found = {(value(dataset, i, "source"), value(dataset, i)) for i in range(2)}
    assert found == {(0, 101), (1, 100)}
    assert dataset.spec.source.shape == dataset.spec.shape == (3, 8, 12)


def test_the_two_of_a_pair_have_one_size_wherever_they_stand(tmp_path, monkeypatch):
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    names = [f"{i:04}.bmp" for i in range(1200)]
    write(tmp_path / "a", names, size=(1, 2))
    write(tmp_path / "b", names, size=(1, 2))
    write(tmp_path / "b", names[1100:1101], size=(2, 2))
    dataset = create("dataset", "paired", source=str(tmp_path / "a"), target=str(tmp_path / "b"), res=(1, 2), split="all")
    store = materialise(dataset)
    assert store.skipped == [(names[1100], "its pair is of 1x2 and 2x2 pixels (HxW), so it is not aligned")]
    assert len(store) == 1199


@pytest.mark.parametrize("name", ["paired", "unpaired"])
def test_what_decoding_notices_is_told(folders, tmp_path, monkeypatch, name):
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("ganzoo.data.files._LOOKED_AT", 1)
    for i in range(5):
        Image.new("L" if i < 4 else "RGB", (12, 8)).save(tmp_path / "a" / f"{i}.png")
    text = f"{name}(source={folders['source']},target={folders['target']},split=all)"
    for dataset in (create("dataset", name, **folders, split="all"), create("dataset", f"derived:data={text},split=all")):
        assert COLOUR_LOST in materialise(dataset).notices


def test_a_split_is_of_names_and_the_two_make_the_whole(folders):
    names = [f"{i}.png" for i in range(1000)]
    held, kept = chosen(names, "held-out", 0.1), chosen(names, "train", 0.1)
    assert sorted(held + kept) == list(range(1000))
    assert 60 < len(held) < 140
    assert {names[i] for i in chosen(names[:500], "held-out", 0.1)} == {names[i] for i in held if i < 500}
    dataset = create("dataset", "paired", **folders, held_out=0.0)
    assert len(dataset) == 5
    with pytest.raises(UsageError, match="split=held-out: none of 5 images"):
        create("dataset", "paired", **folders, split="held-out", held_out=0.0)


def test_unpaired_shows_each_image_of_the_larger_folder(tmp_path, folders):
    write(tmp_path / "c", ["p.png", "q.png", "r.png"], first=200)
    dataset = create("dataset", "unpaired", source=folders["source"], target=str(tmp_path / "c"), split="all")
    assert len(dataset) == 5
    assert [value(dataset, i, "source") for i in range(5)] == [0, 1, 2, 3, 4]
    assert {value(dataset, i) for i in range(5)} == {200, 201, 202}


@pytest.mark.parametrize(("first", "expected"), [("left", (10, 20)), ("right", (20, 10))])
def test_side_by_side(tmp_path, first, expected):
    (tmp_path / "both").mkdir()
    pixels = np.full((8, 16, 3), 10, np.uint8)
    pixels[:, 8:] = 20
    Image.fromarray(pixels).save(tmp_path / "both" / "0.png")
    dataset = create("dataset", "side-by-side", path=str(tmp_path / "both"), source=first, split="all")
    assert dataset.spec.resolution == dataset.spec.source.resolution == (8, 8)
    assert (value(dataset, 0, "source"), value(dataset, 0)) == expected


def test_domains(tmp_path):
    for i, name in enumerate(("cats", "dogs")):
        write(tmp_path / "all" / name, [f"{j}.png" for j in range(3)], first=10 * i)
    dataset = create("dataset", "domains", path=str(tmp_path / "all"), split="all")
    assert dataset.spec.domains == dataset.spec.classes == ("cats", "dogs")
    assert dataset.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_domains_go_by_other_names_than_the_top_folders(tmp_path):
    for place in ("only/A", "only/B", "listed/one", "listed/two"):
        write(tmp_path / place, ["0.png"])
    (tmp_path / "listed" / "dataset.json").write_text('{"labels": [["one/0.png", 1], ["two/0.png", 0]]}')
    (tmp_path / "around").mkdir()
    (tmp_path / "only").rename(tmp_path / "around" / "only")
    for place, domains in (("around", ("A", "B")), ("listed", ("0", "1"))):
        assert create("dataset", "domains", path=str(tmp_path / place), split="all").spec.domains == domains


def test_bicubic_halving_of_a_plain_image_is_plain_and_keeps_its_place():
    dataset = create("dataset", "downscaled:data=emoji(res=[32,32]),scale=4,split=all")
    record = dataset.decode(7)
    assert record["real"].shape == (3, 32, 32)
    assert record["source"].shape == (3, 8, 8)
    wanted = Image.fromarray(record["real"].transpose(1, 2, 0)).resize((8, 8), Image.Resampling.BICUBIC)
    assert np.array_equal(record["source"], np.asarray(wanted).transpose(2, 0, 1))


@pytest.mark.parametrize("option", ["blur=1.5", "noise=20", "jpeg=20"])
def test_what_spoils_the_small_image_leaves_the_large_one(option):
    plain = create("dataset", "downscaled:data=emoji(res=[32,32]),scale=2").decode(7)
    spoilt = create("dataset", f"downscaled:data=emoji(res=[32,32]),scale=2,{option}").decode(7)
    assert np.array_equal(plain["real"], spoilt["real"])
    apart = np.abs(plain["source"].astype(int) - spoilt["source"]).mean()
    assert 0.5 < apart < 40
    if option.startswith("noise"):
        inside = (plain["source"] > 60) & (plain["source"] < 195)  # where nothing is clipped
        difference = (spoilt["source"].astype(float) - plain["source"])[inside]
        assert difference.std() == pytest.approx(20, rel=0.2)


def test_derived_sources():
    dataset = create("dataset", "derived:data=emoji(res=[32,32]),source=grey,split=all")
    record = dataset.decode(3)
    red, green, blue = record["real"].astype(float)
    assert np.abs(record["source"][0] - (0.299 * red + 0.587 * green + 0.114 * blue)).max() <= 1
    flat = create("dataset", "derived:data=emoji(res=[32,32]),source=outlines,split=all").decode(3)
    assert flat["source"].shape == (1, 32, 32)
    assert flat["source"].max() == 255  # white where nothing changes
    assert flat["source"].min() < 128


def test_what_is_refused(tmp_path, folders):
    write(tmp_path / "more", [f"{i}.png" for i in range(7)])
    with pytest.raises(UsageError, match="more: no partner in .*/b for 5, 6; a pair has one name in both folders"):
        create("dataset", "paired", source=str(tmp_path / "more"), target=folders["target"])
    write(tmp_path / "tall", [f"{i}.png" for i in range(5)], size=(16, 12))
    with pytest.raises(UsageError, match="8x12 and 16x12 pixels"):
        create("dataset", "paired", source=folders["source"], target=str(tmp_path / "tall"), res=(8, 8))
    write(tmp_path / "twice", [*(f"{i}.png" for i in range(5)), "3.jpg"])
    with pytest.raises(UsageError, match=r"twice: 3\.jpg and 3\.png differ in their ending alone"):
        create("dataset", "paired", source=str(tmp_path / "twice"), target=folders["target"])
    with pytest.raises(UsageError, match="--res makes them one size"):
        create("dataset", "unpaired", source=folders["source"], target=str(tmp_path / "tall"))
    for i, size in enumerate([(64, 128), (70, 140), (64, 128)]):
        write(tmp_path / "sizes", [f"{i}.png"], size=size)
    with pytest.raises(
        UsageError, match="sizes: the images differ in size: say one half's with --res HxW, such as --res 64x64"
    ):
        create("dataset", "side-by-side", path=str(tmp_path / "sizes"))
    assert create("dataset", "side-by-side", path=str(tmp_path / "sizes"), res=(64, 64)).spec.resolution == (64, 64)
    with pytest.raises(UsageError, match="no two halves side by side"):
        create("dataset", "side-by-side", path=str(tmp_path / "tall"))
    with pytest.raises(UsageError, match="no multiple of scale=5"):
        create("dataset", "downscaled:data=emoji(res=[32,32]),scale=5")
    with pytest.raises(UsageError, match="jpeg=50: a JPEG has no transparency"):
        create("dataset", f"downscaled:data=folder(path={folders['source']},channels=rgba),scale=2,jpeg=50")
    with pytest.raises(UsageError, match="data=ring holds points data"):
        create("dataset", "derived:data=ring")
    write(tmp_path / "all" / "cats", ["0.png"])
    (tmp_path / "all" / "dogs").mkdir()
    with pytest.raises(UsageError, match="put each class into a sub-folder"):
        create("dataset", "domains", path=str(tmp_path / "all"))
    write(tmp_path / "all" / "birds", ["0.png"])
    with pytest.raises(UsageError, match="all/dogs holds no images"):
        create("dataset", "domains", path=str(tmp_path / "all"))
