"""The causal convolution by the native CPU library, as differentiable operators of torch with every option at once."""

from typing import Any

import torch
from torch import Tensor

from mambats_kernels import native
from mambats_kernels.native.conv import Conv
from mambats_kernels.native.scan import address, ready


def _rows(x: Tensor, borders: Tensor | None) -> Any:
    return x.shape[0] if borders is None else borders.shape[0] - 1


def _past(x: Tensor, weight: Tensor, borders: Tensor | None) -> tuple[Any, Any, Any]:
    return _rows(x, borders), weight.shape[1] - 1, x.shape[2]


def _block(x: Tensor, weight: Tensor, rows: int, silu: bool, reverse: bool) -> Conv:
    return Conv(rows, x.shape[1], x.shape[2], weight.shape[1], torch.get_num_threads(), silu, reverse)


@torch.library.custom_op("mambats::native_conv_forward", mutates_args=(), device_types="cpu")
def conv_forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial: Tensor | None,
    borders: Tensor | None,
    silu: bool,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    """Convolve x (B, T, D) with weight (D, W): y, and the final states (rows, W-1, D), all float32."""
    kept = [ready(v) for v in (x, weight, bias, initial)]
    borders = None if borders is None else borders.to(torch.int64).contiguous()
    y, final = x.new_empty(x.shape), x.new_empty(_past(x, weight, borders))
    block = _block(x, weight, _rows(x, borders), silu, reverse)
    block.x, block.weight, block.bias, block.initial = map(address, kept)
    block.borders, block.y, block.final = address(borders), y.data_ptr(), final.data_ptr()
    native.run("mambats_conv_forward", block)
    return y, final


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
    return x.new_empty(x.shape), x.new_empty(_past(x, weight, borders))


@torch.library.custom_op("mambats::native_conv_backward", mutates_args=(), device_types="cpu")
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
) -> list[Tensor]:
    """Give the gradients of x, weight, bias and initial; one of no elements where that is None."""
    given = (x, weight, bias, initial)
    kept = [ready(v) for v in given]
    borders = None if borders is None else borders.to(torch.int64).contiguous()
    dy, dfinal = torch.zeros_like(x) if dy is None else ready(dy), ready(dfinal)
    slopes = [x.new_empty(0 if v is None else v.shape) for v in given]
    block = _block(x, weight, _rows(x, borders), silu, reverse)
    block.x, block.weight, block.bias, block.initial = map(address, kept)
    block.borders, block.dy, block.dfinal = map(address, (borders, dy, dfinal))
    block.dx, block.dweight, block.dbias, block.dinitial = (
        None if v is None else slope.data_ptr() for slope, v in zip(slopes, given, strict=True)
    )
    native.run("mambats_conv_backward", block)
    return slopes


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
) -> list[Tensor]:
    return [x.new_empty(0 if v is None else v.shape) for v in (x, weight, bias, initial)]


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.silu, ctx.reverse = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, dy: Tensor | None, dfinal: Tensor | None) -> tuple[Tensor | None, ...]:
    *tensors, borders = ctx.saved_tensors
    with torch.autocast("cpu", enabled=False):
        slopes = conv_backward(dy, dfinal, *tensors, borders, ctx.silu, ctx.reverse)
    found = [None if v is None else slope for v, slope in zip(tensors, slopes, strict=True)]
    return *found, None, None, None


conv_forward.register_autograd(_backward, setup_context=_remember)


def native_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: str | None,
    cu_seqlens: Tensor | None,
    initial_state: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    """Run the convolution in the library: y (B, T, D) and the final states, both in the dtype of x."""
    past = None if initial_state is None else initial_state.to(x.dtype)  # the state holds inputs, rounded as they are
    kept = [ready(v) for v in (x, weight, bias, past)]
    y, final = conv_forward(*kept, cu_seqlens, activation == "silu", reverse)
    return y.to(x.dtype), final.to(x.dtype)


def native_conv_step(
    x_t: Tensor, weight: Tensor, bias: Tensor | None, state: Tensor, activation: str | None, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Advance one token without gradients and without the dispatcher: a convolution of one token a row."""
    dtype = x_t.dtype
    kept = [ready(v) for v in (x_t, weight, bias, state if state.dtype == dtype else state.to(dtype))]
    mask = None if mask is None else mask.contiguous()
    y, final = (torch.empty(v.shape, dtype=torch.float32, device="cpu") for v in (x_t, state))
    block = Conv(
        x_t.shape[0], 1, *weight.shape, 1, activation == "silu", False,
        *map(address, kept), None, address(mask), y.data_ptr(), final.data_ptr(),
    )  # fmt: skip
    native.run("mambats_conv_forward", block)
    return (y, final) if dtype == torch.float32 else (y.to(dtype), final.to(dtype))
