"""The selective scan by Triton kernels, as differentiable operators of torch that take every option at once."""

import os
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from mambats_kernels.selective_scan.reference import grouped
from mambats_kernels.selective_scan.triton.shape import saved_states

# Triton decides at its first import whether it interprets. To ask is cheap, to look for a package is not.
INSTALLED, INTERPRETED = find_spec("triton") is not None, os.environ.get("TRITON_INTERPRET") == "1"


@cache
def obstacle(device: torch.device) -> str | None:
    """Say what keeps the Triton kernels from running on a device; None if nothing does."""
    if not INSTALLED:
        return "triton is not installed"
    if INTERPRETED:
        return None
    if device.type != "cuda":
        return "triton runs on GPUs; on a CPU only its interpreter does (TRITON_INTERPRET=1 before the first import)"
    if torch.version.hip is None and torch.cuda.get_device_capability(device) < (8, 0):
        return "triton kernels need compute capability 8.0 or newer"
    return None


def _rows(x: Tensor, borders: Tensor | None) -> Any:
    return x.shape[0] if borders is None else borders.shape[0] - 1


@torch.library.custom_op("mambats::triton_scan_forward", mutates_args=())
def scan_forward(
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
    """Scan x, dt, z (B, T, D) with B, C (B, T, G, N): y, final states (rows, D, N) in float32, and the saved states."""
    from mambats_kernels.selective_scan.triton.launch import Inputs, Options, run_forward

    tensors = (x, dt, A, B, C, D, z, dt_bias, gaps, initial, borders)
    given = Inputs._make(None if v is None else v.contiguous() for v in tensors)
    return run_forward(given, Options(softplus, hold, reverse), save)


@scan_forward.register_fake
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
    rows, (width, states) = _rows(x, borders), A.shape
    count = saved_states(rows, x.shape[1], states, borders is not None) if save else 0
    final = x.new_empty((rows, width, states), dtype=torch.float32)
    return x.new_empty(x.shape), final, x.new_empty((count, states, width), dtype=torch.float32)


@torch.library.custom_op("mambats::triton_scan_backward", mutates_args=())
def scan_backward(
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
) -> list[Tensor]:
    """Give the gradients of x, dt, A, B, C, D, z, dt_bias, gaps and initial; one of no elements where that is None."""
    from mambats_kernels.selective_scan.triton.launch import Inputs, Options, run_backward

    tensors = (x, dt, A, B, C, D, z, dt_bias, gaps, initial, borders)
    given = Inputs._make(None if v is None else v.contiguous() for v in tensors)
    dy = torch.zeros_like(given.x) if dy is None else dy.contiguous()
    dfinal = None if dfinal is None else dfinal.contiguous()
    slopes = run_backward(dy, dfinal, given, saved.contiguous(), Options(softplus, hold, reverse))
    return [x.new_empty(0) if v is None else v for v in slopes]


@scan_backward.register_fake
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
) -> list[Tensor]:
    given = (x, dt, A, B, C, D, z, dt_bias, gaps, initial)
    return [x.new_empty(0) if v is None else v.new_empty(v.shape) for v in given]


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    *tensors, ctx.softplus, ctx.hold, ctx.reverse, _ = inputs
    ctx.set_materialize_grads(False)  # else zeros as large as the saved states would be made
    ctx.save_for_backward(*tensors, output[2])


def _backward(ctx: Any, dy: Tensor | None, dfinal: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    *tensors, borders, saved = ctx.saved_tensors
    # Who calls backward inside autocast must get the same gradients.
    with torch.autocast(saved.device.type, enabled=False):
        slopes = scan_backward(dy, dfinal, *tensors, borders, saved, ctx.softplus, ctx.hold, ctx.reverse)
    found = [None if v is None else slope for v, slope in zip(tensors, slopes, strict=True)]
    return *found, None, None, None, None, None


scan_forward.register_autograd(_backward, setup_context=_remember)


def triton_scan(
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
    """Run the scan in Triton kernels: y (B, T, D) in the dtype of x, and the final states in float32."""
    given = (x, dt, A, grouped(B), grouped(C), D, z, dt_bias, gaps, initial_state)
    save = torch.is_grad_enabled() and any(v is not None and v.requires_grad for v in given)
    y, final, _ = scan_forward(*given, cu_seqlens, dt_softplus, hold, reverse, save)
    return y, final
