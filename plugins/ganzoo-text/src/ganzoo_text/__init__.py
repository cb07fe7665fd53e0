"""Text to image: captions, encoders of them, networks that look at them, and wrong-caption pairs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ganzoo.plugin import Component, hookimpl

ganzoo_api = 1

GAN_CLS = "arXiv:1605.05396"
ADAM = {"optimizer": "adam", "lr": 2e-4, "betas": [0.5, 0.999]}  # Reed et al. 2016, section 5
RECOMMENDS: dict[str, Any] = {
    **{f"{player}.{key}": value for player in "GD" for key, value in ADAM.items()},
    "D.steps": 1,
    "loss": "non-saturating",
}
COUPLES = "batch norm, unless norm says otherwise"


@hookimpl
def ganzoo_components() -> Iterator[Component]:
    yield Component(
        "generator",
        "text-dcgan",
        "ganzoo_text.networks:TextDCGANGenerator",
        summary="DCGAN with the caption's vector, through a learned layer, beside the noise",
        paper=GAN_CLS,
        needs=frozenset({"text"}),
        modality=frozenset({"image"}),
        resolutions="power of two from 8",
        couples=COUPLES,
        recommends={**RECOMMENDS, "disc": "text"},
        aliases=("GAN-CLS", "text to image"),
    )
    yield Component(
        "discriminator",
        "text",
        "ganzoo_text.networks:TextDiscriminator",
        summary="Strided convolutions: whether it is an image, and by projection whether it is one of its caption",
        paper=GAN_CLS,
        provides=frozenset({"head", "features", "matching", "double-backward"}),
        needs=frozenset({"text"}),
        modality=frozenset({"image"}),
        resolutions="power of two from 8",
        couples=COUPLES,
        recommends={**RECOMMENDS, "gen": "text-dcgan", "reg": ["matching-aware"]},
        aliases=("GAN-CLS", "text to image"),
    )
    yield Component(
        "regularizer",
        "matching-aware",
        "ganzoo_text.matching:MatchingAware",
        summary="Real images with wrong captions are half of what D is to find out",
        paper=GAN_CLS,
        needs=frozenset({"matching"}),
        couples="the wrong captions, which come from the same batch",
        aliases=("GAN-CLS", "wrong-caption pairs", "mismatched text"),
    )
    yield Component(
        "dataset",
        "captioned",
        "ganzoo_text.data_sets:Captioned",
        summary="Images with captions: a folder with text files or a table, or any data set that has captions",
        provides=frozenset({"text"}),
        modality=frozenset({"image"}),
        trial="ganzoo_text.samples:folder",
        aliases=("imagefolder", "text to image"),
    )
    yield Component(
        "encoder",
        "hashed-words",
        "ganzoo_text.encoders:HashedWords",
        summary="Words and pairs of words, counted in hashed buckets: needs no weights",
        paper="arXiv:0902.2206",
        aliases=("bag of words", "feature hashing"),
    )
    yield Component(
        "encoder",
        "minilm",
        "ganzoo_text.minilm:MiniLM",
        summary="all-MiniLM-L6-v2: sentences by meaning, weights from an installed package",
        paper="arXiv:2002.10957",
        licence="Apache-2.0",
        aliases=("all-MiniLM-L6-v2", "sentence-transformers"),
    )
    for name, summary in (
        ("text-to-image", "GAN-CLS at 64x64, with the settings of its paper"),
        ("text-to-image-small", "GAN-CLS from names of emoji to drawings at 32x32, fifteen minutes on two CPU cores"),
    ):
        yield Component(
            "recipe",
            name,
            f"ganzoo_text:recipes/{name}.toml",
            summary=summary,
            paper=GAN_CLS,
            modality=frozenset({"image"}),
        )
