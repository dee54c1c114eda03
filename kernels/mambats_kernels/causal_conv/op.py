"""The public causal convolution: checks and choice of back-end."""

from torch import Tensor

from mambats_kernels.backend import chosen_backend
from mambats_kernels.causal_conv import reference
from mambats_kernels.causal_conv.arguments import check_conv, check_conv_step
from mambats_kernels.causal_conv.cuda.op import cuda_conv, takes
from mambats_kernels.causal_conv.cuda.step import cuda_conv_step
from mambats_kernels.causal_conv.native import native_conv, native_conv_step
from mambats_kernels.causal_conv.shifted_op import torch_conv
from mambats_kernels.checks import needs_numbers
from mambats_kernels.eager import plain


def _reference_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: str | None,
    cu_seqlens: Tensor | None,
    initial_state: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    return reference.causal_conv(
        x, weight, bias, activation=activation, cu_seqlens=cu_seqlens, initial_state=initial_state, reverse=reverse
    )


def _cuda_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: str | None,
    cu_seqlens: Tensor | None,
    initial_state: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    if not takes(x, weight):
        return torch_conv(x, weight, bias, activation, cu_seqlens, initial_state, reverse)
    return cuda_conv(
        x, weight, bias, activation=activation, cu_seqlens=cu_seqlens, initial_state=initial_state, reverse=reverse
    )


# Who runs under which name of `backend.BACKENDS`: all take and give the same.
_FORMS = {"cuda": _cuda_conv, "native": native_conv, "torch": torch_conv, "reference": _reference_conv}


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
    backend = "reference" if x.numel() == 0 else chosen_backend("causal_conv", x.device, x.dtype)
    return _FORMS[backend](x, weight, bias, activation, cu_seqlens, initial_state, reverse)


def causal_conv_step(
    x_t: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    state: Tensor,
    activation: str | None = None,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Advance `causal_conv` by one token, with the same numbers; in torch operations if gradients are taken.

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
    backend = chosen_backend("causal_conv", x_t.device, x_t.dtype)
    direct = backend in ("cuda", "native") and plain((x_t, weight, bias, state))
    if direct and backend == "cuda":  # it checks by itself, and only what it has not seen
        return cuda_conv_step(x_t, weight, bias, state=state, activation=activation, mask=mask)
    check_conv_step(x_t, weight, bias, activation, state, mask)
    if direct:
        return native_conv_step(x_t, weight, bias, state, activation, mask)
    return reference.causal_conv_step(x_t, weight, bias, state=state, activation=activation, mask=mask)
