"""What a picture shows of each stream: its clock, its gaps, and its values thinned to what can be seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mambats.series import RaggedStream, Recording, Stamps, Stream

GAP = 3  # periods, as `mambats data info` counts: jitter and one lost row stay below
BINS = 1200  # a trace is thinned to twice as many points, about one a pixel


@dataclass(frozen=True)
class Clock:
    """Rate and gaps of stamps.

    Args:
        count: Number of stamps.
        rate: Of the median period in Hz, 0 where there are fewer than two stamps.
        gaps: Begin and end of each gap in nanoseconds, shape (G, 2).
    """

    count: int
    rate: float
    gaps: Stamps

    @property
    def words(self) -> list[str]:
        """In words, a line each."""
        lines = [f"{self.count:,} {'stamp' if self.count == 1 else 'stamps'}"]
        lines += [f"{self.rate:.4g} Hz"] if self.rate else []
        if len(self.gaps):
            longest = float(np.diff(self.gaps, axis=1).max()) / 1e9
            lines.append(f"{len(self.gaps):,} {'gap' if len(self.gaps) == 1 else 'gaps'}, up to {longest:.3g} s")
        return lines


@dataclass(frozen=True)
class Lane:
    """One lane of the picture.

    Args:
        name: Of the stream.
        unit: Of its values.
        stamps: All of them, int64 nanoseconds, shape (T,).
        values: Shape (T, C); no column where there is nothing but the clock.
        channels: Names of the columns.
        counts: Whether the values count rows.
    """

    name: str
    unit: str
    stamps: Stamps
    values: npt.NDArray[np.float64]
    channels: tuple[str, ...]
    counts: bool = False

    @property
    def lost(self) -> list[str]:
        """How much was not measured, in words; nothing where all was."""
        share = float(np.isnan(self.values).mean()) if self.values.size else 0.0
        return [f"{share:.2g} of values absent" if share < 0.01 else f"{share:.0%} of values absent"] if share else []


def clock_of(stamps: Stamps) -> Clock:
    """Measure a clock."""
    steps = np.diff(stamps)
    if not steps.size:
        return Clock(len(stamps), 0.0, np.zeros((0, 2), dtype=np.int64))
    period = float(np.median(steps))
    at = np.flatnonzero(steps > GAP * period)
    return Clock(len(stamps), 1e9 / period, np.stack([stamps[at], stamps[at + 1]], axis=1))


def lanes_of(recording: Recording) -> Iterator[Lane]:
    """Return a lane for every unit of every stream, then sweeps and detections, pictures, and the truth."""
    for name, stream in recording.streams.items():
        yield from _by_unit(name, stream)
    for name, ragged in recording.ragged.items():
        yield Lane(name, "rows", ragged.stamps, _counts(ragged), ("rows",), counts=True)
    for name, pictures in recording.images.items():
        yield Lane(name, "", pictures.stamps, np.zeros((len(pictures), 0)), ())
    for name, stream in recording.truth.items():
        yield from _by_unit(f"truth: {name}", stream)


def thin(stamps: Stamps, values: npt.NDArray[np.float64], gaps: Stamps) -> tuple[Stamps, npt.NDArray[np.float64]]:
    """Keep the least and the greatest value of each of `BINS` stretches of rows, so that no spike is lost.

    Args:
        stamps: Shape (T,).
        values: Shape (T,), NaN where nothing was measured.
        gaps: Begin and end of gaps, shape (G, 2): a NaN is put into each, so that no line is drawn across.

    Returns:
        Stamps and values, shape (n,): at most 2 BINS, and one a gap.
    """
    rows = len(values)
    if rows > 2 * BINS:
        starts = np.linspace(0, rows, BINS, endpoint=False).astype(np.int64)
        low, high = np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts)
        stamps, values = np.repeat(stamps[starts], 2), np.stack([low, high], axis=1).ravel()
    if not len(gaps) or len(gaps) > BINS:
        return stamps, values
    begins = gaps[:, 0] + 1
    at = np.searchsorted(stamps, begins)
    return np.insert(stamps, at, begins), np.insert(values, at, np.nan)


def _by_unit(name: str, stream: Stream) -> Iterator[Lane]:
    values = stream.values.astype(np.float64)
    if stream.observed is not None:
        values[~stream.observed] = np.nan
    for unit in dict.fromkeys(stream.units):
        columns = [at for at, other in enumerate(stream.units) if other == unit]
        yield Lane(name, unit, stream.stamps, values[:, columns], tuple(stream.channels[at] for at in columns))


def _counts(ragged: RaggedStream) -> npt.NDArray[np.float64]:
    return np.diff(ragged.splits).astype(np.float64)[:, None]
