"""Layers of StyleGAN2 (Karras et al. 2020, arXiv:1912.04958): equalised learning rate, FIR resampling, modulation.

A gain follows every leaky ReLU. Since lrelu(g x) = g lrelu(x) for g > 0, layers take it into their weight and bias.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F

from ganzoo.interfaces import in_full_precision

GAIN = math.sqrt(2)  # keeps the scale of what a leaky ReLU rectifies
TAPS = (1.0, 3.0, 3.0, 1.0)


def rectified(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)


def full(x: Tensor) -> Tensor:
    """bf16 as fp32; whatever is wider as it is."""
    return x.float() if x.dtype == torch.bfloat16 else x


def unit_rms(x: Tensor) -> Tensor:
    """Rows [N, D] divided by their root mean square."""
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class Linear(nn.Linear):
    """A linear layer with equalised learning rate: N(0, 1/m) parameters, used as W m g / sqrt(inputs) and b m g.

    multiplier  m, by which this layer learns more slowly than others
    gain        g of the rectifier that follows
    bias        its value in use at the start
    """

    def __init__(self, inputs: int, outputs: int, *, bias: float = 0.0, multiplier: float = 1.0, gain: float = 1.0) -> None:
        super().__init__(inputs, outputs)
        nn.init.normal_(self.weight, 0.0, 1 / multiplier)
        nn.init.constant_(self.bias, bias / multiplier)
        self.bias_scale = multiplier * gain
        self.weight_scale = self.bias_scale / math.sqrt(inputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.weight_scale, self.bias * self.bias_scale)


# Each is the transpose of the other, and so the other's gradient, of any order. Autograd would take the second derivative of a
# depthwise convolution channel by channel, and R1 and path length ask for it: three times slower on the CPU.
class _Filter(Function):
    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int, int], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])
        ctx.shape = inputs[2:]


class _Reduce(_Filter):
    """A depthwise convolution; with stride 2 of even sides."""

    @staticmethod
    def forward(x: Tensor, taps: Tensor, stride: int, padding: int) -> Tensor:
        return F.conv2d(x, taps, None, stride, padding, groups=len(taps))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        return _Expand.apply(grads[0], *ctx.saved_tensors, *ctx.shape), None, None, None


class _Expand(_Filter):
    @staticmethod
    def forward(x: Tensor, taps: Tensor, stride: int, padding: int) -> Tensor:
        return F.conv_transpose2d(x, taps, None, stride, padding, groups=len(taps))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        return _Reduce.apply(grads[0], *ctx.saved_tensors, *ctx.shape), None, None, None


class Fir(nn.Module):
    """The filter [1, 3, 3, 1] in both directions, [N, C, H, W], each channel by itself, as one convolution.

    mode  "blur": at every place, `padding` zeros around; "down": at every second one, [N, C, H/2, W/2]; "up": of the map with
          zeros between its places, [N, C, 2H, 2W]
    gain  sum of the taps; 4 makes up for the zeros of an upsampling
    """

    taps: Tensor

    def __init__(self, channels: int, mode: Literal["blur", "down", "up"], *, gain: float = 1.0, padding: int = 1) -> None:
        super().__init__()
        self.mode, self.padding = mode, padding
        line = torch.tensor(TAPS) / sum(TAPS)
        taps = gain * torch.outer(line, line)
        self.register_buffer("taps", taps.expand(channels, 1, 4, 4).contiguous(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        with in_full_precision(x):
            if self.mode == "blur":
                return _Reduce.apply(x, self.taps.to(x.dtype), 1, self.padding)
            # Strided depthwise convolutions under bf16: on the CPU going from the small side to the large one takes tenfold.
            x = full(x)
            return (_Reduce if self.mode == "down" else _Expand).apply(x, self.taps.to(x.dtype), 2, 1)


class Conv(nn.Conv2d):
    """A convolution with equalised learning rate, of side 1 or 3; with `down` blurred first, and to half the resolution.

    A 3x3 kernel of stride 2 after the blur, and a 1x1 kernel after the filter at every second place: as exact as one 6x6
    kernel, and nearly three times as fast.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, gain: float = 1.0, bias: bool = True, down: bool = False
    ) -> None:
        super().__init__(inputs, outputs, kernel, bias=bias)
        nn.init.normal_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)
        self.bias_scale = gain
        self.weight_scale = gain / math.sqrt(inputs * kernel**2)
        self.fir = None if not down else Fir(inputs, "blur", padding=2) if kernel == 3 else Fir(inputs, "down")

    def forward(self, x: Tensor) -> Tensor:
        side = self.kernel_size[0]
        bias = None if self.bias is None else self.bias * self.bias_scale
        if self.fir is None:
            return F.conv2d(x, self.weight * self.weight_scale, bias, padding=side // 2)
        return F.conv2d(self.fir(x), self.weight * self.weight_scale, bias, stride=2 if side == 3 else 1)


class StyledConv(nn.Conv2d):
    """Modulated 3x3 convolution, demodulated, with noise, bias and leaky ReLU: [N, I, h, w], w [N, W] -> [N, O, H, W].

    Equations 1 and 3 of the paper scale the weights of each sample; the same comes of scaling the input's channels by the style
    and the output's by 1 / sqrt(sum (style W)^2), with one convolution for the whole batch. With `up` the map doubles: a
    transposed convolution of stride 2, then the filter, as exact as one 6x6 kernel and three times as fast.

    noise  (H, W) of the output, to which noise is added, in eval mode always the same; none: without noise
    """

    noise: Tensor | None

    def __init__(self, inputs: int, outputs: int, w_dim: int, *, noise: tuple[int, int] | None, up: bool) -> None:
        super().__init__(inputs, outputs, 3)
        nn.init.normal_(self.weight)
        nn.init.zeros_(self.bias)
        self.weight_scale = 1 / math.sqrt(9 * inputs)
        self.style = Linear(w_dim, inputs, bias=1.0)
        self.strength = None if noise is None else nn.Parameter(torch.zeros(()))
        self.register_buffer("noise", None if noise is None else torch.randn(1, 1, *noise))
        self.blur = Fir(outputs, "blur", gain=4.0) if up else None

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        weight = self.weight  # once: a parametrization computes it at each access
        with in_full_precision(w):
            style = self.style(w)  # [N, I]
            power = style.square() @ weight.square().sum((2, 3)).t()  # [N, O]
            scale = (power * self.weight_scale**2 + 1e-8).rsqrt() * (self.weight_scale * GAIN)
        x = x * style.to(x.dtype)[:, :, None, None]
        if self.blur is None:
            x = F.conv2d(x, weight, padding=1)
        else:
            x = self.blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2))
        shift = (self.bias * GAIN)[:, None, None]
        if self.noise is not None and not self.training:
            shift = shift + self.strength * GAIN * self.noise
        x = torch.addcmul(shift.to(x.dtype), x, scale.to(x.dtype)[:, :, None, None])
        if self.noise is not None and self.training:
            noise = torch.randn(len(x), 1, *self.noise.shape[2:], device=x.device, dtype=self.noise.dtype)
            x = x + (self.strength * GAIN * noise).to(x.dtype)
        return rectified(x)


class ToImage(nn.Conv2d):
    """Modulated 1x1 convolution to the image, not demodulated: [N, I, H, W], w [N, W] -> [N, C, H, W]."""

    def __init__(self, inputs: int, outputs: int, w_dim: int) -> None:
        super().__init__(inputs, outputs, 1)
        nn.init.normal_(self.weight)
        nn.init.zeros_(self.bias)
        self.weight_scale = 1 / math.sqrt(inputs)
        self.style = Linear(w_dim, inputs, bias=1.0)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        with in_full_precision(w):
            style = self.style(w) * self.weight_scale
        return full(F.conv2d(x * style.to(x.dtype)[:, :, None, None], self.weight, self.bias))
