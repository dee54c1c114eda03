"""Where training ends and testing begins, in rows of each series.

A split names three borders: train is [0, train), validation targets are [train, val), test targets [val, end).
Windows of validation and test may look back over the border (Informer's convention: their first target is the
first row of the split), so no row is a target of two splits.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from mambats.data.panel import Panel
from mambats.data.windows import WindowIndex
from mambats.formats.error import DataError
from mambats.series import Stamps

Numbers = npt.NDArray[np.int64]
SPLITS = ("train", "val", "test")


@runtime_checkable
class Split(Protocol):
    """Says where the splits of one series lie."""

    def borders(self, stamps: Stamps) -> tuple[int, int, int]:
        """Return the rows after the last target of train, val and test."""
        ...


@dataclass(frozen=True)
class Fractions:
    """Shares of each series, in order of time; validation gets the rest.

    Args:
        train: Share of rows for training.
        test: Share of rows for testing, at the end.

    Source: the "custom" data sets of Zhou et al., Informer, AAAI 2021: int(0.7 n), the rest, int(0.2 n).
    """

    train: float = 0.7
    test: float = 0.2

    def __post_init__(self) -> None:
        """Check that something is left."""
        if not (0 < self.train < 1 and 0 <= self.test < 1 and self.train + self.test <= 1):
            raise DataError(f"train is {self.train}, test {self.test}: need positive shares with a sum of at most 1.")

    def borders(self, stamps: Stamps) -> tuple[int, int, int]:
        """Return the rows after the last target of train, val and test."""
        rows = len(stamps)
        return int(rows * self.train), rows - int(rows * self.test), rows


@dataclass(frozen=True)
class Borders:
    """Fixed rows, the same in each series.

    Args:
        train: Rows of training.
        val: Row after the last target of validation.
        test: Row after the last target of testing; None means the end.
    """

    train: int
    val: int
    test: int | None = None

    def borders(self, stamps: Stamps) -> tuple[int, int, int]:
        """Return the rows after the last target of train, val and test."""
        test = len(stamps) if self.test is None else self.test
        if not 0 < self.train <= self.val <= test <= len(stamps):
            raise DataError(
                f"borders are {self.train}, {self.val}, {test}, the series has {len(stamps)} rows: "
                "need 0 < train <= val <= test <= rows. Set `split` to fit this data."
            )
        return self.train, self.val, test


@dataclass(frozen=True)
class Dates:
    """Moments in time, the same for each series: rows before `val` train, rows from `test` on test.

    Args:
        val: First moment of validation, ISO text (`2017-07-01`).
        test: First moment of testing, ISO text.
    """

    val: str
    test: str

    def borders(self, stamps: Stamps) -> tuple[int, int, int]:
        """Return the rows after the last target of train, val and test."""
        try:
            moments = np.array([self.val, self.test], dtype="datetime64[ns]").astype(np.int64)
        except ValueError as error:
            raise DataError(f"split dates are {self.val!r} and {self.test!r}: write them as 2017-07-01.") from error
        if moments[0] > moments[1]:
            raise DataError(f"validation starts at {self.val}, after testing at {self.test}: give them in order.")
        train, val = (int(row) for row in np.searchsorted(stamps, moments))
        return train, val, len(stamps)


def find_borders(panel: Panel, split: Split, lookback: int, horizon: int, *, to_score: bool) -> Numbers:
    """Return the rows after the last target of train, val and test of every series, shape (series, 3).

    Args:
        panel: The series.
        split: Where they are cut.
        lookback: Rows to read.
        horizon: Rows to forecast.
        to_score: Whether windows will be scored; else a series may be too short for a window, and all of it counts
            as known.

    Raises:
        DataError: If a series is too short, or the split does not fit it.
    """
    short = np.flatnonzero(panel.lengths < lookback + horizon)
    if short.size and not to_score:
        return np.stack([panel.lengths] * 3, axis=1)
    if short.size:
        series = int(short[0])
        raise DataError(
            f"{panel.name}: series {panel.ids[series]!r} has {panel.lengths[series]} rows, lookback {lookback} + "
            f"horizon {horizon} need {lookback + horizon} ({short.size} such series). Leave it out, or choose a "
            "shorter lookback or horizon."
        )
    return np.array([split.borders(panel.stamps[panel.rows(index)]) for index in range(len(panel))])


def check_count(panel: Panel, split: str, index: WindowIndex, rows: Numbers, size: tuple[int, int]) -> None:
    """Refuse a split without windows, and name the series that give it none.

    Args:
        panel: The series.
        split: Name of the split.
        index: Its windows.
        rows: Rows its windows may touch, of each series.
        size: Lookback and horizon.

    Raises:
        DataError: If there is no window at all.
    """
    if len(index) == 0:
        raise DataError(
            f"{panel.name}: split {split!r} holds no window: its longest series has {int(rows.max())} rows (lookback "
            f"included), lookback {size[0]} + horizon {size[1]} need {sum(size)}. Choose a shorter lookback or "
            "horizon, or another split."
        )
    empty = np.flatnonzero(np.diff(index.ends, prepend=0) == 0)
    if empty.size:
        names = ", ".join(panel.ids[series] for series in empty[:3])
        warnings.warn(f"{empty.size} series are too short for a window in {split!r}: {names}", stacklevel=3)
