"""Lite0 against timm's own model, on pictures whose class is known, and what it promises a discriminator."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

import ganzoo_lite0
from ganzoo.plugin import DataSpec
from ganzoo.registry import get_registry
from ganzoo.testing import CHECKS
from ganzoo_lite0 import network
from ganzoo_lite0.network import WEIGHTS, Lite0

ROOT = Path(__file__).resolve().parent.parent
RGB, GREY = DataSpec("image", (3, 64, 64)), DataSpec("image", (1, 64, 64))
# Emoji that look like their ImageNet class, with its number. Chance would find one of 200 in the first five of 1,000.
PICTURES = {
    "umbrella": 879, "soccer ball": 805, "volleyball": 890, "violin": 889, "accordion": 401, "screwdriver": 784, "hammer": 587,
    "parachute": 701, "desktop computer": 527, "television": 851, "abacus": 398, "joystick": 613, "bow and arrow": 456,
    "lemon": 951, "banana": 954, "strawberry": 949, "pineapple": 953, "hot dog": 934, "pretzel": 932, "mushroom": 947,
    "snail": 113, "scorpion": 71, "lobster": 122, "hedgehog": 334, "ambulance": 407, "fire engine": 555, "guitar": 402,
}  # fmt: skip


@pytest.fixture(scope="module")
def lite0() -> Lite0:
    return Lite0(RGB)


@pytest.fixture(scope="module")
def plain() -> nn.Module:
    """timm's model with the weights set by hand, batch norm and all."""
    model = timm.create_model("tf_efficientnet_lite0")
    with torch.no_grad():
        weights = load_file(WEIGHTS)
        for name, tensor in model.state_dict(keep_vars=True).items():
            tensor.copy_(weights.pop(name))
    assert not weights
    return model.eval()


def images(*size: int, n: int = 2, channels: int = 3) -> Tensor:
    """Smooth and rough at once, in [-1, 1]."""
    generator = torch.Generator().manual_seed(0)
    coarse = F.interpolate(torch.rand(n, channels, 4, 4, generator=generator), size, mode="bicubic")
    return (coarse + 0.3 * torch.rand(n, channels, *size, generator=generator)).mul(1.5).sub(1).clamp(-1, 1)


def logits(lite0: Lite0, pictures: Tensor) -> Tensor:
    """Of the 1,000 ImageNet classes, by the classifier that the file holds beside the features."""
    weights = load_file(WEIGHTS)
    return F.linear(lite0(pictures), weights["classifier.weight"], weights["classifier.bias"])


# ---- the numbers


@pytest.mark.parametrize("check", CHECKS["features"], ids=lambda c: c.__name__)
@pytest.mark.parametrize("data", [RGB, GREY], ids=["rgb", "grey"])
def test_the_contract(check: object, data: DataSpec) -> None:
    check(get_registry().find("features", "lite0"), data)  # type: ignore[operator]


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 96), (128, 128)], ids=str)
def test_it_equals_timm(lite0: Lite0, plain: nn.Module, size: tuple[int, int]) -> None:
    shown = images(*size)
    seen: list[Tensor] = []
    hooks = [plain.blocks[i].register_forward_hook(lambda m, a, out: seen.append(out.clone())) for i in (1, 2, 4, 6)]
    with torch.no_grad():
        vector = plain.forward_head(plain.forward_features(shown), pre_logits=True)
        said = plain(shown)
        for hook in hooks:
            hook.remove()
        torch.testing.assert_close(lite0(shown), vector, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(logits(lite0, shown), said, rtol=1e-3, atol=1e-3)
        for one, other in zip(lite0.maps(shown), seen[:4], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)


def test_padding_is_tensorflows(lite0: Lite0) -> None:
    """An even side with a stride of 2 and a kernel of 3 is padded after the last pixel only."""
    shown = images(32, 32)
    stem = lite0.network.conv_stem
    with torch.no_grad():
        by_hand = F.conv2d(F.pad(shown, (0, 1, 0, 1)), stem.weight, stem.bias, stride=2)
        torch.testing.assert_close(stem(shown), by_hand)


def test_grey_is_the_same_in_three_channels(lite0: Lite0) -> None:
    grey = images(64, 64, channels=1)
    with torch.no_grad():
        assert torch.equal(Lite0(GREY)(grey), lite0(grey.repeat(1, 3, 1, 1)))


def test_it_knows_emoji(lite0: Lite0) -> None:
    registry = get_registry()
    if "emoji" not in [entry.name for entry in registry.select("dataset")]:
        pytest.skip("ganzoo-emoji is not installed")
    emoji = registry.build(registry.find("dataset", "emoji"), {"style": "3d"}, None)
    where = {caption: i for i, caption in enumerate(emoji.captions)}
    drawn = torch.from_numpy(np.stack([emoji.decode(where[name])["real"] for name in PICTURES])) / 127.5 - 1
    with torch.no_grad():
        best = logits(lite0, F.interpolate(drawn, (128, 128), mode="bicubic").clamp(-1, 1)).topk(5).indices
    found = sum(number in row for number, row in zip(PICTURES.values(), best.tolist(), strict=True))
    assert found > len(PICTURES) / 2


@pytest.mark.parametrize(("photo", "classes"), [("chelsea", {281, 282, 285}), ("coffee", {504, 967}), ("rocket", {657, 744})])
def test_it_knows_photographs(lite0: Lite0, photo: str, classes: set[int]) -> None:
    data = pytest.importorskip("skimage.data", reason="the photographs are scikit-image's")
    picture = torch.from_numpy(getattr(data, photo)().copy()).permute(2, 0, 1)[None] / 127.5 - 1
    side = min(picture.shape[2:])
    top, left = ((n - side) // 2 for n in picture.shape[2:])
    cut = picture[:, :, top : top + side, left : left + side]
    with torch.no_grad():
        best = logits(lite0, F.interpolate(cut, (224, 224), mode="bicubic", antialias=True).clamp(-1, 1)).argmax()
    assert int(best) in classes


# ---- how it behaves


@pytest.mark.parametrize("size", [(1, 1), (8, 20), (31, 32)], ids=str)
def test_any_size(lite0: Lite0, size: tuple[int, int]) -> None:
    maps = lite0.maps(images(*size))
    for found, width, stride in zip(maps, (24, 40, 112, 320), (4, 8, 16, 32), strict=True):
        assert found.shape == (2, width, -(-size[0] // stride), -(-size[1] // stride))
    assert lite0(images(*size)).shape == (2, 1280)


def test_other_data_are_refused() -> None:
    for data in (DataSpec("image", (4, 32, 32)), DataSpec("points", (2,)), DataSpec("signal", (1, 64))):
        with pytest.raises(ValueError, match=r"lite0 sees images of 1 or 3 channels.*\["):
            Lite0(data)


def test_building_draws_no_random_number() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    Lite0(RGB)
    assert torch.equal(before, torch.get_rng_state())


def test_no_file_is_read_on_meta(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(network, "WEIGHTS", tmp_path / "missing.safetensors")
    with torch.device("meta"):
        assert Lite0(RGB)(torch.empty(2, 3, 64, 64)).shape == (2, 1280)
    with pytest.raises(FileNotFoundError):
        Lite0(RGB)


def test_wrong_weights_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    weights = load_file(WEIGHTS)
    del weights["bn2.running_var"]
    save_file(weights, tmp_path / "cut.safetensors")
    monkeypatch.setattr(network, "WEIGHTS", tmp_path / "cut.safetensors")
    with pytest.raises(RuntimeError, match=r"bn2\.running_var"):
        Lite0(RGB)


def test_autocast_is_left_out_on_the_cpu(lite0: Lite0) -> None:
    shown = images(64, 64)
    with torch.no_grad():
        expected = lite0(shown)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(lite0(shown), expected)
            assert lite0(shown.bfloat16()).dtype == torch.float32


@pytest.mark.gpu
def test_it_says_the_same_on_a_gpu(lite0: Lite0) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    shown = images(64, 64)
    with torch.device("cuda"):
        built_there = Lite0(RGB)
    assert {p.device.type for p in built_there.parameters()} == {"cuda"}
    with torch.no_grad():
        torch.testing.assert_close(built_there(shown.cuda()).cpu(), lite0(shown), rtol=1e-2, atol=1e-2)
        with torch.autocast("cuda", torch.bfloat16):
            assert built_there(shown.cuda()).isfinite().all()


# ---- packaging


def test_entry_module_is_light() -> None:
    code = "import sys, ganzoo_lite0; sys.exit(bool({'torch', 'numpy', 'timm', 'safetensors'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    code = "import sys, ganzoo_lite0.network; sys.exit('timm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_component_leads_to_the_network() -> None:
    (component,) = ganzoo_lite0.ganzoo_components()
    assert component.target == f"{Lite0.__module__}:{Lite0.__qualname__}"
    assert (component.kind, component.name, component.licence) == ("features", "lite0", "Apache-2.0")


def test_the_wheel_holds_weights_and_licences(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="the wheel is built without isolation, which needs hatchling")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size <= 18_000_000
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("ganzoo_lite0/data/lite0.safetensors") == WEIGHTS.read_bytes()
        held = archive.namelist()
    for name in ("LICENSE", "src/ganzoo_lite0/data/LICENSES.md", "src/ganzoo_lite0/data/LICENSE-APACHE"):
        assert any(member.endswith(f".dist-info/licenses/{name}") for member in held)


# ---- the script that made the weights


@pytest.fixture
def convert(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("lite0_convert", ROOT / "scripts" / "convert.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_script_renames_in_order_and_refuses_others(convert: ModuleType) -> None:
    theirs = {f"_{name}": value for name, value in load_file(WEIGHTS).items()}
    ordered = {f"_{name}": theirs[f"_{name}"] for name in timm.create_model("tf_efficientnet_lite0").state_dict()}
    renamed = convert.rename(ordered)
    assert {f"_{name}" for name in renamed} == set(theirs)
    assert all(torch.equal(value, theirs[f"_{name}"]) for name, value in renamed.items())
    one, two = list(ordered)[1:3]  # a weight and a bias of one length
    ordered[one], ordered[two] = ordered[two], ordered[one]
    names = [{one: two, two: one}.get(name, name) for name in ordered]
    with pytest.raises(ValueError, match="cannot be"):
        convert.rename(dict(zip(names, ordered.values(), strict=True)))


def test_the_script_knows_its_source_by_its_digest(convert: ModuleType, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as archive:
        archive.writestr(convert.MEMBER, b"not the weights")
    with pytest.raises(ValueError, match=hashlib.sha256(b"not the weights").hexdigest()):
        convert.read(tmp_path / "other.whl")


def test_the_file_says_where_it_is_from(convert: ModuleType) -> None:
    with WEIGHTS.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    assert convert.PACKAGE in header["__metadata__"]["source"]
