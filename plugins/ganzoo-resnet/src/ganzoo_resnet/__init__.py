"""Residual GANs: WGAN-GP, SNGAN, the projection discriminator and SAGAN, as networks and as recipes."""

from __future__ import annotations

from collections.abc import Iterator

from ganzoo.plugin import Component, hookimpl

ganzoo_api = 1

WGAN_GP, SNGAN = "arXiv:1704.00028", "arXiv:1802.05957"
PROJECTION, SAGAN = "arXiv:1802.05637", "arXiv:1805.08318"

IMAGES = frozenset({"image"})
SIDES = "power of two from 8"
D_PROVIDES = frozenset({"head", "features", "double-backward"})
# The published pairs (hinge and a spectral norm, Wasserstein and a gradient penalty) are recipes: on small labelled data hinge
# and a spectral norm make the pictures of a class alike, the logistic loss with R1 far less.
G_ALONE = {"G.optimizer": "adam", "G.lr": 5e-4, "G.betas": [0.0, 0.99], "ema.half_life": 5.0, "ema.ramp": 0.05}
D_ALONE = {
    "D.optimizer": "adam",
    "D.lr": 5e-4,
    "D.betas": [0.0, 0.99],
    "D.steps": 1,
    "loss": "non-saturating",
    "reg": [{"name": "r1", "gamma": 1.0, "every": 4}],
    "aug": {"name": "diffaugment", "color": 0.0, "translation": 0.125, "cutout": 0.0},
}
RECIPES = [
    ("wgan-gp", "WGAN-GP for CIFAR-10: a critic without norms under a gradient penalty", WGAN_GP),
    ("wgan-gp-small", "WGAN-GP for fifteen minutes on a laptop: Fashion-MNIST", WGAN_GP),
    ("sngan", "SNGAN for CIFAR-10: hinge, and a spectral norm of D", SNGAN),
    ("sngan-small", "SNGAN for ten minutes on a laptop: Fashion-MNIST", SNGAN),
    ("projection", "Projection discriminator for CIFAR-10: SNGAN by class", PROJECTION),
    ("projection-small", "Projection discriminator for ten minutes on a laptop: Fashion-MNIST by class", PROJECTION),
    ("sagan", "SAGAN for ImageNet at 128x128: self-attention, a spectral norm of both players", SAGAN),
    ("sagan-small", "SAGAN for ten minutes on a laptop: Fashion-MNIST by class", SAGAN),
]


@hookimpl
def ganzoo_components() -> Iterator[Component]:
    for name, target, summary, paper, partner in [
        ("resnet", "resnet:ResNetGenerator", "Residual blocks that double the map; batch norm by class", SNGAN, "projection"),
        (
            "sagan",
            "sagan:SAGANGenerator",
            "Residual blocks with self-attention at one resolution; batch norm by class",
            SAGAN,
            "sagan",
        ),
    ]:
        yield Component(
            "generator",
            name,
            f"ganzoo_resnet.{target}",
            summary=summary,
            paper=paper,
            modality=IMAGES,
            resolutions=SIDES,
            labels="used",
            couples="batch norm, unless norm says otherwise",
            recommends={**G_ALONE, "disc": partner},
            aliases=("SNGAN", "WGAN-GP", "conditional batch norm") if name == "resnet" else ("self-attention", "non-local"),
        )
    for name, target, summary, paper, labels, partner, aliases in [
        (
            "resnet",
            "resnet:ResNetDiscriminator",
            "Residual blocks that halve the map, sum over places; unconditional",
            SNGAN,
            "ignored",
            "resnet",
            ("SNGAN", "WGAN-GP critic"),
        ),
        (
            "projection",
            "resnet:ProjectionDiscriminator",
            "Residual blocks, and the inner product of features and class; bare: logistic loss and R1",
            PROJECTION,
            "wanted",
            "resnet",
            ("cGAN", "PD-GAN", "conditional SNGAN"),
        ),
        (
            "sagan",
            "sagan:SAGANDiscriminator",
            "Residual blocks with self-attention at one resolution, and the projection of the class",
            SAGAN,
            "used",
            "sagan",
            ("self-attention", "non-local"),
        ),
    ]:
        yield Component(
            "discriminator",
            name,
            f"ganzoo_resnet.{target}",
            summary=summary,
            paper=paper,
            provides=D_PROVIDES,
            modality=IMAGES,
            resolutions=SIDES,
            labels=labels,
            couples="batch norm, where norm=batch",
            # The published scale of the head is made for a spectral norm: see the option.
            recommends={**D_ALONE, "gen": partner, "disc": {"name": name, "head_gain": 0.02}},
            aliases=aliases,
        )
    for name, summary, paper in RECIPES:
        yield Component("recipe", name, f"ganzoo_resnet:recipes/{name}.toml", summary=summary, paper=paper, modality=IMAGES)
