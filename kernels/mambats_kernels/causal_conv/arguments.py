"""What the arguments of the causal convolution must look like."""

from torch import Tensor

from mambats_kernels.checks import (
    needs_axes,
    needs_borders,
    needs_device,
    needs_floats,
    needs_mask,
    needs_shape,
    shown,
)


def check_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: str | None,
    cu_seqlens: Tensor | None,
    initial_state: Tensor | None,
) -> None:
    """Refuse arguments of `causal_conv` that do not fit together."""
    needs_floats({"x": x, "weight": weight, "bias": bias, "initial_state": initial_state})
    needs_device(x.device, {"weight": weight, "bias": bias, "cu_seqlens": cu_seqlens, "initial_state": initial_state})
    needs_axes("x", x, 3, "(B, T, D)")
    taps = _taps(weight, bias, activation, x.shape[2])
    rows, letters = x.shape[0], "(B, W-1, D)"
    if cu_seqlens is not None:
        needs_borders(cu_seqlens, x)
        rows, letters = cu_seqlens.shape[0] - 1, "(n, W-1, D)"
    needs_shape("initial_state", initial_state, (rows, taps - 1, x.shape[2]), letters, "give one state a sequence.")


def check_conv_step(
    x_t: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None, state: Tensor, mask: Tensor | None
) -> None:
    """Refuse arguments of `causal_conv_step` that do not fit together."""
    needs_floats({"x_t": x_t, "weight": weight, "bias": bias, "state": state})
    needs_device(x_t.device, {"weight": weight, "bias": bias, "state": state, "mask": mask})
    needs_axes("x_t", x_t, 2, "(B, D)")
    taps = _taps(weight, bias, activation, x_t.shape[1])
    needed = (x_t.shape[0], taps - 1, x_t.shape[1])
    needs_shape("state", state, needed, "(B, W-1, D)", "give one state a row; zeros start afresh.")
    needs_mask(mask, x_t.shape[0])


def _taps(weight: Tensor, bias: Tensor | None, activation: str | None, width: int) -> int:
    """Read W from weight (D, W), and check what goes with it."""
    if weight.dim() != 2 or weight.shape[0] != width or weight.shape[1] < 1:
        raise ValueError(
            f"weight has shape {shown(weight)}, needed (D, W) with D = {width} of x and W >= 1: "
            "give one filter a channel (a conv1d weight of (D, 1, W) needs .squeeze(1))."
        )
    needs_shape("bias", bias, (width,), "(D,) of x", "give one bias a channel.")
    if activation not in (None, "silu"):
        raise ValueError(f"activation is {activation!r}, needed 'silu' or None: apply another one to the result.")
    return weight.shape[1]
