"""Absent rows are taken out before the scans and put back as zeros after, without waiting for the device.

The kept rows of all series are moved to the front of one packed sequence (1, B*T, D), series after series, with
borders `cu_seqlens`; removed rows form its tail, which scans ignore. Every shape is static.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Clock(NamedTuple):
    """What time has passed since the last kept row of each series.

    Attributes:
        pending: Gaps of rows removed since then, in reference periods, shape (B,).
        fresh: True until a first row was kept, shape (B,) bool; the gap of that row is 1 by contract.
    """

    pending: Tensor
    fresh: Tensor

    @staticmethod
    def start(batch: int, like: Tensor) -> Clock:
        """Return the clock before any row, in float32 or wider, on the device of `like`."""
        dtype = torch.promote_types(like.dtype, torch.float32)
        return Clock(like.new_zeros(batch, dtype=dtype), torch.ones(batch, dtype=torch.bool, device=like.device))

    def tick(self, gap_t: Tensor | None, mask_t: Tensor | None) -> tuple[Tensor, Clock]:
        """Advance by one row: return its gap since the last kept row, shape (B,), and the next clock."""
        passed = self.pending + (1 if gap_t is None else gap_t.to(self.pending.dtype))
        gap_t = torch.where(self.fresh, torch.ones_like(passed), passed)
        if mask_t is None:
            return gap_t, Clock(torch.zeros_like(passed), torch.zeros_like(self.fresh))
        fresh = self.fresh & ~mask_t
        return gap_t, Clock(torch.where(mask_t | fresh, torch.zeros_like(passed), passed), fresh)

    def run(self, gaps: Tensor, mask: Tensor | None) -> tuple[Tensor, Clock]:
        """Advance by T rows: return the gaps since the last kept row, shape (B, T), and the next clock.

        Gaps at removed rows are unspecified.
        """
        gaps = gaps.to(self.pending.dtype)
        if gaps.shape[1] == 0:
            return gaps, self
        if mask is None:
            first, clock = self.tick(gaps[:, 0], None)
            return torch.cat([first.unsqueeze(1), gaps[:, 1:]], 1), clock
        sums = sum_since(torch.cat([self.pending.unsqueeze(1), gaps], 1), F.pad(mask[:, :-1], (2, 0), value=False))
        merged = sums[:, 1:]
        first = mask & (mask.cumsum(1) == 1) & self.fresh.unsqueeze(1)
        fresh = self.fresh & ~mask.any(1)
        pending = torch.where(fresh | mask[:, -1], torch.zeros_like(sums[:, -1]), sums[:, -1])
        return torch.where(first, torch.ones_like(merged), merged), Clock(pending, fresh)


def sum_since(terms: Tensor, restart: Tensor) -> Tensor:
    """Sum terms (B, T) along time, beginning anew where restart (B, T) is True.

    By doubling: T = 131,072 takes 17 sweeps. A difference of two running sums would lose short gaps late in a
    recording, and torch has no deterministic running sum of floats on a GPU.
    """
    shift = 1
    while shift < terms.shape[1]:
        earlier = F.pad(terms[:, :-shift], (shift, 0))
        terms = terms + torch.where(restart, torch.zeros_like(earlier), earlier)
        restart = restart | F.pad(restart[:, :-shift], (shift, 0), value=True)
        shift *= 2
    return terms


class Packing(NamedTuple):
    """Where each row goes and comes from.

    Attributes:
        order: Flat row b * T + t that each packed place holds, shape (B*T,) int64.
        place: The inverse: packed place of each flat row.
        cu_seqlens: Borders of the kept rows of each series, shape (B+1,) int64; the last is the number kept.
        mask: True for kept rows, shape (B, T) bool.
    """

    order: Tensor
    place: Tensor
    cu_seqlens: Tensor
    mask: Tensor

    @staticmethod
    def of(mask: Tensor) -> Packing:
        """Plan the packing of rows where mask (B, T) is True."""
        keep = mask.reshape(-1)
        kept, removed = keep.cumsum(0), (~keep).cumsum(0)
        place = torch.where(keep, kept - 1, kept[-1:] + removed - 1)
        order = torch.empty_like(place).scatter(0, place, torch.arange(keep.shape[0], device=keep.device))
        return Packing(order, place, F.pad(mask.sum(1).cumsum(0), (1, 0)), mask)

    def pack(self, rows: Tensor) -> Tensor:
        """Move rows (B, T, ...) to (1, B*T, ...), kept rows first."""
        return rows.flatten(0, 1).index_select(0, self.order).unsqueeze(0)

    def unpack(self, packed: Tensor) -> Tensor:
        """Move packed rows (1, B*T, D) back to (B, T, D), zeros where a row was removed."""
        return blank_removed(packed[0].index_select(0, self.place).unflatten(0, self.mask.shape), self.mask)


def blank_removed(rows: Tensor, mask: Tensor | None) -> Tensor:
    """Put zeros into rows (..., D) where mask (...) is False.

    Before the embedding, because an absent value may be NaN, and NaN times a gradient of zero is NaN.
    """
    return rows if mask is None else torch.where(mask.unsqueeze(-1), rows, torch.zeros_like(rows))


def split_borders(cu_seqlens: Tensor, length: int, rows: int) -> Tensor:
    """Cut each packed sequence into blocks of `length` tokens, the last one shorter.

    Args:
        cu_seqlens: Borders of n sequences of at most `rows` tokens, shape (n+1,).
        length: Tokens of a block.
        rows: Most tokens a sequence can have.

    Returns:
        Borders of n * ceil(rows / length) blocks, empty ones included.
    """
    offsets = torch.arange(0, rows, length, device=cu_seqlens.device)
    starts = cu_seqlens[:-1, None] + torch.minimum(offsets, cu_seqlens.diff().unsqueeze(1))
    return torch.cat([starts.flatten(), cu_seqlens[-1:]])
