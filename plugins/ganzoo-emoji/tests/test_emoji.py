from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ganzoo_emoji
from ganzoo_emoji import data_sets
from ganzoo_emoji.data_sets import DATA, Emoji, EmojiPairs, EmojiStyles, EmojiUnpaired

ROOT = Path(__file__).resolve().parent.parent
CATEGORIES = (  # Unicode's, in its order, with how many each style has
    ("Smileys & Emotion", 168, 166),
    ("People & Body", 385, 326),
    ("Animals & Nature", 153, 152),
    ("Food & Drink", 135, 133),
    ("Travel & Places", 218, 218),
    ("Activities", 85, 85),
    ("Objects", 262, 261),
    ("Symbols", 223, 223),
    ("Flags", 269, 8),
)
Array = np.ndarray[Any, Any]


def image(data: Emoji, name: str) -> Array:
    """[H, W, 3] of the record of that name."""
    return data.decode(list(data.names).index(name))["real"].transpose(1, 2, 0)


def riff_files(archive: bytes) -> Iterator[bytes]:
    """The WebP files in an archive by their own headers, without the index."""
    at = 0
    while at < len(archive):
        assert archive[at : at + 4] == b"RIFF"
        assert archive[at + 8 : at + 12] == b"WEBP"
        end = at + 8 + int.from_bytes(archive[at + 4 : at + 8], "little")
        yield archive[at:end]
        at = end


@pytest.fixture
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("emoji_build", ROOT / "scripts" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty data directory that the data sets read in place of their own."""
    monkeypatch.setattr(data_sets, "DATA", tmp_path)
    data_sets.read_index.cache_clear()
    yield tmp_path
    data_sets.read_index.cache_clear()


# ---------------------------------------------------------------- what is in it


@pytest.mark.parametrize(("style", "column"), [("flat", 1), ("3d", 2)])
def test_counts_and_categories(style: str, column: int) -> None:
    data = Emoji(style=style)  # type: ignore[arg-type]
    assert data.spec.classes == tuple(row[0] for row in CATEGORIES)
    assert data.labels is not None
    assert data.labels.dtype == np.int64
    assert np.bincount(data.labels).tolist() == [row[column] for row in CATEGORIES]
    assert len(data) == len(data.captions or ()) == len(set(data.names)) == sum(row[column] for row in CATEGORIES)
    assert not any(tone in name for name in data.names for tone in ("1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF"))


def test_both_styles_one_after_the_other() -> None:
    flat, shaded, both = Emoji(), Emoji(style="3d"), Emoji(style="both")
    assert list(both.names) == [*flat.names, *shaded.names]
    assert Counter(name.split("/")[0] for name in both.names) == {"flat": 1898, "3d": 1572}
    assert np.array_equal(image(both, "3d/1F600"), image(shaded, "3d/1F600"))


def test_captions_belong_to_their_code_points() -> None:
    data = Emoji()
    captions = dict(zip(data.names, data.captions or (), strict=True))
    assert captions["flat/1F600"] == "grinning face"
    assert captions["flat/1F34B"] == "lemon"
    assert captions["flat/1F1EB-1F1F7"] == "france flag"
    assert all(caption and caption == caption.lower() for caption in captions.values())


@pytest.mark.parametrize(("style", "different"), [("flat", 1865), ("3d", 1571)])  # Twemoji draws families and some flags alike
def test_every_drawing_decodes_and_is_the_archives(style: str, different: int) -> None:
    content = (DATA / f"{style}.bin").read_bytes()
    assert json.loads((DATA / "index.json").read_bytes())["sha256"][style] == hashlib.sha256(content).hexdigest()
    files = list(riff_files(content))
    data = Emoji(style=style)  # type: ignore[arg-type]
    assert len(files) == len(data)
    seen = set()
    for i, file in enumerate(files):
        assert file[12:16] == b"VP8L"  # the lossless coder
        pixels = data.decode(i)["real"]
        with Image.open(io.BytesIO(file)) as webp:
            assert webp.mode == "RGB"
            assert webp.size == (64, 64)
            assert np.array_equal(pixels, np.moveaxis(np.array(webp), 2, 0)), data.names[i]
        assert pixels.dtype == np.uint8
        assert pixels.flags.c_contiguous
        assert (pixels < 250).any(0).sum() > 30, f"{data.names[i]} is blank"
        seen.add(pixels.tobytes())
    assert len(seen) == different


def test_known_colours() -> None:
    """Twemoji's published palette, where the drawing is plain: the heart, and France's flag on white."""
    data = Emoji()
    assert image(data, "flat/2764-FE0F")[32, 32].tolist() == [0xDD, 0x2E, 0x44]
    flag = image(data, "flat/1F1EB-1F1F7")
    assert [flag[32, x].tolist() for x in (8, 32, 56)] == [[0x00, 0x24, 0x95], [0xEE, 0xEE, 0xEE], [0xED, 0x29, 0x39]]
    assert flag[0, 0].tolist() == [255, 255, 255]


# ---------------------------------------------------------------- options


def test_categories_are_chosen_and_renumbered() -> None:
    data = Emoji(categories=("Flags", "Food & Drink"))
    assert data.spec.classes == ("Food & Drink", "Flags")
    assert data.labels is not None
    assert np.bincount(data.labels).tolist() == [135, 269]
    assert data.fingerprint() == Emoji(categories=("Food & Drink", "Flags")).fingerprint()
    with pytest.raises(ValueError, match=r"no category 'food'.*Objects.*Did you mean 'Food & Drink'"):
        Emoji(categories=("food",))


def test_labels_can_be_left_out() -> None:
    for data in (Emoji(labels=False), EmojiPairs(labels=False)):
        assert data.labels is None
        assert data.spec.classes == ()


@pytest.mark.parametrize("side", [32, 16])
def test_smaller_is_the_mean_of_blocks(side: int) -> None:
    k = 64 // side
    small, full = Emoji(res=(side, side)), Emoji()
    for i in (0, 500, 1800):
        blocks = full.decode(i)["real"].astype(np.float64).reshape(3, side, k, side, k).mean((2, 4))
        # Pillow rounds after each of its two passes
        assert np.abs(small.decode(i)["real"] - blocks).max() <= 1.0


def test_no_reduction_rings() -> None:
    """A smooth filter without negative lobes never leaves the range of the pixels under it: white stays white beside black."""
    full, small = image(Emoji(), "flat/2B1B"), image(Emoji(res=(48, 48)), "flat/2B1B")  # a large black square
    assert small.min() >= full.min()
    assert small.max() <= full.max()
    row = small[24, :24].astype(int).sum(1)
    assert (np.diff(row) <= 0).all()


def test_other_shapes_keep_the_emoji_square() -> None:
    wide, square = Emoji(res=(32, 80)), Emoji(res=(32, 32))
    assert wide.spec.shape == (3, 32, 80)
    pixels = wide.decode(0)["real"]
    assert pixels.shape == (3, 32, 80)
    assert np.array_equal(pixels[:, :, 24:56], square.decode(0)["real"])
    assert (pixels[:, :, :24] == 255).all()
    assert (pixels[:, :, 56:] == 255).all()
    assert Emoji(res=(128, 128)).decode(0)["real"].shape == (3, 128, 128)
    with pytest.raises(ValueError, match="at least 1"):
        Emoji(res=(0, 32))


def test_fingerprints_tell_settings_apart() -> None:
    variants = [
        Emoji(),
        Emoji(style="3d"),
        Emoji(style="both"),
        Emoji(res=(32, 32)),
        Emoji(labels=False),
        Emoji(categories=("Flags",)),
        EmojiPairs(),
        EmojiPairs(source="3d", target="flat"),
        EmojiPairs(res=(32, 32)),
        EmojiPairs(split="all"),
        EmojiPairs(split="held-out"),
        EmojiUnpaired(),
        EmojiUnpaired(source="3d", target="flat"),
        EmojiStyles(),
        EmojiStyles(styles=("flat", "3d")),
        EmojiStyles(styles=("outlines", "3d", "flat")),
    ]
    assert len({data.fingerprint() for data in variants}) == len(variants)
    assert Emoji(res=(64, 64)).fingerprint() == Emoji().fingerprint()  # what None means


# ---------------------------------------------------------------- pairs


def test_pairs_are_aligned() -> None:
    pairs, flat, shaded = EmojiPairs(split="all"), Emoji(), Emoji(style="3d")
    assert [f"3d/{name}" for name in pairs.names] == list(shaded.names)
    assert pairs.captions == shaded.captions
    assert pairs.labels is not None
    assert np.array_equal(pairs.labels, shaded.labels)
    assert pairs.spec.source is not None
    assert pairs.spec.source.shape == pairs.spec.shape == (3, 64, 64)
    for i in (0, 700, 1571):
        record = pairs.decode(i)
        assert record.keys() == {"real", "source"}
        assert np.array_equal(record["source"].transpose(1, 2, 0), image(flat, f"flat/{pairs.names[i]}"))
        assert np.array_equal(record["real"].transpose(1, 2, 0), image(shaded, f"3d/{pairs.names[i]}"))


def test_pairs_turn_round() -> None:
    there, back = EmojiPairs().decode(9), EmojiPairs(source="3d", target="flat").decode(9)
    assert np.array_equal(there["real"], back["source"])
    assert np.array_equal(there["source"], back["real"])
    with pytest.raises(ValueError, match="both 'flat'"):
        EmojiPairs(target="flat")


def test_pairs_show_the_same_thing() -> None:
    """Both styles draw one emoji in like colours: for most, the partner's mean colour is nearer than a stranger's."""
    pairs = EmojiPairs(res=(4, 4))
    records = [pairs.decode(i) for i in range(0, len(pairs), 5)]
    a, b = (np.stack([r[field].reshape(-1) for r in records]).astype(np.float64) for field in ("source", "real"))
    partner = ((a - b) ** 2).sum(1)
    strangers = ((a - np.roll(b, len(b) // 2, 0)) ** 2).sum(1)
    assert (partner < strangers).mean() > 0.8


def test_what_is_held_out_is_in_no_training_set() -> None:
    held = set(EmojiPairs(split="held-out").names)
    assert 100 < len(held) < 220
    assert held.isdisjoint(EmojiPairs().names)
    assert len(EmojiPairs()) + len(held) == len(EmojiPairs(split="all"))
    assert held.isdisjoint(code for name in EmojiUnpaired().names for code in name.split())
    assert held.isdisjoint(name.split("/")[1] for name in EmojiStyles().names)
    assert {name.split("/")[1] for name in EmojiStyles(split="held-out").names} == held


def test_no_emoji_is_on_both_sides_of_the_unpaired() -> None:
    data, flat, shaded = EmojiUnpaired(), Emoji(), Emoji(style="3d")
    targets, sources = (set(side) for side in zip(*(name.split() for name in data.names), strict=True))
    assert targets.isdisjoint(sources)
    assert targets | sources == set(EmojiPairs().names)
    assert len(data) == max(len(targets), len(sources))
    target, source = data.names[3].split()
    assert np.array_equal(data.decode(3)["real"].transpose(1, 2, 0), image(shaded, f"3d/{target}"))
    assert np.array_equal(data.decode(3)["source"].transpose(1, 2, 0), image(flat, f"flat/{source}"))


def test_two_sides_take_emoji_on_either() -> None:
    with pytest.raises(ValueError, match="emoji-unpaired: 1 emoji are too few .*; take more categories, another split"):
        EmojiUnpaired(categories=("Flags",), split="held-out")


def test_styles_are_domains() -> None:
    data = EmojiStyles()
    assert data.spec.domains == data.spec.classes == ("flat", "3d", "outlines")
    assert data.labels is not None
    assert len(set(np.bincount(data.labels).tolist())) == 1
    at = list(data.names).index("outlines/25FE")  # a small black square: a dark frame on white, white inside
    lines = data.decode(at)["real"]
    assert data.labels[at] == 2
    assert lines.shape == (3, 64, 64)
    assert (lines[:, 32, 32] == 255).all()
    assert (lines[:, 32] < 100).any()
    with pytest.raises(ValueError, match="at least two, each once"):
        EmojiStyles(styles=("flat",))


# ---------------------------------------------------------------- cost and packaging


def test_constructors_read_no_pixels(elsewhere: Path) -> None:
    (elsewhere / "index.json").write_bytes((DATA / "index.json").read_bytes())  # and no archive
    for data in (Emoji(style="both"), EmojiPairs(), EmojiUnpaired(), EmojiStyles()):
        assert len(data) > 600
        assert data.fingerprint()
        with pytest.raises(FileNotFoundError):
            data.decode(0)


def test_entry_module_is_light() -> None:
    code = "import sys, ganzoo_emoji; sys.exit(bool({'torch', 'numpy', 'PIL'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_components_lead_to_their_targets() -> None:
    components = {c.name: c for c in ganzoo_emoji.ganzoo_components()}
    targets = {"emoji": Emoji, "emoji-pairs": EmojiPairs, "emoji-styles": EmojiStyles, "emoji-unpaired": EmojiUnpaired}
    assert components.keys() == targets.keys()
    for name, target in targets.items():
        component = components[name]
        module, _, attribute = component.target.partition(":")
        assert getattr(importlib.import_module(module), attribute) is target
    for name, data in (("emoji", Emoji()), ("emoji-pairs", EmojiPairs(split="all"))):
        assert f"{len(data):,}" in components[name].summary
    assert f"{len(EmojiStyles(split='all', styles=('flat', '3d'))) // 2:,}" in components["emoji-styles"].summary


def test_wheel_is_small_and_whole(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="the wheel is built without isolation, which needs hatchling")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size <= 12_000_000
    with zipfile.ZipFile(wheel) as archive:
        for name in ("flat.bin", "3d.bin", "index.json", "LICENSES.md"):
            assert archive.read(f"ganzoo_emoji/data/{name}") == (DATA / name).read_bytes()
        assert "ganzoo_emoji/py.typed" in archive.namelist()


# ---------------------------------------------------------------- the script that built it


def test_script_composes_on_white_and_pads(build: ModuleType, tmp_path: Path) -> None:
    Image.new("RGBA", (256, 264), (255, 0, 0, 128)).save(tmp_path / "a.png")
    with Image.open(io.BytesIO(build.encode(tmp_path / "a.png"))) as file:
        pixels = np.array(file)
    assert pixels.shape == (64, 64, 3)
    assert pixels[32, 32].tolist() == [255, 127, 127]  # 255 (1 - 128/255)
    assert pixels[32, 0, 1] > 200
    assert pixels[32, 63, 1] > 200
    assert (pixels[32, 2:62] == [255, 127, 127]).all()
    assert pixels[0, 32].tolist() == [255, 127, 127]


def test_script_and_data_set_agree(build: ModuleType, elsewhere: Path, tmp_path: Path) -> None:
    shades = {"flat": [10, 20, 30], "3d": [110, 120]}
    for style, values in shades.items():
        for i, value in enumerate(values):
            Image.new("RGBA", (64, 64), (value, value, value, 255)).save(tmp_path / f"{style}{i}.png")
    rows = [
        build.Row("A", "Letters", "first", {"flat": tmp_path / "flat0.png", "3d": tmp_path / "3d0.png"}),
        build.Row("B", "Digits", "flat only", {"flat": tmp_path / "flat1.png"}),
        build.Row("C", "Letters", "last", {"flat": tmp_path / "flat2.png", "3d": tmp_path / "3d1.png"}),
    ]
    files = build.build(rows)
    assert files == build.build(rows)
    for name, content in files.items():
        (elsewhere / name).write_bytes(content)
    flat, pairs = Emoji(), EmojiPairs()
    assert flat.spec.classes == ("Letters", "Digits")
    assert flat.labels is not None
    assert flat.labels.tolist() == [0, 1, 0]
    assert [int(flat.decode(i)["real"].mean()) for i in range(3)] == shades["flat"]
    assert list(pairs.names) == ["A", "C"]
    assert pairs.captions == ["first", "last"]
    assert [int(pairs.decode(i)["real"].mean()) for i in range(2)] == shades["3d"]
