"""Sums over samples that covariance and bias Jacobians of a preintegrated motion are made of.

A gyroscope's error e in one sample turns all that follows: seen from the first frame it is M e with
M = R J(theta) dt = R_mid S dt, where R_mid is the attitude half way through the sample and
S = sigma I + mu theta theta^T, sigma = sin(a/2) / (a/2), mu = (1 - sigma) / a^2. It moves the end velocity by -u x M e
and the end position by -s x M e, where u is the velocity and s the way still made after the sample. So both results
are sums of products of (1, u, s) with M, and rotation matrices are linear in q q^T.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mambats.preprocess.imu import so3


class Motion(NamedTuple):
    """Samples along the last axis."""

    dt: Tensor  #: (B, T) seconds
    arm: Tensor  #: (B, T) from the middle of the sample to the end, seconds
    angle: Tensor  #: (B, 3, T) rotation vectors of the samples
    turned: Tensor  #: (B, 3, T) the same in the first frame
    sigma: Tensor  #: (B, T)
    mu: Tensor  #: (B, T)
    middle: Tensor  #: (B, T) 1 / |q_before + q_after|^2: their sum points to the attitude half way
    before: Tensor  #: (B, 4, T) attitude before the sample
    outer: Tensor  #: (B, 16, T) its q q^T
    after: Tensor  #: (B, 4, T)
    far: Tensor  #: (B, 7, T): 1, velocity still gained, way still made beyond what the velocity makes
    velocity: Tensor  #: (B, 3) at the end
    position: Tensor  #: (B, 3) at the end


def trace_motion(rates: Tensor, forces: Tensor, dt: Tensor) -> Motion:
    """Integrate samples (B, 3, T), holding over dt (B, T), from rest at the origin.

    Source: Forster et al., TRO 2017, eq. 35.
    """
    angle = rates * dt[:, None]
    scale, cosine, mu = so3.half_turn(angle.square().sum(1))
    before, after = _attitudes(angle, scale, cosine)
    outer = (before[:, :, None] * before[:, None]).flatten(1, 2)
    frame = _frames(outer)
    turned, gain = (_apply(frame, vector) for vector in (angle, forces * dt[:, None]))
    speed, clock = gain.cumsum(-1), dt.cumsum(-1)
    path = ((speed - 0.5 * gain) * dt[:, None]).cumsum(-1)
    left = clock[:, -1:] - clock
    velocity, position = speed[..., -1], path[..., -1]
    way = position[..., None] - path - speed * left[:, None]
    far = torch.cat([torch.ones_like(dt)[:, None], velocity[..., None] - speed, way], 1)
    middle = 0.5 / (1 + cosine)
    ends = (after, far, velocity, position)
    return Motion(dt, left + 0.5 * dt, angle, turned, 2 * scale, mu, middle, before, outer, *ends)


def end_motion(rates: Tensor, forces: Tensor, dt: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return attitude (B, 4), velocity and position (B, 3) at the end, and nothing that errors need."""
    angle = rates * dt[:, None]
    scale, cosine, _ = so3.half_turn(angle.square().sum(1))
    before, after = _attitudes(angle, scale, cosine)
    gain = _apply(_frames((before[:, :, None] * before[:, None]).flatten(1, 2)), forces * dt[:, None])
    speed = gain.cumsum(-1)
    return after[..., -1], speed[..., -1], ((speed - 0.5 * gain) * dt[:, None]).sum(-1)


def _attitudes(angle: Tensor, scale: Tensor, cosine: Tensor) -> tuple[Tensor, Tensor]:
    """Return attitudes (B, 4, T) before and after each sample."""
    after = so3.running_product(torch.cat([scale[:, None] * angle, cosine[:, None]], 1))
    start = torch.tensor([0.0, 0.0, 0.0, 1.0]).to(after)[None, :, None].expand(after.shape[0], 4, 1)
    return torch.cat([start, after[..., :-1]], 2), after


def _frames(outer: Tensor) -> tuple[Tensor, ...]:
    """Return the columns, each (B, 3, T), of rotation matrices from q q^T (B, 16, T)."""
    return (so3.moments_to_matrix(outer).mT @ outer).unflatten(1, (3, 3)).unbind(2)


def _apply(columns: tuple[Tensor, ...], vector: Tensor) -> Tensor:
    """Return matrix times vector (B, 3, T) for every sample."""
    made = columns[0] * vector[:, None, 0]
    made = torch.addcmul(made, columns[1], vector[:, None, 1])
    return torch.addcmul(made, columns[2], vector[:, None, 2])


class Sums(NamedTuple):
    """What is left of the samples: one small matrix of each kind an interval."""

    end: Tensor  #: (B, 4) attitude
    gyro: Tensor  #: (B, 7, 32) far times q q^T, theta' theta^T and far
    along: Tensor  #: (B, 9, 9) covariance along the axes of turns
    held: Tensor  #: (B, 2, 16) q q^T over time and over its arm
    force: Tensor  #: (B, 3) moments of the arm


def sum_samples(motion: Motion) -> Sums:
    """Sum products over samples."""
    weight = torch.stack([motion.dt, motion.dt * motion.arm], 1)
    force = torch.stack([motion.dt.sum(-1), weight[:, 1].sum(-1), (weight[:, 1] * motion.arm).sum(-1)], -1)
    return Sums(motion.after[..., -1], _gyro_sums(motion), _along(motion), weight @ motion.outer.mT, force)


def uncertainty(sums: Sums, densities: tuple[float, float, float]) -> tuple[Tensor, Tensor]:
    """Return bias Jacobian (B, 9, 6) and covariance (B, 9, 9), rows rotation, velocity, position.

    Args:
        sums: Over the samples.
        densities: Of noise: angular rate, specific force, integration.
    """
    gyro, force, integration = densities
    end = so3.matrix(sums.end)
    outer, bent, spread = sums.gyro.split([16, 9, 7], -1)
    lever = so3.matrix_of_moments(outer) + bent.unflatten(-1, (3, 3))
    covariance = gyro**2 * (_isotropic(spread) + sums.along)
    covariance[:, 3:, 3:] += _force_covariance(sums.force, force, integration)
    held = so3.matrix_of_moments(sums.held)
    jacobian = torch.cat([
        torch.cat([-end.mT @ lever[:, 0], torch.zeros_like(end)], -1),
        torch.cat([_crossed(lever[:, 1:4]), -held[:, 0]], -1),
        torch.cat([_crossed(lever[:, 4:]), -held[:, 1]], -1),
    ], 1)  # fmt: skip
    back = torch.eye(9).to(end).repeat(end.shape[0], 1, 1)
    back[:, :3, :3] = end.mT
    return jacobian, back @ covariance @ back.mT


def _gyro_sums(motion: Motion) -> Tensor:
    """Return the sums of far times (q q^T, theta' theta^T: they make M) and of far far^T dt sigma^2, (B, 7, 32)."""
    dt, sigma = motion.dt[:, None], motion.sigma[:, None]
    double = motion.before + motion.after
    weighted = double * (dt * sigma * motion.middle[:, None])
    turns = (weighted[:, :, None] * double[:, None]).flatten(1, 2)  # (B, 16, T)
    bends = ((motion.turned * (dt * motion.mu[:, None]))[:, :, None] * motion.angle[:, None]).flatten(1, 2)
    return motion.far @ torch.cat([turns, bends, motion.far * (dt * sigma * sigma)], 1).mT


def _crossed(sums: Tensor) -> Tensor:
    """Return the sum of hat(u) M from the sums of u_i M, shape (B, 3, 3, 3)."""
    x, y, z = sums.unbind(1)
    return torch.stack([y[:, 2] - z[:, 1], z[:, 0] - x[:, 2], x[:, 1] - y[:, 0]], 1)


def _isotropic(spread: Tensor) -> Tensor:
    """Return the part of the gyroscope's covariance that is equal in all directions, (B, 9, 9)."""
    eye = torch.eye(3).to(spread)
    made = spread.new_zeros(spread.shape[0], 9, 9)
    made[:, :3, :3] = spread[:, :1, :1] * eye
    places = ((slice(3, 6), slice(1, 4)), (slice(6, 9), slice(4, 7)))
    for rows, a in places:
        made[:, rows, :3] = -so3.hat(spread[:, 0, a])
        made[:, :3, rows] = so3.hat(spread[:, 0, a])
        for others, b in places:
            block = spread[:, a, b]
            trace = block.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None]
            made[:, rows, others] = trace * eye - block.mT
    return made


def _along(motion: Motion) -> Tensor:
    """Return the part along the axis of each sample's turn, (B, 9, 9): small where samples turn little."""
    turned = motion.turned
    rows = [turned, so3.cross_rows(turned, motion.far[:, 1:4]), so3.cross_rows(turned, motion.far[:, 4:])]
    stacked = torch.cat(rows, 1)
    weight = motion.dt * motion.mu * (1 + motion.sigma)
    return (stacked * weight[:, None]) @ stacked.mT


def _force_covariance(moments: Tensor, force: float, integration: float) -> Tensor:
    """Return what noise of the accelerometer and of integration adds to velocity and position, (B, 6, 6)."""
    first, second, third = (moments * force**2).unbind(-1)
    third = third + integration**2 * moments[:, 0]
    low = torch.stack([first, second, second, third], -1).unflatten(-1, (2, 2))
    return (low[:, :, None, :, None] * torch.eye(3).to(low)[:, None, :]).reshape(-1, 6, 6)
