"""Image to image: translators, super-resolution, and the games, terms and data that they are trained with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ganzoo.plugin import Component, hookimpl

ganzoo_api = 1

FILES = "ganzoo_translation.samples"  # on which the data sets are tried
CYCLEGAN = "arXiv:1703.10593"
PIX2PIX, STARGAN = "arXiv:1611.07004", "arXiv:1711.09020"
SRGAN, ESRGAN = "arXiv:1609.04802", "arXiv:1809.00219"
ADAM = {"optimizer": "adam", "lr": 2e-4, "betas": [0.5, 0.999]}  # Isola et al. 2017, section 3.3


RECOMMENDS: dict[str, Any] = {f"{player}.{key}": value for player in "GD" for key, value in ADAM.items()}


@hookimpl
def ganzoo_components() -> Iterator[Component]:
    yield Component(
        "generator",
        "resnet-translator",
        "ganzoo_translation.translators:ResnetTranslator",
        summary="CycleGAN's translator: residual blocks at a quarter of the size",
        paper=CYCLEGAN,
        provides=frozenset({"translate"}),
        modality=frozenset({"image"}),
        resolutions="multiple of 4 from 8",
        couples="batch norm, where norm says so",
        recommends={**RECOMMENDS, "disc": "patch"},
        aliases=("CycleGAN", "Johnson"),
    )
    yield Component(
        "generator",
        "unet",
        "ganzoo_translation.translators:UNet",
        summary="pix2pix's translator: down to one pixel and back, with skips",
        paper=PIX2PIX,
        provides=frozenset({"translate"}),
        modality=frozenset({"image"}),
        resolutions="any from 8",
        couples="batch norm, unless norm says otherwise",
        recommends={**RECOMMENDS, "disc": "patch:norm=batch", "loss": "non-saturating"},
        aliases=("pix2pix", "U-Net"),
    )
    yield Component(
        "generator",
        "stargan",
        "ganzoo_translation.stargan:StarGenerator",
        summary="One translator for all classes: the class to become comes in as planes",
        paper=STARGAN,
        provides=frozenset({"translate"}),
        modality=frozenset({"image"}),
        resolutions="multiple of 4 from 8",
        labels="required",
        recommends={"disc": "stargan", "game": "multi-domain", "reg": ["domain-reconstruction"]},
        aliases=("StarGAN",),
    )
    for name, target, summary, paper in (
        ("srresnet", "SRResNet", "SRGAN's generator: residual blocks at the small size, pixel shuffle", SRGAN),
        ("rrdb", "RRDBGenerator", "ESRGAN's generator: residual-in-residual dense blocks without norms", ESRGAN),
    ):
        yield Component(
            "generator",
            name,
            f"ganzoo_translation.superres:{target}",
            summary=summary,
            paper=paper,
            provides=frozenset({"translate"}),
            modality=frozenset({"image"}),
            couples="batch norm, where norm says so" if name == "srresnet" else "",
            recommends={"disc": "patch", "loss": "non-saturating"},
            trial={"blocks": 2},
            aliases=("super-resolution", "SRGAN" if name == "srresnet" else "ESRGAN"),
        )
    yield Component(
        "discriminator",
        "stargan",
        "ganzoo_translation.stargan:StarDiscriminator",
        summary="Patches real or fake, and the class of the whole image",
        paper=STARGAN,
        provides=frozenset({"head", "features", "classes", "double-backward"}),
        modality=frozenset({"image"}),
        resolutions="multiple of 4 from 8",
        labels="required",
        recommends={"gen": "stargan", "reg": ["domain-classification"]},
        aliases=("StarGAN",),
    )
    for name, target, summary, trial in (
        ("paired", "Paired", "Aligned pairs in two folders, by file name", f"{FILES}:two_folders"),
        ("side-by-side", "SideBySide", "Aligned pairs in one folder, both images in each file", f"{FILES}:one_folder"),
        ("unpaired", "Unpaired", "Images of two kinds in two folders", f"{FILES}:two_folders"),
        ("domains", "Domains", "Images of several kinds, a folder a domain", "ganzoo.testing.samples:folder"),
        ("downscaled", "Downscaled", "Any images and their reduced copies: bicubic, blur, noise, JPEG", ""),
        ("derived", "Derived", "Any images, and their luma or outlines to start from", ""),
    ):
        yield Component(
            "dataset",
            name,
            f"ganzoo_translation.data_sets:{target}",
            summary=summary,
            provides=frozenset() if name in ("unpaired", "domains") else frozenset({"aligned"}),
            modality=frozenset({"image"}),
            trial=trial or {},
        )
    yield Component(
        "game",
        "cycle",
        "ganzoo_translation.cycle:Cycle",
        summary="Two translators, there and back, each against a discriminator of its own",
        paper=CYCLEGAN,
        provides=frozenset({"reverse"}),
        needs=frozenset({"translate"}),
        modality=frozenset({"image"}),
        aliases=("CycleGAN", "DualGAN"),
    )
    for name, target, summary, needs in (
        ("cycle-consistency", "CycleConsistency", "There and back again is where it began", "reverse"),
        ("identity", "Identity", "What is of the target's kind already stays", "translate"),
    ):
        yield Component(
            "regularizer",
            name,
            f"ganzoo_translation.cycle:{target}",
            summary=summary,
            paper=CYCLEGAN,
            needs=frozenset({needs}),
            modality=frozenset({"image"}),
        )
    yield Component(
        "regularizer",
        "image-pool",
        "ganzoo_translation.cycle:ImagePool",
        summary="D sees fakes of some time ago beside new ones",
        paper="arXiv:1612.07828",
        modality=frozenset({"image"}),
        labels="refused",  # an earlier fake may be of another class
        couples="the pool, which takes images one after the other",
        aliases=("image buffer", "history of generated images"),
    )
    yield Component(
        "discriminator",
        "patch",
        "ganzoo_translation.patch:PatchDiscriminator",
        summary="A logit for each patch: local, of few parameters, with or without a source image beside",
        paper=PIX2PIX,
        provides=frozenset({"head", "features", "double-backward"}),
        modality=frozenset({"image"}),
        resolutions="any from 8",
        couples="batch norm, where norm says so",
        recommends={
            **RECOMMENDS,
            "loss": "lsgan",
            "gen": "dcgan",
        },
        aliases=("PatchGAN", "Markovian discriminator", "NLayerDiscriminator", "pix2pix", "CycleGAN"),
    )
    yield Component(
        "discriminator",
        "multiscale-patch",
        "ganzoo_translation.patch:MultiscalePatch",
        summary="PatchGAN at several sizes of the image: layout by the coarsest, texture by the finest",
        paper="arXiv:1711.11585",
        provides=frozenset({"features", "double-backward"}),
        modality=frozenset({"image"}),
        resolutions="any from 8",
        couples="batch norm, where norm says so",
        recommends={**RECOMMENDS, "loss": "lsgan", "gen": "dcgan"},
        aliases=("pix2pixHD",),
    )
    yield Component(
        "game",
        "multi-domain",
        "ganzoo_translation.domains:MultiDomain",
        summary="One translator among several domains: what becomes of an image in another",
        paper=STARGAN,
        provides=frozenset({"domains"}),
        needs=frozenset({"translate"}),
        modality=frozenset({"image"}),
        labels="required",
        aliases=("StarGAN",),
    )
    yield Component(
        "regularizer",
        "domain-classification",
        "ganzoo_translation.domains:DomainClassification",
        summary="D names the class of a real image, and G's image is to be named as the class asked for",
        paper=STARGAN,
        needs=frozenset({"classes"}),
        modality=frozenset({"image"}),
        labels="required",
        aliases=("StarGAN",),
    )
    yield Component(
        "regularizer",
        "domain-reconstruction",
        "ganzoo_translation.domains:DomainReconstruction",
        summary="Back in its own domain an image is what it was",
        paper=STARGAN,
        needs=frozenset({"domains"}),
        modality=frozenset({"image"}),
        labels="required",
        aliases=("StarGAN", "cycle consistency"),
    )
    yield Component(
        "regularizer",
        "pixel",
        "ganzoo_translation.content:Pixel",
        summary="The pixels of the aligned truth: L1, L2 or Charbonnier",
        paper=PIX2PIX,
        needs=frozenset({"translate", "aligned"}),
        modality=frozenset({"image"}),
        aliases=("L1 loss", "MSE", "content loss", "reconstruction"),
    )
    yield Component(
        "regularizer",
        "perceptual",
        "ganzoo_translation.content:Perceptual",
        summary="The aligned truth as a trained network sees it",
        paper="arXiv:1603.08155",
        needs=frozenset({"translate", "aligned"}),
        modality=frozenset({"image"}),
        aliases=("VGG loss", "content loss", "LPIPS", "feature reconstruction"),
    )
    for name, summary, paper in (
        ("cyclegan", "CycleGAN", CYCLEGAN),
        ("pix2pix", "pix2pix", PIX2PIX),
        ("stargan", "StarGAN", STARGAN),
        ("srresnet", "SRGAN's generator on pixels alone: its pre-training", SRGAN),
        ("srgan", "SRGAN, after srresnet", SRGAN),
        ("rrdb", "ESRGAN's generator on pixels alone: its pre-training", ESRGAN),
        ("esrgan", "ESRGAN, after rrdb", ESRGAN),
    ):
        for tail, where in (("", " as published"), ("-small", " on emoji, for a CPU")):
            yield Component(
                "recipe",
                f"{name}{tail}",
                f"ganzoo_translation:recipes/{name}{tail}.toml",
                summary=summary + where,
                paper=paper,
                modality=frozenset({"image"}),
            )
