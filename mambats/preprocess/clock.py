"""How far a sensor's clock is off another's, and how fast it runs away: found from how both turn."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mambats.preprocess.angular_speed import Turning, angular_rates, smooth_rates
from mambats.preprocess.lag import Lags, coarse_lags, fine_lags, robust_line
from mambats.series import Stamps, Stream

Values = npt.NDArray[np.float64]


class CannotTellError(ValueError):
    """The motion does not show how the clocks stand to each other."""


@dataclass(frozen=True)
class ClockFit:
    """A clock against a reference: its stamps are late by `offset + drift * (stamp - zero)`.

    Args:
        zero: Stamp of the clock at which the offset holds, int64 nanoseconds.
        offset: Seconds; above 0 where the clock's stamps are later than the reference's.
        drift: Seconds gained a second (1e-6 is a part in a million).
        covariance: Of offset and drift, shape (2, 2), out of how windows scatter about the line; widened for few
            windows, so that 1.96 deviations hold 95 % of the time.
        windows: Seen: used and given.
        correlation: Median of the used windows.
    """

    zero: int
    offset: float
    drift: float
    covariance: Values
    windows: tuple[int, int]
    correlation: float

    @property
    def offset_deviation(self) -> float:
        """Of the offset at `zero`, seconds."""
        return float(np.sqrt(self.covariance[0, 0]))

    @property
    def drift_deviation(self) -> float:
        """Of the drift, seconds a second."""
        return float(np.sqrt(self.covariance[1, 1]))

    def at(self, stamp: int) -> ClockFit:
        """Return the same line with its offset, and the deviation of it, at another stamp [ns] of the clock."""
        step = np.array([[1.0, (stamp - self.zero) * 1e-9], [0.0, 1.0]])
        offset = self.offset + self.drift * step[0, 1]
        return replace(self, zero=int(stamp), offset=float(offset), covariance=step @ self.covariance @ step.T)

    def correct(self, stamps: Stamps) -> Stamps:
        """Return stamps of the clock, (T,) int64 ns, in the reference's time."""
        since = stamps - np.int64(self.zero)
        return stamps - np.int64(round(self.offset * 1e9)) - np.rint(since * self.drift).astype(np.int64)

    def inverse(self, stamps: Stamps) -> Stamps:
        """Return stamps of the reference in the clock's time: `correct` undone to within a nanosecond."""
        since = stamps - np.int64(self.zero) + np.int64(round(self.offset * 1e9))
        return np.int64(self.zero) + since + np.rint(since * (self.drift / (1 - self.drift))).astype(np.int64)

    def correct_stream(self, stream: Stream) -> Stream:
        """Return the stream with its stamps in the reference's time."""
        return replace(stream, stamps=self.correct(stream.stamps))


class ClockAlignment:
    """Find offset and drift between two sensors that are fixed to one body, from its angular speed.

    The speed of turning does not depend on how a sensor is mounted. In windows, the normalised correlation of both
    speeds (by FFT) gives the lag to a sample; least squares on the delay of a spline gives it to a small part of one;
    a robust line through the windows gives offset and drift, and their scatter the error bars. Offline.

    It refuses to answer (`CannotTellError`) when: the streams share less than three windows; fewer than three windows
    turn enough to correlate above `correlation`; the motion repeats itself, so that another lag fits nearly as well
    (its unexplained part less than twice the best one's); windows do not agree on a line; or the offset's deviation is
    above `tolerance`.

    Args:
        window: Seconds.
        largest: Largest offset looked for, seconds.
        smooth: Standard deviation of the Gaussian that both speeds are smoothed by, seconds; at least a period of the
            slower stream is used.
        correlation: Least correlation of a window.
        motion: Least standard deviation of the speed within a window, rad/s.
        tolerance: Largest deviation of the offset that is an answer, seconds.

    Raises:
        ValueError: If a number is not above 0.
    """

    def __init__(
        self,
        window: float = 10.0,
        largest: float = 1.0,
        smooth: float = 0.02,
        correlation: float = 0.7,
        motion: float = 0.03,
        tolerance: float = 0.005,
    ) -> None:
        values = {"window": window, "largest": largest, "smooth": smooth, "motion": motion, "tolerance": tolerance}
        for name, value in values.items():
            if not value > 0:
                raise ValueError(f"{name} is {value}: need a number above 0.")
        self.window, self.largest, self.smooth = window, largest, smooth
        self.correlation, self.motion, self.tolerance = correlation, motion, tolerance

    def __call__(self, reference: Stream, other: Stream) -> ClockFit:
        """Find how late `other` is against `reference`.

        Args:
            reference: Angular rates (wx wy wz) or a pose (qx qy qz qw).
            other: The same, of a sensor on the same body, at any rate.

        Returns:
            Offset at the first stamp of `other`, and drift.

        Raises:
            CannotTellError: If the motion does not show it; says why.
            ValueError: If a stream has neither rates nor quaternions.
        """
        zero = int(other.stamps[0]) if len(other) else 0
        fixed, moving = self._speeds(reference, other, zero)
        lags = coarse_lags(fixed, moving, self.window, self.largest)
        used = self._usable(lags)
        kept, line = used, robust_line(lags.middle[used], lags.lag[used], np.ones(int(used.sum())))
        for _ in range(3):
            lags, good = fine_lags(fixed, moving, lags, line, used, self.window)
            kept = used & good
            self._need(int(kept.sum()), "could be refined", len(lags.lag))
            line = robust_line(lags.middle[kept], lags.lag[kept], lags.deviation[kept])
        self._need(line.used, "agree on one line", len(lags.lag))
        if line.used < 0.5 * kept.sum():
            raise CannotTellError(f"only {line.used} of {int(kept.sum())} windows agree on a line: is it one body?")
        # Lags stand at the middles of the clock's own windows, so the line is in the clock's time.
        seen = (line.used, len(lags.lag))
        fit = ClockFit(zero, line.offset, line.drift, line.covariance, seen, float(np.median(lags.correlation[kept])))
        self._precise(fit, float(np.mean(lags.middle[kept])))
        return fit

    def _speeds(self, reference: Stream, other: Stream, zero: int) -> tuple[Turning, Turning]:
        """Return both speeds on clocks of one period."""
        both = [angular_rates(stream, zero) for stream in (reference, other)]
        if min(len(times) for times, _ in both) < 3:
            raise CannotTellError(f"{[len(times) for times, _ in both]} rows observed: need 3 of each stream at least.")
        begin, end = max(times[0] for times, _ in both), min(times[-1] for times, _ in both)
        if end - begin < 3 * self.window:
            raise CannotTellError(
                f"the streams share {max(end - begin, 0):.1f} s, needed {3 * self.window:.0f} s (three windows). If "
                "their clocks have other zeros, take the difference of the first stamps off first."
            )
        slow, fast = sorted(float(np.median(np.diff(times))) for times, _ in both)[::-1]
        smooth = max(self.smooth, slow)
        # At most 1 kHz; a period of a quarter of the smoothing loses nothing.
        period = max(1e-3, min(fast, smooth / 4))
        fixed, moving = (smooth_rates(*one, period, smooth, max(10 * slow, 0.2)) for one in both)
        return fixed, moving

    def _usable(self, lags: Lags) -> npt.NDArray[np.bool_]:
        """Return which windows tell something, or say why none does."""
        total = len(lags.lag)
        turning = lags.motion > self.motion
        self._need(int(turning.sum()), f"turn (speed varies by {self.motion} rad/s)", total)
        alike = turning & (lags.correlation > self.correlation)
        self._need(int(alike.sum()), f"correlate above {self.correlation}", total)
        clear = alike & (lags.ambiguity < 0.5)
        if clear.sum() < max(3, 0.25 * alike.sum()):
            repeat = float(np.median(np.abs(lags.second - lags.lag)[alike]))
            raise CannotTellError(
                f"the motion repeats: in {int(alike.sum() - clear.sum())} of {int(alike.sum())} windows a lag "
                f"{repeat:.2f} s away fits nearly as well. Record motion that does not repeat, or set `largest` below "
                f"{repeat / 2:.2f} s if the offset is known to be smaller."
            )
        edge = np.abs(lags.lag) > self.largest * 0.99
        if edge[clear].mean() > 0.5:
            raise CannotTellError(f"the best lag is at the end of the search, {self.largest} s: raise `largest`.")
        return clear & ~edge

    def _precise(self, fit: ClockFit, middle: float) -> None:
        """Refuse an offset whose deviation at the middle of the record is too large."""
        deviation = fit.at(fit.zero + round(middle * 1e9)).offset_deviation
        if not deviation <= self.tolerance:
            raise CannotTellError(
                f"the offset is known to {deviation * 1e3:.1f} ms only, needed {self.tolerance * 1e3:.1f} ms: record "
                "longer or turn more."
            )

    def _need(self, count: int, what: str, total: int) -> None:
        if count < 3:
            raise CannotTellError(f"{count} of {total} windows {what}: need 3. Record longer, or turn more.")
