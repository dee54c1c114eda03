"""One token of the convolution by one launch, for numbers without gradients."""

import ctypes
from collections.abc import Callable

import torch
from torch import Tensor

from mambats_kernels.causal_conv.cuda.tile import NAMES
from mambats_kernels.cuda import Source, load, stream

_THREADS = 128
_POINTERS = ("x", "weight", "bias", "state", "mask", "y", "next")
_launchers: dict[tuple[torch.dtype, torch.dtype, int, int], Callable[[ctypes.Structure, int], None]] = {}


class StepArguments(ctypes.Structure):
    """`Arguments` of step.cu."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in _POINTERS),
        ("x_row", ctypes.c_int64),
        ("x_channel", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("width", "taps", "columns", "silu")),
    )


def _launcher(x: torch.dtype, weight: torch.dtype, blocks: int, device: int) -> Callable[[ctypes.Structure, int], None]:
    defines = (("INPUT", NAMES[x]), ("WEIGHT", NAMES[weight]), ("THREADS", _THREADS))
    source = Source(("cuda/device.cuh", "causal_conv/cuda/step.cu"), defines, "conv_step")
    made = _launchers[x, weight, blocks, device] = load(source, device).launcher((blocks, 1, 1), _THREADS)
    return made


def cuda_conv_step(
    x_t: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    state: Tensor,
    activation: str | None = None,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Run `mambats_kernels.causal_conv_step` by one kernel: checked arguments on one device, no gradients, not float64.

    Returns:
        y_t (B, D) and the new state (B, W-1, D), new tensors in the dtype of x_t.
    """
    (batch, width), taps, dtype = x_t.shape, weight.shape[1], x_t.dtype
    if weight.dtype == torch.float64 or (bias is not None and bias.dtype != weight.dtype):
        weight, bias = weight.float(), None if bias is None else bias.float()
    weight, state = weight.contiguous(), state.to(dtype).contiguous()
    y, following = torch.empty_like(x_t, memory_format=torch.contiguous_format), torch.empty_like(state)
    if not batch * width:
        return y, following
    device, columns = x_t.device.index or 0, -(-width // _THREADS)
    launch = _launchers.get((dtype, weight.dtype, batch * columns, device))
    launch = launch or _launcher(dtype, weight.dtype, batch * columns, device)
    made = StepArguments(x_t.data_ptr(), weight.data_ptr(), width=width, taps=taps, columns=columns)
    if bias is not None:
        bias = bias.contiguous()
        made.bias = bias.data_ptr()
    if mask is not None:
        mask = mask.contiguous()
        made.mask = mask.data_ptr()
    made.state, made.y, made.next = state.data_ptr(), y.data_ptr(), following.data_ptr()
    made.x_row, made.x_channel = x_t.stride()
    made.silu = activation == "silu"
    launch(made, stream(device))
    return y, following
