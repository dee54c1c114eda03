"""The selective scan by the native CPU library, as differentiable operators of torch that take every option at once."""

from typing import Any

import torch
from torch import Tensor

from mambats_kernels import native
from mambats_kernels.native.scan import Scan, address, ready
from mambats_kernels.selective_scan.reference import grouped


def chunk(states: int) -> int:
    """Give the tokens between saved states: what the backward pass recomputes fits the first cache up to N = 16.

    Beyond that the saved states count more: at N = 64 and 16 tokens they take four times the room of x.
    """
    return 16 if states > 16 else min(32, max(8, 128 // max(states, 1)))


def saved_states(rows: Any, tokens: Any, states: int, packed: bool) -> Any:
    """How many states are saved: one every `chunk` tokens of a row; packed rows round up once each."""
    each = chunk(states)
    return tokens // each + rows if packed else rows * ((tokens + each - 1) // each)


def _call(name: str, block: Scan) -> None:
    """Run a function of the library; it holds neither the interpreter's lock nor any memory afterwards."""
    if native.library is None:
        raise RuntimeError(f"the native back-end has no library: {native.missing}")
    if getattr(native.library, name)(block):
        raise MemoryError(f"{name} found no memory for its buffers: give fewer rows, or use_backend('torch').")


def _block(
    x: Tensor,
    A: Tensor,
    B: Tensor,
    rows: int,
    softplus: bool,
    hold: bool,
    reverse: bool,
) -> Scan:
    (_, tokens, width), (groups, states) = x.shape, B.shape[2:]
    block = Scan(rows, tokens, width, groups, states, chunk(states), torch.get_num_threads(), softplus, hold, reverse)
    block.x, block.A, block.B = x.data_ptr(), A.data_ptr(), B.data_ptr()
    return block


@torch.library.custom_op("mambats::native_scan_forward", mutates_args=(), device_types="cpu")
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
    """Scan x, dt, z (B, T, D) with B, C (B, T, G, N): y, final states (rows, D, N), and the saved states."""
    rows = x.shape[0] if borders is None else borders.shape[0] - 1
    kept = [ready(v) for v in (x, dt, A, B, C, D, z, dt_bias, gaps, initial)]
    borders = None if borders is None else borders.to(torch.int64).contiguous()
    y, final = x.new_empty(x.shape), x.new_empty((rows, *A.shape))
    chunks = saved_states(rows, x.shape[1], A.shape[1], borders is not None) if save else 0
    # Between packed rows a place may stay unused; two runs must agree there too.
    saved = (x.new_empty if borders is None else x.new_zeros)((chunks, A.shape[1], x.shape[2]))
    block = _block(x, A, B, rows, softplus, hold, reverse)
    block.x, block.dt, block.A, block.B, block.C, block.D, block.z, block.bias, block.gaps, block.initial = map(
        address, kept
    )
    block.borders, block.y, block.final = address(borders), y.data_ptr(), final.data_ptr()
    block.saved = saved.data_ptr() if save else None
    _call("mambats_scan_forward", block)
    return y, final, saved


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
    rows = x.shape[0] if borders is None else borders.shape[0] - 1
    chunks = saved_states(rows, x.shape[1], A.shape[1], borders is not None) if save else 0
    final, saved = x.new_empty((rows, *A.shape)), x.new_empty((chunks, A.shape[1], x.shape[2]))
    return x.new_empty(x.shape), final, saved


@torch.library.custom_op("mambats::native_scan_backward", mutates_args=(), device_types="cpu")
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
    rows = x.shape[0] if borders is None else borders.shape[0] - 1
    given = (x, dt, A, B, C, D, z, dt_bias, gaps, initial)
    kept = [ready(v) for v in given]
    borders = None if borders is None else borders.to(torch.int64).contiguous()
    dy, dfinal = torch.zeros_like(x) if dy is None else ready(dy), ready(dfinal)
    saved = saved.contiguous()
    slopes = [x.new_empty(0 if v is None else v.shape) for v in given]
    block = _block(x, A, B, rows, softplus, hold, reverse)
    block.x, block.dt, block.A, block.B, block.C, block.D, block.z, block.bias, block.gaps, block.initial = map(
        address, kept
    )
    block.borders, block.saved, block.dy, block.dfinal = map(address, (borders, saved, dy, dfinal))
    wanted = [slope.data_ptr() if v is not None else None for slope, v in zip(slopes, given, strict=True)]
    (
        block.dx, block.ddt, block.dA, block.dB, block.dC, block.dD, block.dz, block.dbias, block.dgaps, block.dinitial
    ) = wanted  # fmt: skip
    _call("mambats_scan_backward", block)
    return slopes


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
    return [x.new_empty(0 if v is None else v.shape) for v in (x, dt, A, B, C, D, z, dt_bias, gaps, initial)]


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    *tensors, ctx.softplus, ctx.hold, ctx.reverse, _ = inputs
    ctx.set_materialize_grads(False)  # else zeros as large as the saved states would be made
    ctx.save_for_backward(*tensors, output[2])


def _backward(ctx: Any, dy: Tensor | None, dfinal: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    *tensors, borders, saved = ctx.saved_tensors
    # Who calls backward inside autocast must get the same gradients.
    with torch.autocast("cpu", enabled=False):
        slopes = scan_backward(dy, dfinal, *tensors, borders, saved, ctx.softplus, ctx.hold, ctx.reverse)
    found = [None if v is None else slope for v, slope in zip(tensors, slopes, strict=True)]
    return *found, None, None, None, None, None


scan_forward.register_autograd(_backward, setup_context=_remember)


def native_step(
    x_t: Tensor,
    dt_t: Tensor,
    A: Tensor,
    B_t: Tensor,
    C_t: Tensor,
    *,
    state: Tensor,
    D: Tensor | None,
    z_t: Tensor | None,
    dt_bias: Tensor | None,
    dt_softplus: bool,
    gap_t: Tensor | None,
    hold: bool,
    mask: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Advance one token without gradients and without the dispatcher: a scan of one token a row."""
    (batch, width), states, dtype = x_t.shape, A.shape[1], x_t.dtype
    given = (x_t, dt_t, A, B_t, C_t, D, z_t, dt_bias, gap_t, state)
    kept = [ready(v) for v in given]
    mask = None if mask is None else mask.contiguous()
    y = torch.empty((batch, width), dtype=torch.float32, device="cpu")  # whatever the default device
    final = torch.empty((batch, width, states), dtype=torch.float32, device="cpu")
    groups = 1 if B_t.dim() == 2 else B_t.shape[1]
    block = Scan(
        batch, 1, width, groups, states, 1, 1, dt_softplus, hold, False,
        *[None if v is None else v.data_ptr() for v in kept], None, address(mask), y.data_ptr(), final.data_ptr(),
    )  # fmt: skip
    _call("mambats_scan_forward", block)
    return y if dtype == torch.float32 else y.to(dtype), final


def native_scan(
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
    """Run the scan in the library: y (B, T, D) in the dtype of x, and the final states in float32."""
    given = (x, dt, A, grouped(B), grouped(C), D, z, dt_bias, gaps, initial_state)
    kept = [ready(v) for v in given]
    save = torch.is_grad_enabled() and any(v is not None and v.requires_grad for v in kept)
    y, final, _ = scan_forward(*kept, cu_seqlens, dt_softplus, hold, reverse, save)
    return y.to(x.dtype), final
