"""Filters over the last rows: mean, median, fitted polynomial; causal, or centred with a stated delay."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np

from mambats.preprocess.carried import Array, Carried, Values, check_rate, finite, give
from mambats.preprocess.signal.slide import median_windows, sum_windows


class Tail(NamedTuple):
    """The last width - 1 rows, (*batch, width - 1, C), NaN before the first."""

    rows: Values


class Windowed(Carried[Tail], ABC):
    """A filter that reads a window of rows around each; what is absent, or beyond either end, is left out.

    Args:
        width: Rows of the window, odd.
        centred: Read half a window of the future (the delay of the stream); otherwise only the past.

    Raises:
        ValueError: If the width is even or below 1.
    """

    def __init__(self, width: int, centred: bool) -> None:
        if width < 1 or width % 2 == 0:
            raise ValueError(f"width is {width} rows, needed an odd number from 1 on, so that one row is the middle.")
        self.width = width
        self.centred = centred

    @property
    def delay(self) -> int:
        """Rows of the future that are read."""
        return self.width // 2 if self.centred else 0

    @abstractmethod
    def compute(self, joined: Values) -> Values:
        """Return one row a window: (*batch, T + width - 1, C) to (*batch, T, C); NaN in `joined` is absent."""

    def start(self, channels: int, batch: tuple[int, ...] = ()) -> Tail:
        """Return the state before any row."""
        return Tail(np.full((*batch, self.width - 1, channels), np.nan))

    def transform(self, values: Array, state: Tail, gaps: Array | None = None) -> tuple[Array, Tail]:
        """Filter one chunk; gaps are not read, a window counts rows."""
        exact, _ = finite(values)
        if not exact.size:
            return give(exact.copy(), values), state
        joined = np.concatenate([state.rows, exact], axis=-2)
        tail = joined[..., exact.shape[-2] :, :]
        middle = joined[..., self.width - 1 - self.delay : joined.shape[-2] - self.delay, :]
        made = self.compute(joined)
        return give(made, values, np.isnan(middle)), Tail(tail.copy())

    def flush(self, state: Tail) -> Array:
        """Return the last `delay` rows, from windows that end with the sequence."""
        ahead = np.full((*state.rows.shape[:-2], self.delay, state.rows.shape[-1]), np.nan)
        return self.transform(ahead, state)[0]


class MovingAverage(Windowed):
    """The mean of the present values in a window.

    Args:
        width: Rows of the window, odd.
        centred: Read half a window of the future (the delay of the stream); otherwise only the past.
    """

    def __init__(self, width: int, centred: bool = False) -> None:
        super().__init__(width, centred)

    def compute(self, joined: Values) -> Values:
        """Return means of windows."""
        if math.isfinite(joined.sum()):
            return sum_windows(joined, self.width) / self.width
        seen = ~np.isnan(joined)
        count = sum_windows(seen.astype(np.float64), self.width)
        return sum_windows(np.where(seen, joined, 0.0), self.width) / np.where(count > 0, count, np.nan)


class RunningMedian(Windowed):
    """The median of the present values in a window: spikes shorter than half of it leave no trace, edges stay.

    Args:
        width: Rows of the window, odd.
        centred: Read half a window of the future (the delay of the stream); otherwise only the past.
    """

    def __init__(self, width: int = 5, centred: bool = False) -> None:
        super().__init__(width, centred)

    def compute(self, joined: Values) -> Values:
        """Return medians of windows."""
        return median_windows(joined, self.width)


class SavitzkyGolay(Windowed):
    """Fit a polynomial to each window by least squares and read it, or a derivative, at the row.

    Near the ends and around absent values it is fitted to the values there are, with a lower degree where they are too
    few.

    Args:
        width: Rows of the window, odd.
        degree: Of the polynomial, below the width.
        derivative: 0 to smooth, 1 for the derivative by time, and so on.
        rate: Rows a second, Hz: derivatives are by second, and gaps are checked against it. None counts rows.
        centred: Read the middle of the window (half a window of delay in a stream); otherwise its last row, causal.

    Source: Savitzky and Golay, Smoothing and differentiation of data by simplified least squares procedures, 1964.
    """

    def __init__(
        self, width: int = 11, degree: int = 2, derivative: int = 0, rate: float | None = None, centred: bool = True
    ) -> None:
        super().__init__(width, centred)
        if not 0 <= derivative <= degree < width:
            raise ValueError(f"derivative {derivative} <= degree {degree} < width {width} must hold, from 0 on.")
        self.degree = degree
        self.derivative = derivative
        self.rate = rate
        self._powers = (np.arange(width) - (width - 1 - self.delay))[:, None] ** np.arange(degree + 1.0)  # (W, P)
        self._factor = float(np.prod(np.arange(1, derivative + 1)) * (rate or 1.0) ** derivative)
        self._kernel = np.linalg.pinv(self._powers)[derivative] * self._factor

    def transform(self, values: Array, state: Tail, gaps: Array | None = None) -> tuple[Array, Tail]:
        """Filter one chunk; gaps that are not regular are refused."""
        if self.rate is not None:
            check_rate(gaps, self.rate, type(self).__name__)
        return super().transform(values, state)

    def compute(self, joined: Values) -> Values:
        """Return the polynomial of each window at its row."""
        rows = joined.shape[-2] - self.width + 1
        made = np.zeros((*joined.shape[:-2], rows, joined.shape[-1]))
        for offset, weight in enumerate(self._kernel):  # NaN in a window makes its sum NaN
            made += weight * joined[..., offset : offset + rows, :]
        holes = np.isnan(made)
        if holes.any():
            windows = np.lib.stride_tricks.sliding_window_view(joined, self.width, axis=-2)
            made[holes] = self._fit(windows[holes])
        return made

    def _fit(self, windows: Values) -> Values:
        """Fit windows (n, W) with absent values."""
        made = np.full(len(windows), np.nan)
        patterns, which = np.unique(~np.isnan(windows), axis=0, return_inverse=True)
        for index, seen in enumerate(patterns):
            terms = min(self.degree + 1, int(seen.sum()))
            if terms > self.derivative:
                chosen = which == index
                kernel = np.linalg.pinv(self._powers[seen, :terms])[self.derivative] * self._factor
                made[chosen] = windows[chosen][:, seen] @ kernel
        return made
