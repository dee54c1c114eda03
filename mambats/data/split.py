"""Where training ends and testing begins, in rows of each series.

A split names three borders: train is [0, train), validation targets are [train, val), test targets [val, end).
Windows of validation and test may look back over the border (Informer's convention: their first target is the
first row of the split), so no row is a target of two splits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from mambats.formats.error import DataError
from mambats.series import Stamps

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
