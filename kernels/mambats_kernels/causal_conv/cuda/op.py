"""The convolution's kernels as differentiable operators: registered for graphs, by a short way elsewhere."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mambats_kernels.causal_conv.cuda.launch import backward, forward
from mambats_kernels.causal_conv.cuda.tile import MOST_TAPS
from mambats_kernels.eager import direct, taught


@torch.library.custom_op("mambats::cuda_conv_forward", mutates_args=(), device_types="cuda")
def conv_forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial: Tensor | None,
    borders: Tensor | None,
    silu: bool,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    """Run `forward` as an operator."""
    return forward(x, weight, bias, initial, borders, silu, reverse)


@conv_forward.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial: Tensor | None,
    borders: Tensor | None,
    silu: bool,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    rows = x.shape[0] if borders is None else borders.shape[0] - 1
    return x.new_empty(x.shape), x.new_empty((rows, weight.shape[1] - 1, x.shape[2]))


@torch.library.custom_op("mambats::cuda_conv_backward", mutates_args=(), device_types="cuda")
def conv_backward(
    dy: Tensor | None,
    dfinal: Tensor | None,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial: Tensor | None,
    borders: Tensor | None,
    silu: bool,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Run `backward` as an operator; a gradient of what is None has no elements."""
    dx, dweight, *others = backward(dy, dfinal, x, weight, bias, initial, borders, silu, reverse)
    dbias, dinitial = (x.new_empty(0) if v is None else v for v in others)
    return dx, dweight, dbias, dinitial


@conv_backward.register_fake
def _(
    dy: Tensor | None,
    dfinal: Tensor | None,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial: Tensor | None,
    borders: Tensor | None,
    silu: bool,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dbias, dinitial = (x.new_empty(0) if v is None else v.new_empty(v.shape) for v in (bias, initial))
    return x.new_empty(x.shape), weight.new_empty(weight.shape), dbias, dinitial


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.silu, ctx.reverse = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors)


def _slopes(ctx: Any, dy: Tensor | None, dfinal: Tensor | None) -> tuple[Tensor | None, ...]:
    x, weight, bias, initial, borders = ctx.saved_tensors
    dx, dweight, dbias, dinitial = conv_backward(
        dy, dfinal, x, weight, bias, initial, borders, ctx.silu, ctx.reverse
    )  # fmt: skip
    return dx, dweight, None if bias is None else dbias, None if initial is None else dinitial, None, None, None


conv_forward.register_autograd(_slopes, setup_context=_remember)


class _Conv(torch.autograd.Function):
    """The same past torch's dispatcher."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        output = forward(*inputs)
        _remember(ctx, inputs, output)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Any) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (dy, dfinal), (x, weight, bias, initial, borders) = slopes, ctx.saved_tensors
        found = backward(dy, dfinal, x, weight, bias, initial, borders, ctx.silu, ctx.reverse)
        return *found, None, None, None


def takes(x: Tensor, weight: Tensor) -> bool:
    """Whether the kernels can do x (B, T, D) with weight (D, W); else torch operations have to."""
    return 0 < x.numel() and weight.shape[1] <= MOST_TAPS and x.shape[0] * x.shape[1] < 2**31 - 2**16


def cuda_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    activation: str | None,
    cu_seqlens: Tensor | None,
    initial_state: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    """Run `mambats_kernels.causal_conv` by the CUDA kernels: checked arguments on one device, that `takes` accepts.

    Returns:
        y (B, T, D) and the final states (rows, W-1, D), in the dtype of x; once differentiable.
    """
    if initial_state is not None and initial_state.dtype != x.dtype:
        initial_state = initial_state.to(x.dtype)
    if weight.dtype == torch.float64 or (bias is not None and bias.dtype != weight.dtype):
        weight, bias = weight.float(), None if bias is None else bias.float()
    inputs = (x, weight, bias, initial_state)
    options = (cu_seqlens, activation == "silu", reverse)
    if not direct((*inputs, cu_seqlens)):
        return conv_forward(*inputs, *options)
    if taught(inputs):
        found: Any = _Conv.apply(*inputs, *options)
        return found
    return forward(*inputs, *options)
