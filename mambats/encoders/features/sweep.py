"""What every reader of points does first: any leading axes made one batch, and the rows that exist told apart."""

from __future__ import annotations

import torch
from torch import Tensor


def flatten_sweeps(points: Tensor, counts: Tensor | None, channels: int) -> tuple[Tensor, Tensor]:
    """Return points (N, P, C), zeros where there is none, and which exist (N, P) bool; N is all leading axes.

    A point with a value that is not finite is not there.

    Args:
        points: Shape (..., P, C), x y z first, padded behind.
        counts: Points of each sweep, shape (...) int64, or None where all P exist.
        channels: C.

    Raises:
        ValueError: If shapes or dtypes do not fit.
    """
    if points.ndim < 2 or points.shape[-1] != channels:
        raise ValueError(
            f"points have shape {tuple(points.shape)}: need (..., P, {channels}), x y z first. Select the channels, or "
            "build the encoder for these."
        )
    if not points.dtype.is_floating_point:
        raise ValueError(f"points have dtype {points.dtype}: need a float dtype. Convert them first.")
    if counts is not None and counts.shape != points.shape[:-2]:
        raise ValueError(
            f"counts have shape {tuple(counts.shape)}, points {tuple(points.shape)}: need {tuple(points.shape[:-2])}."
        )
    sweeps = points.shape[:-2].numel()
    flat = points.reshape(sweeps, *points.shape[-2:])
    there = flat.isfinite().all(-1)
    if counts is not None:
        there &= torch.arange(flat.shape[1], device=flat.device) < counts.reshape(sweeps, 1)
    return torch.where(there.unsqueeze(-1), flat, torch.zeros_like(flat)), there
