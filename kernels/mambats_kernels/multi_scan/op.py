"""The public scan over streams: they are laid behind one another, so that all are scanned by one call."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mambats_kernels.checks import needs_axes, shown
from mambats_kernels.selective_scan import selective_scan


def stream_borders(cu_seqlens: Sequence[Tensor], tokens: Sequence[int]) -> Tensor:
    """Lay packed streams behind one another: return the borders of all their sequences.

    What stands behind a stream's last sequence becomes a sequence of its own, so that a stream of n sequences
    takes n + 1 rows of states, the last of which means nothing.

    Args:
        cu_seqlens: Of each stream, shape (n+1,) int64, from 0.
        tokens: Length of each stream's packed axis, its tail included.

    Returns:
        Borders of shape (sum (n+1) + 1,) int64.
    """
    parts, start = list[Tensor](), 0
    for borders, length in zip(cu_seqlens, tokens, strict=True):
        parts.append(borders + start)
        start += length
    return torch.cat([*parts, parts[-1].new_full((1,), start)])


def multi_scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    tokens: Sequence[int],
    cu_seqlens: Sequence[Tensor],
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    gaps: Tensor | None = None,
    hold: bool = False,
    initial_state: Sequence[Tensor] | None = None,
    reverse: bool = False,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Scan streams of unequal length, each a batch of packed sequences, in one launch.

    As `selective_scan`, whose arguments keep their meaning, for each stream by itself. Rates A and skip D are the same
    for all streams; the bias of the step sizes, which sets how long a stream remembers, may differ.

    Args:
        x: Streams behind one another, shape (1, L, D), L the sum of `tokens`.
        dt: Step size before bias and softplus, shape of x.
        A: Rates, shape (D, N).
        B: Input weights, shape (1, L, N) or (1, L, G, N).
        C: Output weights, shape of B.
        tokens: Length of each stream, its tail included.
        cu_seqlens: Borders of each stream's sequences from 0, shape (n+1,) int64; what lies behind the last is ignored.
        D: Weight of the skip, shape (D,), or None.
        z: Gate before silu, shape of x, or None.
        dt_bias: Added to dt, shape (D,), or (S, D) for S streams, or None.
        dt_softplus: Whether delta = softplus(dt + dt_bias).
        gaps: Time since the token before, shape (1, L); None means 1.
        hold: Whether the input is held over the gap.
        initial_state: Of each stream, shape (n, D, N), or None for zeros.
        reverse: Whether to walk from the last token of each sequence to the first.

    Returns:
        y of the shape of x, unspecified in the tails, and the final states of each stream, shape (n, D, N).

    Raises:
        ValueError: If a shape, dtype or device does not fit; values as in `selective_scan`.

    Example:
        x, b, borders = torch.randn(1, 5, 4), torch.randn(1, 5, 3), [torch.tensor([0, 3]), torch.tensor([0, 2])]
        y, states = multi_scan(x, x.exp(), -torch.ones(4, 3), b, b, tokens=(3, 2), cu_seqlens=borders)

    Source: as `selective_scan`.
    """
    _check(x, tokens, cu_seqlens, dt_bias, initial_state)
    if dt_bias is not None and dt_bias.dim() == 2:
        parts = dt.split(list(tokens), 1)
        dt, dt_bias = torch.cat([part + bias for part, bias in zip(parts, dt_bias, strict=True)], 1), None
    initial = None
    if initial_state is not None:
        initial = torch.cat([row for state in initial_state for row in (state, state.new_zeros((1, *state.shape[1:])))])
    y, final = selective_scan(
        x, dt, A, B, C, D=D, z=z, dt_bias=dt_bias, dt_softplus=dt_softplus, gaps=gaps, hold=hold,
        cu_seqlens=stream_borders(cu_seqlens, tokens), initial_state=initial, reverse=reverse,
    )  # fmt: skip
    return y, tuple(rows[:-1] for rows in final.split([len(borders) for borders in cu_seqlens]))


def _check(
    x: Tensor,
    tokens: Sequence[int],
    cu_seqlens: Sequence[Tensor],
    dt_bias: Tensor | None,
    initial_state: Sequence[Tensor] | None,
) -> None:
    needs_axes("x", x, 3, "(1, L, D)")
    streams = len(tokens)
    if streams == 0 or len(cu_seqlens) != streams:
        raise ValueError(f"tokens names {streams} streams, cu_seqlens {len(cu_seqlens)}: need one of each a stream.")
    if initial_state is not None and len(initial_state) != streams:
        raise ValueError(f"initial_state has {len(initial_state)} parts, needed {streams}: give one a stream.")
    if x.shape[0] != 1 or x.shape[1] != sum(tokens):
        raise ValueError(
            f"x has shape {shown(x)}, tokens add up to {sum(tokens)}: need (1, {sum(tokens)}, D). "
            "Lay the streams behind one another, tails included."
        )
    if dt_bias is not None and dt_bias.dim() == 2 and dt_bias.shape[0] != streams:
        raise ValueError(f"dt_bias has shape {shown(dt_bias)}, needed (D,) or ({streams}, D): give one row a stream.")
