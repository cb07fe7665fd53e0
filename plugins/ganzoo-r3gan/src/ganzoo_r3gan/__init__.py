"""R3GAN: its networks and recipes."""

from __future__ import annotations

from collections.abc import Iterator

from ganzoo.plugin import Component, hookimpl

ganzoo_api = 1

R3GAN = "arXiv:2501.05441"
ADAM = {"optimizer": "adam", "lr": "cosine(2e-4, 5e-5)", "betas": [0.0, 0.99]}  # table 9, with the beta2 in which it ends
GAMMA = {"gamma": 1.0, "gamma_end": 0.1}  # table 9, Stacked MNIST; "auto" is far weaker than any gamma there
RECOMMENDS = {
    **{f"{player}.{key}": value for player in "GD" for key, value in ADAM.items()},
    "D.steps": 1,
    "loss": "relativistic",
    "reg": [{"name": "r1", **GAMMA}, {"name": "r2", **GAMMA}],
}


@hookimpl
def ganzoo_components() -> Iterator[Component]:
    for kind, partner, target, summary in [
        ("generator", "disc", "R3GANGenerator", "Residual blocks of grouped convolutions, no normalisation; class embedding"),
        ("discriminator", "gen", "R3GANDiscriminator", "The generator of R3GAN turned around; projection of the class"),
    ]:
        yield Component(
            kind,
            "r3gan",
            f"ganzoo_r3gan.r3gan:{target}",
            summary=summary,
            paper=R3GAN,
            provides=frozenset({"head", "features", "double-backward"} if kind == "discriminator" else ()),
            modality=frozenset({"image"}),
            resolutions="power of two from 8",
            labels="used",
            recommends={**RECOMMENDS, partner: "r3gan"},
        )
    for name, summary in [
        ("r3gan", "R3GAN at 32x32 by class, with the settings of its paper for CIFAR-10"),
        ("r3gan-64", "R3GAN at 64x64, with the settings of its paper for FFHQ-64"),
        ("r3gan-256", "R3GAN at 256x256, with the settings of its paper for FFHQ-256"),
        ("r3gan-small", "R3GAN on emoji of nine categories at 32x32, in half an hour on two CPU cores"),
    ]:
        yield Component(
            "recipe",
            name,
            f"ganzoo_r3gan:recipes/{name}.toml",
            summary=summary,
            paper=R3GAN,
            modality=frozenset({"image"}),
        )
