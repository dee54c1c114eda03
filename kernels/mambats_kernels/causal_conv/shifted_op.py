"""The shifted form as differentiable operators of torch."""

from typing import Any

import torch
from torch import Tensor

from mambats_kernels.causal_conv import reference, shifted
from mambats_kernels.packed import blank_tail, segments

taps_forward = torch.library.custom_op("mambats::causal_conv_forward", shifted.taps_forward, mutates_args=())
taps_backward = torch.library.custom_op("mambats::causal_conv_backward", shifted.taps_backward, mutates_args=())


@taps_forward.register_fake
def _(line: Tensor, weight: Tensor, bias: Tensor | None, place: Tensor | None) -> Tensor:
    batch, long, width = line.shape
    return weight.new_empty((batch, long - weight.shape[1] + 1, width))


@taps_backward.register_fake
def _(dy: Tensor, line: Tensor, weight: Tensor, place: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    return line.new_empty(line.shape), weight.new_empty(weight.shape), weight.new_empty(weight.shape[:1])


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    line, weight, bias, place = inputs
    ctx.save_for_backward(line, weight, place)
    ctx.biased = bias is not None


def _backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    line, weight, place = ctx.saved_tensors
    dline, dweight, dbias = taps_backward(dy.contiguous(), line, weight, place)
    return dline, dweight, dbias if ctx.biased else None, None


taps_forward.register_autograd(_backward, setup_context=_remember)


def shifted_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    cu_seqlens: Tensor | None,
    initial_state: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    """Run the convolution by the shifted operators: y (B, T, D) in float32 before activation, and the final states."""
    tokens, taps = x.shape[1], weight.shape[1]
    weight = weight.float()
    bias = None if bias is None else bias.float()
    if cu_seqlens is None:
        line = reference.dense_line(x, taps, initial_state, reverse)
        y = taps_forward(line, weight, bias, None)
        return y.flip(1) if reverse else y, line[:, tokens:].clone()
    segment = segments(cu_seqlens, tokens, reverse)
    line = reference.dense_line(blank_tail(x, segment), taps, None, reverse)
    y = taps_forward(line, weight, bias, segment.place.flip(0) if reverse else segment.place)
    y = y.flip(1) if reverse else y
    if initial_state is not None and taps > 1:
        # What the past adds to the first W-1 tokens of a sequence is the convolution of the past followed by zeros.
        after = torch.cat([initial_state, torch.zeros_like(initial_state)], 1)
        step = torch.arange(taps - 1, device=x.device)
        there = step < segment.length.unsqueeze(1)
        at = segment.enter.unsqueeze(1) + (-step if reverse else step)
        added = torch.where(there.unsqueeze(-1), taps_forward(after, weight, None, None), 0.0)
        y = y.index_add(1, torch.where(there, at, 0).flatten(), added.flatten(0, 1).unsqueeze(0))
    return blank_tail(y, segment), reference.packed_final(x, taps, initial_state, segment, reverse)


def torch_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: str | None,
    cu_seqlens: Tensor | None,
    initial_state: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    """Run the convolution in torch operations: y (B, T, D) and the final states, both in the dtype of x."""
    y, final = shifted_conv(x, weight, bias, cu_seqlens, initial_state, reverse)
    return reference.activate(y, activation).to(x.dtype), final
