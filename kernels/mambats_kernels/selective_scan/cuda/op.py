"""The GPU scan as a differentiable operation: directly in eager mode, as an operator where a graph is traced."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mambats_kernels.eager import direct, taught
from mambats_kernels.selective_scan.cuda.scan import saved_floats, scan_backward, scan_forward, shape_of

_define = partial(torch.library.custom_op, mutates_args=(), device_types="cuda")
forward_op = _define("mambats::cuda_scan_forward", scan_forward)
backward_op = _define("mambats::cuda_scan_backward", scan_backward)
# Called with what autograd kept, whose number the type checker cannot see.
_forward: Callable[..., tuple[Tensor, Tensor, Tensor]] = scan_forward
_slopes: Callable[..., list[Tensor]] = scan_backward


@forward_op.register_fake
def _(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    gaps: Tensor | None,
    initial: Tensor | None,
    borders: Tensor | None,
    softplus: bool,
    hold: bool,
    reverse: bool,
    save: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    rows = x.shape[0] if borders is None else borders.shape[0] - 1
    floats = saved_floats(shape_of(x, B), borders is not None) if save else 0
    return x.new_empty(x.shape), A.new_empty((rows, *A.shape)), A.new_empty(floats)


@backward_op.register_fake
def _(
    dy: Tensor | None,
    dfinal: Tensor | None,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    gaps: Tensor | None,
    initial: Tensor | None,
    borders: Tensor | None,
    saved: Tensor,
    softplus: bool,
    hold: bool,
    reverse: bool,
    sloped: bool,
    merge: bool = False,
) -> list[Tensor]:
    given = (x, dt, A, B, C, D, z, dt_bias, gaps if sloped else None, initial)
    return [x.new_empty(0) if v is None else v.new_empty(v.shape) for v in given]


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    *tensors, ctx.softplus, ctx.hold, ctx.reverse, _ = inputs
    ctx.set_materialize_grads(False)  # else zeros as large as the saved states would be made
    ctx.save_for_backward(*tensors, output[2])


def _backward(ctx: Any, dy: Tensor | None, dfinal: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    *tensors, borders, saved = ctx.saved_tensors
    slopes = backward_op(
        dy, dfinal, *tensors, borders, saved, ctx.softplus, ctx.hold, ctx.reverse, ctx.needs_input_grad[8]
    )
    found = [v if needed else None for v, needed in zip(slopes, ctx.needs_input_grad, strict=False)]
    return *found, None, None, None, None, None


forward_op.register_autograd(_backward, setup_context=_remember)


class Scan(torch.autograd.Function):
    """The eager way: a third of the host time of the operator above."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        """Take what `scan_forward` takes but `save`; give y and the final states."""
        *tensors, softplus, hold, reverse = inputs
        y, final, saved = _forward(*tensors, softplus, hold, reverse, True)
        ctx.options = softplus, hold, reverse
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors, saved)
        return y, final

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Give a gradient for each tensor that wants one."""
        (dy, dfinal), needed = grad_outputs, ctx.needs_input_grad
        slopes = _slopes(dy, dfinal, *ctx.saved_tensors, *ctx.options, needed[8], True)
        return *[v if wanted else None for v, wanted in zip(slopes, needed, strict=False)], None, None, None, None


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
    dtype = _alike(x, dt, B, C, z)
    line = x if x.dtype == dtype else x.to(dtype)
    dt, B, C = (v if v.dtype == dtype else v.to(dtype) for v in (dt, B, C))
    z = z if z is None or z.dtype == dtype else z.to(dtype)
    rates = A if A.dtype == torch.float32 else A.float()
    rest = (_float(D), z, _float(dt_bias), _float(gaps), _float(initial_state))
    tensors = (line, dt, rates, B, C, *rest, cu_seqlens)
    learning = taught(tensors)
    if not direct(tensors):
        y, final, _ = forward_op(*tensors, dt_softplus, hold, reverse, learning)
    elif learning:
        y, final = Scan.apply(*tensors, dt_softplus, hold, reverse)  # pyright: ignore[reportGeneralTypeIssues]
    else:
        y, final, _ = scan_forward(*tensors, dt_softplus, hold, reverse, False)
    return (y if y.dtype == x.dtype else y.to(x.dtype)), final
