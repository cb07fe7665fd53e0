"""Networks for image-to-image translation."""

from __future__ import annotations

from collections.abc import Iterator

from ganzoo.plugin import Component, hookimpl

ganzoo_api = 1

ADAM = {"optimizer": "adam", "lr": 2e-4, "betas": [0.5, 0.999]}  # Isola et al. 2017, section 3.3


@hookimpl
def ganzoo_components() -> Iterator[Component]:
    yield Component(
        "discriminator",
        "patch",
        "ganzoo_translation.patch:PatchDiscriminator",
        summary="A logit for each patch: local, of few parameters, with or without a source image beside",
        paper="arXiv:1611.07004",
        provides=frozenset({"head", "features", "double-backward"}),
        modality=frozenset({"image"}),
        resolutions="any from 8",
        couples="batch norm, where norm says so",
        recommends={
            **{f"{player}.{key}": value for player in "GD" for key, value in ADAM.items()},
            "loss": "lsgan",
            "gen": "dcgan",
        },
        aliases=("PatchGAN", "Markovian discriminator", "NLayerDiscriminator", "pix2pix", "CycleGAN"),
    )
