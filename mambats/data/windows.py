"""Windows by arithmetic: from a window's number to its series and row, and one gather a batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mambats.series import Flags, Stamps, Window

Numbers = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]
Kind = TypeVar("Kind", np.float32, np.bool_, np.int64)


@dataclass(frozen=True)
class WindowIndex:
    """Counts the windows of many series without listing them: two numbers a series.

    Args:
        first: Start row (inside the series) of the first window of each series, shape (series,).
        ends: Number of windows up to and including each series, shape (series,).
        stride: Rows between the starts of two windows.
    """

    first: Numbers
    ends: Numbers
    stride: int = 1

    @classmethod
    def over(cls, first: Numbers, last: Numbers, length: int, stride: int = 1) -> WindowIndex:
        """Index all windows of `length` rows that lie in rows [first, last) of each series."""
        counts = np.maximum(0, (last - first - length) // stride + 1)
        return cls(first.astype(np.int64), np.cumsum(counts).astype(np.int64), stride)

    def __len__(self) -> int:
        """Return the number of windows."""
        return int(self.ends[-1]) if len(self.ends) else 0

    def locate(self, numbers: Numbers) -> tuple[Numbers, Numbers]:
        """Return series and start row of windows, both shape (B,)."""
        series = np.searchsorted(self.ends, numbers, side="right")
        before = np.where(series > 0, self.ends[series - 1], 0)
        return series, self.first[series] + (numbers - before) * self.stride


@dataclass(frozen=True)
class Lane:
    """Float columns to cut windows from, scaled already or on the way out.

    Args:
        values: float32, shape (C, rows), contiguous in time, in memory or mapped from disk.
        mean: To subtract after the gather, shape (C,), or None where values are scaled already.
        scale: To divide by after the gather, shape (C,).
        sparse: Whether values hold NaN, to become 0 after scaling.
    """

    values: Float32
    mean: Float32 | None = None
    scale: Float32 | None = None
    sparse: bool = False

    def cut(self, starts: Numbers, length: int) -> Float32:
        """Gather windows (B, C, length) that begin at flat rows `starts`."""
        windows = _cut(self.values, starts, length)
        if self.mean is not None and self.scale is not None:
            windows -= self.mean[:, None]
            windows /= self.scale[:, None]
        if self.sparse:
            np.nan_to_num(windows, copy=False, nan=0.0)
        return windows


@dataclass(frozen=True)
class Lanes:
    """What windows are cut from; all flat over the rows of all series.

    Args:
        offsets: First row of each series, then the number of rows, shape (series + 1,).
        target: Targets.
        observed: Which targets were measured, shape (C, rows), or None where all were.
        gaps: Time since the previous row in reference periods, shape (rows,), or None where all are 1.
        mask: Rows that exist, shape (rows,), or None where all do.
        past: Covariates known up to now.
        future: Covariates known in advance, calendar included.
        static: Facts, shape (series, S).
        stamps: Times, shape (rows,) int64 nanoseconds, or None to give no clock.
        period_ns: Reference period, nanoseconds.
    """

    offsets: Numbers
    target: Lane
    observed: Flags | None = None
    gaps: Float32 | None = None
    mask: Flags | None = None
    past: Lane | None = None
    future: Lane | None = None
    static: Float32 | None = None
    stamps: Stamps | None = None
    period_ns: int = 1


class Windows(Dataset[Window]):
    """Batches of windows, one gather each; memory does not grow with the number of windows.

    Args:
        lanes: What to cut from.
        index: Which windows there are.
        lookback: Rows to read, L.
        horizon: Rows to forecast, K.
        filled: Whether gaps in the lookback were filled, so that models see them as observed.
    """

    def __init__(self, lanes: Lanes, index: WindowIndex, lookback: int, horizon: int, *, filled: bool = False) -> None:
        self.lanes, self.index = lanes, index
        self.lookback, self.horizon, self.filled = lookback, horizon, filled

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.index)

    def __getitem__(self, numbers: Numbers) -> Window:
        """Cut the windows with these numbers (B,) as one batch."""
        series, start = self.index.locate(np.asarray(numbers, dtype=np.int64))
        lanes, length = self.lanes, self.lookback + self.horizon
        rows = lanes.offsets[series] + start
        return Window(
            values=_time_first(lanes.target.cut(rows, length)),
            lookback=self.lookback,
            observed=self._observed(rows, length),
            gaps=self._gaps(rows, length),
            mask=None if lanes.mask is None else torch.from_numpy(_cut(lanes.mask[None], rows, length)[:, 0]),
            past=None if lanes.past is None else _time_first(lanes.past.cut(rows, length)),
            future=None if lanes.future is None else _time_first(lanes.future.cut(rows, length)),
            static=None if lanes.static is None else torch.from_numpy(lanes.static[series]),
            clock=self._clock(rows, length),
            series=torch.from_numpy(series),
            start=torch.from_numpy(start),
        )

    def _observed(self, rows: Numbers, length: int) -> Tensor | None:
        if self.lanes.observed is None:
            return None
        observed = _cut(self.lanes.observed, rows, length)
        if self.filled:
            observed[:, :, : self.lookback] = True
        return _time_first(observed)

    def _clock(self, rows: Numbers, length: int) -> Tensor | None:
        lanes = self.lanes
        if lanes.stamps is None:
            return None
        if lanes.gaps is None:  # One step a row: counting is cheaper than gathering.
            return torch.from_numpy(lanes.stamps[rows] // lanes.period_ns)[:, None] + torch.arange(length)
        return torch.from_numpy(_cut(lanes.stamps[None], rows, length)[:, 0] // lanes.period_ns)

    def _gaps(self, rows: Numbers, length: int) -> Tensor | None:
        if self.lanes.gaps is None:
            return None
        gaps = _cut(self.lanes.gaps[None], rows, length)[:, 0]
        gaps[:, 0] = 1.0  # A window starts from a fresh state, whose first gap is 1.
        return torch.from_numpy(gaps)


class WindowLoader(DataLoader[Window]):
    """A loader whose sampler yields whole batches; without workers it asks the windows directly.

    torch's own iterator adds 80 us a batch (measured), as much as gathering 32 windows of 608 rows.
    """

    def __iter__(self) -> Iterator[Window]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Yield batches."""
        if self.num_workers or self.pin_memory:
            return super().__iter__()
        return (self.dataset[numbers] for numbers in self.sampler)


def _cut(values: npt.NDArray[Kind], starts: Numbers, length: int) -> npt.NDArray[Kind]:
    """Gather (B, C, length) from values (C, rows): rows of a strided view, so that each window is one block copy."""
    columns, rows = values.shape
    by_column, by_row = values.strides
    # Measured at 512/96 on one core: NumPy's gather over this view moves 2 to 6 M channel-windows/s, torch's index
    # and index_select 0.5 to 2 M, a loop of slices 0.2 to 1 M.
    view = np.lib.stride_tricks.as_strided(
        values, (max(0, rows - length + 1), columns, length), (by_row, by_column, by_row), writeable=False
    )
    return view[starts]


def _time_first(windows: npt.NDArray[Kind]) -> Tensor:
    """(B, C, T) memory seen as (B, T, C)."""
    return torch.from_numpy(windows).transpose(1, 2)
