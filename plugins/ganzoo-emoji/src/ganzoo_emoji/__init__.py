"""The emoji: two data sets of images inside the wheel, for trainings that need no download."""

from __future__ import annotations

from collections.abc import Iterator

from ganzoo.plugin import Component, hookimpl

ganzoo_api = 1

_LICENCE = "CC-BY-4.0 AND MIT"  # of the drawings: flat, 3d


@hookimpl
def ganzoo_components() -> Iterator[Component]:
    yield Component(
        "dataset",
        "emoji",
        "ganzoo_emoji.data_sets:Emoji",
        summary="1,898 flat and 1,572 3-D emoji, 64x64 colour, 9 classes, captions",
        licence=_LICENCE,
        modality=frozenset({"image"}),
    )
    yield Component(
        "dataset",
        "emoji-pairs",
        "ganzoo_emoji.data_sets:EmojiPairs",
        summary="1,572 emoji drawn twice, flat and 3-D: aligned pairs for translation",
        licence=_LICENCE,
        modality=frozenset({"image"}),
    )
