"""Multilayer perceptrons and DCGAN, and the recipes of the first tour."""

from __future__ import annotations

from collections.abc import Iterator

from ganzoo.plugin import Component, hookimpl

ganzoo_api = 1

GAN, DCGAN = "arXiv:1406.2661", "arXiv:1511.06434"
ADAM = {"optimizer": "adam", "lr": 2e-4, "betas": [0.5, 0.999]}  # Radford et al. 2016, section 4
RECOMMENDS = {
    **{f"{player}.{key}": value for player in "GD" for key, value in ADAM.items()},
    "D.steps": 1,
    "loss": "non-saturating",
}
COUPLES = "batch norm, unless norm says otherwise"


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
    for name, summary, paper, modality, provides in [
        ("emoji", "The default: drawings of nine categories in five minutes on two CPU cores", DCGAN, "image", {"default"}),
        ("points", "The first GAN on points of the plane", GAN, "points", {"default"}),
        ("signal", "The first GAN on one-dimensional signals", GAN, "signal", {"default"}),
        ("dcgan", "DCGAN at 64x64, with the settings of its paper", DCGAN, "image", set()),
    ]:
        yield Component(
            "recipe",
            name,
            f"ganzoo_dcgan:recipes/{name}.toml",
            summary=summary,
            paper=paper,
            modality=frozenset({modality}),
            provides=frozenset(provides),
        )
