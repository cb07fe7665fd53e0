"""Multilayer perceptrons and DCGAN, and the recipes of the first tour."""

from __future__ import annotations

from collections.abc import Iterator

from ganzoo.plugin import Component, hookimpl

ganzoo_api = 1

GAN, CGAN, DCGAN, LSGAN = "arXiv:1406.2661", "arXiv:1411.1784", "arXiv:1511.06434", "arXiv:1611.04076"
WGAN, DRAGAN, ACGAN = "arXiv:1701.07875", "arXiv:1705.07215", "arXiv:1610.09585"
UNROLLED, MINIBATCH, PACGAN = "arXiv:1611.02163", "arXiv:1606.03498", "arXiv:1712.04086"
ADAM = {"optimizer": "adam", "lr": 2e-4, "betas": [0.5, 0.999]}  # Radford et al. 2016, section 4
RECOMMENDS = {
    **{f"{player}.{key}": value for player in "GD" for key, value in ADAM.items()},
    "D.steps": 1,
    "loss": "non-saturating",
}
COUPLES = "batch norm, unless norm says otherwise"
FIRST = {"emoji": "image", "points": "points", "signal": "signal"}  # what a bare `ganzoo train` may take, by modality
PLANAR = {"unrolled", "unrolled-small", "pacgan"}
RECIPES = (
    ("emoji", DCGAN, "The default: drawings of nine categories in five minutes on two CPU cores"),
    ("points", GAN, "The first GAN on points of the plane"),
    ("signal", GAN, "The first GAN on one-dimensional signals"),
    ("gan", GAN, "The first GAN: maxout and ReLU perceptrons, SGD, dropout"),
    ("gan-small", GAN, "The first GAN on Fashion-MNIST with Adam, ten minutes on two CPU cores"),
    ("cgan", CGAN, "Conditional GAN: noise and label through layers of their own"),
    ("cgan-small", CGAN, "Conditional GAN on Fashion-MNIST with Adam, ten minutes on two CPU cores"),
    ("dcgan", DCGAN, "DCGAN at 64x64, with the settings of its paper"),
    ("dcgan-small", DCGAN, "DCGAN on emoji at 32x32, ten minutes on two CPU cores"),
    ("lsgan", LSGAN, "Least-squares GAN at 64x64, with the settings of its authors' code"),
    ("lsgan-small", LSGAN, "Least-squares GAN on emoji at 32x32, ten minutes on two CPU cores"),
    ("wgan", WGAN, "Wasserstein GAN with weight clipping at 64x64, with the settings of its authors' code"),
    ("wgan-small", WGAN, "Wasserstein GAN with weight clipping on Fashion-MNIST, ten minutes on two CPU cores"),
    ("dragan", DRAGAN, "DRAGAN with the perceptrons of its authors' code"),
    ("dragan-small", DRAGAN, "DCGAN with DRAGAN's penalty on emoji at 32x32, ten minutes on two CPU cores"),
    ("acgan", ACGAN, "AC-GAN with the networks of its paper for CIFAR-10"),
    ("acgan-small", ACGAN, "AC-GAN on Fashion-MNIST, ten minutes on two CPU cores"),
    ("unrolled", UNROLLED, "Unrolled GAN on a ring of Gaussians, with the settings of its authors' code"),
    ("unrolled-small", UNROLLED, "Unrolled GAN on a ring of Gaussians in smaller batches, five minutes on a CPU core"),
    ("minibatch", MINIBATCH, "Minibatch discrimination at 32x32, three steps of G to one of D"),
    ("minibatch-small", MINIBATCH, "DCGAN with minibatch discrimination on emoji at 32x32, ten minutes on two CPU cores"),
    ("pacgan", PACGAN, "PacGAN on a ring of Gaussians, packs of two, with the settings of its authors' code"),
    ("pacgan-small", PACGAN, "DCGAN in packs of two on stacked Fashion-MNIST, ten minutes on two CPU cores"),
)


@hookimpl
def ganzoo_components() -> Iterator[Component]:
    yield Component(
        "generator",
        "mlp",
        "ganzoo_dcgan.mlp:MLPGenerator",
        summary="Multilayer perceptron of the first GAN: images, points and signals",
        paper=GAN,
        labels="used",
        couples=COUPLES,
        recommends={**RECOMMENDS, "disc": "mlp"},
    )
    yield Component(
        "discriminator",
        "mlp",
        "ganzoo_dcgan.mlp:MLPDiscriminator",
        summary="Multilayer perceptron, with the maxout units of the first GAN as an option",
        paper=GAN,
        provides=frozenset({"head", "features", "double-backward"}),
        labels="used",
        couples=COUPLES,
        recommends={**RECOMMENDS, "gen": "mlp"},
    )
    yield Component(
        "generator",
        "dcgan",
        "ganzoo_dcgan.dcgan:DCGANGenerator",
        summary="Transposed convolutions and batch norm; class embedding, class-wise norm as an option",
        paper=DCGAN,
        modality=frozenset({"image"}),
        resolutions="power of two from 8",
        labels="used",
        couples=COUPLES,
        recommends={**RECOMMENDS, "disc": "dcgan"},
    )
    yield Component(
        "discriminator",
        "dcgan",
        "ganzoo_dcgan.dcgan:DCGANDiscriminator",
        summary="Strided convolutions; projection of the class, minibatch standard deviation as an option",
        paper=DCGAN,
        provides=frozenset({"head", "features", "double-backward"}),
        modality=frozenset({"image"}),
        resolutions="power of two from 8",
        labels="used",
        min_group="minibatch_stddev",
        couples=COUPLES,
        recommends={**RECOMMENDS, "gen": "dcgan"},
    )
    yield Component(
        "discriminator",
        "acgan",
        "ganzoo_dcgan.acgan:ACGANDiscriminator",
        summary="Convolutions under two heads, real or fake and which class, with dropout and noise inside",
        paper=ACGAN,
        provides=frozenset({"head", "features", "classes", "double-backward"}),
        modality=frozenset({"image"}),
        resolutions="power of two from 8",
        labels="required",
        couples=COUPLES,
        recommends={**RECOMMENDS, "gen": "dcgan", "reg": ["auxiliary-classifier"]},
        aliases=("auxiliary classifier",),
    )
    for name, paper, summary in RECIPES:
        yield Component(
            "recipe",
            name,
            f"ganzoo_dcgan:recipes/{name}.toml",
            summary=summary,
            paper=paper,
            modality=frozenset({FIRST.get(name, "points" if name in PLANAR else "image")}),
            provides=frozenset({"default"} if name in FIRST else ()),
        )
