"""FastGAN and Projected GAN, and timm's backbones as discriminators and frozen features."""

from __future__ import annotations

from collections.abc import Iterator

from ganzoo.plugin import Component, hookimpl

ganzoo_api = 1

FASTGAN, PROJECTED = "arXiv:2101.04775", "arXiv:2111.01007"
IMAGE = frozenset({"image"})
# Sauer et al. 2021, authors' code beside FastGAN
LEARNS = {"optimizer": "adam", "lr": 2e-4, "betas": [0.0, 0.99], "steps": 1}
ADAM = {f"{player}.{key}": value for player in "GD" for key, value in LEARNS.items()}


@hookimpl
def ganzoo_components() -> Iterator[Component]:
    yield Component(
        "generator",
        "fastgan",
        "ganzoo_projected.fastgan:FastGANGenerator",
        summary="Few convolutions, and small maps that gate the channels of large ones; trains in hours on few images",
        paper=FASTGAN,
        modality=IMAGE,
        resolutions="power of two from 8",
        labels="used",
        couples="batch norm",
        recommends={**ADAM, "loss": "hinge", "disc": "projected"},
        aliases=("lightweight GAN", "SLE", "skip-layer excitation", "few-shot GAN"),
    )
    yield Component(
        "discriminator",
        "projected",
        "ganzoo_projected.projected:ProjectedDiscriminator",
        summary="Frozen pretrained features, mixed at random across channels and scales, a small head for each scale",
        paper=PROJECTED,
        provides=frozenset({"features", "double-backward"}),
        modality=IMAGE,
        resolutions="any from 8",
        labels="used",
        couples="batch norm in the heads, unless norm says otherwise",
        recommends={
            **ADAM,
            "loss": "hinge",
            "reg": ["spectral-norm"],
            "aug": {"name": "diffaugment", "cutout": 0.2},
            "gen": "fastgan",
        },
        aliases=("Projected GAN", "PGAN", "pretrained discriminator"),
    )
    yield Component(
        "discriminator",
        "timm",
        "ganzoo_projected.backbones:TimmDiscriminator",
        summary="Any of timm's image backbones (convolutional, transformers), trained or frozen, with a linear head",
        provides=frozenset({"head", "features", "double-backward"}),
        modality=IMAGE,
        resolutions="any from 8",
        labels="used",
        couples="batch norm, in backbones that have it (the default has)",
        recommends={**ADAM, "loss": "non-saturating", "reg": ["r1"], "gen": "fastgan"},
        aliases=("pytorch-image-models", "backbone", "vision transformer"),
    )
    yield Component(
        "features",
        "timm",
        "ganzoo_projected.backbones:TimmFeatures",
        summary="Frozen maps of any of timm's image backbones",
        modality=IMAGE,
        trial={"backbone": "test_resnet", "pretrained": False},
        aliases=("pytorch-image-models",),
    )
    yield Component(
        "features",
        "dinov2",
        "ganzoo_projected.backbones:Dinov2",
        summary="DINOv2's large vision transformer, frozen: what FD-DINOv2 is measured in",
        paper="arXiv:2304.07193",
        licence="Apache-2.0",
        modality=IMAGE,
        trial={"backbone": "vit_small_patch14_dinov2", "pretrained": False},
        aliases=("dino",),
    )
    for name, summary in [
        ("projected", "Projected GAN with FastGAN's generator at 256x256, as published"),
        ("projected-small", "Projected GAN on emoji at 64x64, in forty minutes on two CPU cores"),
    ]:
        yield Component(
            "recipe",
            name,
            f"ganzoo_projected:recipes/{name}.toml",
            summary=summary,
            paper=PROJECTED,
            modality=IMAGE,
        )
