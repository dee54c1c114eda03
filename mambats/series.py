"""The nouns of data: a stream of stamped values, a recording of streams, and a batch of windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Stamps = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Stream:
    """Values of one sensor or one group of channels on one clock.

    Args:
        stamps: Times in int64 nanoseconds, shape (T,), rising.
        values: Values, shape (T, C); NaN only where `observed` is False.
        channels: One name a column, unique.
        observed: Which values were measured, shape (T, C), or None where all were.
        unit: Unit of the values, empty when mixed or dimensionless.
        frame: Frame id (REP-105) the values are expressed in, empty when none.

    Raises:
        ValueError: If shapes disagree, names repeat, or stamps do not rise.
    """

    stamps: Stamps
    values: Floats
    channels: tuple[str, ...]
    observed: Flags | None = None
    unit: str = ""
    frame: str = ""

    def __post_init__(self) -> None:
        """Check shapes, names and the clock."""
        rows = len(self.stamps)
        if self.values.ndim != 2 or self.values.shape[0] != rows:
            raise ValueError(f"values have shape {self.values.shape}, stamps ({rows},): need (T, C) with the same T.")
        if len(self.channels) != self.values.shape[1] or len(set(self.channels)) != len(self.channels):
            raise ValueError(f"channels are {self.channels}, values have {self.values.shape[1]} columns: one each.")
        if self.observed is not None and self.observed.shape != self.values.shape:
            raise ValueError(f"observed has shape {self.observed.shape}, values {self.values.shape}: need the same.")
        if rows > 1:
            bad = np.flatnonzero(np.diff(self.stamps) <= 0)
            if bad.size:
                row = int(bad[0]) + 1
                raise ValueError(
                    f"stamps do not rise at row {row}: {self.stamps[row - 1]} then {self.stamps[row]} ns. "
                    "Sort the rows and drop duplicates first."
                )

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.stamps)


@dataclass(frozen=True)
class Recording:
    """Streams that belong together (one series, one drive), with facts that do not change.

    Args:
        name: Identifier, unique within a source (`unique_id` of a long table).
        streams: Streams by name. Forecasting reads `target`, and where present `past` (covariates known up to
            now) and `future` (covariates known in advance).
        static: Facts that hold for the whole recording, numbers by name.
    """

    name: str
    streams: Mapping[str, Stream]
    static: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True)
class Window:
    """A batch of windows: `lookback` rows to read, then the rows to forecast.

    Values are scaled (see `mambats.scale`); absent values are 0 where `observed` is False.

    Args:
        values: Targets, shape (B, L + K, C).
        lookback: L, rows that may be read.
        observed: Which values exist, shape (B, L + K, C) bool, or None where all do.
        gaps: Time since the previous row in reference periods, shape (B, L + K), or None where all are 1.
        mask: Which rows exist at all (any value or past covariate), shape (B, L + K) bool, or None where all do.
        past: Covariates known up to now, shape (B, L + K, P); only the first L rows may be read.
        future: Covariates known in advance, calendar included, shape (B, L + K, F).
        static: Facts of the series, shape (B, S).
        clock: Time of each row in whole reference periods since 1970, shape (B, L + K) int64, or None.
        series: Index of each window's series, shape (B,) int64.
        start: Row of each window's first value in its series, shape (B,) int64.
    """

    values: Tensor
    lookback: int
    observed: Tensor | None = None
    gaps: Tensor | None = None
    mask: Tensor | None = None
    past: Tensor | None = None
    future: Tensor | None = None
    static: Tensor | None = None
    clock: Tensor | None = None
    series: Tensor | None = None
    start: Tensor | None = None

    @property
    def horizon(self) -> int:
        """Rows to forecast, K."""
        return self.values.shape[1] - self.lookback

    @property
    def target(self) -> Tensor:
        """The rows to forecast, shape (B, K, C)."""
        return self.values[:, self.lookback :]

    @property
    def target_observed(self) -> Tensor | None:
        """Which of them exist, shape (B, K, C), or None where all do."""
        return None if self.observed is None else self.observed[:, self.lookback :]

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """Return the same batch on another device (Lightning calls this)."""
        moved = {
            f.name: value.to(device, non_blocking=non_blocking)
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), Tensor)
        }
        return replace(self, **moved)

    def take(self, index: list[int]) -> Self:
        """Return some of the windows, in the order of `index`."""
        return replace(
            self, **{f.name: v[index] for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)}
        )

    def pin_memory(self) -> Self:
        """Return the same batch in pinned memory (a data loader calls this)."""
        return replace(
            self,
            **{f.name: v.pin_memory() for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)},
        )

    def __len__(self) -> int:
        """Return the number of windows."""
        return self.values.shape[0]
