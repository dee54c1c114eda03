"""The selective scan by the native CPU library, as differentiable operators of torch that take every option at once."""

from typing import Any

import torch
from torch import Tensor

from mambats_kernels import native
from mambats_kernels.eager import taught
from mambats_kernels.native.scan import Scan, address, ready
from mambats_kernels.selective_scan import operators
from mambats_kernels.selective_scan.operators import Inputs, Options, define
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


def _block(given: Inputs, kept: list[Tensor | None], options: Options) -> Scan:
    (_, tokens, width), (groups, states) = given.x.shape, given.B.shape[2:]
    block = Scan(given.rows, tokens, width, groups, states, chunk(states), torch.get_num_threads(), *options)
    block.x, block.dt, block.A, block.B, block.C, block.D, block.z, block.bias, block.gaps, block.initial = map(
        address, kept
    )
    return block


def _borders(given: Inputs) -> Tensor | None:
    return None if given.borders is None else given.borders.to(torch.int64).contiguous()


def _saved(given: Inputs, save: bool) -> tuple[Any, ...]:
    width, states = given.A.shape
    packed = given.borders is not None
    return saved_states(given.rows, given.x.shape[1], states, packed) if save else 0, states, width


def _forward(given: Inputs, options: Options, save: bool) -> tuple[Tensor, Tensor, Tensor]:
    kept, borders, x = [ready(v) for v in given[:-1]], _borders(given), given.x
    y, final = x.new_empty(x.shape), x.new_empty((given.rows, *given.A.shape))
    # Between packed rows a place may stay unused; two runs must agree there too.
    saved = (x.new_empty if borders is None else x.new_zeros)(_saved(given, save))
    block = _block(given, kept, options)
    block.borders, block.y, block.final = address(borders), y.data_ptr(), final.data_ptr()
    block.saved = saved.data_ptr() if save else None
    native.run("mambats_scan_forward", block)
    return y, final, saved


def _backward(
    dy: Tensor | None, dfinal: Tensor | None, given: Inputs, saved: Tensor, options: Options, sloped: bool
) -> list[Tensor]:
    kept, borders, x = [ready(v) for v in given[:-1]], _borders(given), given.x
    dy, dfinal = torch.zeros_like(x) if dy is None else ready(dy), ready(dfinal)
    saved = saved.contiguous()
    wanted = given if sloped else given._replace(gaps=None)
    slopes = [x.new_empty(0 if v is None else v.shape) for v in wanted[:-1]]
    block = _block(given, kept, options)
    block.borders, block.saved, block.dy, block.dfinal = map(address, (borders, saved, dy, dfinal))
    (
        block.dx, block.ddt, block.dA, block.dB, block.dC, block.dD, block.dz, block.dbias, block.dgaps, block.dinitial
    ) = [slope.data_ptr() if v is not None else None for slope, v in zip(slopes, wanted[:-1], strict=True)]  # fmt: skip
    native.run("mambats_scan_backward", block)
    return slopes


scan_forward, scan_backward = define("native_scan", operators.Scan(_forward, _backward, _saved), "cpu")


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
    native.run("mambats_scan_forward", block)
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
    y, final, _ = scan_forward(*kept, cu_seqlens, dt_softplus, hold, reverse, taught(tuple(kept)))
    return y.to(x.dtype), final
