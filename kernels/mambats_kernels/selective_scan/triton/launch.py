"""Host side of the Triton kernels: what is allocated, and the launches. Nothing waits for the device."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mambats_kernels.selective_scan.operators import Inputs, Options
from mambats_kernels.selective_scan.triton.kernel_backward import backward
from mambats_kernels.selective_scan.triton.kernel_forward import forward
from mambats_kernels.selective_scan.triton.kernel_sum import ordered_sum
from mambats_kernels.selective_scan.triton.shape import Tile, backward_tile, forward_tile, saved_states

# 8 loads on their way at a time: one after the other would show their latency.
_SUM: dict[str, Any] = {"BLOCK": 512, "TOGETHER": 8}


def _on(device: torch.device) -> AbstractContextManager[Any]:
    """Launch on this device; to ask which one is current costs less than to set it."""
    here = device.type != "cuda" or device.index == torch.cuda.current_device()
    return nullcontext() if here else torch.cuda.device(device)


def _compiled(given: Inputs, options: Options, tile: Tile) -> dict[str, Any]:
    groups, states = given.B.shape[2:]
    registers = {} if tile.registers is None or torch.version.hip is not None else {"maxnreg": tile.registers}
    return registers | {
        "WIDTH": given.x.shape[2], "GROUPS": groups, "STATES": states,
        "SOFTPLUS": options.softplus, "HOLD": options.hold, "REVERSE": options.reverse,
        "BLOCK_T": tile.tokens, "BLOCK_N": tile.states, "BLOCK_D": tile.channels, "num_warps": tile.warps,
    }  # fmt: skip


def _blank(like: Tensor, packed: bool) -> Tensor:
    """Room for one number a token and channel; zeros where a tail may stay unwritten."""
    return torch.zeros_like(like) if packed else torch.empty_like(like)


def run_forward(given: Inputs, options: Options, save: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Give y, the final states (rows, D, N), and the state before each tile of tokens (tiles, N, D) or nothing."""
    (_, tokens, width), (groups, states) = given.x.shape, given.B.shape[2:]
    rows, packed, tile = given.rows, given.borders is not None, forward_tile(states)
    y = _blank(given.x, packed)
    final = given.x.new_empty((rows, width, states), dtype=torch.float32)
    count = saved_states(rows, tokens, states, packed) if save else 0
    # Between packed rows a place may stay unused; two runs must agree there too.
    room = torch.zeros if packed else torch.empty
    saved = room((count, states, width), dtype=torch.float32, device=given.x.device)
    blocks = rows * groups * tile.blocks(width // groups)
    if blocks:
        with _on(given.x.device):
            forward[(blocks,)](
                *given, y, final, saved if save else None, tokens, **_compiled(given, options, tile)
            )  # fmt: skip
    return y, final, saved


class Parts(NamedTuple):
    """Partial sums of the backward kernel, float32, where `blocks` programs share the channels of a group.

    Of A (rows, D, N), of B and C (blocks, B, T, G, N), of D and bias (rows, D), of gaps (G * blocks, B * T).
    """

    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor
    bias: Tensor
    gaps: Tensor | None


def _parts(given: Inputs, blocks: int) -> Parts:
    width, (batch, tokens, groups, states), rows = given.x.shape[2], given.B.shape, given.rows

    def room(*sizes: int) -> Tensor:
        return torch.empty(sizes, dtype=torch.float32, device=given.x.device)

    weights = (blocks, batch, tokens, groups, states)
    # Zeros for the gap that a reversed walk never meets, and behind the last packed row.
    gaps = None if given.gaps is None else room(groups * blocks, batch * tokens).zero_()
    return Parts(room(rows, width, states), room(*weights), room(*weights), room(rows, width), room(rows, width), gaps)


def _sum_weights(parts: Tensor, like: Tensor, borders: Tensor | None, rows: int) -> Tensor:
    """Add up partial sums of B or C over the programs of a group."""
    out = torch.empty_like(like)
    each = like.shape[2] * like.shape[3]
    if out.numel():
        ordered_sum[(-(-out.numel() // _SUM["BLOCK"]),)](
            parts, out, borders, rows, out.numel(), each, parts.shape[0], **_SUM
        )  # fmt: skip
    return out


def run_backward(
    dy: Tensor, dfinal: Tensor | None, given: Inputs, saved: Tensor, options: Options
) -> list[Tensor | None]:
    """Give the gradients of x, dt, A, B, C, D, z, dt_bias, gaps and initial, None for what is not there."""
    (batch, tokens, width), (groups, states) = given.x.shape, given.B.shape[2:]
    rows, packed, tile = given.rows, given.borders is not None, backward_tile(states)
    dx, ddt = _blank(given.x, packed), _blank(given.dt, packed)
    dz = None if given.z is None else _blank(given.z, packed)
    initial = None if given.initial is None else saved.new_empty(given.initial.shape)
    blocks = tile.blocks(width // groups)
    parts = _parts(given, blocks)
    with _on(given.x.device):
        if rows * width:
            backward[(rows * groups * blocks,)](
                dy, dfinal, *given[:9], given.borders, saved, dx, ddt, dz, initial, *parts,
                tokens, batch * tokens, **_compiled(given, options, tile),
            )  # fmt: skip
        weights = [
            _sum_weights(part, like, given.borders, rows) for part, like in ((parts.B, given.B), (parts.C, given.C))
        ]
    summed = [
        None if like is None or part is None else part.sum(0).to(like.dtype).view(like.shape)
        for part, like in (
            (parts.A, given.A), (parts.D, given.D), (parts.bias, given.bias), (parts.gaps, given.gaps)
        )
    ]  # fmt: skip
    initial = None if given.initial is None or initial is None else initial.to(given.initial.dtype)
    return [dx, ddt, summed[0], *weights, summed[1], dz, summed[2], summed[3], initial]
