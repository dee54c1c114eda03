"""Which measurements are too unlikely to be let in: a chi-square gate."""

from __future__ import annotations

import torch
from torch import Tensor


def chi_square(probability: float, degrees: int) -> float:
    """Return the value below which a chi-square number of so many degrees of freedom lies with a probability.

    By bisection of the regularised incomplete gamma function, to float64's rounding.

    Raises:
        ValueError: If the probability is not inside (0, 1) or there is no degree of freedom.
    """
    if not 0 < probability < 1:
        raise ValueError(f"probability is {probability}, needed a number inside (0, 1): 0.99 lets 99 % in.")
    if degrees < 1:
        raise ValueError(f"degrees is {degrees}, needed 1 or more: as many as numbers were measured.")
    half = torch.tensor(degrees / 2, dtype=torch.float64)

    def below(value: float) -> float:
        return float(torch.special.gammainc(half, torch.tensor(value / 2, dtype=torch.float64)))

    low, high = 0.0, 1.0
    while below(high) < probability:
        low, high = high, 2 * high
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) < probability else (low, middle)
    return (low + high) / 2


def thresholds(probability: float, size: int) -> Tensor:
    """Return the largest normalised innovation squared let in, by how many of `size` numbers were measured.

    Args:
        probability: Of letting in a measurement of a consistent filter, inside (0, 1).
        size: Numbers of a measurement, m.

    Returns:
        Shape (m + 1,) float64; the first, of none, is 0.
    """
    return torch.tensor([0.0, *(chi_square(probability, k) for k in range(1, size + 1))], dtype=torch.float64)
