"""What filters share: rows come in chunks of any length, the past is carried, and the numbers do not change."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
Array = npt.NDArray[Any]
Flags = npt.NDArray[np.bool_]
State = TypeVar("State")
# What a clock may wander about its rate before a filter made for that rate refuses it: at a tenth of a period the
# error of a low-pass at a tenth of the rate is some 2 % of the signal; a sensor's usual jitter is below.
JITTER = 0.1
# Rows that a whole sequence is cut into: 6 float64 channels of them and a few copies fit in a core's cache, which makes
# a moving average of 21 rows 6 times as fast as over a million rows at once.
PART = 4096


class OfflineOnlyError(TypeError):
    """A filter that reads the future was asked to stream."""


class Carried(ABC, Generic[State]):
    """A map over rows that carries its past: `filter(values)` is one chunk from a fresh state.

    What is not finite is absent. An absent value stays absent (NaN comes out in its place) and does not touch what
    comes after it; each filter says what it reads in its stead. States are never changed in place: keep one, and go on
    from it twice. Everything is computed in float64; the result has the dtype of the values.
    """

    @property
    def delay(self) -> int:
        """Rows by which the output of `transform` and `step` lags its input; `filter(values)` has it undone."""
        return 0

    @abstractmethod
    def start(self, channels: int, batch: tuple[int, ...] = ()) -> State:
        """Return the state before any row of values (*batch, T, channels)."""

    @abstractmethod
    def transform(self, values: Array, state: State, gaps: Array | None = None) -> tuple[Array, State]:
        """Filter one chunk.

        Args:
            values: Rows, shape (*batch, T, C), T from 0 on; NaN where absent.
            state: What `start` or the chunk before returned.
            gaps: Seconds since the row before, shape (T,) or (*batch, T), above 0; None where rows are regular.

        Returns:
            Rows of the same shape, `delay` rows late (NaN before the first), and the state after them.
        """

    def flush(self, state: State) -> Array:
        """Return the last `delay` rows, which the end of the stream still owes, (*batch, delay, C) float64."""
        raise NotImplementedError(f"{type(self).__name__} has no delay, so nothing is owed.")

    def step(self, row: Array, state: State, gap: Array | float | None = None) -> tuple[Array, State]:
        """Filter one row (*batch, C), `gap` seconds after the one before."""
        gaps = None if gap is None else np.asarray(gap, dtype=np.float64)[..., None]
        made, state = self.transform(np.asarray(row)[..., None, :], state, gaps)
        return made[..., 0, :], state

    def __call__(self, values: Array, gaps: Array | None = None) -> Array:
        """Filter whole sequences (*batch, T, C): row t of the result belongs to row t of the values."""
        check_rows(values)
        state, parts = self.start(values.shape[-1], values.shape[:-2]), list[Array]()
        for begin in range(0, max(values.shape[-2], 1), PART):
            part = slice(begin, begin + PART)
            made, state = self.transform(values[..., part, :], state, None if gaps is None else gaps[..., part])
            parts.append(made)
        if self.delay:
            parts.append(self.flush(state).astype(parts[0].dtype))
        return np.concatenate(parts, axis=-2)[..., self.delay :, :]


def check_rows(values: Array) -> None:
    """Refuse what has no rows and columns.

    Raises:
        ValueError: If it has fewer than two axes.
    """
    if np.ndim(values) < 2:
        raise ValueError(f"values have shape {np.shape(values)}, needed (..., T, C): write `values[:, None]` for one.")


def finite(values: Array) -> tuple[Values, Flags | None]:
    """Return values in float64 with NaN for all that is not finite, and where that is, None where nowhere."""
    check_rows(values)
    exact = np.asarray(values, dtype=np.float64)
    if math.isfinite(exact.sum()):  # one pass without a copy: whatever is not finite spoils the sum
        return exact, None
    absent = ~np.isfinite(exact)
    return np.where(absent, np.nan, exact), absent


def give(made: Values, values: Array, absent: Flags | None = None) -> Array:
    """Return the result in the dtype of the values, NaN where absent; whole numbers become float64."""
    made = made if absent is None else np.where(absent, np.nan, made)
    dtype = np.asarray(values).dtype
    return made.astype(dtype, copy=False) if np.issubdtype(dtype, np.floating) else made


def hold(values: Values, last: Values) -> Values:
    """Fill NaN with the value before it: values (..., T, C), `last` (..., C) before the first row, NaN where none."""
    if not np.isnan(values).any():
        return values
    joined = np.concatenate([last[..., None, :], values], axis=-2)
    rows = np.arange(joined.shape[-2])[:, None]
    latest = np.maximum.accumulate(np.where(np.isnan(joined), 0, rows), axis=-2)
    return np.take_along_axis(joined, latest, axis=-2)[..., 1:, :]


def check_rate(gaps: Array | None, rate: float, name: str) -> None:
    """Refuse gaps that are not one period of the rate, to a tenth of it.

    Raises:
        ValueError: If one is; names the first row of this chunk, its gap and the period.
    """
    if gaps is None or not np.size(gaps):
        return
    wrong = np.abs(np.asarray(gaps) * rate - 1) > JITTER
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(
            f"{name} was made for {rate:g} Hz, row {at[-1]} comes {float(np.asarray(gaps)[at]):.6g} s after the one "
            f"before ({int(wrong.sum())} such rows): resample to {1 / rate:.6g} s first, or apply it to a Stream by "
            "`OnStream(filter, irregular='resample')`."
        )
