"""What GANs minimise, and what keeps the two players in balance: losses, regularizers, an augmentation."""

from __future__ import annotations

from collections.abc import Iterator

from ganzoo.plugin import Component, hookimpl

ganzoo_api = 1

GAN, WGAN, RPGAN = "arXiv:1406.2661", "arXiv:1701.07875", "arXiv:1807.00734"
ZERO_CENTRED = "arXiv:1801.04406"


@hookimpl
def ganzoo_components() -> Iterator[Component]:
    yield from _losses()
    yield from _regularizers()
    yield Component(
        "augmentation",
        "diffaugment",
        "ganzoo_objectives.diffaugment:DiffAugment",
        summary="Colour, translation and cutout of all that D sees, always on: for small data sets",
        paper="arXiv:2006.10738",
        modality=frozenset({"image"}),
    )


def _losses() -> Iterator[Component]:
    for name, target, summary, paper, provides, aliases in [
        (
            "minimax",
            "Minimax",
            "The zero-sum game of the first GAN; G's gradient vanishes once D is sure",
            GAN,
            {"targets", "level"},
            ("saturating", "zero-sum"),
        ),
        (
            "non-saturating",
            "NonSaturating",
            "The logistic loss in the form that learns: G maximises log D(G(z))",
            GAN,
            {"targets", "level"},
            ("logistic", "vanilla", "standard GAN", "BCE"),
        ),
        ("hinge", "Hinge", "Margins of 1 for D, none for G", "arXiv:1705.02894", {"level"}, ("geometric GAN",)),
        ("lsgan", "LeastSquares", "Squared distance to targets", "arXiv:1611.04076", {"level"}, ("least squares", "MSE")),
        (
            "wasserstein",
            "Wasserstein",
            "The difference of D's means; needs a Lipschitz constraint on D",
            WGAN,
            set(),
            ("WGAN", "critic", "earth mover"),
        ),
        (
            "relativistic",
            "Relativistic",
            "D tells which of a pair is real; the loss of R3GAN",
            RPGAN,
            set(),
            ("RpGAN", "relativistic pairing"),
        ),
    ]:
        yield Component(
            "loss",
            name,
            f"ganzoo_objectives.losses:{target}",
            summary=summary,
            paper=paper,
            provides=frozenset(provides),
            aliases=aliases,
        )


def _regularizers() -> Iterator[Component]:
    twice = frozenset({"double-backward"})
    yield Component(
        "regularizer",
        "r1",
        "ganzoo_objectives.penalties:R1",
        summary="Penalty on D's gradient at reals",
        paper=ZERO_CENTRED,
        needs=twice,
        aliases=("zero-centred gradient penalty",),
    )
    yield Component(
        "regularizer",
        "r2",
        "ganzoo_objectives.penalties:R2",
        summary="Penalty on D's gradient at fakes",
        paper=ZERO_CENTRED,
        needs=twice,
    )
    yield Component(
        "regularizer",
        "gradient-penalty",
        "ganzoo_objectives.penalties:GradientPenalty",
        summary="Keeps the slope of D near 1 between reals and fakes",
        paper="arXiv:1704.00028",
        needs=twice,
        aliases=("WGAN-GP", "GP", "WGAN-LP"),
    )
    yield Component(
        "regularizer",
        "spectral-norm",
        "ganzoo_objectives.spectral:SpectralNorm",
        summary="Each weight of D, of G or of both divided by its largest singular value",
        paper="arXiv:1802.05957",
        aliases=("SNGAN", "SN"),
    )
    yield Component(
        "regularizer",
        "weight-clip",
        "ganzoo_objectives.clipping:WeightClip",
        summary="D's parameters clamped after each of its steps, as in the first Wasserstein GAN",
        paper=WGAN,
    )
    yield Component(
        "regularizer",
        "instance-noise",
        "ganzoo_objectives.noise:InstanceNoise",
        summary="Fading noise on everything that D sees",
        paper="arXiv:1610.04490",
    )
    yield Component(
        "regularizer",
        "packing",
        "ganzoo_objectives.packing:Packing",
        summary="D judges m samples together and so sees a lack of variety",
        paper="arXiv:1712.04086",
        labels="refused",
        min_group="m",
        aliases=("PacGAN",),
    )
    yield Component(
        "regularizer",
        "unrolled",
        "ganzoo_objectives.unrolled:Unrolled",
        summary="G plays against D as it will be some steps later",
        paper="arXiv:1611.02163",
        needs=twice,
        couples="D's look-ahead steps",
    )
