"""When a sensor lies still."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class StillDetector:
    """Find intervals in which both triads vary no more than at the quietest moments of the record.

    In a moving window the standard deviation of each triad (root of the summed variances of its axes) is compared to
    `factor` times its own fifth percentile over the record: the record must lie still for a twentieth of its time.

    Args:
        window: Seconds.
        factor: Times the quietest.
        shortest: Shorter intervals do not count, seconds, half a window at both ends taken off.
        motion: Deviation below which the sensor is still in any case: rad/s and m/s^2.

    Source: Tedaldi, Pretto, Menegatti, A Robust and Easy to Implement Method for IMU Calibration without External
        Equipments, ICRA 2014, section IV-A (their threshold is a multiple of a first interval known to be still).
    """

    window: float = 0.5
    factor: float = 2.5
    shortest: float = 1.0
    motion: tuple[float, float] = (1e-4, 1e-3)

    def __call__(self, values: Values, rate: float) -> list[slice]:
        """Return still intervals of rows (T, 6): gyroscope rad/s, accelerometer m/s^2."""
        flags = self.flags(values, rate)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
        pairs = edges.reshape(-1, 2)
        # What ends or begins as slowly as noise allows still counts as still: half a window less on both sides keeps
        # it out (in calibration of a gyroscope it made scales wrong by 5e-4, four times their deviation).
        margin = round(self.window / 2 * rate)
        return [slice(int(a) + margin, int(b) - margin) for a, b in pairs if b - a - 2 * margin >= self.shortest * rate]

    def flags(self, values: Values, rate: float) -> Flags:
        """Return which rows (T,) lie in a still window."""
        width = max(2, round(self.window * rate))
        if len(values) < width:
            return np.zeros(len(values), dtype=np.bool_)
        still = np.ones(len(values) - width + 1, dtype=np.bool_)
        for columns, least in zip((slice(0, 3), slice(3, 6)), self.motion, strict=True):
            spread = _moving_deviation(values[:, columns], width)
            still &= spread < max(self.factor * float(np.percentile(spread, 5)), least)
        # A row is still if it lies in one still window at least.
        cover = np.concatenate([[0], np.cumsum(still)])
        rows = np.arange(len(values))
        first, last = np.maximum(rows - width + 1, 0), np.minimum(rows + 1, len(still))
        return cover[last] > cover[first]


def _moving_deviation(values: Values, width: int) -> Values:
    """Return the root of the summed variances in every window, (T - width + 1,)."""
    centred = values - values.mean(0)
    sums, squares = (np.concatenate([np.zeros((1, 3)), np.cumsum(part, 0)]) for part in (centred, np.square(centred)))
    mean = (sums[width:] - sums[:-width]) / width
    square = (squares[width:] - squares[:-width]) / width
    return np.sqrt(np.maximum((square - np.square(mean)).sum(1), 0))
