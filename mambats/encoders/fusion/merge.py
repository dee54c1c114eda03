"""Rows of all streams in one order of time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mambats.encoders.compact import Packing
from mambats.encoders.embed import Embedding, log_gap
from mambats.encoders.fusion.clock import LAST, Pauses, pauses_in
from mambats.series import SensorRows


class Merged(NamedTuple):
    """Streams laid side by side along time, (B, N), and how to take them in the order (stamp, stream, row).

    Attributes:
        stamps: Shape (B, N) int64.
        packing: From (B, N) into the order of time, removed rows last, and back.
        pauses: Time since the row before, of whatever stream, shape (B, N).
        sizes: Rows of each stream.
    """

    stamps: Tensor
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
    back = inverse(flat(order))
    pauses = Pauses(*(part.flatten()[back].view(order.shape) for part in pauses))
    return Merged(stamps, in_order(mask, order), pauses, [stream.mask.shape[1] for stream in rows])


def in_order(mask: Tensor, order: Tensor) -> Packing:
    """Plan a packing that takes the rows of each series in another order, kept rows first.

    Args:
        mask: True for kept rows, shape (B, N).
        order: The row at each place, shape (B, N) int64.
    """
    sorted_rows = Packing.of(mask.gather(1, order))
    row = flat(order)[sorted_rows.order]
    return Packing(row, inverse(row), sorted_rows.cu_seqlens, mask)


def flat(order: Tensor) -> Tensor:
    """Turn places within each series (B, N) into flat ones, b * N + n, shape (B * N,)."""
    batch, rows = order.shape
    return (order + rows * torch.arange(batch, device=order.device).unsqueeze(1)).flatten()


def inverse(order: Tensor) -> Tensor:
    """Return the permutation that undoes one of shape (N,)."""
    return torch.empty_like(order).scatter(0, order, torch.arange(order.shape[0], device=order.device))


def event_embeddings(streams: Mapping[str, int], width: int) -> nn.ModuleList:
    """Make the embedding of each stream's rows; a channel more holds the time since the stream's own row before."""
    return nn.ModuleList(Embedding(channels + 1, width) for channels in streams.values())


def with_own_gap(values: Tensor, observed: Tensor | None, own_gap: Tensor) -> tuple[Tensor, Tensor | None]:
    """Append to values (..., C) the logarithm of the time since the stream's row before, (...) in reference periods."""
    column = log_gap(own_gap).unsqueeze(-1)
    if observed is not None:
        observed = torch.cat([observed, torch.ones_like(column, dtype=torch.bool)], -1)
    return torch.cat([values, column.to(values.dtype)], -1), observed


def embed_side_by_side(
    embeddings: nn.ModuleList, rows: Sequence[SensorRows], pauses: Sequence[Pauses], merged: Merged, period_ns: int
) -> tuple[Tensor, Tensor]:
    """Embed every stream by itself and merge: packed tokens (1, B * N, width) and gaps (1, B * N)."""
    dtype = torch.promote_types(rows[0].values.dtype, torch.float32)
    gaps = merged.pauses.gaps(period_ns, dtype)
    tokens: list[Tensor] = []
    for embedding, stream, between, gap in zip(embeddings, rows, pauses, gaps.split(merged.sizes, 1), strict=True):
        values, observed = with_own_gap(stream.values, stream.observed, between.gaps(period_ns, dtype))
        tokens.append(embedding(values, gap, observed))
    return merged.packing.pack(torch.cat(tokens, 1)), merged.packing.pack(gaps)
