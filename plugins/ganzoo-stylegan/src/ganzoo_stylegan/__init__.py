"""StyleGAN2: generator, discriminator, path length regularization, and recipes with and without ADA."""

from __future__ import annotations

from collections.abc import Iterator

from ganzoo.plugin import Component, hookimpl

ganzoo_api = 1

STYLEGAN2, ADA = "arXiv:1912.04958", "arXiv:2006.06676"
IMAGES = frozenset({"image"})
SIZES = "power of two from 8"
ADAM = {"optimizer": "adam", "lr": 2.5e-3, "betas": [0.0, 0.99]}
RECOMMENDS = {
    **{f"{player}.{key}": value for player in "GD" for key, value in ADAM.items()},
    "D.steps": 1,
    "loss": "non-saturating",
    "ema.half_life": "auto",
    "ema.ramp": 0.05,
    "reg": ["r1:gamma=1,every=4"],  # more than the published rule has it, for small data and small batches
}
AUGMENTATION = "diffaugment:color=0,cutout=0"  # translation alone: against overfitting, with little to learn from it


@hookimpl
def ganzoo_components() -> Iterator[Component]:
    yield Component(
        "generator",
        "stylegan",
        "ganzoo_stylegan.generator:StyleGenerator",
        summary="StyleGAN2: a mapping network, and a synthesis of modulated convolutions and skip connections",
        paper=STYLEGAN2,
        provides=frozenset({"style"}),
        modality=IMAGES,
        resolutions=SIZES,
        labels="used",
        recommends={**RECOMMENDS, "disc": "stylegan", "batch": 16, "precision": "auto", "aug": AUGMENTATION},
        aliases=("StyleGAN2", "style-based generator", "modulated convolution"),
    )
    yield Component(
        "discriminator",
        "stylegan",
        "ganzoo_stylegan.discriminator:StyleDiscriminator",
        summary="StyleGAN2's: residual, filtered downsampling, minibatch standard deviation; projection of the class",
        paper=STYLEGAN2,
        provides=frozenset({"head", "features", "double-backward"}),
        modality=IMAGES,
        resolutions=SIZES,
        labels="used",
        min_group="minibatch_stddev",
        recommends={**RECOMMENDS, "gen": "stylegan"},
        aliases=("StyleGAN2",),
    )
    yield Component(
        "regularizer",
        "path-length",
        "ganzoo_stylegan.path_length:PathLength",
        summary="A step in w changes the image by as much wherever it is made: smoother, easier to invert",
        paper=STYLEGAN2,
        needs=frozenset({"style"}),
        couples="the running mean of the lengths, and the part of the batch that is used",
        aliases=("PPL regularization", "perceptual path length"),
    )
    for name, summary, paper in [
        ("stylegan", "StyleGAN2 at 256x256 with all that its paper adds: path length, style mixing", STYLEGAN2),
        ("stylegan-ada", "The same with adaptive augmentation, for a few thousand images", ADA),
        ("stylegan-cifar", "The configuration that ADA's authors tuned for CIFAR-10, at 32x32", ADA),
        ("stylegan-small", "StyleGAN2 on emoji at 32x32, on a laptop", STYLEGAN2),
        ("stylegan-ada-small", "The same with adaptive augmentation", ADA),
    ]:
        yield Component("recipe", name, f"ganzoo_stylegan:recipes/{name}.toml", summary=summary, paper=paper, modality=IMAGES)
