"""Several estimates of one motion made one: weights from a network, moments matched, covariance kept honest."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mambats.odometry.navigation import POSITION, ROTATION, SIZE, VELOCITY, Navigation, about_z, turn
from mambats.preprocess.imu import so3

#: Bounds of what a candidate may be off from the others, and claim to be unsure by: rad, m/s, m. One that runs away
#: must not swamp the sums of the others.
BOUND = (3.2,) * 3 + (30.0,) * 3 + (100.0,) * 3


class Candidates(NamedTuple):
    """C estimates of each of T moments, as differences from one of them, in axes that turn with the robot.

    Rotation is in the body; velocity is that along the body's own axes, R'v, which sensors measure and which does not
    care where the body is heading; position is turned by the heading at the start.
    """

    reference: Navigation  #: (B, T) float64: the candidate that the others are counted from
    difference: Tensor  #: (B, T, C, 9) candidate less reference, bounded
    covariance: Tensor  #: (B, T, C, 9, 9) in the same axes, bounded
    there: Tensor  #: (B, T, C) bool: whether the candidate is finite
    start: Tensor  #: (B, 1, 3, 3) float64 turns positions to the world


def candidates(each: Navigation, start: Tensor, anchor: Tensor) -> Candidates:
    """Compare estimates.

    Args:
        each: Estimates with axes (B, T, C).
        start: Heading that positions are turned by, shape (B,), rad.
        anchor: Which candidate to count from, shape (B, T), see `mambats.odometry.anchor`.
    """
    parts = (each.quaternion, each.velocity, each.position, each.covariance.flatten(-2))
    there = torch.stack([part.isfinite().all(-1) for part in parts]).all(0)
    # One that is no number is counted from the first that is one; if none is, nothing is known and zeros stand for it.
    anchor = torch.where(there.gather(-1, anchor[..., None])[..., 0], anchor, there.int().argmax(-1))
    reference = Navigation(*(_take(part, anchor).nan_to_num(0.0, 0.0, 0.0) for part in each))
    frame = about_z(start)[:, None]
    bound = each.position.new_tensor(BOUND)
    gap = difference(Navigation(*(part.unsqueeze(2) for part in reference)), each, frame[:, None])
    gap = torch.where(there[..., None], gap, 0.0).clamp(-bound, bound)
    inward = _inward(each, frame[:, None])
    covariance = inward @ each.covariance @ inward.mT
    covariance = torch.where(there[..., None, None], covariance, torch.diag(bound.square()))
    deviation = covariance.diagonal(dim1=-2, dim2=-1).clamp_min(1e-12).sqrt()
    shrink = (bound / deviation).clamp_max(1.0)
    covariance = shrink[..., :, None] * covariance * shrink[..., None, :]
    return Candidates(reference, gap.float(), covariance.float(), there, frame)


def difference(reference: Navigation, other: Navigation, frame: Tensor) -> Tensor:
    """Return other less reference, (..., 9), in the axes of `Candidates`; `frame` turns positions to the world."""
    return torch.cat(
        [
            so3.logarithm(so3.product(so3.conjugate(reference.quaternion), other.quaternion)),
            _in_body(other) - _in_body(reference),
            turn(frame.mT, other.position - reference.position),
        ],
        -1,
    )


def mix(found: Candidates, weights: Tensor, shift: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
    """Match the moments of a mixture, then shift its mean and reshape its covariance.

    Mean d = sum W_i d_i, covariance P = sum W_i^1/2 (P_i + (d_i - d)(d_i - d)') W_i^1/2, with W_i diagonal: one weight
    each for rotation, velocity and position. Where the three are the same, that is what an interacting multiple model
    mixes; P is positive definite in any case. Then d + shift, and L F F' L' with P = L L'.

    Args:
        found: Candidates with any leading axes.
        weights: Of rotation, velocity and position, shape (..., 3, C), each with sum 1.
        shift: Shape (..., 9).
        factor: Lower triangular F, shape (..., 9, 9).

    Returns:
        Mean (..., 9) as difference from the reference, and the covariance's lower Cholesky factor (..., 9, 9), in the
        candidates' frames.

    Source: Blom and Bar-Shalom, The interacting multiple model algorithm, IEEE TAC 33, 1988, for the moments.
    """
    each = weights.repeat_interleave(SIZE // weights.shape[-2], -2).mT
    mean = (each * found.difference).sum(-2)
    off = found.difference - mean.unsqueeze(-2)
    # Not below 1e-12: the root of a candidate that is not there has no finite gradient.
    share = each.clamp_min(1e-12).sqrt()
    moments = found.covariance + off[..., :, None] * off[..., None, :]
    spread = (share[..., :, None] * moments * share[..., None, :]).sum(-3)
    # Scaled to ones on the diagonal before the root: positions in metres beside angles of milliradians.
    size = spread.diagonal(dim1=-2, dim2=-1).clamp_min(1e-10).sqrt()
    unit = spread / size[..., :, None] / size[..., None, :]
    unit = unit + 1e-4 * torch.eye(SIZE, dtype=unit.dtype, device=unit.device)
    root = size[..., None] * torch.linalg.cholesky(unit)
    return mean + shift, root @ factor


def to_world(found: Candidates, mean: Tensor, root: Tensor) -> Navigation:
    """Return the estimate that lies `mean` (..., 9) from the reference, with its covariance, in world axes."""
    reference, mean = found.reference, mean.to(found.reference.position)
    quaternion = so3.product(reference.quaternion, so3.exponential(mean[..., ROTATION]))
    quaternion = quaternion / quaternion.norm(dim=-1, keepdim=True)
    inside = _in_body(reference) + mean[..., VELOCITY]
    rotation = so3.matrix(quaternion)
    outward = torch.zeros_like(root, dtype=mean.dtype)
    outward[..., ROTATION, ROTATION] = torch.eye(3, dtype=mean.dtype, device=mean.device)
    outward[..., VELOCITY, ROTATION] = -rotation @ so3.hat(inside)
    outward[..., VELOCITY, VELOCITY] = rotation
    outward[..., POSITION, POSITION] = found.start
    turned = outward @ root.to(mean)
    return Navigation(
        quaternion,
        turn(rotation, inside),
        reference.position + turn(found.start, mean[..., POSITION]),
        turned @ turned.mT,
    )


def _in_body(one: Navigation) -> Tensor:
    """Velocity along the body's axes, (..., 3)."""
    return turn(so3.matrix(one.quaternion).mT, one.velocity)


def _inward(one: Navigation, frame: Tensor) -> Tensor:
    """Matrices (..., 9, 9) from errors as `Navigation.covariance` has them to errors in the axes of `Candidates`.

    With a rotation error e on the right, (R Exp(e))'v = R'v + [R'v] e to first order.
    """
    rotation = so3.matrix(one.quaternion)
    made = torch.zeros_like(one.covariance)
    made[..., ROTATION, ROTATION] = torch.eye(3, dtype=made.dtype, device=made.device)
    made[..., VELOCITY, ROTATION] = so3.hat(_in_body(one))
    made[..., VELOCITY, VELOCITY] = rotation.mT
    made[..., POSITION, POSITION] = frame.mT
    return made


def _take(part: Tensor, which: Tensor) -> Tensor:
    """Of each moment one candidate: (B, T, C, ...) to (B, T, ...)."""
    index = which.view(*which.shape, *[1] * (part.ndim - 2)).expand(*which.shape, 1, *part.shape[3:])
    return part.gather(2, index).squeeze(2)
