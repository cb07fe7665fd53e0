"""Bilinear halving and doubling of maps, each one strided depthwise convolution.

2x2 means, or nearest-neighbour doubling, and the low-pass kernel [1, 2, 1] along each side (arXiv:2501.05441, appendix E) are
together one kernel, [1, 3, 3, 1]: bilinear interpolation between the centres of pixels. Beyond its border a map is zero.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F

from ganzoo.interfaces import in_full_precision


# Each is the transpose of the other, and so the other's gradient, of any order. Autograd would take the second derivative of a
# depthwise convolution channel by channel, and R1 and R2 ask for it in every step: five times slower on the CPU.
class _Reduce(Function):
    @staticmethod
    def forward(x: Tensor, kernel: Tensor) -> Tensor:
        return F.conv2d(x, kernel, None, 2, 1, groups=x.shape[1])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _Expand.apply(grads[0], *ctx.saved_tensors), None


class _Expand(Function):
    @staticmethod
    def forward(x: Tensor, kernel: Tensor) -> Tensor:
        return F.conv_transpose2d(x, kernel, None, 2, 1, groups=x.shape[1])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _Reduce.apply(grads[0], *ctx.saved_tensors), None


class _Bilinear(nn.Module):
    """`gain` is the sum of the kernel."""

    kernel: Tensor
    operation: type[Function]
    gain: float

    def __init__(self, channels: int) -> None:
        super().__init__()
        line = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.register_buffer("kernel", (self.gain * torch.outer(line, line)).repeat(channels, 1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        # Not in bf16: there a transposed depthwise convolution takes twenty times as long on the CPU.
        with in_full_precision(x):
            return self.operation.apply(x.to(self.kernel.dtype), self.kernel).to(x.dtype)


class Halve(_Bilinear):
    """[N, C, H, W] -> [N, C, H / 2, W / 2]."""

    operation, gain = _Reduce, 1.0


class Double(_Bilinear):
    """[N, C, H, W] -> [N, C, 2 H, 2 W]: a quarter of the kernel falls on each of four pixels."""

    operation, gain = _Expand, 4.0
