"""Random windows of several streams for the laws of fusion: they can be cut, permuted and fed moment by moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from mambats.protocols import Event, FusionEncoder
from mambats.series import SensorRows

# Stamps are drawn from the first 16 of these instants, so that streams often share one, windows can be cut at one (at
# thirds), and time is left at the end.
INSTANTS = 18


@dataclass(frozen=True)
class Streams:
    """What a fusion encoder reads.

    Args:
        rows: By stream, in stream order.
        length_ns: Of the window.
    """

    rows: Mapping[str, SensorRows]
    length_ns: int

    @property
    def batch(self) -> int:
        """Series in the batch."""
        return next(iter(self.rows.values())).mask.shape[0]

    def each(self, change: Callable[[SensorRows], SensorRows]) -> Streams:
        """Change the rows of every stream."""
        return Streams({name: change(rows) for name, rows in self.rows.items()}, self.length_ns)

    def series(self, index: Tensor | slice) -> Streams:
        """Pick series of the batch."""
        return self.each(lambda rows: every_tensor(rows, lambda v: v[index]))

    def without(self, *names: str) -> Streams:
        """Leave streams out."""
        return Streams({name: rows for name, rows in self.rows.items() if name not in names}, self.length_ns)

    def between(self, start_ns: int, stop_ns: int) -> Streams:
        """Cut out the window (start_ns, stop_ns]; rows outside are masked."""

        def cut(rows: SensorRows) -> SensorRows:
            inside = (rows.stamps > start_ns) & (rows.stamps <= stop_ns)
            return replace(rows, mask=rows.mask & inside, stamps=rows.stamps - start_ns)

        return Streams(self.each(cut).rows, stop_ns - start_ns)

    def forward(self, encoder: FusionEncoder, state: Any = None) -> tuple[dict[str, Tensor], Any]:
        """Run the parallel form."""
        return encoder(self.rows, self.length_ns, state=state)

    def moments(self) -> Iterator[tuple[int, dict[str, tuple[Event, Tensor]]]]:
        """Walk through time: (stamp, by stream: the event and the flat row b * T + t that each series fed).

        Rows of one stream with one stamp are given in moments of their own, after those of streams before it.
        """
        kept = [rows.stamps[rows.mask] for rows in self.rows.values()]
        for stamp in sorted({int(v) for stamps in kept for v in stamps}):
            together: dict[str, tuple[Event, Tensor]] = {}
            for name, rows in self.rows.items():
                here = rows.mask & (rows.stamps == stamp)
                for turn in range(int(here.sum(1).max())):
                    if turn and together:
                        yield stamp, together
                        together = {}
                    together[name] = self._event(rows, here & (here.cumsum(1) == turn + 1))
            if together:
                yield stamp, together

    @staticmethod
    def _event(rows: SensorRows, here: Tensor) -> tuple[Event, Tensor]:
        """Take the row of each series where `here` (B, T) is True, at most one; others are masked and hold NaN."""
        mask, t = here.any(1), here.to(torch.int8).argmax(1)
        series = torch.arange(len(mask), device=mask.device)
        values = rows.values[series, t].masked_fill(~mask.unsqueeze(1), float("nan"))
        observed = None if rows.observed is None else rows.observed[series, t]
        return Event(values, observed, mask), torch.where(mask, series * here.shape[1] + t, -1)


def every_tensor(rows: SensorRows, change: Callable[[Tensor], Tensor]) -> SensorRows:
    """Change every tensor of a stream's rows."""
    changed = {f.name: change(v) for f in fields(rows) if isinstance(v := getattr(rows, f.name), Tensor)}
    return replace(rows, **changed)


def draw_streams(
    seed: int,
    streams: Mapping[str, int],
    *,
    batch: int = 3,
    rows: int = 7,
    length_ns: int = 180_000_000,
    kept: float = 0.7,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Streams:
    """Draw a window from a seed: stamps that streams share, rows missing at any place, values not observed.

    Args:
        seed: Same seed, same rows, on any device.
        streams: Channels by name.
        batch: Series, B.
        rows: Most rows of a stream; later streams have fewer.
        length_ns: Of the window.
        kept: Share of rows that exist.
        dtype: Of values.
        device: Where the rows lie.
    """
    g = torch.Generator().manual_seed(seed)
    drawn: dict[str, SensorRows] = {}
    shared: Tensor | None = None
    for number, (name, channels) in enumerate(streams.items()):
        count = max(rows - 2 * number, 1) if rows else 0
        instants = torch.randint(1, INSTANTS - 1, (batch, count), generator=g)
        # Every series has a moment at which all streams measure.
        shared = instants[:, :1] if shared is None else shared
        instants = torch.cat([shared, instants[:, 1:]], 1).sort(1).values
        stamps = instants * (length_ns // INSTANTS)
        values = torch.randn((batch, count, channels), generator=g, dtype=torch.float64).to(dtype)
        mask = (torch.rand((batch, count), generator=g) < kept) | ((instants == shared) & (kept > 0))
        seen = torch.rand((batch, count, channels), generator=g) < 0.8
        ones = torch.ones(batch, count)
        plain = SensorRows(values, mask, ones, stamps, seen if number % 2 == 0 else None)
        drawn[name] = plain.to(device)
    return Streams(drawn, length_ns)
