"""Fashion-MNIST inside the wheel: the quantitative data set, large enough to count and to compare on."""

from __future__ import annotations

from collections.abc import Iterator

from ganzoo.plugin import Component, hookimpl

ganzoo_api = 1


@hookimpl
def ganzoo_components() -> Iterator[Component]:
    yield Component(
        "dataset",
        "fashion",
        "ganzoo_fashion.data_sets:Fashion",
        summary="Fashion-MNIST: 60,000 and 10,000 grey pictures of clothes, 28x28 or padded to 32x32, 10 classes",
        paper="arXiv:1708.07747",
        licence="MIT",
        modality=frozenset({"image"}),
        aliases=("fashion-mnist",),
    )
    yield Component(
        "dataset",
        "stacked",
        "ganzoo_fashion.data_sets:Stacked",
        summary="Three pictures of clothes at random as red, green and blue: 1,000 modes to count",
        paper="arXiv:1611.02163",
        licence="MIT",
        modality=frozenset({"image"}),
        aliases=("stacked-mnist", "stacked-fashion-mnist"),
    )
