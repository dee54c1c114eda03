"""Wheeled bodies: speed along body x, and a heading that turns; the path is their integral."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from mambats_datasets.synthetic.attitude import Jet, attitude
from mambats_datasets.synthetic.motion import Motion, columns
from mambats_datasets.synthetic.path import Path
from mambats_datasets.synthetic.wave import Waves

MARGIN = 1.0  # s before and after, for sensors whose clocks are off and whose exposures begin early


@dataclass(frozen=True)
class Driving:
    """How a wheeled body moves.

    Args:
        speed: Mean speed, m/s.
        spread: Bound of the speed's distance from its mean, m/s; over `speed`, the body backs up at times.
        push: Bound of the acceleration along the body, m/s^2.
        turn: Mean yaw rate (its sign is drawn), rad/s: it closes the path into loops of radius speed / turn.
        swerve: Bound of the yaw rate's distance from it, rad/s.
        tilt: Bound of roll and of pitch, rad.
        band: Lowest and highest frequency of all changes, Hz.
    """

    speed: float
    spread: float
    push: float
    turn: float
    swerve: float
    tilt: float
    band: tuple[float, float] = (0.02, 0.5)


# A robot indoors, and a car that stays under 4 m/s^2 to the side. Chosen here, no data set's statistics.
ROBOT = Driving(speed=1.0, spread=0.9, push=0.6, turn=0.12, swerve=0.6, tilt=math.radians(2))
CAR = Driving(speed=12.0, spread=6.0, push=2.0, turn=0.06, swerve=0.15, tilt=math.radians(3))
SWELL = 0.05  # rad s, bound of pitch's integral: over a metre a second the ground rises and falls by about 0.05 m


@dataclass(frozen=True)
class Drive:
    """B drives: velocity lies along body x always (no slip to the side), roll and pitch follow the ground.

    Args:
        duration: Seconds.
        speed: Mean speed, m/s.
        heading: Yaw at time 0 and its mean rate, rad and rad/s, shape (2, B, 1).
        waves: Of speed, roll, pitch and yaw about their means.
        path: The integral of the velocity.
    """

    duration: float
    speed: float
    heading: Tensor
    waves: Waves
    path: Path

    @classmethod
    def random(cls, driving: Driving, batch: int, duration: float, generator: torch.Generator) -> Self:
        """Draw B of them, that start at the origin with any heading."""
        push, swerve = {0: driving.spread, 1: driving.push}, {1: driving.swerve}
        roll, pitch = {0: driving.tilt}, {-1: SWELL, 0: driving.tilt}
        waves = Waves.random(batch, driving.band, (push, roll, pitch, swerve), generator)
        draw = torch.rand((2, batch, 1), generator=generator, device=generator.device, dtype=torch.float64)
        heading = torch.stack([2 * math.pi * draw[0], driving.turn * (draw[1] - 0.5).sign()])

        def velocity(t: Tensor) -> Tensor:
            speed, _, down, yaw = waves(t)[0]
            return _ahead(driving.speed + speed, down, heading[0] + heading[1] * t + yaw)

        return cls(
            duration, driving.speed, heading, waves, Path.of(velocity, 0 * heading[0], (-MARGIN, duration + MARGIN))
        )

    @property
    def batch(self) -> int:
        """B."""
        return self.waves.frequency.shape[0]

    def __call__(self, t: Tensor) -> Motion:
        """The motion at times t (B, T) in seconds."""
        value, rate, bend = self.waves(t, (0, 1, 2))
        value[0] += self.speed
        value[3] += self.heading[0] + self.heading[1] * t
        rate[3] += self.heading[1]
        roll, pitch, yaw = (Jet(value[axis], rate[axis], bend[axis]) for axis in (1, 2, 3))
        posture = attitude(roll, pitch, yaw)
        velocity = _ahead(value[0], value[2], value[3])
        return Motion(self.path(t), velocity.movedim(0, -1), _push(value[0], rate[0], pitch, yaw), *posture)


def _ahead(speed: Tensor, pitch: Tensor, yaw: Tensor) -> Tensor:
    """Velocity (3, B, T) of a body that moves along its x axis."""
    flat = speed * pitch.cos()
    return torch.stack([flat * yaw.cos(), flat * yaw.sin(), -speed * pitch.sin()])


def _push(speed: Tensor, push: Tensor, pitch: Jet, yaw: Jet) -> Tensor:
    """Derivative of `_ahead`, shape (B, T, 3)."""
    (sp, cp), (sy, cy) = ((angle.value.sin(), angle.value.cos()) for angle in (pitch, yaw))
    flat = push * cp - speed * pitch.rate * sp
    side = speed * cp * yaw.rate
    return columns(flat * cy - side * sy, flat * sy + side * cy, -push * sp - speed * pitch.rate * cp)
