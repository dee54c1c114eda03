"""Look-ahead in seconds: reverse scans restart at the ends of blocks of time, the same for all layers and streams."""

from __future__ import annotations

import math
from typing import NoReturn

import torch
from torch import Tensor

from mambats.encoders.bidirectional import Borders, NotCausalError
from mambats.encoders.fusion.clock import LAST


def check_lookahead(lookahead: float | None) -> None:
    """Refuse a look-ahead that is not a time.

    Raises:
        ValueError: If it is not above 0 and finite.
    """
    if lookahead is not None and not (1e-9 <= lookahead < math.inf):
        raise ValueError(
            f"lookahead is {lookahead}: need seconds above 0, or None for the whole window. "
            "Use a causal fusion encoder to read nothing ahead."
        )


def refuse(encoder: object, lookahead: float | None, what: str) -> NoReturn:
    """Refuse what only a causal encoder can do.

    Raises:
        NotCausalError: Always.
    """
    ahead = "the whole window" if lookahead is None else f"blocks of {lookahead} s"
    raise NotCausalError(
        f"{type(encoder).__name__} reads {ahead} both ways and {what}. "
        "Give it whole windows, or train a causal fusion encoder to run moment by moment."
    )


def check_blocks(encoder: object, lookahead: float | None) -> None:
    """Refuse blocks of a look-ahead that has no end.

    Raises:
        NotCausalError: If it has none.
    """
    if lookahead is None:
        refuse(encoder, None, "has no blocks")


def time_borders(stamps: Tensor, mask: Tensor, cu_seqlens: Tensor, length_ns: int, lookahead: float | None) -> Borders:
    """Cut packed rows at the ends of blocks of time (0, L], (L, 2 L], ... for the scans that run backwards.

    Args:
        stamps: Of the rows that were packed in the order of time, shape (B, N) int64, any order.
        mask: Which of them exist, shape (B, N).
        cu_seqlens: Borders of each series, shape (B+1,).
        length_ns: Of the window.
        lookahead: L in seconds; None cuts nothing.

    Returns:
        Borders for both directions.
    """
    if lookahead is None:
        return Borders(cu_seqlens, cu_seqlens)
    block_ns = round(lookahead * 1e9)
    blocks = max(-(-length_ns // block_ns), 1)
    ends = torch.arange(1, blocks, device=stamps.device).mul(block_ns).expand(len(stamps), -1).contiguous()
    kept = torch.where(mask, stamps, LAST).sort(1).values
    before = torch.searchsorted(kept, ends, right=True)
    starts = cu_seqlens[:-1, None] + torch.cat([before.new_zeros((len(stamps), 1)), before], 1)
    return Borders(cu_seqlens, torch.cat([starts.flatten(), cu_seqlens[-1:]]))
