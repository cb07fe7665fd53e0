"""The features `lite0`: timm's network with the weights beside this file (`data/`; scripts/convert.py wrote them)."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ganzoo.interfaces import DataSpec, Features

__all__ = ["Lite0"]

WEIGHTS = Path(__file__).resolve().parent / "data" / "lite0.safetensors"
_TAPS = (1, 2, 4, 6)  # the last stage of each resolution


class Lite0(Features):
    """EfficientNet-Lite0 (Tan and Le 2019, without squeeze-and-excitation and with ReLU6), trained on ImageNet.

    Images in [-1, 1] are what it was trained on: mean and standard deviation are .5. Nothing is resized: it takes any size and
    was trained at 224; below 32 the deepest map is a single place, and below about 96 the vector says little of what a picture
    shows. Raises ValueError for data that are no images of 1 or 3 channels.
    """

    channels = (24, 40, 112, 320)
    strides = (4, 8, 16, 32)
    width = 1280
    size = 128  # at 64 its distances explode, at 224 it takes three times as long

    def __init__(self, data: DataSpec) -> None:
        super().__init__()
        if data.modality != "image" or data.channels not in (1, 3):
            raise ValueError(f"lite0 sees images of 1 or 3 channels, not {data.modality} data of shape {list(data.shape)}")
        self.network = _folded(_trained()).requires_grad_(False)
        self.train()

    def maps(self, images: Tensor) -> tuple[Tensor, ...]:
        with _fp32_on_cpu(images):
            x = self.network.bn1(self.network.conv_stem(self._rgb(images)))
            out = []
            for i, stage in enumerate(self.network.blocks):
                x = stage(x)
                if i in _TAPS:
                    out.append(x)
        return tuple(out)

    def forward(self, images: Tensor) -> Tensor:
        with _fp32_on_cpu(images):
            vector: Tensor = self.network.forward_features(self._rgb(images)).mean((2, 3))
        return vector

    def _rgb(self, images: Tensor) -> Tensor:
        images = images.to(self.network.conv_stem.weight.dtype)  # fakes come in bf16 where autocast made them
        return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def _trained() -> nn.Module:
    """The network as it was trained, in eval mode, on the default device; on the meta device no file is read."""
    import timm  # three seconds, and only when built

    device = torch.get_default_device()
    with torch.device("meta"):  # so that no random number is drawn for weights that are then replaced
        network: nn.Module = timm.create_model("tf_efficientnet_lite0")
    if device.type != "meta":
        from safetensors.torch import load_file

        network.load_state_dict(load_file(WEIGHTS, device=str(device)), assign=True)
    network.classifier = nn.Identity()
    return network.eval()


def _folded(module: nn.Module) -> nn.Module:
    """`module` with each batch norm, frozen as it is, multiplied into the convolution before it: a third faster."""
    before = ""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Conv2d):
            before = name
        elif isinstance(child, nn.BatchNorm2d):
            setattr(module, before, fuse_conv_bn_eval(getattr(module, before), child))
            setattr(module, name, child.act)  # timm's batch norm carries the activation
        else:
            _folded(child)
    return module


def _fp32_on_cpu(images: Tensor) -> AbstractContextManager[Any]:
    """On the CPU depthwise convolutions in bf16 take twice the time and more: autocast is left to other devices."""
    return torch.autocast("cpu", enabled=False) if images.device.type == "cpu" else nullcontext()
