"""Angular speed of a sensor out of a gyroscope's rates or a pose's quaternions: what rigidly joined sensors share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mambats.series import Stream

Values = npt.NDArray[np.float64]
RATES, TURNS = ("wx", "wy", "wz"), ("qx", "qy", "qz", "qw")


@dataclass(frozen=True)
class Turning:
    """Smooth angular rates on a regular clock.

    Args:
        begin: Of the clock, seconds after the common zero.
        period: Seconds between rows.
        rates: In rad/s, in the sensor's own frame, shape (T, 3); NaN in and around gaps.
    """

    begin: float
    period: float
    rates: Values

    @property
    def times(self) -> Values:
        """Seconds after the common zero, shape (T,)."""
        return self.begin + self.period * np.arange(len(self.rates), dtype=np.float64)

    @property
    def speed(self) -> Values:
        """Length of the rates, shape (T,): the same however the sensor is mounted."""
        return np.sqrt(np.square(self.rates).sum(axis=1))


def angular_rates(stream: Stream, zero: int) -> tuple[Values, Values]:
    """Return times in seconds after `zero` [ns], shape (T,), and angular rates (T, 3) in rad/s.

    Rates are read as they are; those of a pose are the turns between its rows, at the middle of each interval. Rows
    not observed, or not finite, are left out.

    Raises:
        ValueError: If the stream has neither rates (wx wy wz) nor a quaternion (qx qy qz qw).
    """
    names = RATES if set(RATES) <= set(stream.channels) else TURNS
    if not set(names) <= set(stream.channels):
        raise ValueError(
            f"channels are {stream.channels}: need angular rates {' '.join(RATES)} or a quaternion {' '.join(TURNS)}."
        )
    columns = [stream.channels.index(name) for name in names]
    values = np.asarray(stream.values[:, columns], dtype=np.float64)
    kept = np.isfinite(values).all(1)
    if stream.observed is not None:
        kept &= stream.observed[:, columns].all(1)
    times: Values = (stream.stamps[kept] - zero).astype(np.float64) * 1e-9
    values = values[kept]
    if names is RATES:
        return times, values
    return _turning(times, values)


def _turning(times: Values, turns: Values) -> tuple[Values, Values]:
    """Return the middles of intervals and the mean rate in each."""
    from scipy.spatial.transform import Rotation

    if len(times) < 2:
        return times[:0], np.zeros((0, 3))
    poses = Rotation.from_quat(turns)
    moved = (poses[:-1].inv() * poses[1:]).as_rotvec()
    return (times[1:] + times[:-1]) / 2, moved / np.diff(times)[:, None]


def smooth_rates(times: Values, rates: Values, period: float, smooth: float, longest: float) -> Turning:
    """Return smoothed rates on a regular clock.

    They are smoothed as vectors, before a length is taken: the length of noisy rates is too large where they are small.

    Args:
        times: Rising, shape (T,), seconds.
        rates: Shape (T, 3), rad/s.
        period: Of the clock, seconds.
        smooth: Standard deviation of the Gaussian window, seconds; it shifts nothing.
        longest: Gap from which on there is no rate, seconds.
    """
    from scipy.ndimage import gaussian_filter1d

    clock = np.arange(times[0], times[-1], period)
    columns = [np.interp(clock, times, column) for column in rates.T]
    made = gaussian_filter1d(np.stack(columns, 1), smooth / period, axis=0, mode="nearest")
    for row in np.flatnonzero(np.diff(times) > longest):
        made[(clock > times[row] - 3 * smooth) & (clock < times[row + 1] + 3 * smooth)] = np.nan
    return Turning(float(times[0]), period, made)
