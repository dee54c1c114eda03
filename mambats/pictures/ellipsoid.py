"""Ellipses and ellipsoids of covariances: half axes and how they are turned."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
#: 95 % of chi-square with one, two and three degrees of freedom: squared half axes are so many variances.
CHI_SQUARE_95 = {1: 3.841, 2: 5.991, 3: 7.815}


def half_axes(covariance: Numbers) -> tuple[Numbers, Numbers]:
    """Return half axes that hold 95 % of a normal distribution, and their directions.

    Args:
        covariance: Shape (..., n, n) with n of 1, 2 or 3.

    Returns:
        Half axes (..., n), rising, in the root of the covariance's unit, and a proper rotation (..., n, n) whose
        columns are their directions.
    """
    size = covariance.shape[-1]
    values, turn = np.linalg.eigh((covariance + np.swapaxes(covariance, -1, -2)) / 2)
    mirrored = np.linalg.det(turn) < 0
    turn[..., 0] = np.where(mirrored[..., None], -turn[..., 0], turn[..., 0])
    return np.sqrt(CHI_SQUARE_95[size] * np.maximum(values, 0.0)), turn


def ellipsoids(centres: Numbers, covariance: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Return ellipsoids that hold 95 % in space; those of a plane are a centimetre thick.

    Args:
        centres: Shape (N, n) with n of 2 or 3, m.
        covariance: Shape (N, n, n), m^2.

    Returns:
        Centres (N, 3), half axes (N, 3) and unit quaternions (N, 4), scalar last.
    """
    count, size = centres.shape
    places, half, turn = np.zeros((count, 3)), np.full((count, 3), 0.005), np.tile(np.eye(3), (count, 1, 1))
    places[:, :size] = centres
    half[:, :size], turn[:, :size, :size] = half_axes(covariance)
    return places, half, quaternions(turn)


def quaternions(turn: Numbers) -> Numbers:
    """Return unit quaternions (N, 4), scalar last, of rotations (N, 3, 3).

    Source: Bar-Itzhack, New Method for Extracting the Quaternion from a Rotation Matrix, 2000: the eigenvector of the
    largest eigenvalue, which is never near a division by zero.
    """
    trace = np.trace(turn, axis1=1, axis2=2)
    matrix = np.zeros((len(turn), 4, 4))
    matrix[:, :3, :3] = turn + np.swapaxes(turn, 1, 2) - trace[:, None, None] * np.eye(3)
    vector = np.stack(
        [turn[:, 2, 1] - turn[:, 1, 2], turn[:, 0, 2] - turn[:, 2, 0], turn[:, 1, 0] - turn[:, 0, 1]], axis=1
    )
    matrix[:, :3, 3] = matrix[:, 3, :3] = vector
    matrix[:, 3, 3] = trace
    return np.linalg.eigh(matrix / 3)[1][:, :, -1]
