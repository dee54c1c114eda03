"""One token of the convolution by one launch, for numbers without gradients; what looks the same is checked once."""

import ctypes
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from mambats_kernels.causal_conv.arguments import check_conv_step
from mambats_kernels.causal_conv.cuda.tile import NAMES
from mambats_kernels.cuda import Source, load, stream

_THREADS = 128
_MOST_PLANS = 1024
_POINTERS = ("x", "weight", "bias", "state", "mask", "y", "next")


class StepArguments(ctypes.Structure):
    """`Arguments` of step.cu."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in _POINTERS),
        ("x_row", ctypes.c_int64),
        ("x_channel", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("width", "taps", "columns", "silu")),
    )


class _Plan(NamedTuple):
    """What is known of calls that look the same.

    Attributes:
        launch: None where there is nothing to do.
        cast: Whether some argument has a dtype that the kernel does not read.
        sizes: D, W, and blocks along the channels.
        device: Index.
    """

    launch: Callable[[ctypes.Structure, int], None] | None
    cast: bool
    sizes: tuple[int, int, int]
    device: int


_plans: dict[object, _Plan] = {}


def _plan(
    look: object, x: Tensor, weight: Tensor, bias: Tensor | None, state: Tensor, mask: Tensor | None
) -> _Plan:  # fmt: skip
    """Check the arguments and keep what follows from their look."""
    check_conv_step(x, weight, bias, None, state, mask)
    (batch, width), device = x.shape, x.get_device()
    columns = -(-width // _THREADS)
    mixed = bias is not None and bias.dtype != weight.dtype
    cast = mixed or weight.dtype == torch.float64 or state.dtype != x.dtype
    launch = None
    if batch * width and not cast:
        defines = (("INPUT", NAMES[x.dtype]), ("WEIGHT", NAMES[weight.dtype]), ("THREADS", _THREADS))
        source = Source(("cuda/device.cuh", "causal_conv/cuda/step.cu"), defines, "conv_step")
        launch = load(source, device).launcher((batch * columns, 1, 1), _THREADS)
    if len(_plans) >= _MOST_PLANS:
        _plans.clear()
    made = _plans[look] = _Plan(launch, cast, (width, weight.shape[1], columns), device)
    return made


def _step(
    x: Tensor, weight: Tensor, bias: Tensor | None, state: Tensor, mask: Tensor | None, silu: bool
) -> tuple[Tensor, Tensor]:
    look = tuple([None if v is None else (v.shape, v.dtype, v.get_device()) for v in (x, weight, bias, state, mask)])
    plan = _plans.get(look) or _plan(look, x, weight, bias, state, mask)
    if plan.cast:
        return _step(x, weight.float(), None if bias is None else bias.float(), state.to(x.dtype), mask, silu)
    weight, state = weight.contiguous(), state.contiguous()
    bias, mask = (None if v is None else v.contiguous() for v in (bias, mask))
    y, following = torch.empty_like(x, memory_format=torch.contiguous_format), torch.empty_like(state)
    if plan.launch is not None:
        made = StepArguments(
            x.data_ptr(), weight.data_ptr(), None if bias is None else bias.data_ptr(), state.data_ptr(),
            None if mask is None else mask.data_ptr(), y.data_ptr(), following.data_ptr(), *x.stride(), *plan.sizes,
            silu,
        )  # fmt: skip
        plan.launch(made, stream(plan.device))
    return y, following


def cuda_conv_step(
    x_t: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    state: Tensor,
    activation: str | None = None,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Run `mambats_kernels.causal_conv_step` by one kernel: on one device, without gradients, not for float64 x_t.

    Returns:
        y_t (B, D) and the new state (B, W-1, D), new tensors in the dtype of x_t.

    Raises:
        ValueError: As `causal_conv_step`.
    """
    if activation not in (None, "silu"):
        check_conv_step(x_t, weight, bias, activation, state, mask)
    return _step(x_t, weight, bias, state, mask, activation == "silu")
