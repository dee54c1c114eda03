"""The GPU scan as a differentiable operation: directly in eager mode, as an operator where a graph is traced."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mambats_kernels.eager import direct, taught
from mambats_kernels.selective_scan import operators
from mambats_kernels.selective_scan.cuda.lane import find_lane, open_lane
from mambats_kernels.selective_scan.cuda.scan import (
    pointers_of,
    readable,
    run_backward,
    run_forward,
    saved_floats,
    scan_backward,
    scan_forward,
    shape_of,
    slope_of,
    slopes_of,
)
from mambats_kernels.selective_scan.operators import Inputs, Options, define


def _saved(given: Inputs, save: bool) -> tuple[Any, ...]:
    return (saved_floats(shape_of(given.x, given.B, given.borders), given.borders is not None) if save else 0,)


forward_op, backward_op = define("cuda_scan", operators.Scan(scan_forward, scan_backward, _saved), "cuda")


_GAPS = Inputs._fields.index("gaps")


class Scan(torch.autograd.Function):
    """The eager way: a third of the host time of the operator above."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        """Take the tensors of `Inputs`, the options, and the call if it is on a lane; give y and the final states."""
        *tensors, options, call = inputs
        given = Inputs(*tensors)
        if call is None:
            y, final, saved = scan_forward(given, options, True)
        else:
            shape, plan = call.lane.forward(given, True)
            y, final, saved = run_forward(given, call.pointers, shape, plan, True)
        ctx.options, ctx.call = options, call
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors, saved)
        return y, final

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Give a gradient for each tensor that wants one."""
        # The wrapper refuses a second gradient and costs 10 us: only where one could follow.
        return _refusing(ctx, *grad_outputs) if torch.is_grad_enabled() else _slopes(ctx, *grad_outputs)


def _slopes(ctx: Any, dy: Tensor | None, dfinal: Tensor | None) -> tuple[Tensor | None, ...]:
    needed, call = ctx.needs_input_grad, ctx.call
    *tensors, saved = ctx.saved_tensors
    given = Inputs(*tensors)
    if call is None or dfinal is not None or pointers_of(given) != call.pointers:  # hooks may have moved what was kept
        slopes = slopes_of(dy, dfinal, readable(given), saved, ctx.options, needed[_GAPS])
    else:
        dy, sloped = slope_of(dy, given.x), needed[_GAPS] and given.gaps is not None
        shape, plan = call.lane.backward(given, dy, sloped)
        slopes = run_backward(dy, None, given, call.pointers, saved, shape, plan, sloped)
    return *[v if wanted else None for v, wanted in zip(slopes, needed, strict=False)], None, None, None


_refusing = once_differentiable(_slopes)
# What `Scan.apply` ends in; before that it looks for functorch's wrappers, which a lane has ruled out, for 5 us.
_apply = super(torch.autograd.Function, Scan).apply  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType]


def lane_scan(tensors: tuple[Tensor | None, ...], options: Options) -> tuple[Tensor, Tensor] | None:
    """Run a call whose like passed all checks before, on tensors in the order of `Inputs`; None if none did."""
    call = find_lane(tensors, options)
    if call is None:
        return None
    if taught(tensors):
        return _apply(*tensors, options, call)
    given = Inputs(*tensors)  # pyright: ignore[reportArgumentType]
    shape, plan = call.lane.forward(given, False)
    y, final, _ = run_forward(given, call.pointers, shape, plan, False)
    return y, final


def _alike(*tensors: Tensor | None) -> torch.dtype:
    """The dtype that all sequences have, or else float32."""
    found = {v.dtype for v in tensors if v is not None}
    return found.pop() if len(found) == 1 else torch.float32


def _float(tensor: Tensor | None) -> Tensor | None:
    return tensor if tensor is None or tensor.dtype == torch.float32 else tensor.float()


def cuda_scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    dt_softplus: bool,
    gaps: Tensor | None,
    hold: bool,
    cu_seqlens: Tensor | None,
    initial_state: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    """Run the scan on the GPU: y (B, T, D) in the dtype of x, and the final states in float32.

    Sequences of different dtypes are read as float32.
    """
    given = (x, dt, A, B, C, D, z, dt_bias, gaps, initial_state, cu_seqlens)
    dtype = _alike(x, dt, B, C, z)
    line = x if x.dtype == dtype else x.to(dtype)
    dt, B, C = (v if v.dtype == dtype else v.to(dtype) for v in (dt, B, C))
    z = z if z is None or z.dtype == dtype else z.to(dtype)
    rates = A if A.dtype == torch.float32 else A.float()
    rest = (_float(D), z, _float(dt_bias), _float(gaps), _float(initial_state))
    tensors = (line, dt, rates, B, C, *rest, cu_seqlens)
    learning, options = taught(tensors), Options(dt_softplus, hold, reverse)
    if not direct(tensors):
        y, final, _ = forward_op(*tensors, *options, learning)
    else:
        if all(v is w for v, w in zip(tensors, given, strict=True)):
            open_lane(Inputs(*tensors), options)
        if learning:
            y, final = Scan.apply(*tensors, options, None)  # pyright: ignore[reportGeneralTypeIssues]
        else:
            y, final, _ = scan_forward(Inputs(*tensors), options, False)
    return (y if y.dtype == x.dtype else y.to(x.dtype)), final
