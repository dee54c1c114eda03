"""Doors of this room: shapes and numbers, refused with what was given and what was needed."""

from __future__ import annotations

import math

from torch import Tensor


def needs_noise(*densities: float) -> None:
    """Refuse noise densities that are negative or not finite."""
    if not all(math.isfinite(density) and density >= 0 for density in densities):
        raise ValueError(f"noise densities are {densities}: need numbers of 0 or more.")


def needs_motion(gyro: Tensor, accelerometer: Tensor, dt: Tensor, bias: Tensor | None, carried: bool) -> None:
    """Refuse samples whose shapes or dtypes disagree."""
    rows = tuple(gyro.shape[:2])
    if gyro.ndim != 3 or gyro.shape[2] != 3 or accelerometer.shape != gyro.shape or tuple(dt.shape) != rows:
        raise ValueError(
            f"gyro is {tuple(gyro.shape)}, accelerometer {tuple(accelerometer.shape)}, dt {tuple(dt.shape)}: "
            "need (B, T, 3), (B, T, 3) and (B, T)."
        )
    if not gyro.is_floating_point() or accelerometer.dtype != gyro.dtype or dt.dtype != gyro.dtype:
        raise ValueError(
            f"gyro is {gyro.dtype}, accelerometer {accelerometer.dtype}, dt {dt.dtype}: need one floating dtype."
        )
    if bias is not None and carried:
        raise ValueError("a bias was given beside a state: the state has its own; correct it with `corrected` first.")
    if bias is not None and tuple(bias.shape) != (rows[0], 6):
        raise ValueError(f"bias is {tuple(bias.shape)}, needed (B, 6) = ({rows[0]}, 6): gyroscope, accelerometer.")
