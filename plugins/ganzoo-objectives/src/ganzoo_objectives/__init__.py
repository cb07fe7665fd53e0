"""What GANs minimise, and what keeps the two players in balance: losses, regularizers, an augmentation."""

from __future__ import annotations

from collections.abc import Iterator

from ganzoo.plugin import Component, hookimpl

ganzoo_api = 1

GAN, WGAN, RPGAN = "arXiv:1406.2661", "arXiv:1701.07875", "arXiv:1807.00734"
ZERO_CENTRED = "arXiv:1801.04406"
IMPROVED = "arXiv:1606.03498"


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
    yield Component(
        "augmentation",
        "ada",
        "ganzoo_objectives.ada:Ada",
        summary="Flips, warps and colour changes of all that D sees, as often as D overfits",
        paper="arXiv:2006.06676",
        modality=frozenset({"image"}),
        resolutions="any from 4",
        aliases=("adaptive discriminator augmentation", "bgc", "StyleGAN2-ADA"),
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
    yield Component(
        "loss",
        "relativistic-average",
        "ganzoo_objectives.losses:RelativisticAverage",
        summary="D compares each real with the average fake and each fake with the average real; the loss of ESRGAN",
        paper=RPGAN,
        couples="the batch's means of D's outputs",
        aliases=("RaGAN", "RaSGAN", "RaHinge"),
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
        "dragan",
        "ganzoo_objectives.penalties:Dragan",
        summary="Keeps the slope of D near 1 around the reals",
        paper="arXiv:1705.07215",
        needs=twice,
        couples="the batch's standard deviation",
        aliases=("local gradient penalty",),
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
        aliases=("PacGAN", "against mode collapse"),
    )
    yield Component(
        "regularizer",
        "unrolled",
        "ganzoo_objectives.unrolled:Unrolled",
        summary="G plays against D as it will be some steps later",
        paper="arXiv:1611.02163",
        needs=twice,
        couples="D's look-ahead steps",
        aliases=("against mode collapse",),
    )
    yield from _whole_batch()
    yield from _beside_the_loss()


def _whole_batch() -> Iterator[Component]:
    """What lets D, or G, look at a batch as a whole."""
    yield Component(
        "regularizer",
        "minibatch-discrimination",
        "ganzoo_objectives.minibatch:MinibatchDiscrimination",
        summary="D's head is told how close each sample is to the others of its batch, by a learned measure",
        paper=IMPROVED,
        needs=frozenset({"head"}),
        couples="the samples of a batch",
        aliases=("improved GAN", "minibatch features", "against mode collapse"),
    )
    yield Component(
        "regularizer",
        "minibatch-stddev",
        "ganzoo_objectives.minibatch:MinibatchStddev",
        summary="D's head is told the spread within groups of samples",
        paper="arXiv:1710.10196",
        needs=frozenset({"head"}),
        min_group="group",
        aliases=("minibatch standard deviation", "ProGAN", "against mode collapse"),
    )
    yield Component(
        "regularizer",
        "feature-matching",
        "ganzoo_objectives.features:FeatureMatching",
        summary="G matches the mean of D's features, in place of its adversarial loss",
        paper=IMPROVED,
        needs=frozenset({"features"}),
        couples="batch means of D's features",
        aliases=("improved GAN", "FM"),
    )


def _beside_the_loss() -> Iterator[Component]:
    """Terms on what D says."""
    yield Component(
        "regularizer",
        "label-smoothing",
        "ganzoo_objectives.outputs:LabelSmoothing",
        summary="D's target on reals a little below 1",
        paper=IMPROVED,
        needs=frozenset({"targets"}),
        aliases=("one-sided label smoothing", "soft labels"),
    )
    yield Component(
        "regularizer",
        "auxiliary-classifier",
        "ganzoo_objectives.features:AuxiliaryClassifier",
        summary="D names the class as well, and both players want it right",
        paper="arXiv:1610.09585",
        needs=frozenset({"classes"}),
        labels="required",
        aliases=("ACGAN", "AC-GAN"),
    )
    yield Component(
        "regularizer",
        "consistency",
        "ganzoo_objectives.outputs:Consistency",
        summary="D's output should not change when an image is flipped or shifted a little",
        paper="arXiv:1910.12027",
        modality=frozenset({"image"}),
        aliases=("CR", "CR-GAN", "bCR", "balanced consistency regularization"),
    )
    yield Component(
        "regularizer",
        "lecam",
        "ganzoo_objectives.outputs:LeCam",
        summary="Holds D's outputs near their moving averages on the other side: for small data sets",
        paper="arXiv:2104.03310",
        needs=frozenset({"level"}),
        aliases=("LeCam", "LC"),
    )
