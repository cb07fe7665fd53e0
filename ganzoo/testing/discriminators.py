"""Checks of discriminators: `check_...(entry, data, options)`, for data as `cases.suitable_data` gives."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ganzoo.interfaces import Score
from ganzoo.plugin import DataSpec
from ganzoo.registry import Entry
from ganzoo.testing import networks
from ganzoo.testing.cases import NO_OPTIONS, Options
from ganzoo.testing.contracts import Skip, check, expect
from ganzoo.testing.networks import Trial, outputs

# Of the finite differences, in float64, a direction each: less than the distance to most kinks of a leaky ReLU, at which the
# penalty jumps; one smooth direction is proof enough.
_STEPS = (1e-7, 1e-7, 1e-8, 1e-9)
_SLOPE = 1e-3


@check("forward(images, condition) returns a Score or bare logits: each head [N] or [N, ...], finite, in the images' dtype")
def check_discriminator_shape(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    trial = Trial(entry, data, options)
    network = trial.network()
    for mode, groups in ((True, 4), (False, 4), (False, 1), (False, 3)):
        images, condition = trial.inputs(network, groups)
        with torch.no_grad():
            said = network.train(mode)(images, condition)
        outputs(said)
        score = _score(said)
        expect(len(score.heads()) > 0, "at least one head", "none")
        for head in score.heads():
            logits = head.logits
            expect(logits.dim() > 0 and len(logits) == len(images), f"logits [{len(images)}, ...]", list(logits.shape))
            expect(logits.dtype == images.dtype, f"logits of {images.dtype}", logits.dtype)
            expect(bool(logits.isfinite().all()), "finite logits", "NaN or infinity")


@check("what is said of a sample depends on it alone, or on its group of `min_group`; `couples` says what else couples a batch")
def check_discriminator_couples(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    if entry.component.couples:
        raise Skip(f"it says what couples them: {entry.component.couples}")
    for mode in ("eval", "train"):
        networks.groups_are_apart(Trial(entry, data, options), mode)


@check("eval mode is deterministic and touches no global random state; training draws from torch's alone")
def check_discriminator_deterministic(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    networks.is_deterministic(Trial(entry, data, options))


@check("each parameter that requires a gradient has a part in what it says, and G's gradient passes through it to the images")
def check_discriminator_gradients(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    networks.gradients_reach(Trial(entry, data, options))


@check("'double-backward': the gradient with respect to the input can be differentiated again, rightly")
def check_discriminator_double_backward(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    if "double-backward" not in entry.component.provides:
        raise Skip("it does not provide 'double-backward'")
    trial = Trial(entry, data, options)
    network = networks.randomised(trial.network()).double()  # a gain that starts at zero puts ReLUs on their kinks
    parameters = [p for p in network.parameters() if p.requires_grad]
    for mode in (True, False):
        gradients = torch.autograd.grad(_penalty(trial, network.train(mode)), parameters, allow_unused=True)
        reached = [g for g in gradients if g is not None and g.any()]
        expect(bool(reached), "a penalty on the input's gradient to have a gradient at the parameters", "none at any")
        expect(all(bool(g.isfinite().all()) for g in reached), "finite second derivatives", "NaN or infinity")
    _expect_slope(trial, network, parameters, gradients)


def _expect_slope(
    trial: Trial, network: nn.Module, parameters: list[nn.Parameter], gradients: tuple[Tensor | None, ...]
) -> None:
    """In eval mode, where nothing but the parameters moves, finite differences are a fair referee."""
    tried = []
    for size in _STEPS:
        direction = [torch.randn_like(p) for p in parameters]
        slope = sum(float((g * d).sum()) for g, d in zip(gradients, direction, strict=True) if g is not None)
        ends = []
        for step in (size, -2 * size, size):  # there, to the other side, and home again
            with torch.no_grad():
                for p, d in zip(parameters, direction, strict=True):
                    p.add_(d, alpha=step)
            ends.append(float(_penalty(trial, network).detach()))
        measured = (ends[0] - ends[1]) / (2 * size)
        tried.append((slope, measured))
        if abs(slope - measured) <= _SLOPE * max(abs(slope), abs(measured), 1e-9):
            return
    slope, measured = tried[0]
    expect(False, f"the slope of the penalty that finite differences give, {measured:.6g}", f"{slope:.6g} by backward")


def _penalty(trial: Trial, network: nn.Module) -> Tensor:
    images, condition = trial.inputs(network)
    images = images.double().requires_grad_()
    (gradient,) = torch.autograd.grad(_score(network(images, condition)).per_sample().sum(), images, create_graph=True)
    return gradient.square().sum()


@check("'head': D.head is the last Linear or Conv2d, called once a pass, on the features, and every logit comes through it")
def check_discriminator_head(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    if "head" not in entry.component.provides:
        raise Skip("it does not provide 'head'")
    trial = Trial(entry, data, options)
    network = trial.network().eval()
    head = getattr(network, "head", None)
    expect(isinstance(head, nn.Linear | nn.Conv2d), "D.head, a Linear or Conv2d", type(head).__name__)
    inputs = trial.inputs(network)
    wrapped = _Moved(head)
    with torch.no_grad():
        before = _score(network(*inputs))
        network.head = wrapped
        after = _score(network(*inputs))
    expect(wrapped.calls == 1, "one call of D.head in a pass", f"{wrapped.calls} calls")
    still = (before.per_sample() == after.per_sample()).sum()
    expect(not still, "other logits for every sample once D.head is replaced", f"{int(still)} unchanged")


class _Moved(nn.Module):
    """A head that says one more than the one it replaces."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.inner, self.calls = head, 0

    def forward(self, features: Tensor) -> Tensor:
        self.calls += 1
        return self.inner(features) + 1


@check("'features': Score.features is a non-empty tuple of tensors [N, ...] with a graph to the input")
def check_discriminator_features(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    if "features" not in entry.component.provides:
        raise Skip("it does not provide 'features'")
    trial = Trial(entry, data, options)
    network = trial.network().eval()
    images, condition = trial.inputs(network)
    images.requires_grad_()
    features = _score(network(images, condition)).features
    expect(isinstance(features, tuple) and bool(features), "a non-empty tuple", f"{type(features).__name__} of {len(features)}")
    for i, feature in enumerate(features):
        expect(
            feature.dim() > 1 and len(feature) == len(images), f"feature {i} of shape [{len(images)}, ...]", list(feature.shape)
        )
        weighed = (feature * torch.randn_like(feature)).sum()  # the plain sum of normalised features is a constant
        (gradient,) = (
            torch.autograd.grad(weighed, images, retain_graph=True, allow_unused=True) if feature.requires_grad else (None,)
        )
        expect(gradient is not None and bool(gradient.any()), f"a gradient from feature {i} to the images", "none")


@check("'classes': Score.classes are class logits [N, number of classes], where the data has classes")
def check_discriminator_classes(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    if "classes" not in entry.component.provides or not data.classes:
        raise Skip("it does not provide 'classes'" if data.classes else "these data have no classes")
    trial = Trial(entry, data, options)
    network = trial.network().eval()
    images, condition = trial.inputs(network)
    with torch.no_grad():
        classes = _score(network(images, condition)).classes
        expect(isinstance(classes, Tensor), "class logits", classes)
        shape = (len(images), len(data.classes))
        expect(tuple(classes.shape) == shape, f"class logits {list(shape)}", list(classes.shape))
        other = {**condition, "labels": (condition["labels"] + 1) % len(data.classes)}
        networks.expect_same(classes, _score(network(images, other)).classes, "class logits that do not look at the label")


@check("labels='used' or 'required': the logits depend on the class")
def check_discriminator_labels(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    networks.labels_matter(Trial(entry, data, options))


@check("'matching': the logits depend on the caption")
def check_discriminator_matching(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    if "matching" not in entry.component.provides:
        raise Skip("it does not provide 'matching'")
    networks.text_matters(Trial(entry, data, options), "'matching'")


@check("torch.func.functional_call seats it on other parameters and buffers, and leaves its own alone")
def check_discriminator_functional_call(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    trial = Trial(entry, data, options)
    network = trial.network().train()
    inputs = trial.inputs(network)
    other = networks.randomised(trial.network(seed=1)).train()
    state = {**dict(other.named_parameters()), **{name: b.clone() for name, b in other.named_buffers()}}
    before = copy.deepcopy(network.state_dict())
    torch.manual_seed(3)
    said = functional_call(network, state, inputs)
    torch.manual_seed(3)
    expected = "the output of a network that has these parameters"
    networks.expect_same(copy.deepcopy(other)(*inputs), said, expected, networks.ROUNDING)
    moved = [name for name, value in network.state_dict().items() if not torch.equal(value, before[name])]
    expect(not moved, "its own state untouched", f"{', '.join(moved)} moved")
    networks.scalar_of(said).backward()
    dry = [name for name, p in other.named_parameters() if p.requires_grad and p.grad is None]
    expect(not dry, "a gradient at every parameter that it was given", f"none at {', '.join(dry)}")


@check("copy.deepcopy works after a training step and shares nothing")
def check_discriminator_deepcopy(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    networks.survives_deepcopy(Trial(entry, data, options))


@check("all that the output depends on is in the state_dict, with the same shapes from construction on")
def check_discriminator_state_dict(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    networks.survives_state_dict(Trial(entry, data, options))


@check("the state_dict goes through safetensors: tensors only")
def check_discriminator_safetensors(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    networks.survives_safetensors(Trial(entry, data, options))


@check("it runs under bf16 autocast; what overflows or cancels there asks for fp32 itself")
def check_discriminator_bf16(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    networks.finite_in_bf16(Trial(entry, data, options))


@check("the memory layout of images and weights is the trainer's choice")
def check_discriminator_channels_last(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    networks.same_in_channels_last(Trial(entry, data, options))


@check("it can be built and called on torch.device('meta'), where `--dry-run` rehearses")
def check_discriminator_meta(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    networks.lives_on_meta(Trial(entry, data, options))


def _score(said: Tensor | Score) -> Score:
    return said if isinstance(said, Score) else Score(said)


CHECKS = (
    check_discriminator_shape,
    check_discriminator_couples,
    check_discriminator_deterministic,
    check_discriminator_gradients,
    check_discriminator_double_backward,
    check_discriminator_head,
    check_discriminator_features,
    check_discriminator_classes,
    check_discriminator_labels,
    check_discriminator_matching,
    check_discriminator_functional_call,
    check_discriminator_deepcopy,
    check_discriminator_state_dict,
    check_discriminator_safetensors,
    check_discriminator_bf16,
    check_discriminator_channels_last,
    check_discriminator_meta,
)
