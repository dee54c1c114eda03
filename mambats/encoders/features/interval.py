"""Samples of a sensor dealt out to the regular intervals that they hold over, without waiting for the device."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mambats.series import SensorRows

NONE = torch.iinfo(torch.int64).max // 2  # a stamp after all others, with room to add to


class Dealt(NamedTuple):
    """Samples of K intervals.

    Attributes:
        row: Row of each sample, shape (B, K, S) int64.
        held: How long it holds within the interval, shape (B, K, S) int64 nanoseconds; 0 for padding.
        last: Row of the last sample at or before the end of the interval, shape (B, K) int64; -1 where there is none.
    """

    row: Tensor
    held: Tensor
    last: Tensor


def put_first(rows: SensorRows) -> tuple[Tensor, Tensor]:
    """Return the rows (B, T) that exist before those that do not, in order of time, and their stamps or `NONE`."""
    order = (~rows.mask).to(torch.int8).argsort(dim=1, stable=True)
    stamps = rows.stamps.masked_fill(~rows.mask, NONE)
    return order, stamps.gather(1, order)


def deal(stamps: Tensor, period_ns: int, count: int, longest_ns: int, room: int | None = None) -> Dealt:
    """Deal samples out to the intervals (k period, (k + 1) period], k = 0 to count - 1.

    A sample holds until the next one, but no longer than `longest_ns`, and is shared between the intervals that it
    holds over. Nothing is used that is not known when the interval ends.

    Args:
        stamps: Rising, shape (B, T) int64 nanoseconds; `NONE` behind the last.
        period_ns: Of the intervals.
        count: Number of intervals, K.
        longest_ns: That a sample holds.
        room: Samples of an interval, S; None counts the most there are, for which a GPU is waited for.

    Raises:
        ValueError: If an interval has more samples than `room` (checked on a CPU).
    """
    ends = torch.arange(1, count + 1, device=stamps.device).mul(period_ns).expand(len(stamps), count).contiguous()
    before, behind = torch.searchsorted(stamps, ends - period_ns, right=True), torch.searchsorted(stamps, ends)
    first = (before - 1).clamp_min(0)
    size = most_rows(behind - first, room)
    row = first.unsqueeze(-1) + torch.arange(size, device=stamps.device)
    padded = torch.nn.functional.pad(stamps, (0, size + 1), value=NONE)
    begin = take(padded, row)
    end = torch.minimum(take(padded, row + 1), begin + longest_ns)
    end = torch.minimum(end, ends.unsqueeze(-1))
    held = (end - torch.maximum(begin, ends.unsqueeze(-1) - period_ns)).clamp_min(0)
    last = torch.searchsorted(stamps, ends, right=True) - 1
    return Dealt(row.clamp_max(max(stamps.shape[1] - 1, 0)), held, last)


def most_rows(needed: Tensor, room: int | None) -> int:
    """Return the room for the samples of an interval, at least 1."""
    if room is None or not needed.is_cuda:
        most = max(1, int(needed.max())) if needed.numel() else 1
        if room is not None and most > room:
            raise ValueError(f"an interval has {most} samples, room is {room}: give more room, or a shorter period.")
        return most if room is None else room
    return room


def take(rows: Tensor, index: Tensor) -> Tensor:
    """Return rows (B, T, ...) at index (B, ...): what stands behind T follows what stands behind the index."""
    flat = index.flatten(1)
    wide = flat.view(*flat.shape, *[1] * (rows.ndim - 2)).expand(*flat.shape, *rows.shape[2:])
    return rows.gather(1, wide).view(*index.shape, *rows.shape[2:])
