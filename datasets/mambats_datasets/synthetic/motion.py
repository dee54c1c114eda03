"""What a trajectory says of a moving body at given times, and what follows from it without approximation."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

GRAVITY = 9.80665  # m/s^2, standard gravity (3rd CGPM, 1901); world z is up


@dataclass(frozen=True)
class Motion:
    """State of a body in a world whose z is up, at times of shape (B, T); all float64.

    Axes lie in memory components first (a `(3, B, T)` block seen as (B, T, 3)): `unbind(-1)` gives dense tensors.

    Args:
        position: Of the body's origin in the world, shape (B, T, 3), m.
        velocity: Its derivative, in the world, m/s.
        acceleration: Its second derivative, in the world, m/s^2, without gravity.
        quaternion: Rotation that takes vectors of the body to the world, shape (B, T, 4), x y z w, of length 1.
        angular_velocity: Of the body in the world, expressed in the body, shape (B, T, 3), rad/s.
        angular_acceleration: Its derivative, expressed in the body, rad/s^2.
    """

    position: Tensor
    velocity: Tensor
    acceleration: Tensor
    quaternion: Tensor
    angular_velocity: Tensor
    angular_acceleration: Tensor

    @property
    def rotation(self) -> Tensor:
        """Matrices that take vectors of the body to the world, shape (B, T, 3, 3)."""
        x, y, z, w = self.quaternion.unbind(-1)
        rows = (
            (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
            (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
            (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
        )
        return torch.stack([torch.stack(row, -1) for row in rows], -2)

    @property
    def body_velocity(self) -> Tensor:
        """Velocity expressed in the body, shape (B, T, 3), m/s."""
        return unrotate(self.quaternion, self.velocity)

    def specific_force(self, lever: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Tensor:
        """What an ideal accelerometer measures, in the body, shape (B, T, 3), m/s^2: +9.80665 on z at rest.

        Args:
            lever: Where the accelerometer sits in the body, m; it feels the body's turning, a x r + w x (w x r).
        """
        x, y, z = self.acceleration.unbind(-1)
        force = unrotate(self.quaternion, columns(x, y, z + GRAVITY))
        if any(lever):
            arm = force.new_tensor(lever)
            force = force + cross(self.angular_acceleration, arm)
            force = force + cross(self.angular_velocity, cross(self.angular_velocity, arm))
        return force

    def at(self, lever: tuple[float, float, float]) -> Self:
        """The motion of another point of the same rigid body, at `lever` in the body, m."""
        arm = self.position.new_tensor(lever)
        swing = cross(self.angular_velocity, arm)
        pull = cross(self.angular_acceleration, arm) + cross(self.angular_velocity, swing)
        return replace(
            self,
            position=self.position + rotate(self.quaternion, arm.expand_as(self.position)),
            velocity=self.velocity + rotate(self.quaternion, swing),
            acceleration=self.acceleration + rotate(self.quaternion, pull),
        )

    def to(self, device: torch.device | str) -> Self:
        """Return the same motion on another device."""
        return replace(self, **{f.name: getattr(self, f.name).to(device) for f in fields(self)})


def columns(*parts: Tensor) -> Tensor:
    """Lay components of shape (B, T) beside one another: (B, T, n), in memory one behind the other."""
    return torch.stack(parts).movedim(0, -1)


def cross(a: Tensor, b: Tensor) -> Tensor:
    """Vector product over the last axis, components first in memory."""
    (ax, ay, az), (bx, by, bz) = a.unbind(-1), b.unbind(-1)
    return columns(ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx)


def rotate(quaternion: Tensor, vector: Tensor) -> Tensor:
    """Turn vectors of the body (B, T, 3) into the world: v + 2 u x (u x v + w v) with q = (u, w)."""
    turn = quaternion[..., :3]
    inner = cross(turn, vector) + quaternion[..., 3:] * vector
    return vector + 2 * cross(turn, inner)


def unrotate(quaternion: Tensor, vector: Tensor) -> Tensor:
    """Turn vectors of the world (B, T, 3) into the body: the inverse of `rotate`."""
    turn = quaternion[..., :3]
    inner = cross(turn, vector) - quaternion[..., 3:] * vector
    return vector + 2 * cross(turn, inner)


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """Quaternion (..., 4) of turning by `inner` first, then by `outer`: the Hamilton product, scalar last."""
    (ax, ay, az, aw), (bx, by, bz, bw) = outer.unbind(-1), inner.unbind(-1)
    x = aw * bx + ax * bw + ay * bz - az * by
    y = aw * by + ay * bw + az * bx - ax * bz
    z = aw * bz + az * bw + ax * by - ay * bx
    return columns(x, y, z, aw * bw - ax * bx - ay * by - az * bz)
