"""One token of the selective scan by one launch, for numbers without gradients."""

import ctypes
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from mambats_kernels.cuda import Source, load, stream

_THREADS = 128
_NAMES = {torch.float32: "float", torch.bfloat16: "bf16", torch.float16: "fp16", None: "float"}
_POINTERS = ("x", "dt", "rates", "b", "c", "skip", "z", "bias", "gap", "mask", "state", "y", "next")
_STRIDES = (
    "x_row", "x_channel", "dt_row", "dt_channel", "z_row", "z_channel",
    "b_row", "b_group", "b_state", "c_row", "c_group", "c_state",
)  # fmt: skip
_TYPES = ("X_TYPE", "DT_TYPE", "B_TYPE", "C_TYPE", "Z_TYPE", "SKIP_TYPE", "BIAS_TYPE")
_NO_STRIDE = (0, 0)

_Launch = Callable[[ctypes.Structure, int], None]


class StepArguments(ctypes.Structure):
    """`Arguments` of step.cu."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in _POINTERS),
        *((name, ctypes.c_int64) for name in _STRIDES),
        ("jobs", ctypes.c_uint32),
        *((name, ctypes.c_int32) for name in ("width", "states", "repeat", "softplus", "hold")),
    )


class _Kind(NamedTuple):
    """What tells one launch from another.

    Attributes:
        types: Dtypes in the order of `_TYPES`.
        jobs: B * D.
        states: N.
        wide: Whether states come in fours that start at multiples of 16 bytes.
        device: Index.
    """

    types: tuple[torch.dtype | None, ...]
    jobs: int
    states: int
    wide: bool
    device: int


_launchers: dict[_Kind, _Launch] = {}


def _launcher(kind: _Kind) -> _Launch:
    pieces = -(-kind.states // (4 if kind.wide else 1))
    lanes = min(32, 1 << (pieces - 1).bit_length())
    types = tuple((name, _NAMES[dtype]) for name, dtype in zip(_TYPES, kind.types, strict=True))
    defines = (*types, ("LANES", lanes), ("THREADS", _THREADS), ("WIDE", int(kind.wide)))
    source = Source(("cuda/device.cuh", "selective_step/cuda/step.cu"), defines, "scan_step")
    blocks = -(-kind.jobs * lanes // _THREADS)
    made = _launchers[kind] = load(source, kind.device).launcher((blocks, 1, 1), _THREADS)
    return made


def _single(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype is torch.float64 else tensor


def _row(vector: Tensor | None) -> Tensor | None:
    return None if vector is None else _single(vector).contiguous()


def _float32(tensor: Tensor) -> Tensor:
    return (tensor if tensor.dtype is torch.float32 else tensor.float()).contiguous()


def _weights(b: Tensor) -> tuple[int, int, int]:
    """Strides of B_t or C_t along rows, groups and states."""
    if b.dim() == 3:
        row, group, state = b.stride()
        return row, group, state
    row, state = b.stride()
    return row, 0, state


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def cuda_step(
    x_t: Tensor,
    dt_t: Tensor,
    A: Tensor,
    B_t: Tensor,
    C_t: Tensor,
    *,
    state: Tensor,
    D: Tensor | None = None,
    z_t: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    gap_t: Tensor | None = None,
    hold: bool = False,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Run `mambats_kernels.selective_step` by one kernel: checked arguments on one device, no gradients, not float64.

    Returns:
        y_t (B, D) in the dtype of x_t and the state after this token (B, D, N) in float32, new tensors.
    """
    (batch, width), states = x_t.shape, A.shape[1]
    A, state, D, dt_bias = _float32(A), _float32(state), _row(D), _row(dt_bias)
    y, following = torch.empty_like(x_t, memory_format=torch.contiguous_format), torch.empty_like(state)
    if not batch * width:
        return y, following
    dt_t, B_t, C_t, z_t = _single(dt_t), _single(B_t), _single(C_t), None if z_t is None else _single(z_t)
    gap_t = None if gap_t is None else _float32(gap_t)
    mask = None if mask is None else mask.contiguous()
    rates, held = A.data_ptr(), state.data_ptr()
    kind = _Kind(
        (
            x_t.dtype, dt_t.dtype, B_t.dtype, C_t.dtype, None if z_t is None else z_t.dtype,
            None if D is None else D.dtype, None if dt_bias is None else dt_bias.dtype,
        ),
        batch * width, states, not states % 4 and not (rates | held) % 16, x_t.get_device(),
    )  # fmt: skip
    made = StepArguments(
        x_t.data_ptr(), dt_t.data_ptr(), rates, B_t.data_ptr(), C_t.data_ptr(), _address(D), _address(z_t),
        _address(dt_bias), _address(gap_t), _address(mask), held, y.data_ptr(), following.data_ptr(),
        *x_t.stride(), *dt_t.stride(), *(_NO_STRIDE if z_t is None else z_t.stride()), *_weights(B_t), *_weights(C_t),
        batch * width, width, states, width // B_t.shape[1] if B_t.dim() == 3 else width, dt_softplus, hold,
    )  # fmt: skip
    (_launchers.get(kind) or _launcher(kind))(made, stream(kind.device))
    return y, following
