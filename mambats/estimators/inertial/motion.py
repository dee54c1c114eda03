"""How an inertial state moves: by what the inertial unit read between two moments."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from mambats.estimators.inertial.state import BIAS, EXTRA, POSITION, ROTATION, VELOCITY, NavigationState, settled
from mambats.preprocess.imu import Preintegrated, Preintegration, so3

#: Covariance of unit gyroscope noise alone: densities come in later, so that they can be learned.
_SUMS = Preintegration(gyro_noise=1.0, accelerometer_noise=0.0)


#: Factor on the noise of readings that were not measured but guessed, by interpolation say: on a car that lost 1.5 s of
#: them the specific force is off by 0.5 m/s^2/sqrt(Hz), where a sensor has 0.01 to 0.05.
_GUESSED = 30.0


class Interval(NamedTuple):
    """What the inertial unit said between two moments."""

    motion: Preintegrated  #: at some bias; its covariance is that of a gyroscope of density 1 and nothing else
    moments: Tensor  #: (B, 3) integrals over time of 1, of the time left and of its square
    reading: Tensor  #: (B, 6) at the end
    guessed: Tensor  #: (B,) share of the time for which the readings were guesses, not measured


def sum_readings(readings: Tensor, dt: Tensor, bias: Tensor, last: Tensor, guessed: Tensor | None = None) -> Interval:
    """Preintegrate readings that each hold for a while.

    Args:
        readings: Angular rate and specific force, shape (B, T, 6).
        dt: How long each holds, shape (B, T), seconds >= 0.
        bias: To take off, shape (B, 6); `carry` puts the result right to first order where the state's differs.
        last: Reading at the end, shape (B, 6).
        guessed: Which readings are guesses, shape (B, T) bool, or None where all were measured.
    """
    motion = _SUMS(readings[..., :3].contiguous(), readings[..., 3:].contiguous(), dt, bias)
    arm = dt.sum(-1, keepdim=True) - dt.cumsum(-1) + 0.5 * dt
    moments = torch.stack([dt.sum(-1), (dt * arm).sum(-1), (dt * (arm.square() + dt.square() / 12)).sum(-1)], -1)
    share = torch.zeros_like(dt[:, 0]) if guessed is None else (dt * guessed).sum(-1) / motion.duration.clamp_min(1e-9)
    return Interval(motion, moments, last, share)


def carry(
    state: NavigationState, interval: Interval, densities: Tensor, gravity: float
) -> tuple[NavigationState, Tensor]:
    """Move the first 15 numbers of a state over an interval; extras and their covariances only follow along.

    Returns the state and d error at the end / d error at the start, (B, n, n).

    Args:
        state: At the interval's start.
        interval: What was read.
        densities: Variances a second, (B, 4): gyroscope (rad/s)^2/Hz, accelerometer, and the walks of their biases.
        gravity: m/s^2.
    """
    motion = interval.motion.corrected(state.bias)
    densities = densities * (1 + (_GUESSED**2 - 1) * interval.guessed[:, None])
    quaternion, velocity, position = motion.predict(state.quaternion, state.velocity, state.position, gravity)
    turn = so3.matrix(state.quaternion)
    change = transition(turn, motion, state.covariance.shape[-1])
    noise = _noise(turn, interval, motion, densities, state.covariance)
    covariance = change @ state.covariance @ change.mT + noise
    moved = state._replace(
        quaternion=quaternion / quaternion.norm(dim=-1, keepdim=True),
        velocity=velocity,
        position=position,
        covariance=settled(covariance),
        reading=interval.reading,
    )
    return moved, change


def transition(turn: Tensor, motion: Preintegrated, size: int) -> Tensor:
    """Return d error at the end / d error at the start, (B, n, n), extras unchanged.

    Args:
        turn: Attitude at the start as a matrix, (B, 3, 3).
        motion: At the state's bias.
        size: Numbers of the error, n.

    Source: Forster et al., TRO 2017, eq. 33 with errors on the right, differentiated.
    """
    made = torch.eye(size, dtype=turn.dtype, device=turn.device).repeat(len(turn), 1, 1)
    rotation, velocity, position = motion.jacobian.split(3, 1)
    made[:, ROTATION, ROTATION] = so3.matrix(motion.quaternion).mT
    made[:, ROTATION, BIAS] = rotation
    made[:, VELOCITY, ROTATION] = -turn @ so3.hat(motion.velocity)
    made[:, VELOCITY, BIAS] = turn @ velocity
    made[:, POSITION, ROTATION] = -turn @ so3.hat(motion.position)
    made[:, POSITION, BIAS] = turn @ position
    made[:, POSITION, VELOCITY] = torch.diag_embed(motion.duration[:, None].expand(-1, 3))
    return made


def _noise(turn: Tensor, interval: Interval, motion: Preintegrated, densities: Tensor, like: Tensor) -> Tensor:
    """Return what noise adds over an interval, (B, n, n)."""
    gyro, force = densities[:, :2, None, None].unbind(1)
    made = torch.zeros_like(like)
    place = torch.eye(9, dtype=turn.dtype, device=turn.device).repeat(len(turn), 1, 1)
    place[:, VELOCITY, VELOCITY] = place[:, POSITION, POSITION] = turn
    eye = torch.eye(3, dtype=turn.dtype, device=turn.device)
    first, second, third = interval.moments[:, :, None, None].unbind(1)
    made[:, :9, :9] = place @ (gyro * motion.covariance) @ place.mT
    made[:, VELOCITY, VELOCITY] += force * first * eye
    made[:, VELOCITY, POSITION] += force * second * eye
    made[:, POSITION, VELOCITY] += force * second * eye
    made[:, POSITION, POSITION] += force * third * eye
    _walk(made, place @ motion.jacobian, densities[:, 2:].repeat_interleave(3, 1) * first[..., 0])
    return made


@lru_cache(maxsize=8)
def _powers(dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor([1.0] * 6 + [2.0] * 3, dtype=dtype, device=device)


def _walk(made: Tensor, jacobian: Tensor, gained: Tensor) -> None:
    """Add what the biases walk within the interval, variances gained (B, 6), and what that moves already.

    The Jacobian grows as time to the power of 1 (rotation, velocity) or 2 (position), so the integral of two that grow
    as i and j is their product at the end over i + j + 1.
    """
    power = _powers(jacobian.dtype, jacobian.device)
    moved = jacobian * gained[:, None]
    made[:, :9, :9] += moved @ jacobian.mT / (power[:, None] + power + 1)
    moved = moved / (power[:, None] + 1)
    made[:, :9, BIAS] = moved
    made[:, BIAS, :9] = moved.mT
    made[:, BIAS, BIAS] = torch.diag_embed(gained)


def wander(
    state: NavigationState, elapsed: Tensor, place: slice, level: Tensor, seconds: float
) -> tuple[NavigationState, Tensor]:
    """Let a slow error (Gauss-Markov) decay and be renewed; return the factors on the error, (B, n), too.

    Args:
        state: Behind `carry` over the same time.
        elapsed: Seconds, (B,).
        place: Of the error within the extras.
        level: Covariance that it settles at, (B, 3, 3).
        seconds: Its correlation time.
    """
    shrink = torch.exp(-elapsed / seconds)
    scale = torch.ones_like(state.covariance[:, 0])
    inside = slice(EXTRA + place.start, EXTRA + place.stop)
    scale[:, inside] = shrink[:, None]
    covariance = scale[:, :, None] * state.covariance * scale[:, None, :]
    covariance[:, inside, inside] += (1 - shrink.square())[:, None, None] * level
    return state._replace(extra=state.extra * scale[:, EXTRA:], covariance=covariance), scale
