"""The chi-square distribution's quantile where torch may be absent.

`mambats.calibration.chi_square_quantile` is the one for all else: torch's incomplete gamma function stays exact at the
thousands of degrees that averages have. A gate has as many as a sensor has channels, where a test holds both to each
other.
"""

from __future__ import annotations

import math
from functools import lru_cache


def cumulative(value: float, degrees: int) -> float:
    """Return the probability that a chi-square number of so many degrees of freedom lies below a value.

    The series of the regularised lower incomplete gamma function P(a, x), Abramowitz and Stegun 6.5.29.
    """
    a, x = degrees / 2, value / 2
    if x <= 0:
        return 0.0
    term = total = 1 / a
    for n in range(1, 10_000):
        term *= x / (a + n)
        total += term
        if term < total * 1e-16:
            break
    return min(1.0, total * math.exp(a * math.log(x) - x - math.lgamma(a)))


@lru_cache(maxsize=256)
def quantile(probability: float, degrees: int) -> float:
    """Return the value below which a chi-square number lies with a probability inside (0, 1), by bisection."""
    low, high = 0.0, 1.0
    while cumulative(high, degrees) < probability and high < 1e4:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if cumulative(middle, degrees) < probability else (low, middle)
    return high
