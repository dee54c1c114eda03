"""A stream: rows of values on one clock."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mambats.series.clock import Flags, Floats, Stamps, check_clock


@dataclass(frozen=True)
class Stream:
    """Values of one sensor or one group of channels on one clock.

    Args:
        stamps: Times in int64 nanoseconds, shape (T,), rising.
        values: Values, shape (T, C); NaN only where `observed` is False.
        channels: One name a column, unique.
        observed: Which values were measured, shape (T, C), or None where all were.
        unit: Unit of the values, or one a column; empty when dimensionless or not known.
        frame: Frame id (REP-105) the values are expressed in, empty when none.
        covariance: Of the measurement noise in the units of the values, shape (C, C) for all rows or (T, C, C); None
            where it is not known.

    Raises:
        ValueError: If shapes disagree, names repeat, or stamps do not rise.
    """

    stamps: Stamps
    values: Floats
    channels: tuple[str, ...]
    observed: Flags | None = None
    unit: str | tuple[str, ...] = ""
    frame: str = ""
    covariance: npt.NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        """Check shapes, names and the clock."""
        rows, width = len(self.stamps), len(self.channels)
        if self.values.ndim != 2 or self.values.shape[0] != rows:
            raise ValueError(f"values have shape {self.values.shape}, stamps ({rows},): need (T, C) with the same T.")
        if width != self.values.shape[1] or len(set(self.channels)) != width:
            raise ValueError(f"channels are {self.channels}, values have {self.values.shape[1]} columns: one each.")
        if self.observed is not None and self.observed.shape != self.values.shape:
            raise ValueError(f"observed has shape {self.observed.shape}, values {self.values.shape}: need the same.")
        if not isinstance(self.unit, str) and len(self.unit) != width:
            raise ValueError(f"unit names {len(self.unit)} units for {width} channels: give one for all, or one each.")
        if self.covariance is not None and self.covariance.shape not in ((width, width), (rows, width, width)):
            raise ValueError(
                f"covariance has shape {self.covariance.shape}, needed (C, C) = {(width, width)} "
                f"or (T, C, C) = {(rows, width, width)}."
            )
        check_clock(self.stamps)

    @property
    def units(self) -> tuple[str, ...]:
        """One unit a channel."""
        return (self.unit,) * len(self.channels) if isinstance(self.unit, str) else self.unit

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.stamps)
