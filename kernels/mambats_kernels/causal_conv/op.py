"""The public causal convolution: checks, choice of back-end, and the shifted form as differentiable operators."""

from typing import Any

import torch
from torch import Tensor

from mambats_kernels.backend import chosen_backend
from mambats_kernels.causal_conv import reference, shifted
from mambats_kernels.causal_conv.arguments import check_conv, check_conv_step
from mambats_kernels.checks import needs_numbers
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


def causal_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    activation: str | None = None,
    cu_seqlens: Tensor | None = None,
    initial_state: Tensor | None = None,
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """Convolve every channel with its own short filter over the present and the W-1 tokens before.

    y_t = activation(bias + sum_k weight[:, k] x_{t-W+1+k}), summed in float32. It counts tokens, not time: with
    irregular gaps the filter sees the same tokens at other distances.

    Args:
        x: Input, shape (B, T, D), float32, bfloat16, float16 or float64.
        weight: Filters, shape (D, W), W >= 1, the last tap for the token itself.
        bias: Shape (D,), or None.
        activation: "silu" or None.
        cu_seqlens: Borders of n packed sequences, shape (n+1,), int64 or int32, on the device of x, with B = 1. They
            never fall; sequences may be empty; tokens from cu_seqlens[-1] on are ignored and give 0.
        initial_state: The W-1 inputs before the first token, oldest first, shape (B, W-1, D), or (n, W-1, D) if packed;
            None for zeros.
        reverse: Whether to look at the W-1 tokens after instead, as if time were flipped: "before" and "oldest" then
            refer to the order of walking.

    Returns:
        y of shape (B, T, D) and the final state, the last W-1 inputs, oldest first, shape (B, W-1, D) or (n, W-1, D),
        both in the dtype of x. Both can be differentiated.

    Raises:
        ValueError: If a shape, dtype, device or the activation's name does not fit; on a CPU or with MAMBATS_CHECK=1
            also if x holds NaN or cu_seqlens falls.

    Example:
        x, weight = torch.randn(2, 9, 4), torch.randn(4, 3)
        y, state = causal_conv(x, weight, activation="silu")
        more, state = causal_conv(x, weight, activation="silu", initial_state=state)

    Source: the short convolution of A. Gu and T. Dao, Mamba, 2023, section 3.4; interface after
    Dao-AILab/causal-conv1d, but channels last.
    """
    check_conv(x, weight, bias, activation, cu_seqlens, initial_state)
    if cu_seqlens is None:  # what lies behind packed sequences may be anything
        needs_numbers({"x": x})
    if x.numel() == 0 or chosen_backend("causal_conv", x.device, x.dtype) == "reference":
        return reference.causal_conv(
            x, weight, bias, activation=activation, cu_seqlens=cu_seqlens, initial_state=initial_state, reverse=reverse
        )
    y, final = shifted_conv(x, weight, bias, cu_seqlens, initial_state, reverse)
    return reference.activate(y, activation).to(x.dtype), final


def causal_conv_step(
    x_t: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    state: Tensor,
    activation: str | None = None,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Advance `causal_conv` by one token, in plain torch operations, with the same numbers.

    Args:
        x_t: Input, shape (B, D).
        weight: Filters, shape (D, W).
        bias: Shape (D,), or None.
        state: The W-1 inputs before, oldest first, shape (B, W-1, D); it is not changed in place.
        activation: "silu" or None.
        mask: True for rows that have a token, shape (B,) bool; the others keep their state and give 0. None: all.

    Returns:
        y_t of shape (B, D) and the new state of shape (B, W-1, D), both in the dtype of x_t.

    Raises:
        ValueError: If a shape, dtype, device or the activation's name does not fit.

    Example:
        y, state = causal_conv_step(torch.randn(2, 4), torch.randn(4, 3), state=torch.zeros(2, 2, 4))

    Source: as `causal_conv`.
    """
    check_conv_step(x_t, weight, bias, activation, state, mask)
    return reference.causal_conv_step(x_t, weight, bias, state=state, activation=activation, mask=mask)
