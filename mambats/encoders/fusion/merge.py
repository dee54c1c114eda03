"""Rows of all streams in one order of time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mambats.encoders.compact import Packing
from mambats.encoders.fusion.clock import LAST, Pauses, pauses_in
from mambats.series import SensorRows


class Merged(NamedTuple):
    """Streams laid side by side along time, (B, N), and how to take them in the order (stamp, stream, row).

    Attributes:
        packing: From (B, N) into the order of time, removed rows last, and back.
        pauses: Time since the row before, of whatever stream, shape (B, N).
        sizes: Rows of each stream.
    """

    packing: Packing
    pauses: Pauses
    sizes: list[int]


def merge(rows: Sequence[SensorRows], start: Tensor) -> Merged:
    """Sort the rows of all streams of a window by time.

    Args:
        rows: Of each stream, in stream order.
        start: Stamp of the last row of any stream before the window, shape (B,), or NEVER.
    """
    stamps, mask = torch.cat([stream.stamps for stream in rows], 1), torch.cat([stream.mask for stream in rows], 1)
    # Stable: equal stamps stay in stream order, and rows of one stream as they were.
    order = torch.where(mask, stamps, LAST).argsort(dim=1, stable=True)
    pauses, _ = pauses_in(stamps.gather(1, order), mask.gather(1, order), start)
    back = torch.empty_like(order).scatter(1, order, torch.arange(order.shape[1], device=order.device).expand_as(order))
    pauses = Pauses(pauses.ns.gather(1, back), pauses.first.gather(1, back))
    return Merged(in_order(mask, order), pauses, [stream.mask.shape[1] for stream in rows])


def in_order(mask: Tensor, order: Tensor) -> Packing:
    """Plan a packing that takes the rows of each series in another order, kept rows first.

    Args:
        mask: True for kept rows, shape (B, N).
        order: The row at each place, shape (B, N) int64.
    """
    batch, rows = mask.shape
    sorted_rows = Packing.of(mask.gather(1, order))
    flat = (order + rows * torch.arange(batch, device=mask.device).unsqueeze(1)).flatten()[sorted_rows.order]
    place = torch.empty_like(flat).scatter(0, flat, torch.arange(flat.shape[0], device=mask.device))
    return Packing(flat, place, sorted_rows.cu_seqlens, mask)
