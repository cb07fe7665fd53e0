"""The contracts that have torch in them. A plugin's networks, losses and regularizers import this and nothing else of ganzoo.

Every part is built as `target(data, **options)`, where `data` is a `DataSpec` and the options are its keyword-only parameters.
A generator is a Module called as `forward(x, condition)`: `x` is noise [N, z_dim] (it then has an attribute `z_dim`) or an
image; it returns [N, *data.shape], images in [-1, 1]. A discriminator is called as `forward(images, condition)` and returns a
`Score` or bare logits. Networks take from `condition` what they know and ignore the rest.

A layer that multiplies its weight by a constant in `forward` (equalised learning rate) keeps that constant in an attribute
`weight_scale`, so that a norm of the weight can be taken as it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from ganzoo.data.dataset import Dataset, Modes
from ganzoo.plugin import DataSpec, Part

if TYPE_CHECKING:
    from ganzoo.games.match import Critic, Match, Parts, Play
    from ganzoo.metrics.classifier import trained_classifier
    from ganzoo.models import Model

__all__ = [
    "CAPABILITIES",
    "Augment",
    "Batch",
    "Condition",
    "Critic",
    "DataSpec",
    "Dataset",
    "Encoder",
    "Features",
    "Game",
    "Loss",
    "Match",
    "Measured",
    "Metric",
    "Modes",
    "Part",
    "Parts",
    "Phase",
    "Play",
    "Regularizer",
    "Sampled",
    "Score",
    "batch_mean",
    "in_full_precision",
    "sharing",
    "trained_classifier",
]

Batch = dict[
    str, Tensor
]  # "real" [N, *shape]; "labels" [N] int64 where there are classes; "source", "text"; "x" (what G eats), added by the game
Condition = Mapping[str, Tensor]  # any of labels [N] int64, source, text [N, T]

CAPABILITIES: dict[str, str] = {
    "aligned": "the data's source and image are a pair: what one shows, the other shows in the same place",
    "head": "D.head is the last Linear or Conv2d, called once, on the features",
    "style": "G.mapping(z, condition) -> w [N, L, W]; G.synthesis(w) -> images; G.mean_w [W] or [classes, W]",
    "features": "D returns Score.features, a non-empty tuple of tensors [N, ...]",
    "classes": "D returns Score.classes, logits [N, number of classes]",
    "domains": "the game asks for images in other domains than their own: batch['asked'], beside batch['labels']",
    "reverse": "the game plays both directions: match.reverse is the match of the other one",
    "translate": "G eats an image: forward(source, condition)",
    "targets": "the loss is of the logistic family, whose targets can be softened",
    "logits": "features.logits(vectors) [N, width] -> [N, K]: the network classifies what it sees",
    "level": "the loss looks at D's level, not only at differences of its outputs",
    "double-backward": "the gradient of D with respect to its input can be differentiated again",
    "text": "the data's records have captions, whose vectors networks are shown: condition['text'] [N, T]",
    "matching": "D's logits say how well an image goes with condition['text']",
    "default": "what may be taken where nothing is said: a recipe by `ganzoo train`, a feature network by metrics",
}


@dataclass(slots=True)
class Score:
    """What a discriminator says of a batch. Only `logits` is always there.

    logits    [N] or [N, ...] (a map of patches), or a tuple of those, one a head; no sigmoid
    features  tensors [N, ...], from shallow to deep
    classes   [N, K] class logits
    """

    logits: Tensor | tuple[Tensor, ...]
    features: tuple[Tensor, ...] = ()
    classes: Tensor | None = None

    def heads(self) -> list[Score]:
        """One Score a head, in order, each with a single logits tensor."""
        if isinstance(self.logits, Tensor):
            return [self]
        return [replace(self, logits=logits) for logits in self.logits]

    def per_sample(self) -> Tensor:
        """[N]: the mean over a head's places, summed over heads: a penalty's weight means the same for 1 or 900 logits."""
        heads = (self.logits,) if isinstance(self.logits, Tensor) else self.logits
        first, *rest = (logits.flatten(1).mean(1) if logits.ndim > 1 else logits for logits in heads)
        for logits in rest:
            first = first + logits
        return first


@dataclass(frozen=True, slots=True)
class Phase:
    """One optimizer step of one player: all that the trainer knows of a GAN.

    every   run in each N-th round only, gradients times N (lazy regularization)
    repeat  steps a round; the configured `steps` of the player multiplies it where every == 1
    start   idle before this round
    twice   a gradient is differentiated again: full precision, and no compiled networks
    """

    name: str
    player: str
    every: int = 1
    repeat: int = 1
    start: int = 0
    twice: bool = False


class Loss(nn.Module):
    """An adversarial loss: a pure function of scores, one head at a time (the match loops over heads).

    Each returns a tensor [N], [N, ...] or a scalar; the match takes its mean. `g` calls `real()` only if it looks at the reals.

    relative  it looks at differences of D's outputs only: D's level means nothing, and the loss does not provide "level"
    """

    relative: bool = False

    def __init__(self, data: DataSpec) -> None:
        super().__init__()

    def d(self, real: Score, fake: Score) -> Tensor:
        raise NotImplementedError

    def g(self, fake: Score, real: Callable[[], Score]) -> Tensor:
        raise NotImplementedError

    def verdict(self, score: Score) -> Tensor:
        """[N]: above 0 where D holds a sample for real, below for fake. To be overridden where even odds are not at logit 0."""
        return score.per_sample()


class Augment(nn.Module):
    """A differentiable augmentation of all that D sees: the same distribution for reals and fakes, drawn anew each pass."""

    def __init__(self, data: DataSpec) -> None:
        super().__init__()

    def attach(self, match: Match) -> None:
        """Look at what it plays with (match.loss.relative and .verdict), once, before the training."""

    def forward(self, images: Tensor) -> Tensor:
        return images

    def observe(self, real: Score, fake: Score) -> None:
        """See D's scores (detached) once a D step: ADA adapts itself here. What it keeps are buffers."""

    def stats(self) -> dict[str, Tensor]:
        """Scalars for the log, still on the device, after `observe`."""
        return {}


class Regularizer(nn.Module):
    """Anything added to a match. Override one or several methods; the defaults do nothing.

    players      whose phases call `forward`
    every        N > 1: `forward` has a lazy phase of its own each N rounds, gradients times N
    input_grad   of {"real", "fake"}: play.real / play.fake become leaves that require grad before D sees them
    double_backward  `forward` differentiates D's gradient again: under bf16 its play does its own fp32 passes
    parametrizes `attach` changes weights only; it comes after those that insert layers
    replaces     players whose adversarial loss `forward` takes the place of (feature matching)
    swaps        in D's phases `show` puts other fakes in the place of this batch's (a pool): play.fake_score is of those
    """

    players: frozenset[str] = frozenset({"D"})
    every: int = 1
    input_grad: frozenset[str] = frozenset()
    double_backward: bool = False
    parametrizes: bool = False
    replaces: frozenset[str] = frozenset()
    swaps: bool = False

    def __init__(self, data: DataSpec) -> None:
        super().__init__()

    def data(self, spec: DataSpec) -> DataSpec:
        """What D is built for, given what G makes (packing: m times the channels)."""
        return spec

    def attach(self, match: Match) -> None:
        """Change the networks: once a match, before the optimizers see their parameters."""

    def show(self, images: Tensor, play: Play, real: bool | None) -> Tensor:
        """What D is shown in place of `images`; `real` is None for neither (interpolates, moved copies).

        Runs before the augmentation, unless this regularizer overrides `data`: a change of shape comes after it.
        """
        return images

    def opponent(self, critic: Critic, play: Play) -> Critic:
        """The critic that G faces in G's main phase (unrolled GANs look ahead here)."""
        return critic

    def forward(self, play: Play) -> Tensor | None:
        """A penalty, a scalar or [N], added to the player's loss; None for none."""
        return None

    def after_step(self, player: str, match: Match) -> None:
        """After `player`'s optimizer step, without grad: clip weights, advance a power iteration."""


class Features(nn.Module):
    """A frozen network that sees images [N, C, H, W] in [-1, 1], C and all as in its `data`, of any size it can take.

    It normalises them itself and repeats a single channel. Its parameters do not ask for gradients and it stays in eval mode,
    but a gradient flows through it to the images.

    channels  widths of the maps, from shallow to deep
    strides   how many pixels one place of each map stands for
    width     of the vector
    size      the side that metrics enlarge or reduce images to before they show them; None: as they are
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    width: int
    size: int | None = None

    def learn(self, dataset: Dataset) -> None:
        """See the data set at hand, once and before anything else: a network that is trained on it is trained here."""

    def maps(self, images: Tensor) -> tuple[Tensor, ...]:
        """Maps [N, channels[i], H / strides[i], W / strides[i]], rounded up."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """One vector an image: [N, width]."""
        raise NotImplementedError

    def logits(self, vectors: Tensor) -> Tensor:
        """What its own classifier says of vectors [N, width]: [N, K]. Only of those that provide "logits"."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> Features:
        return super().train(False)


class Encoder:
    """Captions to vectors, the "text" of a batch. Built as `target(**options)`, which reads no weights: the first call does.

    width  of a vector
    """

    width: int

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """[len(texts), width], float32 on the CPU, without a graph; each a function of its text alone. Threads may share it."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """Hex digest of all that the vectors depend on, weights included: data sets cache them by it."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Sampled:
    """One side of a comparison, the reals or the fakes, on the CPU; what no metric at hand `uses` is None.

    features  vectors [N, F] of a feature network; of points and the like, the samples themselves, flattened
    labels    [N], where there are classes: those that the fakes were asked for
    logits    [N, K] of the feature network's own classifier
    samples   [N, *shape] as data sets hold them: images uint8, anything else float32
    modes     the mode that each belongs to, where the data set can tell (`Dataset.modes`)
    model     the generator opened again, on the fakes' side alone, where there is one
    look      images [N, C, H, W] in [-1, 1] to what the feature network's maps say of them, beside `model`
    """

    features: Tensor
    labels: Tensor | None = None
    logits: Tensor | None = None
    samples: Tensor | None = None
    modes: Modes | None = None
    model: Model | None = None
    look: Callable[[Tensor], tuple[Tensor, ...]] | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """A metric's value.

    error    its standard error, where it knows one
    details  further figures, by name
    notes    what should be said beside the value: too few samples for it to mean much
    """

    value: float
    error: float | None = None
    details: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Metric:
    """A number that says how fakes compare with reals; a pure function of the two, in whatever order their samples come.

    better  which way is better; None where neither is by itself
    same    its value where the fakes are the reals themselves; None where that is no one number
    uses    which fields of Sampled it looks at; without "features" it needs no feature network
    beside  names of metrics of the same uses that are shown with it, because alone it misleads
    Raises ValueError, with what to do, for samples that it cannot be taken of: too few, for one.
    """

    better: Literal["lower", "higher"] | None = "lower"
    same: float | None = None
    uses: frozenset[str] = frozenset({"features"})
    beside: tuple[str, ...] = ()

    def __init__(self, data: DataSpec) -> None:
        self.data = data

    def __call__(self, real: Sampled, fake: Sampled) -> Measured:
        raise NotImplementedError


class Game(nn.Module):
    """The players, the phases they take turns in, and what each minimises. Built as `target(data, parts, **options)`.

    `players` maps "G" and "D" to what one optimizer owns each; `matches` holds every Match. A Module, it is its own checkpoint.
    """

    def __init__(self, data: DataSpec) -> None:
        super().__init__()
        self.data = data
        self.players = nn.ModuleDict()
        self.matches = nn.ModuleList()
        self.stats: dict[str, Tensor] = {}  # detached scalars of the last `losses`, for the log: still on the device

    def phases(self) -> list[Phase]:
        raise NotImplementedError

    def draw(self, batch: Batch, generator: torch.Generator) -> Batch:
        """Add what the game draws for itself (noise as "x"), for the whole batch, before it is cut for ranks and micro-batches.

        Where ranks share the batch its labels are those of all, but no rank has all images: they may be passed on as they are
        ("x" is the source), and what is computed of them is NaN.
        """
        return batch

    def losses(self, phase: Phase, batch: Batch, nimg: int) -> Iterator[tuple[str, Tensor]]:
        """Yield (name, scalar) terms; the trainer calls backward on each before it asks for the next."""
        raise NotImplementedError

    def after_step(self, player: str) -> None:
        """After an optimizer step of `player`."""
        for match in self.matches:
            match.after_step(player)  # type: ignore[operator]

    def generate(self, generator: nn.Module, batch: Batch) -> Tensor:
        """Samples [N, *shape] from a player "G" (the EMA copy, for one) and a batch that `draw` has completed."""
        raise NotImplementedError

    def made_by(self, generator: nn.Module, to: str | None = None) -> tuple[nn.Module, DataSpec]:
        """Of a player "G" the network that makes `to`, and what it is built for: what is exported, and translates.

        to  "B", what the data hold, is what None means; "A" their source, of a game that goes back; or a domain or class.
        Raises ValueError for what it does not make.
        """
        names = ("B", *self.data.classes) if self.data.source is not None else self.data.domains
        if to is not None and to not in names:
            shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
            raise ValueError(f"--to {to}: it makes {shown}" if names else f"--to {to}: it makes one thing; leave --to out")
        return generator, self.data

    def show(self, generator: nn.Module, batch: Batch) -> tuple[Tensor, ...]:
        """What a sheet shows of each record, side by side: a sample, or where there is a source image source, sample, real."""
        made = self.generate(generator, batch)
        return (batch["source"], made, batch["real"]) if "source" in batch else (made,)

    def settle(self, generator: nn.Module, batch: Batch) -> None:
        """Pass a drawn batch once through each network of a player "G", as it is used: for batch-norm statistics."""
        self.generate(generator, batch)


def batch_mean(value: Tensor) -> Tensor:
    """The mean over the ranks that share a batch (one process: itself). With `sharing` all that a plugin needs to know of them.

    Differentiable, twice too. Every rank calls it as often as the others, in the same order.
    """
    ranks = sharing()
    return value if ranks == 1 else _Sum.apply(value) / ranks  # type: ignore[no-any-return]


def sharing() -> int:
    """How many ranks share the batch at hand: 1 in one process, and where one rank measures what it made."""
    if _alone or not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return 1
    return torch.distributed.get_world_size()


@contextmanager
def alone() -> Iterator[None]:
    """For what one rank does without the others, such as measuring: nothing is shared inside."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


_alone = False


class _Sum(torch.autograd.Function):
    """The sum over the ranks: each one's value is in the outputs of all, so its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return _Sum.apply(grad)  # type: ignore[no-any-return]


def in_full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Without autocast on the device of `x`; tensors that are bf16 already are the caller's to widen."""
    device = x.device.type
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()  # meta: not


def __getattr__(name: str) -> Any:
    # The match is built from the contracts above: importing it at the top would be a circle.
    if name in ("Critic", "Match", "Parts", "Play"):
        from ganzoo.games import match

        return getattr(match, name)
    if name == "trained_classifier":
        from ganzoo.metrics import classifier

        return classifier.trained_classifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
