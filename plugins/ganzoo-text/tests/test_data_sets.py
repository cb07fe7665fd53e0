"""Captioned images: where captions are read from, what is refused, and what the vectors are."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from ganzoo.errors import DataError, UsageError
from ganzoo.registry import create
from ganzoo_text.encoders import HashedWords

NAMES = ["a.png", "b.jpg", "deep/c.png"]
CAPTIONS = {"a.png": "a red apple", "b.jpg": 'two, "blue" cars', "deep/c.png": "ein grüner Baum"}


@pytest.fixture
def images(tmp_path):
    """Three plain images, 0 to 2, without captions."""
    for i, name in enumerate(NAMES):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (12, 8), (i, i, i)).save(tmp_path / name)
    return tmp_path


def beside(folder, **changed):
    """A text file beside each image; None for none."""
    for name, text in (CAPTIONS | changed).items():
        if text is not None:
            (folder / name).with_suffix(".txt").write_text(text, encoding="utf-8")


def table(folder, name, rows=None, head="file_name,text"):
    rows = list(CAPTIONS.items()) if rows is None else rows
    if name.endswith("csv"):
        quoted = [",".join('"' + value.replace('"', '""') + '"' for value in row) for row in rows]
        (folder / name).write_text("\n".join([head, *quoted, ""]), encoding="utf-8")
    else:
        lines = [json.dumps({"file_name": file, "text": text, "more": 1}) for file, text in rows]
        (folder / name).write_text("\n".join([*lines, ""]), encoding="utf-8")


def captioned(folder, **options):
    return create("dataset", "captioned", path=str(folder), split=options.pop("split", "all"), **options)


@pytest.mark.parametrize("how", ["files", "metadata.csv", "metadata.jsonl"])
def test_each_image_has_its_caption_and_its_vector(images, how):
    if how == "files":
        beside(images, **{"a.png": "  a red\r\napple\n"})
    else:
        table(images, how, list(reversed(CAPTIONS.items())))
    dataset = captioned(images)
    assert dict(zip(dataset.names, dataset.captions, strict=True)) == CAPTIONS
    assert (dataset.spec.text, dataset.spec.shape, dataset.spec.classes) == (1024, (3, 8, 12), ())
    wanted = HashedWords()(dataset.captions).numpy()
    for i, name in enumerate(dataset.names):
        record = dataset.decode(i)
        assert set(record) == {"real", "text"}
        assert np.array_equal(record["text"], wanted[i])
        assert abs(int(record["real"].max()) - NAMES.index(name)) <= 1  # JPEG


def test_the_cache_is_of_captions_and_encoder(images):
    beside(images)
    prints = [captioned(images).fingerprint(), captioned(images, encoder="hashed-words(width=64)").fingerprint()]
    beside(images, **{"a.png": "a green apple"})
    prints.append(captioned(images).fingerprint())
    assert len(set(prints)) == 3
    beside(images)
    assert captioned(images).fingerprint() == prints[0]


def test_of_a_data_set_that_has_captions():
    plain = create("dataset", "emoji", res=(8, 8))
    dataset = create("dataset", "captioned:data=emoji(res=[16,16])", res=(8, 8), held_out=0.0)
    assert dataset.spec == plain.spec.replace(text=1024)
    assert dataset.captions == plain.captions
    assert np.array_equal(dataset.labels, plain.labels)
    assert np.array_equal(dataset.decode(3)["real"], plain.decode(3)["real"])
    pairs = create("dataset", "captioned:data=emoji-pairs(res=[8,8])")
    assert set(pairs.decode(0)) == {"real", "source", "text"}


def test_halves_by_name():
    train, held = (create("dataset", f"captioned:data=emoji(res=[8,8]),split={split}") for split in ("train", "held-out"))
    whole = create("dataset", "emoji", res=(8, 8))
    assert set(train.names) | set(held.names) == set(whole.names)
    assert not set(train.names) & set(held.names)
    assert 120 < len(held) < 260
    caption = dict(zip(whole.names, whole.captions, strict=True))
    assert all(caption[name] == said for name, said in zip(held.names, held.captions, strict=True))
    assert np.array_equal(held.decode(5)["real"], whole.decode(list(whole.names).index(held.names[5]))["real"])


def test_sub_folders_are_classes_where_asked_for(images):
    for name in ("x/1.png", "y/2.png"):
        (images / "sorted" / name).parent.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(images / "sorted" / name)
        (images / "sorted" / name).with_suffix(".txt").write_text("black")
    assert captioned(images / "sorted", labels=True).spec.classes == ("x", "y")
    assert captioned(images / "sorted").spec.classes == ()


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({}, UsageError, r"3 of 3 images have no caption, a.png, b.jpg, deep/c.png; write them into a.txt and its like"),
        ({"files": {"b.jpg": None}}, UsageError, r"1 of 3 images have no caption, b.jpg; write them into b.txt"),
        ({"files": {"b.jpg": " \n"}}, UsageError, r"1 of 3 images have no caption, b.jpg"),
        ({"csv": [("a.png", "x")]}, UsageError, r"2 of 3 images have no caption, .*; add them to metadata.csv"),
        ({"jsonl": [*CAPTIONS.items(), ("z.png", "x")]}, UsageError, r"metadata.jsonl, line 4: there is no image z.png"),
        ({"csv": [*CAPTIONS.items(), ("./a.png", "x")]}, UsageError, r"line 5: a.png has a caption already"),
        ({"files": {}, "csv": None}, UsageError, r"metadata.csv and text files beside images, such as a.txt: keep the one"),
        ({"jsonl": None, "csv": None}, UsageError, r"metadata.csv and metadata.jsonl: keep the one"),
        ({"csv": None, "head": "file,caption"}, DataError, r"file_name is missing of file, caption"),
        ({"csv": [("a.png",)]}, DataError, r"metadata.csv, line 2: file_name and text must be there"),
        ({"raw": 'file_name,text\na.png,"open'}, DataError, r"metadata.csv, after line 1: unexpected end of data"),
        ({"json": '{"file_name": "a.png"'}, DataError, r"metadata.jsonl, line 1 is no JSON"),
        ({"json": '["a.png", "x"]'}, DataError, r"line 1: write .*file_name.*, not \[\"a.png\", \"x\"\]"),
        ({"json": '\n{"file_name": "a.png", "text": 3}'}, DataError, r"line 2: file_name and text must be there, and text"),
        ({"bytes": b"caf\xe9"}, DataError, r"a.txt is not in UTF-8 \(byte 3\)"),
    ],
)
def test_what_is_refused(images, given, error, says):
    if "files" in given:
        beside(images, **given["files"])
    for ending in ("csv", "jsonl"):
        if ending in given:
            table(images, f"metadata.{ending}", given[ending], **({"head": given["head"]} if "head" in given else {}))
    if "raw" in given:
        (images / "metadata.csv").write_text(given["raw"])
    if "json" in given:
        (images / "metadata.jsonl").write_text(given["json"])
    if "bytes" in given:
        (images / "a.txt").write_bytes(given["bytes"])
    with pytest.raises(error, match=says) as caught:
        captioned(images)
    assert "\n" not in str(caught.value)
    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("captioned", "needs path=FOLDER or data=NAME"),
        ("captioned:path=x,data=emoji", "x and data=emoji: leave one out, with data=none or path=none"),
        ("captioned:data=emoji,fit=contain", r"fit and labels are of the folder in path; write those .* in data=emoji\(...\)"),
        ("captioned:data=emoji,labels=true", "fit and labels are of the folder"),
        ("captioned:data=ring", "data=ring has no captions"),
        ("captioned:data=downscaled(data=emoji),res=[8,8]", "data=downscaled has no option res"),
        ("captioned:data=emoji,encoder=miniln", "there is no encoder 'miniln'. Did you mean 'minilm'"),
        ("captioned:data=emoji,split=held-out,held_out=0", "none of 1898 images is in it"),
    ],
)
def test_options_that_do_not_fit(spec, says):
    with pytest.raises(UsageError, match=says):
        create("dataset", spec)


def test_a_source_computed_from_captioned_images_has_no_caption_s_vector():
    dataset = create("dataset", "derived:data=captioned(data=emoji(res=[8,8]))")
    assert dataset.spec.text == 0
    assert set(dataset.decode(0)) == {"real", "source"}
