"""By how much one signal lags another, window by window: to a sample, to a part of one, and as a line over time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mambats.preprocess.angular_speed import Turning

Values = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
_NEAR = 0.2  # seconds from the line within which a window's lag is looked for


class Curve(Protocol):
    """Values of a spline, or of a derivative of it."""

    def __call__(self, x: Values, nu: int = 0) -> Values:
        """Return values (n, 3) at x (n,)."""
        ...


@dataclass(frozen=True)
class Lags:
    """What windows say, one row each.

    Args:
        middle: Of the window on the lagging clock, seconds.
        lag: Seconds.
        deviation: Of the lag, seconds; infinite before refinement.
        correlation: At the lag.
        second: Lag of the second-best peak, seconds.
        ambiguity: Unexplained part at the best lag over that at the second-best: 1 where both fit equally well.
        motion: Standard deviation of the signal, in its unit: the smaller of both.
    """

    middle: Values
    lag: Values
    deviation: Values
    correlation: Values
    second: Values
    ambiguity: Values
    motion: Values


@dataclass(frozen=True)
class Line:
    """offset + drift * time with the covariance of both, and how many rows lie near it."""

    offset: float
    drift: float
    covariance: Values
    used: int

    def at(self, times: Values) -> Values:
        """Return lags in seconds at times in seconds."""
        return self.offset + self.drift * times


def coarse_lags(fixed: Turning, moving: Turning, window: float, largest: float) -> Lags:
    """Find the lag of every window of `moving` by its normalised correlation with `fixed`, computed by FFT.

    Args:
        fixed: Reference, of the same period.
        moving: What may lag.
        window: Seconds; windows do not overlap.
        largest: Lag looked for in both directions, seconds.

    Returns:
        One row a window without a gap whose search has at least one lag.
    """
    rows, reach = round(window / moving.period), round(largest / moving.period)
    still, turning = fixed.speed, moving.speed
    found: list[tuple[float, ...]] = []
    for start in range(0, len(turning) - rows + 1, rows):
        begin = moving.begin + start * moving.period
        first = round((begin - fixed.begin) / fixed.period) - reach  # row of `fixed` at the largest lag
        shift = begin - (fixed.begin + (first + reach) * fixed.period)
        piece = turning[start : start + rows]
        other = _cut(still, first, rows + 2 * reach)
        if np.isnan(piece).any():
            continue
        peaks = _peaks(_correlate(piece, other))
        if peaks is None:
            continue
        best, height, second, lower = peaks
        lag, after = ((reach - k) * fixed.period + shift for k in (best, second))
        ambiguity = (1 - height**2) / max(1 - max(lower, 0.0) ** 2, 1e-12)
        spread = min(piece.std(), np.nanstd(other))
        found.append((begin + window / 2, lag, np.inf, height, after, ambiguity, spread))
    columns = np.array(found, dtype=np.float64).reshape(-1, 7).T
    return Lags(*columns)


def _cut(values: Values, first: int, rows: int) -> Values:
    """Return rows of values from `first` on, NaN where there are none."""
    made = np.full(rows, np.nan)
    low, high = max(first, 0), min(first + rows, len(values))
    if low < high:
        made[low - first : high - first] = values[low:high]
    return made


def _correlate(piece: Values, other: Values) -> Values:
    """Return Pearson's correlation of `piece` with every stretch of `other` of its length; NaN where that has gaps."""
    rows, size = len(piece), 1 << int(np.ceil(np.log2(len(other) + 1)))
    hole = np.isnan(other)
    filled = np.where(hole, 0.0, other - np.nanmean(other) if not hole.all() else 0.0)
    shape = np.conj(np.fft.rfft(piece - piece.mean(), size))
    products = np.fft.irfft(np.fft.rfft(filled, size) * shape, size)[: len(other) - rows + 1]
    sums, squares, holes = (np.concatenate([[0.0], np.cumsum(part)]) for part in (filled, filled**2, hole))
    total, square, missing = (part[rows:] - part[:-rows] for part in (sums, squares, holes))
    spread = np.sqrt(np.maximum(square - total**2 / rows, 1e-12) * rows) * max(float(piece.std()), 1e-12)
    return np.where(missing > 0, np.nan, products / spread)


def _peaks(correlation: Values) -> tuple[int, float, int, float] | None:
    """Return places and heights of the highest and the second-highest peak; the ends count as no second peak."""
    filled = np.where(np.isnan(correlation), -1.0, correlation)
    best = int(np.argmax(filled))
    if filled[best] <= -1.0:
        return None
    inner = np.flatnonzero((filled[1:-1] >= filled[:-2]) & (filled[1:-1] > filled[2:])) + 1
    others = inner[inner != best]
    if len(others) == 0:
        return best, float(filled[best]), best, 0.0
    second = int(others[np.argmax(filled[others])])
    return best, float(filled[best]), second, float(filled[second])


def fine_lags(
    fixed: Turning, moving: Turning, lags: Lags, line: Line, used: Flags, window: float
) -> tuple[Lags, Flags]:
    """Refine lags near a line by least squares on the delay of each window, all three axes together.

    First one matrix and one offset for all used windows map the reference's rates to the other's: they hold how the
    sensors are mounted, scales and biases (with speeds alone a bias of 0.08 rad/s, as in EuRoC, makes the scatter of
    windows ten times as large). With them fixed, only the delay and a level of each window are left. Within a window
    the lag changes as the line does: held at its middle it was 0.1 ms off at 100 ppm, where a window turned most in
    its first or last seconds.

    Returns:
        Lags with deviations, and which windows came to an end near the line.
    """
    from scipy.interpolate import CubicSpline

    whole = ~np.isnan(fixed.rates[:, 0])
    curve = CubicSpline(fixed.times[whole], fixed.rates[whole])
    times, rows = moving.times - line.at(moving.times), round(window / moving.period)
    firsts = np.rint((lags.middle - window / 2 - moving.begin) / moving.period).astype(np.int64)
    pieces = [(times[first : first + rows], moving.rates[first : first + rows]) for first in firsts]
    mounted = _mounting(curve, [piece for piece, good in zip(pieces, used, strict=True) if good])
    change, deviation = np.array([_refine(curve, mounted, *piece) for piece in pieces]).T
    good = np.isfinite(deviation) & (np.abs(change) < _NEAR)
    return replace(lags, lag=line.at(lags.middle) + change, deviation=deviation), good


def _mounting(curve: Curve, pieces: list[tuple[Values, Values]]) -> Values:
    """Return the matrix (3, 3) that maps rates of the reference to those of the other sensor, by least squares."""
    sources = np.concatenate([curve(times) for times, _ in pieces])
    targets = np.concatenate([rates for _, rates in pieces])
    design = np.concatenate([sources, np.ones((len(sources), 1))], 1)
    return np.asarray(np.linalg.lstsq(design, targets, rcond=1e-3)[0][:3].T, dtype=np.float64)


def _refine(curve: Curve, mounted: Values, times: Values, rates: Values) -> tuple[float, float]:
    """Return the delay of the mapped reference that fits rates (n, 3) best, and its deviation: Gauss-Newton, Huber."""
    lag = 0.0
    slope = residual = np.zeros_like(rates)
    weight = np.ones(len(rates))
    for _ in range(6):
        model, slope = curve(times - lag) @ mounted.T, -curve(times - lag, 1) @ mounted.T
        residual = rates - model
        residual = residual - np.average(residual, axis=0, weights=weight)
        slope = slope - np.average(slope, axis=0, weights=weight)
        strength = float((weight[:, None] * slope**2).sum())
        if not strength > 0:
            return lag, np.inf
        lag += float(np.clip((weight[:, None] * slope * residual).sum() / strength, -0.05, 0.05))
        size = np.linalg.norm(residual, axis=1)
        scale = float(np.median(size)) + 1e-12
        weight = np.minimum(1.0, 1.345 * scale / np.maximum(size, 1e-12))
    score = weight * (slope * residual).sum(1) / float((weight[:, None] * slope**2).sum())
    return lag, _deviation(score)


def _deviation(score: Values) -> float:
    """Return the deviation of a sum of scores that are alike over many rows, as those of smoothed signals are."""
    size = 1 << int(np.ceil(np.log2(2 * len(score))))
    power = np.abs(np.fft.rfft(score, size)) ** 2
    reach = len(score) // 20 + 1
    covariances = np.fft.irfft(power, size)[:reach] * (1 - np.arange(reach) / reach)  # Bartlett's window
    return float(np.sqrt(max(covariances[0] + 2 * covariances[1:].sum(), covariances[0])))


def robust_line(times: Values, lags: Values, deviations: Values) -> Line:
    """Fit a line that outliers do not move: medians of slopes first, then weighted least squares on what is near.

    Args:
        times: Seconds, shape (n,), n of 3 or more.
        lags: Seconds.
        deviations: Of the lags; they set weights. The covariance comes from the scatter or from them, whichever is
            larger, and is widened by Student's factor for n - 2.
    """
    from scipy.stats import t as student
    from scipy.stats import theilslopes

    slope, level = (float(value) for value in tuple(theilslopes(lags, times))[:2])
    middle, weight = float(times.mean()), 1 / np.maximum(deviations, 1e-7) ** 2
    design = np.stack([np.ones_like(times), times - middle], 1)
    found, share = np.array([level + slope * middle, slope]), weight
    for _ in range(5):
        residual = lags - design @ found
        scale = max(1.4826 * float(np.median(np.abs(residual))), 1e-7)
        kept = np.abs(residual) < 4 * scale
        share = weight * kept * np.minimum(1.0, 2 * scale / np.maximum(np.abs(residual), 1e-12))
        # No window counts more than ten times the median: a very small deviation is a lucky one.
        share = np.minimum(share, 10 * np.median(share[kept]))
        found = np.linalg.solve(design.T @ (design * share[:, None]), design.T @ (share * lags))
    kept = share > 0
    free = max(int(kept.sum()) - 2, 1)
    residual = lags - design @ found
    scatter = float((share * residual**2).sum() / free)
    own = np.maximum(scatter, share * np.where(np.isfinite(deviations), deviations, 0.0) ** 2)
    inverse = np.linalg.inv(design.T @ (design * share[:, None]))
    wide = float(student.ppf(0.975, free) / 1.96) ** 2
    back = np.array([[1.0, -middle], [0.0, 1.0]]) @ inverse
    covariance = back @ design.T @ (design * (share * own)[:, None]) @ back.T * wide
    return Line(float(found[0] - found[1] * middle), float(found[1]), covariance, int(kept.sum()))
