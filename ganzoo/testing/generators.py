"""Checks of generators: `check_...(entry, data, options)`, for data as `cases.suitable_data` gives."""

from __future__ import annotations

import torch
from torch import Tensor

from ganzoo.plugin import DataSpec
from ganzoo.registry import Entry
from ganzoo.testing import networks
from ganzoo.testing.cases import NO_OPTIONS, Options
from ganzoo.testing.contracts import Skip, check, expect
from ganzoo.testing.networks import Trial

_FAR = 3.0  # root mean square of images: data in [-1, 1] have at most 1, untrained unbounded generators up to 2 or so


@check("forward(x, condition) returns samples [N, *data.shape] in x's dtype, finite; `z_dim` is the width of its noise")
def check_generator_shape(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    trial = Trial(entry, data, options)
    network = trial.network()
    for mode in (True, False):
        x, condition = trial.inputs(network)
        with torch.no_grad():
            said = network.train(mode)(x, condition)
        expect(isinstance(said, Tensor), "a Tensor", type(said).__name__)
        expect(tuple(said.shape) == (len(x), *data.shape), f"samples {[len(x), *data.shape]}", list(said.shape))
        expect(said.dtype == x.dtype, f"samples of {x.dtype} from noise of {x.dtype}", said.dtype)
        expect(bool(said.isfinite().all()), "finite samples", "NaN or infinity")


@check("images are in [-1, 1]; where no layer bounds them, of that scale")
def check_generator_range(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    if data.modality != "image":
        raise Skip(f"{data.modality} data have no range")
    trial = Trial(entry, data, options)
    network = trial.network().train()
    with torch.no_grad():
        said = network(*trial.inputs(network, groups=16))
    low, high = float(said.min()), float(said.max())
    seen = f"{low:.3g} to {high:.3g}"
    expect(low < 0 < high, "images with values on both sides of 0, which is grey", seen)
    expect(float(said.square().mean().sqrt()) <= _FAR, "images of the scale of [-1, 1]", seen)


@check("any batch size in eval mode, 1 included; a sample is a function of its own noise and condition")
def check_generator_batch_sizes(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    trial = Trial(entry, data, options)
    network = trial.network().eval()
    inputs = trial.inputs(network, groups=7)
    with torch.no_grad():
        whole = network(*inputs)
        for size in (1, 2, 3, 5):
            part = network(*networks.rows(inputs, 1, 1 + size))
            networks.expect_same(
                whole[1 : 1 + size], part, f"the same samples in a batch of {size} as in one of 7", networks.ROUNDING
            )


@check("eval mode is deterministic and touches no global random state; training draws from torch's alone")
def check_generator_deterministic(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    networks.is_deterministic(Trial(entry, data, options))


@check("samples follow their noise, or their source image")
def check_generator_uses_input(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    trial = Trial(entry, data, options)
    network = networks.randomised(trial.network()).eval()
    x, condition = trial.inputs(network)
    other, _ = trial.inputs(network, seed=7)
    with torch.no_grad():
        same = (network(x, condition) == network(other, condition)).flatten(1).all(1)
    expect(not same.any(), "other samples from other noise", f"{int(same.sum())} of {len(x)} samples the same")


@check("what couples the samples of a batch in training is said by `couples`")
def check_generator_couples(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    if entry.component.couples:
        raise Skip(f"it says what couples them: {entry.component.couples}")
    networks.groups_are_apart(Trial(entry, data, options), "train")


@check("each parameter that requires a gradient has a part in the output; nothing is detached or trained in vain")
def check_generator_gradients(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    networks.gradients_reach(Trial(entry, data, options))


@check("copy.deepcopy works after a training step and shares nothing: the averaged generator is a copy")
def check_generator_deepcopy(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    networks.survives_deepcopy(Trial(entry, data, options))


@check("all that the output depends on is in the state_dict, with the same shapes from construction on")
def check_generator_state_dict(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    networks.survives_state_dict(Trial(entry, data, options))


@check("the state_dict goes through safetensors: tensors only")
def check_generator_safetensors(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    networks.survives_safetensors(Trial(entry, data, options))


@check("it runs under bf16 autocast; what overflows or cancels there asks for fp32 itself")
def check_generator_bf16(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    networks.finite_in_bf16(Trial(entry, data, options))


@check("the memory layout of its weights is the trainer's choice")
def check_generator_channels_last(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    networks.same_in_channels_last(Trial(entry, data, options))


@check("labels='used' or 'required': samples depend on the class")
def check_generator_labels(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    networks.labels_matter(Trial(entry, data, options))


@check("needs={'text'}: samples depend on the caption")
def check_generator_text(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    if "text" not in entry.component.needs:
        raise Skip("it does not need 'text'")
    networks.text_matters(Trial(entry, data, options), "needs={'text'}")


@check("it can be built and called on torch.device('meta'), where `--dry-run` rehearses")
def check_generator_meta(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    networks.lives_on_meta(Trial(entry, data, options))


@check("'style': mapping(z, condition) -> w [N, L, W]; synthesis(w) -> images; mean_w [W] or [classes, W], a buffer")
def check_generator_style(entry: Entry, data: DataSpec, options: Options = NO_OPTIONS) -> None:
    if "style" not in entry.component.provides:
        raise Skip("it does not provide 'style'")
    trial = Trial(entry, data, options)
    network = trial.network().eval()
    x, condition = trial.inputs(network)
    with torch.no_grad():
        w = network.mapping(x, condition)
        expect(w.dim() == 3 and len(w) == len(x), "mapping(z, condition) of shape [N, L, W]", list(w.shape))
        made = network.synthesis(w)
        networks.expect_same(
            network(x, condition), made, "synthesis(mapping(z, condition)) to be forward(z, condition)", networks.ROUNDING
        )
        shapes = [w.shape[2:], (len(data.classes), w.shape[2])]
        mean = network.mean_w
        expect(
            tuple(mean.shape) in [tuple(s) for s in shapes],
            f"mean_w of shape {' or '.join(str(list(s)) for s in shapes)}",
            list(mean.shape),
        )
        saved = any(torch.equal(value, mean) for value in network.state_dict().values() if value.shape == mean.shape)
        expect(saved, "mean_w in the state_dict", "it is not there")


CHECKS = (
    check_generator_shape,
    check_generator_range,
    check_generator_batch_sizes,
    check_generator_deterministic,
    check_generator_uses_input,
    check_generator_couples,
    check_generator_gradients,
    check_generator_deepcopy,
    check_generator_state_dict,
    check_generator_safetensors,
    check_generator_bf16,
    check_generator_channels_last,
    check_generator_labels,
    check_generator_text,
    check_generator_meta,
    check_generator_style,
)
