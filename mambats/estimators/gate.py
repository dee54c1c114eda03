"""Which measurements are too unlikely to be let in: a chi-square gate."""

from __future__ import annotations

import torch
from torch import Tensor

from mambats.calibration.chi_square import chi_square_quantile


def chi_square(probability: float, degrees: int) -> float:
    """Return the value below which a chi-square number of so many degrees of freedom lies with a probability.

    Raises:
        ValueError: If the probability is not inside (0, 1) or there is no degree of freedom.
    """
    if not 0 < probability < 1:
        raise ValueError(f"probability is {probability}, needed a number inside (0, 1): 0.99 lets 99 % in.")
    if degrees < 1:
        raise ValueError(f"degrees is {degrees}, needed 1 or more: as many as numbers were measured.")
    return chi_square_quantile(probability, degrees)


def thresholds(probability: float, size: int) -> Tensor:
    """Return the largest normalised innovation squared let in, by how many of `size` numbers were measured.

    Args:
        probability: Of letting in a measurement of a consistent filter, inside (0, 1).
        size: Numbers of a measurement, m.

    Returns:
        Shape (m + 1,) float64; the first, of none, is 0.
    """
    return torch.tensor([0.0, *(chi_square(probability, k) for k in range(1, size + 1))], dtype=torch.float64)
