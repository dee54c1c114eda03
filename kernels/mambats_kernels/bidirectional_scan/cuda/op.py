"""Both directions as a differentiable operation: directly in eager mode, as an operator where a graph is traced."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mambats_kernels.bidirectional_scan.cuda.scan import both_backward, both_forward, saved_floats, way_of
from mambats_kernels.eager import direct, taught
from mambats_kernels.selective_scan.cuda.op import _alike, _float
from mambats_kernels.selective_scan.cuda.rows import crowded
from mambats_kernels.selective_scan.cuda.scan import shape_of

_define = partial(torch.library.custom_op, mutates_args=(), device_types="cuda")
forward_op = _define("mambats::cuda_both_forward", both_forward)
backward_op = _define("mambats::cuda_both_backward", both_backward)
# Called with what autograd kept, whose number the type checker cannot see.
_forward: Callable[..., tuple[Tensor, Tensor]] = both_forward
_slopes: Callable[..., list[Tensor]] = both_backward


@forward_op.register_fake
def _(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    A_back: Tensor | None,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    gaps: Tensor | None,
    borders: Tensor | None,
    softplus: bool,
    hold: bool,
    save: bool,
) -> tuple[Tensor, Tensor]:
    floats = saved_floats(shape_of(x, B), borders is not None) if save else 0
    return x.new_empty(x.shape), A.new_empty(floats)


@backward_op.register_fake
def _(
    dy: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    A_back: Tensor | None,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    gaps: Tensor | None,
    borders: Tensor | None,
    saved: Tensor,
    softplus: bool,
    hold: bool,
    sloped: bool,
) -> list[Tensor]:
    given = (x, dt, A, A_back, B, C, D, z, dt_bias, gaps if sloped else None)
    return [x.new_empty(0) if v is None else v.new_empty(v.shape) for v in given]


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.softplus, ctx.hold, _ = inputs
    ctx.set_materialize_grads(False)  # else zeros as large as the saved states would be made
    ctx.save_for_backward(*tensors, output[1])


def _backward(ctx: Any, dy: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    if dy is None:
        return (None,) * 14
    slopes = backward_op(dy, *ctx.saved_tensors, ctx.softplus, ctx.hold, ctx.needs_input_grad[9])
    found = [v if needed else None for v, needed in zip(slopes, ctx.needs_input_grad, strict=False)]
    return *found, None, None, None, None


forward_op.register_autograd(_backward, setup_context=_remember)


class Both(torch.autograd.Function):
    """The eager way: a third of the host time of the operator above."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        """Take what `both_forward` takes but `save`; give y."""
        *tensors, softplus, hold = inputs
        y, saved = _forward(*tensors, softplus, hold, True)
        ctx.options = softplus, hold
        ctx.save_for_backward(*tensors, saved)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Give a gradient for each tensor that wants one."""
        needed = ctx.needs_input_grad
        slopes = _slopes(grad_outputs[0], *ctx.saved_tensors, *ctx.options, needed[9])
        return *[v if wanted else None for v, wanted in zip(slopes, needed, strict=False)], None, None, None


def unfit(x: Tensor, dt: Tensor, B: Tensor, C: Tensor, z: Tensor | None, borders: Tensor | None = None) -> str | None:
    """Say why both directions had better be two calls, None if one launch does them."""
    shape = shape_of(x, B)
    if borders is not None and crowded(shape, borders.shape[0] - 1):
        return "so many packed sequences are rows of their own, which each direction cuts from its own end"
    size = 4 if _alike(x, dt, B, C, z) == torch.float32 else 2
    if way_of(shape._replace(bytes=size), x.device):
        return None
    return "the GPU is older than compute capability 9.0, or too few rows would need time cut and cannot be added to"


def cuda_both(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    A_reverse: Tensor | None,
    D: Tensor | None,
    z: Tensor | None,
    dt_bias: Tensor | None,
    dt_softplus: bool,
    gaps: Tensor | None,
    hold: bool,
    cu_seqlens: Tensor | None,
) -> Tensor:
    """Run both directions on the GPU: y (B, T, D) in the dtype of x.

    Sequences of different dtypes are read as float32.
    """
    dtype = _alike(x, dt, B, C, z)
    line = x if x.dtype == dtype else x.to(dtype)
    dt, B, C = (v if v.dtype == dtype else v.to(dtype) for v in (dt, B, C))
    z = z if z is None or z.dtype == dtype else z.to(dtype)
    rates = A if A.dtype == torch.float32 else A.float()
    rest = (_float(D), z, _float(dt_bias), _float(gaps), cu_seqlens)
    tensors = (line, dt, rates, _float(A_reverse), B, C, *rest)
    learning = taught(tensors)
    if not direct(tensors):
        y, _ = forward_op(*tensors, dt_softplus, hold, learning)
    elif learning:
        y = Both.apply(*tensors, dt_softplus, hold)  # pyright: ignore[reportGeneralTypeIssues]
    else:
        y, _ = both_forward(*tensors, dt_softplus, hold, False)
    return y if y.dtype == x.dtype else y.to(x.dtype)
