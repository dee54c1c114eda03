"""The GPU scan as a differentiable operation: directly in eager mode, as an operator where a graph is traced."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mambats_kernels.eager import direct, taught
from mambats_kernels.selective_scan import operators
from mambats_kernels.selective_scan.cuda.scan import saved_floats, scan_backward, scan_forward, shape_of
from mambats_kernels.selective_scan.operators import Inputs, Options, define


def _saved(given: Inputs, save: bool) -> tuple[Any, ...]:
    return (saved_floats(shape_of(given.x, given.B, given.borders), given.borders is not None) if save else 0,)


forward_op, backward_op = define("cuda_scan", operators.Scan(scan_forward, scan_backward, _saved), "cuda")


class Scan(torch.autograd.Function):
    """The eager way: a third of the host time of the operator above."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        """Take what `scan_forward` takes but `save`; give y and the final states."""
        *tensors, softplus, hold, reverse = inputs
        ctx.options = Options(softplus, hold, reverse)
        y, final, saved = scan_forward(Inputs(*tensors), ctx.options, True)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors, saved)
        return y, final

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Give a gradient for each tensor that wants one."""
        (dy, dfinal), needed = grad_outputs, ctx.needs_input_grad
        *tensors, saved = ctx.saved_tensors
        slopes = scan_backward(dy, dfinal, Inputs(*tensors), saved, ctx.options, needed[8], True)
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
        y, final, _ = scan_forward(Inputs(*tensors), Options(dt_softplus, hold, reverse), False)
    return (y if y.dtype == x.dtype else y.to(x.dtype)), final
