"""How far off, and how honest about it: the columns of every odometry table."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mambats.calibration import inside_interval, nees
from mambats.gaussian import Gaussian
from mambats.odometry.navigation import POSITION, VELOCITY

#: Place of the heading in the error.
_HEADING = 2


def scores(error: Tensor, covariance: Tensor) -> dict[str, float]:
    """Score estimates.

    Args:
        error: Truth less estimate of rotation, velocity, position, shape (N, T, 9).
        covariance: Shape (N, T, 9, 9), in the axes of the error.

    Returns:
        `position`, `velocity` (RMSE, m and m/s), `heading` (RMSE, deg), `final` (RMSE of the last position, m),
        `nees_position` and `nees` (over 3 and 9 numbers; per number, 1 where consistent) and `coverage_95` (share of
        positions' coordinates inside their 95 % intervals).
    """
    error, covariance = error.detach().double(), _sound(covariance.detach().double())
    place, spread = error[..., POSITION], covariance[..., POSITION, POSITION]
    origin = Gaussian(torch.zeros_like(error), covariance)
    inside = inside_interval(Gaussian(torch.zeros_like(place), spread), place, 0.95)
    return {
        "position": rms(place),
        "velocity": rms(error[..., VELOCITY]),
        "heading": math.degrees(float(error[..., _HEADING].square().mean().sqrt())),
        "final": rms(place[:, -1]),
        "nees_position": float(nees(origin.part(6, 9), place).mean()) / 3,
        "nees": float(nees(origin, error).mean()) / 9,
        "coverage_95": float(inside.double().mean()),
    }


def _sound(covariance: Tensor) -> Tensor:
    """Take away what rounding did: symmetric, and correlations of at most 1 - 1e-9."""
    size = covariance.diagonal(dim1=-2, dim2=-1).clamp_min(1e-18).sqrt()
    scale = size[..., :, None] * size[..., None, :]
    unit = 0.5 * (covariance + covariance.mT) / scale
    return (unit + 1e-9 * torch.eye(unit.shape[-1], dtype=unit.dtype, device=unit.device)) * scale


def rms(vectors: Tensor) -> float:
    """Return the root of the mean squared length of vectors (..., n)."""
    return float(vectors.square().sum(-1).mean().sqrt())
