"""Allan deviation: which noise a sensor at rest has, at which time scale."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
#: Columns: white noise, bias instability (flicker), random walk of the rate.
TERMS = ("density", "instability", "walk")


@dataclass(frozen=True)
class AllanFit:
    """Noise of one channel with the curve that it was read from; U is the unit of the channel.

    Args:
        taus: Averaging times, shape (m,), seconds.
        deviation: Overlapping Allan deviation, shape (m,), U.
        spread: Standard deviation of it, U.
        density: White noise, U/sqrt(Hz): what one second's mean has.
        instability: Bias instability, U: the floor of the curve is 0.664 of it.
        walk: Random walk of the bias, U/s/sqrt(Hz): what it wanders in a second.
        intervals: Lower and upper bound of the three that hold 95 % of the time, shape (3, 2). A lower bound of 0 says
            that the record does not show the term.
    """

    taus: Values
    deviation: Values
    spread: Values
    density: float
    instability: float
    walk: float
    intervals: Values

    @property
    def model(self) -> Values:
        """The curve of the three terms, shape (m,), U."""
        squares = np.array([self.density, self.instability, self.walk]) ** 2
        return np.sqrt(_curves(self.taus) @ squares)


def allan_variance(values: npt.ArrayLike, rate: float, points: int = 40) -> tuple[Values, Values]:
    """Compute overlapping Allan variances at averaging times spaced evenly in their logarithm.

    Args:
        values: One channel at rest, shape (T,), or several (..., T); regular and finite.
        rate: Samples a second.
        points: Most averaging times, from one sample to a fifth of the record.

    Returns:
        Averaging times (m,) in seconds, and variances (..., m) in squared units of the values.

    Raises:
        ValueError: If there are fewer than 16 samples, or one is not finite (names the row).

    Source: IEEE 952-1997, annex C; Riley, Handbook of Frequency Stability Analysis, NIST SP 1065, eq. 11.
    """
    rows = np.asarray(values, dtype=np.float64)
    length = rows.shape[-1]
    bad = np.argwhere(~np.isfinite(rows))
    if bad.size:
        raise ValueError(f"row {bad[0][-1]} is not finite: take a stretch without gaps, or fill them.")
    if length < 16:
        raise ValueError(f"{length} samples: need 16, better hours of them.")
    sizes = np.unique(np.rint(np.geomspace(1, length // 5, points)).astype(np.int64))
    centred = rows - rows.mean(-1, keepdims=True)  # less to cancel in the sums
    sums = np.concatenate([np.zeros((*rows.shape[:-1], 1)), np.cumsum(centred, -1)], -1)
    variances = [
        np.mean(np.square(sums[..., 2 * m :] - 2 * sums[..., m:-m] + sums[..., : -2 * m]), -1) / (2 * m**2)
        for m in sizes
    ]
    return sizes / rate, np.stack(variances, -1)


def fit_allan(values: npt.ArrayLike, rate: float, points: int = 40) -> AllanFit:
    """Read white noise, bias instability and random walk off the Allan variance of one channel, with intervals.

    avar(tau) = density^2 / tau + instability^2 * 2 ln 2 / pi + walk^2 * tau / 3, fitted by generalised least squares
    with no term below zero. Variances at near averaging times are alike; how much, follows from the spectrum of the
    fitted noise (for Gaussian noise the covariance of two mean squares is the integral of the product of their
    spectra), so the intervals are not too narrow.

    Args:
        values: At rest, shape (T,), regular and finite.
        rate: Samples a second.
        points: Most averaging times.

    Raises:
        ValueError: As `allan_variance` does, or if the values do not vary at all.
    """
    row = np.asarray(values, dtype=np.float64)
    if row.ndim != 1:
        raise ValueError(f"values are {row.shape}, needed one channel (T,): fit channels one by one.")
    taus, variances = allan_variance(row, rate, points)
    if not (variances > 0).all():
        raise ValueError("the values do not vary: the channel is constant, or its steps are larger than its noise.")
    curves, duration = _curves(taus), len(row) / rate
    covariance = np.diag(variances**2 * taus / duration)
    squares, errors = np.zeros(3), np.zeros((3, 3))
    for _ in range(4):
        squares, errors = _least_squares(curves, variances, covariance)
        covariance = _covariance(taus, np.maximum(squares, 1e-12 * variances.min()), duration, rate)
    wide = 1.96 * np.sqrt(np.diag(errors))
    bounds = np.sqrt(np.stack([np.maximum(squares - wide, 0), squares + wide], 1))
    spread = np.sqrt(np.diag(covariance)) / (2 * np.sqrt(variances))
    found = np.sqrt(squares)
    return AllanFit(taus, np.sqrt(variances), spread, float(found[0]), float(found[1]), float(found[2]), bounds)


def _curves(taus: Values) -> Values:
    """Return variance by squared term, (m, 3)."""
    return np.stack([1 / taus, np.full_like(taus, 2 * math.log(2) / math.pi), taus / 3], 1)


def _least_squares(curves: Values, variances: Values, covariance: Values) -> tuple[Values, Values]:
    """Return squared terms, none below zero, and their covariance."""
    from scipy.linalg import solve_triangular
    from scipy.optimize import nnls

    scale = np.sqrt(np.diag(covariance))
    alike = covariance / np.outer(scale, scale) + 1e-3 * np.eye(len(scale))  # the integrals are that good
    root = np.linalg.cholesky(alike)
    design = solve_triangular(root, curves / scale[:, None], lower=True)
    sizes = np.sqrt(np.square(design).sum(0))
    target = solve_triangular(root, variances / scale, lower=True)
    squares = nnls(design / sizes, target)[0] / sizes
    inverse = np.linalg.inv((design / sizes).T @ (design / sizes)) / np.outer(sizes, sizes)
    return squares, inverse


def _covariance(taus: Values, squares: Values, duration: float, rate: float) -> Values:
    """Return the covariance of Allan variances over a record of noise with these squared terms."""
    frequency = np.geomspace(0.2 / duration, rate / 2, 4000)
    white, flicker, walk = squares
    spectrum = 2 * white + flicker / (math.pi * frequency) + 2 * walk / (2 * math.pi * frequency) ** 2  # one-sided
    samples, phase = taus[:, None] * rate, math.pi * frequency / rate
    passed = 2 * np.sin(samples * phase) ** 4 / (samples * np.sin(phase)) ** 2  # (m, f), of sampled noise
    seen = spectrum * passed
    step = np.gradient(frequency)
    left = np.sqrt(duration - 2 * taus)  # seconds that are averaged over
    return np.asarray((seen * step) @ seen.T / np.outer(left, left), dtype=np.float64)
