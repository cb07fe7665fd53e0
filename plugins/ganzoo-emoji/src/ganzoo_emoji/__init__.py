"""The emoji: data sets of images inside the wheel, for trainings that need no download."""

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
    for name, target, summary in (
        ("emoji-pairs", "EmojiPairs", "1,572 emoji drawn twice, flat and 3-D: aligned pairs for translation"),
        ("emoji-unpaired", "EmojiUnpaired", "Emoji in two styles, no emoji in both: translation without pairs"),
        ("emoji-styles", "EmojiStyles", "1,572 emoji flat, 3-D and in outlines: a domain a style"),
    ):
        yield Component(
            "dataset",
            name,
            f"ganzoo_emoji.data_sets:{target}",
            summary=summary,
            licence=_LICENCE,
            provides=frozenset({"aligned"}) if name == "emoji-pairs" else frozenset(),
            modality=frozenset({"image"}),
        )
