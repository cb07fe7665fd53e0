"""What generators and discriminators promise alike; the named checks of both are made of these."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import safetensors.torch
import torch
from torch import Tensor, nn

from ganzoo.games.match import condition_of
from ganzoo.interfaces import Condition, Score
from ganzoo.plugin import DataSpec
from ganzoo.registry import Entry
from ganzoo.testing.cases import (
    Options,
    build,
    differing,
    far_apart,
    generator_inputs,
    group_of,
    make_batch,
    on_another_device,
    other_generators_untouched,
)
from ganzoo.testing.contracts import Skip, expect
from ganzoo.training.checkpoint import plain

Inputs = tuple[Tensor, Condition]

# Two ways to one fp32 result: another batch size or memory layout chooses another summation order.
ROUNDING = 1e-3


@dataclass(frozen=True, slots=True)
class Trial:
    """A network under test, and what it is fed."""

    entry: Entry
    data: DataSpec
    options: Options

    def network(self, seed: int = 0) -> nn.Module:
        torch.manual_seed(seed)
        return build(self.entry, self.data, self.options)

    @property
    def group(self) -> int:
        return group_of(self.entry, self.options)

    def inputs(self, network: nn.Module, groups: int = 4, seed: int = 0) -> Inputs:
        """Of `groups` groups of samples."""
        if self.entry.kind == "generator":
            return generator_inputs(network, self.data, groups * self.group, seed)
        batch = make_batch(self.data, groups * self.group, seed)
        return batch["real"], condition_of(batch)


def outputs(said: Tensor | Score) -> list[Tensor]:
    """Every tensor of what a network said: samples, or logits, features and class logits."""
    if isinstance(said, Tensor):
        return [said]
    expect(isinstance(said, Score), "a Tensor or a ganzoo.interfaces.Score", type(said).__name__)
    logits = [said.logits] if isinstance(said.logits, Tensor) else list(said.logits)
    return [*logits, *said.features, *([] if said.classes is None else [said.classes])]


def rows(inputs: Inputs, start: int, stop: int) -> Inputs:
    x, condition = inputs
    return x[start:stop], {name: value[start:stop] for name, value in condition.items()}


def scalar_of(said: Tensor | Score) -> Tensor:
    """A scalar to which every output adds with its own random weight."""
    return torch.stack([(out * torch.randn_like(out)).sum() for out in outputs(said)]).sum()


def expect_same(one: Tensor | Score, other: Tensor | Score, expected: str, tolerance: float = 0.0) -> None:
    ones, others = outputs(one), outputs(other)
    expect(len(ones) == len(others), expected, f"{len(ones)} outputs, then {len(others)}")
    for i, (a, b) in enumerate(zip(ones, others, strict=True)):
        apart = far_apart(a, b)
        expect(apart <= tolerance, expected, f"output {i} of {len(ones)} differs by {apart:.2g} of its largest value")


def randomised(network: nn.Module) -> nn.Module:
    """`network` with noise on each parameter, so that what starts at zero counts."""
    with torch.no_grad():
        for p in network.parameters():
            p.add_(torch.randn_like(p) * (0.1 * p.abs().mean() + 0.01))
    return network


# ---- what they promise


def is_deterministic(trial: Trial) -> None:
    """The same twice in eval mode, without a draw; in training draws are torch's."""
    network = trial.network()
    inputs = trial.inputs(network)
    with torch.no_grad(), other_generators_untouched():
        network.train()(*inputs)
        network.eval()
        state = torch.get_rng_state()
        first = network(*inputs)
        drew = not torch.equal(state, torch.get_rng_state())
        expect(not drew, "no random draw in eval mode", "torch's global random state moved")
        expect_same(first, network(*inputs), "the same output for the same input in eval mode")


def groups_are_apart(trial: Trial, mode: str) -> None:
    """What is said of a group of samples does not depend on the others in the batch."""
    network = trial.network().train(mode == "train")
    inputs = trial.inputs(network, groups=4, seed=1)
    other_x, condition = trial.inputs(network, groups=4, seed=2)
    kept = slice(trial.group, 2 * trial.group)
    x = other_x.clone()
    x[kept] = inputs[0][kept]
    mixed = {name: value.clone() for name, value in condition.items()}
    for name, value in mixed.items():
        value[kept] = inputs[1][name][kept]
    said = []
    for given in (inputs, (x, mixed)):
        torch.manual_seed(3)  # the same dropout masks
        with torch.no_grad():
            said.append(outputs(copy.deepcopy(network)(*given)))
    for one, other in zip(*said, strict=True):
        apart = far_apart(one[kept], other[kept])
        what = f"group of {trial.group} samples" if trial.group > 1 else "sample"
        expect(
            apart <= ROUNDING,
            f"in {mode} mode the same output for a {what} whatever else is in the batch, unless `couples` says",
            f"a difference of {apart:.2g} of the largest value",
        )


def gradients_reach(trial: Trial) -> None:
    """Every parameter that asks for a gradient gets one, and so does the input."""
    network = trial.network().train()
    x, condition = trial.inputs(network)
    x.requires_grad_()
    scalar_of(network(x, condition)).backward()
    gradients = {name: p.grad for name, p in network.named_parameters() if p.requires_grad} | {"the input": x.grad}
    missing = [name for name, grad in gradients.items() if grad is None]
    expect(not missing, "a gradient at every parameter that requires one, and at the input", f"none at {', '.join(missing)}")
    wild = [name for name, grad in gradients.items() if grad is not None and not grad.isfinite().all()]
    expect(not wild, "finite gradients", f"NaN or infinity at {', '.join(wild)}")


def survives_deepcopy(trial: Trial) -> None:
    """A copy, as the averaged generator is one, made after a training step: equal, and independent."""
    network = trial.network().train()
    inputs = trial.inputs(network)
    scalar_of(network(*inputs)).backward()
    twin = copy.deepcopy(network).eval()
    network.eval()
    with torch.no_grad():
        before = network(*inputs)
        expect_same(before, twin(*inputs), "the same output from a deep copy")
        for tensor in [*twin.parameters(), *(b for b in twin.buffers() if b.is_floating_point())]:
            tensor.add_(1)
        expect_same(before, network(*inputs), "an original that a change of its copy does not change")


def survives_state_dict(trial: Trial) -> None:
    """A network built from another seed says the same with this one's state, trained buffers included."""
    network, other = _trained(trial), trial.network(seed=1)
    other.load_state_dict(network.state_dict())
    _expect_equal_in_eval(trial, network, other, "a state_dict that holds all that the output depends on")


def survives_safetensors(trial: Trial) -> None:
    """The same through a file without pickle, in which no two tensors share memory."""
    network, other = _trained(trial), trial.network(seed=1)
    state = network.state_dict()
    odd = [name for name, value in state.items() if not isinstance(value, Tensor)]
    expect(not odd, "a state_dict of tensors only", f"{', '.join(odd)} is none")
    other.load_state_dict(safetensors.torch.load(safetensors.torch.save(plain(state))))
    _expect_equal_in_eval(trial, network, other, "the same output after a round trip through safetensors")


def _trained(trial: Trial) -> nn.Module:
    """A network whose parameters and buffers are no longer those of its seed."""
    network = randomised(trial.network()).train()
    with torch.no_grad():
        network(*trial.inputs(network, seed=5))
    return network.eval()


def _expect_equal_in_eval(trial: Trial, network: nn.Module, other: nn.Module, expected: str) -> None:
    wrong = differing(network.state_dict(), other.state_dict())
    expect(not wrong, expected, f"{', '.join(wrong)} did not survive")
    inputs = trial.inputs(network)
    with torch.no_grad():
        expect_same(network(*inputs), other.eval()(*inputs), expected)


def finite_in_bf16(trial: Trial) -> None:
    """Under bf16 autocast outputs and gradients stay finite."""
    network = trial.network().train()
    with torch.autocast("cpu", torch.bfloat16):
        said = network(*trial.inputs(network))
    wild = [i for i, out in enumerate(outputs(said)) if not out.isfinite().all()]
    expect(not wild, "finite outputs under bf16 autocast", f"NaN or infinity in output {wild}")
    scalar_of(said).float().backward()
    grads = [name for name, p in network.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    expect(not grads, "finite gradients under bf16 autocast", f"NaN or infinity at {', '.join(grads)}")


def same_in_channels_last(trial: Trial) -> None:
    """Another memory layout of images and weights changes nothing but rounding."""
    if len(trial.data.shape) != 3:
        raise Skip("channels_last is a layout of images")
    network = trial.network()
    x, condition = trial.inputs(network)
    for mode in (True, False):
        twin = copy.deepcopy(network.train(mode)).to(memory_format=torch.channels_last)
        last = x.to(memory_format=torch.channels_last) if x.dim() == 4 else x
        torch.manual_seed(3)
        with torch.no_grad():
            said = copy.deepcopy(network)(x, condition)
        torch.manual_seed(3)
        answer = twin(last, condition)
        expect_same(said, answer, "the same output in channels_last", ROUNDING)
        scalar_of(answer).backward()


def labels_matter(trial: Trial) -> None:
    """Another class, another output: checked with noise on the parameters, since embeddings may start at zero."""
    wants = trial.entry.component.labels
    if wants not in ("used", "wanted", "required"):
        raise Skip(f"labels are {wants}")
    if not trial.data.classes:
        raise Skip("these data have no classes")
    if "classes" in trial.entry.component.provides:
        raise Skip("labels are held against its class logits")
    labels = trial.inputs(trial.network())[1]["labels"]
    _expect_heard(trial, "labels", (labels + 1) % len(trial.data.classes), f"another class, as labels='{wants}' says")


def text_matters(trial: Trial, capability: str) -> None:
    """Another caption, another output."""
    other = make_batch(trial.data, 4 * trial.group, seed=9)["text"]
    _expect_heard(trial, "text", other, f"the vector of another caption, as {capability} says")


def _expect_heard(trial: Trial, name: str, value: Tensor, what: str) -> None:
    network = randomised(trial.network()).eval()
    x, condition = trial.inputs(network)
    with torch.no_grad():
        one, two = _answer(network(x, condition)), _answer(network(x, {**condition, name: value}))
    deaf = (one == two).reshape(len(one), -1).all(1).sum()
    expect(not deaf, f"another output for {what}", f"{int(deaf)} of {len(one)} samples the same")


def _answer(said: Tensor | Score) -> Tensor:
    """[groups, ...]: what the partner or the loss looks at."""
    return said if isinstance(said, Tensor) else said.per_sample()


def lives_on_meta(trial: Trial) -> None:
    """Built and called without memory, for `--dry-run`: the same shapes as in earnest."""
    real = trial.network()
    inputs = trial.inputs(real)
    with torch.no_grad():
        expected = [tuple(out.shape) for out in outputs(real.train()(*inputs))]
    with torch.device("meta"):
        network = trial.network().train()
    state: Mapping[str, Tensor] = dict([*network.named_parameters(), *network.named_buffers()])
    stray = [name for name, value in state.items() if not value.is_meta]
    expect(not stray, "every parameter and buffer on torch.device('meta') when built there", f"{', '.join(stray)} elsewhere")
    x, condition = inputs
    with torch.device("meta"):
        said = network(x.to("meta"), {name: value.to("meta") for name, value in condition.items()})
    shapes = [tuple(out.shape) for out in outputs(said)]
    expect(shapes == expected, f"shapes {expected} on the meta device", shapes)
    on_another_device(lambda: real.train().to("meta")(x.to("meta"), {name: t.to("meta") for name, t in condition.items()}))
