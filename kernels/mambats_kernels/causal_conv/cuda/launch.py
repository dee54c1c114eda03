"""The convolution's kernels as functions of tensors: no check, no autograd, no wait for the device."""

import torch
from torch import Tensor

from mambats_kernels.causal_conv.cuda.plan import Arguments, Call, Plan, SumArguments, plan_backward, plan_forward
from mambats_kernels.cuda import stream

_MOST_PLANS = 1024  # sequences of many lengths make many plans; they are cheap to make anew
_forward: dict[Call, Plan] = {}
_backward: dict[Call, Plan] = {}


def _kept(plans: dict[Call, Plan], call: Call, plan: Plan) -> Plan:
    if len(plans) >= _MOST_PLANS:
        plans.clear()
    plans[call] = plan
    return plan


def _rows(x: Tensor) -> Tensor:
    """Give x (B, T, D) neighbouring channels side by side; strides along batch and tokens are free."""
    return x if x.stride(2) == 1 or x.shape[2] == 1 else x.contiguous()


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _call(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial: Tensor | None,
    borders: Tensor | None,
    silu: bool,
    reverse: bool,
    dy: Tensor | None = None,
    dfinal: Tensor | None = None,
) -> Call:
    batch, row, _ = x.stride()
    strides = (batch, row, 0, 0) if dy is None else (batch, row, dy.stride(0), dy.stride(1))
    alignment = (x.data_ptr() | _address(initial) | _address(dy) | _address(dfinal)) & 15
    packed = None if borders is None else borders.dtype
    sequences = x.shape[0] if borders is None else borders.shape[0] - 1
    given = (bias is not None, initial is not None, dfinal is not None)
    aligned = weight.data_ptr() % 16 == 0
    return Call(
        x.shape, strides, (x.dtype, weight.dtype, packed), weight.shape[1], sequences, alignment, aligned, given,
        silu, reverse, x.device.index or 0,
    )  # fmt: skip


def _filled(
    template: Arguments,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial: Tensor | None,
    borders: Tensor | None,
) -> Arguments:
    made = Arguments.from_buffer_copy(template)
    made.x, made.weight = x.data_ptr(), weight.data_ptr()
    if bias is not None:
        made.bias = bias.data_ptr()
    if initial is not None:
        made.initial = initial.data_ptr()
    if borders is not None:
        made.borders = borders.data_ptr()
    return made


def forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial: Tensor | None,
    borders: Tensor | None,
    silu: bool,
    reverse: bool,
) -> tuple[Tensor, Tensor]:
    """Convolve x (B, T, D) by weight (D, W); bias has the dtype of weight, initial (rows, W-1, D) that of x.

    Returns:
        y (B, T, D) and the final states (rows, W-1, D), in the dtype of x.
    """
    x, weight = _rows(x), weight.contiguous()
    bias, initial, borders = (None if v is None else v.contiguous() for v in (bias, initial, borders))
    call = _call(x, weight, bias, initial, borders, silu, reverse)
    plan = _forward.get(call) or _kept(_forward, call, plan_forward(call))
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    final = x.new_empty((call.sequences, call.taps - 1, x.shape[2]))
    arguments = _filled(plan.template, x, weight, bias, initial, borders)
    arguments.y, arguments.final = y.data_ptr(), final.data_ptr()
    plan.launch(arguments, stream(call.device))
    return y, final


def backward(
    dy: Tensor | None,
    dfinal: Tensor | None,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial: Tensor | None,
    borders: Tensor | None,
    silu: bool,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Give the gradients of x, weight, bias and initial of `forward`, each None where that is."""
    x, weight = _rows(x), weight.contiguous()
    dy = x.new_zeros(x.shape) if dy is None else _rows(dy)
    bias, initial, borders, dfinal = (None if v is None else v.contiguous() for v in (bias, initial, borders, dfinal))
    call = _call(x, weight, bias, initial, borders, silu, reverse, dy, dfinal)
    plan = _backward.get(call) or _kept(_backward, call, plan_backward(call))
    width, taps = weight.shape
    dx, dweight = torch.empty_like(x, memory_format=torch.contiguous_format), torch.empty_like(weight)
    partial = weight.new_empty((plan.shares, taps + 1, width), dtype=torch.float32)
    dbias, dinitial = (None if v is None else torch.empty_like(v) for v in (bias, initial))
    arguments = _filled(plan.template, x, weight, bias, initial, borders)
    arguments.y, arguments.dy, arguments.partial = dx.data_ptr(), dy.data_ptr(), partial.data_ptr()
    arguments.final, arguments.dfinal = _address(dinitial), _address(dfinal)
    current = stream(call.device)
    plan.launch(arguments, current)
    _add_shares(plan, partial, dweight, dbias, current)
    return dx, dweight, dbias, dinitial


def _add_shares(plan: Plan, partial: Tensor, dweight: Tensor, dbias: Tensor | None, current: int) -> None:
    if plan.sum is None or plan.sum_template is None:
        raise RuntimeError("this plan is of the forward pass: it has no sums to add.")
    arguments = SumArguments.from_buffer_copy(plan.sum_template)
    arguments.partial, arguments.dweight, arguments.dbias = partial.data_ptr(), dweight.data_ptr(), _address(dbias)
    plan.sum(arguments, current)
