"""A stream of which each stamp has a table of its own length: LiDAR sweeps, radar returns, detections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mambats.series.clock import Floats, Stamps, check_clock


@dataclass(frozen=True)
class RaggedStream:
    """Tables on one clock, laid behind one another.

    Args:
        stamps: Times in int64 nanoseconds, shape (T,), rising.
        splits: Where the table of each stamp begins in `values`, and at last its end: shape (T + 1,) int64, from 0,
            never falling. Equal neighbours are an empty table.
        values: All rows, shape (N, C).
        channels: One name a column, unique. `t` is the time of a row after its stamp in seconds.
        unit: Unit of the values, or one a column; empty when dimensionless or not known.
        frame: Frame id (REP-105) the values are expressed in, empty when none.
        labels: For a channel of codes, the word that each code stands for: code k is `labels[channel][k]`.

    Raises:
        ValueError: If shapes disagree, names repeat, stamps do not rise, or splits fall.
    """

    stamps: Stamps
    splits: npt.NDArray[np.int64]
    values: Floats
    channels: tuple[str, ...]
    unit: str | tuple[str, ...] = ""
    frame: str = ""
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    def __post_init__(self) -> None:
        """Check shapes, names, splits and the clock."""
        rows, width = len(self.stamps), len(self.channels)
        if self.values.ndim != 2 or self.values.shape[1] != width or len(set(self.channels)) != width:
            raise ValueError(f"channels are {self.channels}, values have shape {self.values.shape}: one name a column.")
        if self.splits.shape != (rows + 1,) or self.splits.dtype != np.int64:
            raise ValueError(
                f"splits are {self.splits.dtype} of shape {self.splits.shape}, needed int64 of shape (T + 1,) = "
                f"({rows + 1},)."
            )
        if self.splits[0] != 0 or self.splits[-1] != len(self.values) or bool((np.diff(self.splits) < 0).any()):
            raise ValueError(
                f"splits go from {self.splits[0]} to {self.splits[-1]}, needed from 0 to N = {len(self.values)} and "
                "never falling."
            )
        if not isinstance(self.unit, str) and len(self.unit) != width:
            raise ValueError(f"unit names {len(self.unit)} units for {width} channels: give one for all, or one each.")
        if unknown := set(self.labels) - set(self.channels):
            raise ValueError(f"labels name {sorted(unknown)}, channels are {self.channels}: name channels.")
        check_clock(self.stamps)

    @property
    def units(self) -> tuple[str, ...]:
        """One unit a channel."""
        return (self.unit,) * len(self.channels) if isinstance(self.unit, str) else self.unit

    def table(self, row: int) -> Floats:
        """Return the table of one stamp, shape (n, C); a view."""
        row = range(len(self.stamps))[row]
        return self.values[self.splits[row] : self.splits[row + 1]]

    def __len__(self) -> int:
        """Return the number of stamps."""
        return len(self.stamps)
