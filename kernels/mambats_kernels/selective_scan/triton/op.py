"""The selective scan by Triton kernels, as differentiable operators of torch that take every option at once."""

import os
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from mambats_kernels.eager import taught
from mambats_kernels.selective_scan.operators import Inputs, Options, Scan, define
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


def _dense(given: Inputs) -> Inputs:
    return Inputs._make(None if v is None else v.contiguous() for v in given)


def _saved(given: Inputs, save: bool) -> tuple[Any, ...]:
    width, states = given.A.shape
    packed = given.borders is not None
    return saved_states(given.rows, given.x.shape[1], states, packed) if save else 0, states, width


def _forward(given: Inputs, options: Options, save: bool) -> tuple[Tensor, Tensor, Tensor]:
    from mambats_kernels.selective_scan.triton.launch import run_forward

    return run_forward(_dense(given), options, save)


def _backward(
    dy: Tensor | None, dfinal: Tensor | None, given: Inputs, saved: Tensor, options: Options, sloped: bool
) -> list[Tensor]:
    from mambats_kernels.selective_scan.triton.launch import run_backward

    dense = _dense(given)
    dy = torch.zeros_like(dense.x) if dy is None else dy.contiguous()
    dfinal = None if dfinal is None else dfinal.contiguous()
    slopes = run_backward(dy, dfinal, dense, saved.contiguous(), options)
    wanted = given if sloped else given._replace(gaps=None)
    return [
        given.x.new_empty(0) if slope is None or v is None else slope
        for slope, v in zip(slopes, wanted[:-1], strict=True)
    ]


scan_forward, scan_backward = define("triton_scan", Scan(_forward, _backward, _saved))


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
    y, final, _ = scan_forward(*given, cu_seqlens, dt_softplus, hold, reverse, taught(given))
    return y, final
