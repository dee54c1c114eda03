"""The chi-square distribution's quantile, in plain Python: a robot has it without torch or scipy."""

from __future__ import annotations

import math
from functools import lru_cache

_HALVINGS = 200  # of an interval: its ends are neighbours in float64 before that
_TERMS = 10_000  # of a series; 3,000 degrees need some 300


@lru_cache(maxsize=4096)
def chi_square_quantile(probability: float, degrees: int) -> float:
    """Return the value that a chi-square variable stays under with this probability.

    By halving, on whichever tail is the smaller, to nearly the last digits of float64.

    Args:
        probability: Inside (0, 1).
        degrees: Of freedom, at least 1.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        chi_square_quantile(0.95, 2)  # 5.99
    """
    if not 0.0 < probability < 1.0:
        raise ValueError(f"level is {probability}: a probability inside (0, 1) is needed, e.g. 0.95.")
    if degrees < 1:
        raise ValueError(f"degrees is {degrees}: chi-square needs 1 or more degrees of freedom.")
    # Mean n, deviation sqrt(2 n), exponential tail: 2 ln(1/tail) beyond covers what 40 deviations do not.
    low, high = 0.0, degrees + 40 * math.sqrt(2 * degrees) - 4 * math.log1p(-probability)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if _stays_under(middle, degrees, probability) else (low, middle)
    return (low + high) / 2


def _stays_under(value: float, degrees: int, probability: float) -> bool:
    """Say whether the probability of less than a value is below another; 1 - probability is exact from a half on."""
    a, x = degrees / 2, value / 2
    front = math.exp(a * math.log(x) - x - math.lgamma(a)) if x > 0 else 0.0
    if x < a + 1:
        return front * _lower(a, x) < probability
    return front * _upper(a, x) > 1 - probability


def _lower(a: float, x: float) -> float:
    """Series of the incomplete gamma function below x, over x^a e^-x (Abramowitz and Stegun 6.5.29)."""
    term = total = 1 / a
    for n in range(1, _TERMS):
        term *= x / (a + n)
        total += term
        if term < total * 1e-17:
            break
    return total


def _upper(a: float, x: float) -> float:
    """Continued fraction of the one above x, over x^a e^-x (Abramowitz and Stegun 6.5.31), by Lentz's method."""
    b = x + 1 - a
    c, d = math.inf, 1 / b
    total = d
    for n in range(1, _TERMS):
        weight = n * (a - n)
        b += 2
        d = 1 / (weight * d + b)
        c = b + weight / c
        total *= c * d
        if abs(c * d - 1) < 1e-16:
            break
    return total
