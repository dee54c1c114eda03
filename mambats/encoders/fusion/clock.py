"""Time between rows of streams, kept in whole nanoseconds: nothing is rounded, however long a run lasts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mambats.series import SensorRows

# Before every stamp, after every stamp; far enough from the ends of int64 that differences do not wrap.
NEVER, LAST = -(2**62), 2**62


class StreamClock(NamedTuple):
    """How long ago each stream last measured.

    Attributes:
        since: Nanoseconds since the last kept row, shape (B, S) int64; 0 where there was none yet.
        fresh: True until a first row was kept, shape (B, S) bool.
    """

    since: Tensor
    fresh: Tensor

    @staticmethod
    def start(batch: int, streams: int, device: torch.device) -> StreamClock:
        """Return the clock before any row."""
        since = torch.zeros((batch, streams), dtype=torch.int64, device=device)
        return StreamClock(since, torch.ones_like(since, dtype=torch.bool))

    def after(self, elapsed_ns: Tensor) -> StreamClock:
        """Let `elapsed_ns` (B,) pass."""
        return StreamClock((self.since + elapsed_ns.unsqueeze(1)).masked_fill(self.fresh, 0), self.fresh)

    def measured(self, stream: int, mask: Tensor | None) -> StreamClock:
        """Note that a stream has a row now, in series where mask (B,) is True, or in all."""
        since, fresh = self.since.clone(), self.fresh.clone()
        if mask is None:
            since[:, stream], fresh[:, stream] = 0, False
        else:
            since[:, stream].masked_fill_(mask, 0)
            fresh[:, stream] &= ~mask
        return StreamClock(since, fresh)

    def pick(self, streams: Tensor) -> StreamClock:
        """Return the clock of some streams by their numbers."""
        return StreamClock(self.since.index_select(1, streams), self.fresh.index_select(1, streams))

    def newest(self) -> StreamClock:
        """Return the clock of all streams taken together, shape (B, 1)."""
        since = self.since.masked_fill(self.fresh, LAST).amin(1, keepdim=True)
        fresh = self.fresh.all(1, keepdim=True)
        return StreamClock(since.masked_fill(fresh, 0), fresh)

    def stamps(self) -> Tensor:
        """Return when each stream last measured, counted from now, shape (B, S): at most 0, or NEVER."""
        return torch.where(self.fresh, NEVER, -self.since)


class Pauses(NamedTuple):
    """Time since the token before.

    Attributes:
        ns: Nanoseconds, int64, any shape.
        first: Whether there was none, or the row itself is removed, same shape, bool.
    """

    ns: Tensor
    first: Tensor

    def gaps(self, period_ns: int, dtype: torch.dtype) -> Tensor:
        """Return them in reference periods; the first gap is 1 by contract."""
        return torch.where(self.first, 1.0, self.ns.double() / period_ns).to(dtype)


def pauses_in(stamps: Tensor, mask: Tensor, start: Tensor) -> tuple[Pauses, Tensor]:
    """Measure the time between kept rows of a window.

    Args:
        stamps: Shape (B, T) int64, non-falling where kept.
        mask: Which rows exist, shape (B, T) bool.
        start: Stamp of the last kept row before the window, shape (B,), or NEVER.

    Returns:
        The pause before each row, (B, T); and the stamp of the last kept row, (B,), or NEVER.
    """
    seen = torch.cat([start.unsqueeze(1), torch.where(mask, stamps, NEVER)], 1).cummax(1).values
    before = seen[:, :-1]
    # A removed row's stamp may be anything: its pause counts as a first one, so that no NaN is made of it.
    return Pauses(stamps - before, (before == NEVER) | ~mask), seen[:, -1]


def run_clock(clock: StreamClock, rows: Sequence[SensorRows], length_ns: int) -> tuple[list[Pauses], StreamClock]:
    """Advance a clock by a window: return the pauses within each stream, and the clock at the window's end."""
    pauses, last = list[Pauses](), list[Tensor]()
    for stream, start in zip(rows, clock.stamps().unbind(1), strict=True):
        between, end = pauses_in(stream.stamps, stream.mask, start)
        pauses.append(between)
        last.append(end)
    ends = torch.stack(last, 1)
    fresh = ends == NEVER
    return pauses, StreamClock((length_ns - ends).masked_fill(fresh, 0), fresh)
