"""Where a body is seen after a time, while it and the sensor drive along arcs: differentiable, and any horizon."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mambats.gaussian import Gaussian
from mambats.track.detector import turns
from mambats.track.forecast.features import left_of


class Course(NamedTuple):
    """What is assumed of the next seconds; all of shape (...) or (..., 2), in the sensor's axes now.

    Args:
        place: Of the body, metres.
        velocity: As it seems, m/s.
        own: Velocity of the sensor, m/s.
        turn: Of the sensor, rad/s.
        bend: Turn rate of the body, rad/s.
        push: Acceleration of the body along its way over ground, m/s^2.
        thrust: Acceleration of the sensor along its own way, m/s^2.
    """

    place: Tensor
    velocity: Tensor
    own: Tensor
    turn: Tensor
    bend: Tensor
    push: Tensor
    thrust: Tensor

    def after(self, time: Tensor) -> Tensor:
        """Return where the sensor sees the body after times (H,), shape (..., H, 2).

        Without turns and accelerations it is place + velocity time: constant velocity.
        """
        world = self.velocity + self.turn[..., None] * left_of(self.place)  # in axes that do not turn
        body = _arc(world + self.own, self.bend, self.push, time)
        sensor = _arc(self.own, self.turn, self.thrust, time)
        away = self.place[..., None, :] + body - sensor
        return (turns(-self.turn[..., None] * time) @ away[..., None])[..., 0]


def _arc(velocity: Tensor, turn: Tensor, push: Tensor, time: Tensor) -> Tensor:
    """Ways (..., H, 2) of what turns and speeds up evenly."""
    angle = turn[..., None] * time
    ahead = velocity[..., None, :] * time[:, None]
    way = ahead * _sinc(angle)[..., None] + left_of(ahead) * _versine(angle)[..., None]
    unit = velocity / (1 + velocity.square().sum(-1, keepdim=True)).sqrt()
    half = angle / 2
    more = (push[..., None] * time.square() / 2)[..., None] * unit[..., None, :]
    return way + more * half.cos()[..., None] + left_of(more) * half.sin()[..., None]


def _sinc(angle: Tensor) -> Tensor:
    return torch.sinc(angle / torch.pi)


def _versine(angle: Tensor) -> Tensor:
    """(1 - cos a) / a."""
    return torch.sinc(angle / 2 / torch.pi).square() * angle / 2


def spread_after(covariance: Tensor, time: Tensor, density: Tensor) -> Tensor:
    """Return covariances (..., H, 2, 2) of the place after times (H,) of constant velocity under white acceleration.

    Args:
        covariance: Of x, y, vx and vy, shape (..., 4, 4).
        time: Seconds, shape (H,).
        density: Of the acceleration, m/s^1.5, shape (...).
    """
    place, cross, speed = covariance[..., :2, :2], covariance[..., :2, 2:], covariance[..., 2:, 2:]
    t = time[:, None, None]
    made = place[..., None, :, :] + t * (cross + cross.mT)[..., None, :, :] + t.square() * speed[..., None, :, :]
    walk = density.square()[..., None] * time.pow(3) / 3
    return made + walk[..., None, None] * torch.eye(2, dtype=made.dtype, device=made.device)


def straight(mean: Tensor, covariance: Tensor, time: Tensor, density: Tensor) -> Gaussian:
    """Return places at constant velocity: means (..., H, 2) of states (..., 10), covariances (..., H, 2, 2)."""
    place = mean[..., None, :2] + time[:, None] * mean[..., None, 7:9]
    return Gaussian(place, spread_after(covariance, time, density))
