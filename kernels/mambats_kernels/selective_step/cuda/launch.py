"""One token of the selective scan by one launch, for numbers without gradients.

What arguments look like (shapes, dtypes, devices) is checked once: later calls that look the same find a prepared plan.
On the host a call costs two allocations, a few addresses and a launch.
"""

import ctypes
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from mambats_kernels.cuda import Source, load, stream
from mambats_kernels.selective_scan.arguments import check_step

_THREADS = 128
_MOST_PLANS = 1024
_NAMES = {torch.float32: "float", torch.bfloat16: "bf16", torch.float16: "fp16", None: "float"}
_POINTERS = ("x", "dt", "rates", "b", "c", "skip", "z", "bias", "gap", "mask", "state", "y", "next")
_STRIDES = (
    "x_row", "x_channel", "dt_row", "dt_channel", "z_row", "z_channel",
    "b_row", "b_group", "b_state", "c_row", "c_group", "c_state",
)  # fmt: skip

_Launch = Callable[[ctypes.Structure, int], None]
_Given = tuple[
    Tensor, Tensor, Tensor, Tensor, Tensor, Tensor,
    Tensor | None, Tensor | None, Tensor | None, Tensor | None, Tensor | None,
]  # fmt: skip


class StepArguments(ctypes.Structure):
    """`Arguments` of step.cu."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in _POINTERS),
        *((name, ctypes.c_int64) for name in _STRIDES),
        ("jobs", ctypes.c_uint32),
        *((name, ctypes.c_int32) for name in ("width", "states", "repeat", "softplus", "hold")),
    )


class _Plan(NamedTuple):
    """What is known of calls that look the same.

    Attributes:
        launches: For states that can be read one by one, and by fours; None before the first use.
        cast: Whether some argument has a dtype that the kernel does not read.
        sizes: B * D, D, N, and channels of a group.
        device: Index.
    """

    launches: list[_Launch | None]
    cast: bool
    sizes: tuple[int, int, int, int]
    device: int


_plans: dict[object, _Plan] = {}


def _plan(look: object, given: _Given) -> _Plan:
    """Check the arguments and keep what follows from their look."""
    check_step(*given)
    x, dt, rates, b, c, state, skip, z, bias, gap, _ = given
    (batch, width), repeat = x.shape, x.shape[1] // b.shape[1] if b.dim() == 3 else x.shape[1]
    wide = any(v is not None and v.dtype == torch.float64 for v in (dt, b, c, skip, z, bias))
    cast = wide or any(v is not None and v.dtype != torch.float32 for v in (rates, state, gap))
    if len(_plans) >= _MOST_PLANS:
        _plans.clear()
    made = _plans[look] = _Plan([None, None], cast, (batch * width, width, rates.shape[1], repeat), x.get_device())
    return made


def _launch(plan: _Plan, given: _Given, fours: bool) -> _Launch:
    """Load the kernel for these dtypes, with lanes that hold all states of a channel."""
    x, dt, _, b, c, _, skip, z, bias, _, _ = given
    jobs, _, states, _ = plan.sizes
    lanes = min(32, 1 << (-(-states // (4 if fours else 1)) - 1).bit_length())
    types = {"X_TYPE": x, "DT_TYPE": dt, "B_TYPE": b, "C_TYPE": c, "SKIP_TYPE": skip, "Z_TYPE": z, "BIAS_TYPE": bias}
    named = tuple((name, _NAMES[None if v is None else v.dtype]) for name, v in types.items())
    defines = (*named, ("LANES", lanes), ("THREADS", _THREADS), ("WIDE", int(fours)))
    source = Source(("cuda/device.cuh", "selective_step/cuda/step.cu"), defines, "scan_step")
    made = load(source, plan.device).launcher((-(-jobs * lanes // _THREADS), 1, 1), _THREADS)
    plan.launches[fours] = made
    return made


def _cast(given: _Given) -> _Given:
    """Turn what the kernel does not read into float32."""
    x, dt, rates, b, c, state, skip, z, bias, gap, mask = given
    dt, b, c = (v.float() if v.dtype == torch.float64 else v for v in (dt, b, c))
    skip, z, bias = (v.float() if v is not None and v.dtype == torch.float64 else v for v in (skip, z, bias))
    return x, dt, rates.float(), b, c, state.float(), skip, z, bias, None if gap is None else gap.float(), mask


def _weights(b: Tensor) -> tuple[int, ...]:
    """Strides of B_t or C_t along rows, groups and states."""
    strides = b.stride()
    return strides if len(strides) == 3 else (strides[0], 0, strides[1])


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _dense(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()


def _step(given: _Given, softplus: bool, hold: bool) -> tuple[Tensor, Tensor]:
    look = tuple([None if v is None else (v.shape, v.dtype, v.get_device()) for v in given])
    plan = _plans.get(look) or _plan(look, given)
    if plan.cast:
        return _step(_cast(given), softplus, hold)
    x, dt, rates, b, c, state, skip, z, bias, gap, mask = given
    rates, state = rates.contiguous(), state.contiguous()
    skip, bias, gap, mask = _dense(skip), _dense(bias), _dense(gap), _dense(mask)
    y, following = torch.empty_like(x, memory_format=torch.contiguous_format), torch.empty_like(state)
    if not plan.sizes[0]:
        return y, following
    a, h = rates.data_ptr(), state.data_ptr()
    fours = not (plan.sizes[2] % 4 or (a | h) % 16)
    made = StepArguments(
        x.data_ptr(), dt.data_ptr(), a, b.data_ptr(), c.data_ptr(), _address(skip), _address(z), _address(bias),
        _address(gap), _address(mask), h, y.data_ptr(), following.data_ptr(),
        *x.stride(), *dt.stride(), *((0, 0) if z is None else z.stride()), *_weights(b), *_weights(c),
        *plan.sizes, softplus, hold,
    )  # fmt: skip
    (plan.launches[fours] or _launch(plan, given, fours))(made, stream(plan.device))
    return y, following


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
    """Run `mambats_kernels.selective_step` by one kernel: on one device, without gradients, not for float64 x_t.

    Returns:
        y_t (B, D) in the dtype of x_t and the state after this token (B, D, N) in float32, new tensors.

    Raises:
        ValueError: As `selective_step`.
    """
    return _step((x_t, dt_t, A, B_t, C_t, state, D, z_t, dt_bias, gap_t, mask), dt_softplus, hold)
