"""Several estimates of one motion made one: weights from a network, moments matched, covariance kept honest."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mambats.odometry.navigation import POSITION, ROTATION, SIZE, VELOCITY, Navigation, about_z, log, turn
from mambats.preprocess.imu import so3

#: Bounds of what a candidate may be off from the others, and claim to be unsure by: rad, m/s, m. One that runs away
#: must not swamp the sums of the others.
BOUND = (1.0,) * 3 + (10.0,) * 3 + (50.0,) * 3
AWAY = 20.0  # m


class Candidates(NamedTuple):
    """C estimates of each of T moments, as differences from one of them, in frames that turn with the robot's start.

    Rotation is in the reference's body, velocity in its heading, position in the frame of the start's heading.
    """

    reference: Navigation  #: (B, T) float64: the first, or where that has run away, the one nearest to all others
    difference: Tensor  #: (B, T, C, 9) candidate less reference, bounded
    covariance: Tensor  #: (B, T, C, 9, 9) in the same frames, bounded
    there: Tensor  #: (B, T, C) bool: whether the candidate is finite
    frame: Tensor  #: (B, T, 9, 9) turns these frames to those of `Navigation.covariance`


def candidates(each: Navigation, start: Tensor) -> Candidates:
    """Compare estimates.

    Args:
        each: Estimates with axes (B, T, C).
        start: Heading that positions are turned by, shape (B,), rad.
    """
    parts = (each.quaternion, each.velocity, each.position, each.covariance.flatten(-2))
    there = torch.stack([part.isfinite().all(-1) for part in parts]).all(0)
    nearest = _reference(each.position.nan_to_num(0.0, 0.0, 0.0), there)
    reference = Navigation(*(_take(part, nearest) for part in each))
    reference = reference._replace(covariance=reference.covariance.nan_to_num(0.0, 0.0, 0.0))
    frame = _frame(reference, start)
    wide = Navigation(*(part.unsqueeze(2) for part in reference))
    gap = torch.cat(
        [
            log(so3.product(so3.conjugate(wide.quaternion), each.quaternion)),
            each.velocity - wide.velocity,
            each.position - wide.position,
        ],
        -1,
    )
    back = frame.mT.unsqueeze(2)
    bound = gap.new_tensor(BOUND)
    gap = turn(back, torch.where(there[..., None], gap, 0.0)).clamp(-bound, bound)
    covariance = torch.where(there[..., None, None], each.covariance, torch.diag(bound.square()))
    covariance = back @ covariance @ back.mT
    deviation = covariance.diagonal(dim1=-2, dim2=-1).clamp_min(1e-12).sqrt()
    shrink = (bound / deviation).clamp_max(1.0)
    covariance = shrink[..., :, None] * covariance * shrink[..., None, :]
    return Candidates(reference, gap.float(), covariance.float(), there, frame.float())


def mix(found: Candidates, weights: Tensor, shift: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
    """Match the moments of a mixture, then shift its mean and reshape its covariance.

    Mean d = sum w_i d_i, covariance P = sum w_i (P_i + (d_i - d)(d_i - d)'), as an interacting multiple model mixes;
    then d + shift, and L F F' L' with P = L L'.

    Args:
        found: Candidates with any leading axes.
        weights: Shape (..., C), sum 1.
        shift: Shape (..., 9).
        factor: Lower triangular F, shape (..., 9, 9).

    Returns:
        Mean (..., 9) as difference from the reference, and the covariance's lower Cholesky factor (..., 9, 9), in the
        candidates' frames.

    Source: Blom and Bar-Shalom, The interacting multiple model algorithm, IEEE TAC 33, 1988, for the moments.
    """
    mean = (weights[..., None] * found.difference).sum(-2)
    off = found.difference - mean.unsqueeze(-2)
    spread = (weights[..., None, None] * (found.covariance + off[..., :, None] * off[..., None, :])).sum(-3)
    # Scaled to ones on the diagonal before the root: positions in metres beside angles of milliradians.
    size = spread.diagonal(dim1=-2, dim2=-1).clamp_min(1e-10).sqrt()
    unit = spread / size[..., :, None] / size[..., None, :]
    unit = unit + 1e-5 * torch.eye(SIZE, dtype=unit.dtype, device=unit.device)
    root = size[..., None] * torch.linalg.cholesky(unit)
    return mean + shift, root @ factor


def to_world(found: Candidates, mean: Tensor, root: Tensor) -> Navigation:
    """Return the estimate that lies `mean` (..., 9) from the reference, in world axes.

    The covariance's rotation stays in the body to first order in the angle between reference and estimate.
    """
    reference = found.reference
    gap = turn(found.frame, mean).to(reference.position)
    quaternion = so3.product(reference.quaternion, so3.exponential(gap[..., ROTATION]))
    turned = found.frame @ root
    return Navigation(
        quaternion / quaternion.norm(dim=-1, keepdim=True),
        reference.velocity + gap[..., VELOCITY],
        reference.position + gap[..., POSITION],
        turned @ turned.mT,
    )


def _reference(position: Tensor, there: Tensor) -> Tensor:
    """Which candidate (B, T) to count from: the first, unless it is `AWAY` from the one nearest to all others."""
    far = (position.unsqueeze(-2) - position.unsqueeze(-3)).norm(dim=-1).clamp_max(BOUND[-1])
    total = torch.where(there.unsqueeze(-2), far, 0.0).sum(-1)
    nearest = torch.where(there, total, torch.inf).argmin(-1)
    away = far[..., 0, :].gather(-1, nearest[..., None])[..., 0] > AWAY
    return torch.where(there[..., 0] & ~away, 0, nearest)


def _take(part: Tensor, which: Tensor) -> Tensor:
    """Of each moment one candidate: (B, T, C, ...) to (B, T, ...)."""
    index = which.view(*which.shape, *[1] * (part.ndim - 2)).expand(*which.shape, 1, *part.shape[3:])
    return part.gather(2, index).squeeze(2)


def _frame(reference: Navigation, start: Tensor) -> Tensor:
    """Block matrices (B, T, 9, 9): nothing for rotation, heading for velocity, the start's heading for position."""
    made = torch.zeros(*reference.yaw.shape, SIZE, SIZE, dtype=start.dtype, device=start.device)
    made[..., ROTATION, ROTATION] = torch.eye(3, dtype=start.dtype, device=start.device)
    made[..., VELOCITY, VELOCITY] = about_z(reference.yaw)
    made[..., POSITION, POSITION] = about_z(start)[:, None]
    return made
