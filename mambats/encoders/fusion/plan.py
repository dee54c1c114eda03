"""What a window of streams looks like to their scans and to what passes between them: worked out once, for all layers.

Rows of each stream are packed, kept ones first, series after series; streams lie behind one another, (1, L, D). What
streams said lies in one table: of each stream in turn, first what each series' state remembers (B rows), then what its
packed rows say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mambats.encoders.compact import Packing
from mambats.encoders.fusion.clock import Pauses, StreamClock, run_clock
from mambats.series import SensorRows
from mambats_kernels import hold
from mambats_kernels.multi_scan import stream_borders


class Ages(NamedTuple):
    """How old the last token of every other stream is.

    Attributes:
        found: Whether there is one, shape (..., S-1) bool.
        row: log(1 + age in reference periods), 0 where there is none, and then 1 where there is none: what a matrix
            can read, shape (..., 2 (S-1)).
    """

    found: Tensor
    row: Tensor

    @property
    def log(self) -> Tensor:
        """Return the logarithms of 1 + age in reference periods, shape (..., S-1); 0 where there is none."""
        return self.row[..., : self.found.shape[-1]]

    @staticmethod
    def of(ns: Tensor, found: Tensor, period_ns: int, dtype: torch.dtype) -> Ages:
        """Measure ages of `ns` nanoseconds, int64."""
        absent = ~found
        log = (ns.masked_fill(absent, 0).double() / period_ns).log1p()
        return Ages(found, torch.cat([log, absent], -1).to(dtype))


class Plan(NamedTuple):
    """The layout of a window.

    Attributes:
        packings: Of each stream.
        sizes: Places of each stream along the packed axis, B * T.
        borders: Of all sequences of all streams; each stream's tail is a sequence too.
        gaps: Time since the row before of the same stream, in reference periods, shape (1, L).
        heard: Row of the table that each token reads of each other stream, shape (L, S-1).
        ages: Of what is read, for each of the L tokens.
        last: Row of the table with the last that each stream said, shape (B, S).
        clock: At the end of the window.
    """

    packings: tuple[Packing, ...]
    sizes: list[int]
    borders: Tensor
    gaps: Tensor
    heard: Tensor
    ages: Ages
    last: Tensor
    clock: StreamClock

    @staticmethod
    def of(
        rows: Sequence[SensorRows], clock: StreamClock, length_ns: int, period_ns: int, dtype: torch.dtype
    ) -> tuple[Plan, list[Pauses]]:
        """Plan a window, and return the pauses within each stream besides."""
        pauses, after = run_clock(clock, rows, length_ns)
        packings = tuple(Packing.of(stream.mask) for stream in rows)
        sizes = [stream.mask.numel() for stream in rows]
        gaps = [packing.pack(p.gaps(period_ns, dtype)) for packing, p in zip(packings, pauses, strict=True)]
        borders = stream_borders([packing.cu_seqlens for packing in packings], sizes)
        table = [_table(packing, start) for packing, start in zip(packings, _starts(packings), strict=True)]
        heard, ages = _listen(rows, clock, packings, [places for places, _ in table], period_ns, dtype)
        last = torch.stack([end for _, end in table], 1)
        return Plan(packings, sizes, borders, torch.cat(gaps, 1), heard, ages, last, after), pauses

    def pack(self, tokens: Sequence[Tensor]) -> Tensor:
        """Lay tokens (B, T, D) of every stream behind one another, (1, L, D)."""
        return torch.cat([packing.pack(part) for packing, part in zip(self.packings, tokens, strict=True)], 1)

    def unpack(self, tokens: Tensor) -> list[Tensor]:
        """Move tokens (1, L, D) back to (B, T, D) of each stream, zeros where a row was removed."""
        parts = tokens.split(self.sizes, 1)
        return [packing.unpack(part) for packing, part in zip(self.packings, parts, strict=True)]


def others(streams: int) -> Tensor:
    """Return for each stream the numbers of all others, shape (S, S-1) int64."""
    every = [[source for source in range(streams) if source != target] for target in range(streams)]
    return torch.tensor(every, dtype=torch.int64).view(streams, streams - 1)


def _starts(packings: Sequence[Packing]) -> list[int]:
    """Return where each stream's rows begin in the table."""
    starts, row = list[int](), 0
    for packing in packings:
        starts.append(row)
        row += packing.mask.shape[0] + packing.mask.numel()
    return starts


def _table(packing: Packing, start: int) -> tuple[Tensor, Tensor]:
    """Return the table's row of a stream's state and rows, (B, 1 + T), and of the last that it said, (B,)."""
    batch = packing.mask.shape[0]
    states = torch.arange(start, start + batch, device=packing.place.device)
    rows = packing.place.view(packing.mask.shape) + start + batch
    ends = packing.cu_seqlens[1:]
    last = torch.where(ends > packing.cu_seqlens[:-1], ends - 1 + start + batch, states)
    return torch.cat([states.unsqueeze(1), rows], 1), last


def _listen(
    rows: Sequence[SensorRows],
    clock: StreamClock,
    packings: Sequence[Packing],
    tables: Sequence[Tensor],
    period_ns: int,
    dtype: torch.dtype,
) -> tuple[Tensor, Ages]:
    """Find for every token the last token of every other stream, strictly earlier in (stamp, stream order)."""
    stamps = torch.cat([stream.stamps for stream in rows], 1)
    sizes = [stream.mask.shape[1] for stream in rows]
    owner = torch.cat([stamps.new_full((size,), number) for number, size in enumerate(sizes)]).expand_as(stamps)
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for source, (stream, start, table) in enumerate(zip(rows, clock.stamps().unbind(1), tables, strict=True)):
        start = start.unsqueeze(1)
        # What a state remembers came before every row of the window, one at the window's start too.
        held = hold(
            stamps,
            torch.cat([start.clamp_max(-1), stream.stamps], 1),
            ties=owner > source,
            source_mask=torch.cat([~clock.fresh[:, source : source + 1], stream.mask], 1),
        )
        # Never below 0, whatever stands at removed rows.
        age = torch.where(held.place == 0, stamps - start, held.age).clamp_min(0)
        found.append((table.gather(1, held.place), age, held.found))
    heard, ns, there = (torch.stack(parts, 2).split(sizes, 1) for parts in zip(*found, strict=True))

    def pack(parts: Sequence[Tensor]) -> Tensor:
        each = enumerate(zip(packings, parts, strict=True))
        # Slices, not a list of columns: that would be copied to the device.
        return torch.cat(
            [packing.pack(torch.cat([part[:, :, :own], part[:, :, own + 1 :]], 2)) for own, (packing, part) in each], 1
        )

    return pack(heard)[0], Ages.of(pack(ns), pack(there), period_ns, dtype)
