"""When two bodies meet if nobody acts, and how likely they do."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from mambats.decisions.footprint import Footprint
from mambats.decisions.region import FLOOR, normal_lattice, region_probability
from mambats.gaussian import Gaussian

#: Slower than this, m/s, nothing ever arrives.
_STANDSTILL = 1e-6


class Collision(NamedTuple):
    """What lies ahead with one other body.

    Args:
        time: Until the bodies touch if both go on as the mean says, shape (...), seconds: 0 where they touch now,
            infinity where they never do.
        probability: That they touch within the horizon, shape (...).
    """

    time: Tensor
    probability: Tensor


def time_to_collision(
    relative: Gaussian, footprint: Footprint, horizon: float, *, velocities: int = 377, nodes: int = 24
) -> Collision:
    """Return time to collision and the probability of one, velocities constant.

    Given the velocity, the relative positions that end in a collision are the footprint drawn along the way: the
    normal distribution of the position over this region is one closed and one Gauss-Legendre integral. Over the
    velocity a lattice of equally likely values is averaged. Differentiable.

    Args:
        relative: Of the other body against the robot: px, py, vx, vy in m and m/s, in the robot's axes; mean (..., 4)
            and covariance (..., 4, 4), positive semi-definite.
        footprint: `Discs` or `Boxes`, leading axes those of `relative`.
        horizon: Seconds ahead, above 0 and finite.
        velocities: Points of the lattice; the error falls as 1 / velocities (377: below 0.005, measured against
            sampling).
        nodes: Of the integral across the way.

    Raises:
        ValueError: If a shape is wrong, a number is not finite, the covariance is not symmetric or has a negative
            variance, or the horizon is out of range.

    Source: the two-dimensional form of the short-encounter collision probability of Akella and Alfriend, Probability
        of Collision Between Space Objects, 2000, with a finite horizon and uncertain velocity.
    """
    _check(relative, horizon)
    mean, covariance = relative.mean.double(), relative.covariance.double()
    time = _meet(mean[..., :2], mean[..., 2:], footprint)
    probability = _probability(Gaussian(mean, covariance), footprint, horizon, velocities, nodes)
    return Collision(time.to(relative.mean), probability.clamp(0, 1).to(relative.mean))


def _meet(position: Tensor, velocity: Tensor, footprint: Footprint) -> Tensor:
    """Return the first time >= 0 at which position (..., 2) moved along velocity enters the footprint."""
    direction, speed = _direction(velocity)
    along, across = _turn(position, direction)
    start, end = (edge[..., 0, 0] for edge in footprint.chord(direction[..., None, :], across[..., None, None]))
    inside = (start <= along) & (along <= end)
    enters = (start - along) / speed.clamp_min(_STANDSTILL)
    ahead = (start <= end) & (start >= along) & (speed > _STANDSTILL)
    return torch.where(inside, 0.0, torch.where(ahead, enters, math.inf))


def _probability(relative: Gaussian, footprint: Footprint, horizon: float, velocities: int, nodes: int) -> Tensor:
    """Average over velocities the probability that the position lies where they lead to a collision."""
    root = _root(relative.covariance)
    z = normal_lattice(velocities, relative.mean)
    velocity = relative.mean[..., None, 2:] + z @ root[..., :2, :2].mT
    position = relative.mean[..., None, :2] + z @ root[..., 2:, :2].mT
    rest = root[..., 2:, 2:] @ root[..., 2:, 2:].mT
    direction, speed = _direction(velocity)
    frame = torch.stack([direction, torch.stack([-direction[..., 1], direction[..., 0]], -1)], -2)
    mean = torch.stack(_turn(position, direction), -1)
    covariance = frame @ rest[..., None, :, :] @ frame.mT

    def edges(across: Tensor) -> tuple[Tensor, Tensor]:
        start, end = footprint.chord(direction, across)
        return torch.where(start <= end, start - (speed * horizon)[..., None], start), end

    return region_probability(mean, covariance, footprint.reach(direction), edges, nodes).mean(-1)


def _direction(velocity: Tensor) -> tuple[Tensor, Tensor]:
    """Return unit vectors (..., 2) and speeds (...); what stands still points along x."""
    ahead = torch.tensor([1.0, 0.0]).to(velocity)
    still = (velocity.square().sum(-1) <= _STANDSTILL**2)[..., None]
    moving = torch.where(still, ahead, velocity)
    length = moving.norm(dim=-1)
    return moving / length[..., None], torch.where(still[..., 0], 0.0, length)


def _turn(position: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Return position along the direction and to its left."""
    along = (position * direction).sum(-1)
    return along, direction[..., 0] * position[..., 1] - direction[..., 1] * position[..., 0]


def _root(covariance: Tensor) -> Tensor:
    """Return the Cholesky factor (..., 4, 4) with velocity before position; the singular is raised a little."""
    order = [2, 3, 0, 1]
    turned = covariance[..., order, :][..., order]
    largest = turned.diagonal(dim1=-2, dim2=-1).amax(-1)
    # float32 rounds a singular covariance by 1e-7 of its largest entry, to either side of zero.
    raised = (FLOOR + 1e-6 * largest)[..., None, None] * torch.eye(4).to(turned)
    return torch.linalg.cholesky(turned + raised)


def _check(relative: Gaussian, horizon: float) -> None:
    """Refuse what is no distribution of position and velocity."""
    mean, covariance = relative
    if mean.shape[-1:] != (4,) or covariance.shape != (*mean.shape, 4):
        raise ValueError(
            f"relative has mean {tuple(mean.shape)} and covariance {tuple(covariance.shape)}: need (..., 4) of "
            "px, py, vx, vy and (..., 4, 4)."
        )
    if not (math.isfinite(horizon) and horizon > 0):
        raise ValueError(f"horizon is {horizon} s: need a finite number above 0.")
    if not (torch.isfinite(mean).all() and torch.isfinite(covariance).all()):
        raise ValueError("relative holds a number that is not finite: leave such bodies out before.")
    scale = covariance.abs().amax((-2, -1), keepdim=True)
    if ((covariance - covariance.mT).abs() > 1e-4 * scale).any():
        raise ValueError("covariance is not symmetric: give (C + C') / 2 if rounding made it so.")
    if (torch.linalg.eigvalsh(covariance.double())[..., 0] < -1e-5 * scale[..., 0, 0]).any():
        raise ValueError("covariance has a negative variance: need a positive semi-definite matrix.")
