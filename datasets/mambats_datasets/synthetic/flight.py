"""A multirotor: its attitude follows the thrust that its path needs (differential flatness)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from mambats_datasets.synthetic.attitude import Attitude, Jet, atan2_jet, attitude, hypot_jet
from mambats_datasets.synthetic.motion import GRAVITY, Motion
from mambats_datasets.synthetic.wave import Waves

PLACE = ({2: 4.0}, {2: 4.0}, {2: 2.0})  # m/s^2: thrust never falls under 7.8 m/s^2 nor tilts by over 36 degrees
HEADING = ({1: 0.8},)  # rad/s
BAND = (0.04, 0.7)  # Hz
CLEARANCE = 1.0  # m over the ground at the lowest


@dataclass(frozen=True)
class Flight:
    """Position is a sum of sinusoids, yaw another; roll and pitch point body z along acceleration plus gravity.

    Without drag a multirotor's accelerometer reads thrust alone: (0, 0, f). The lowest height is over 1 m.

    Args:
        duration: Seconds.
        place: Waves of the three coordinates.
        heading: Waves of the yaw.

    Source: Mellinger and Kumar, Minimum snap trajectory generation and control for quadrotors, ICRA 2011, section III.
    """

    duration: float
    place: Waves
    heading: Waves

    @classmethod
    def random(cls, batch: int, duration: float, generator: torch.Generator) -> Self:
        """Draw B of them."""
        place = Waves.random(batch, BAND, PLACE, generator)
        return cls(duration, place, Waves.random(batch, BAND, HEADING, generator))

    @property
    def batch(self) -> int:
        """B."""
        return self.place.frequency.shape[0]

    def __call__(self, t: Tensor) -> Motion:
        """The motion at times t (B, T) in seconds."""
        place, velocity, *thrust = self.place(t, (0, 1, 2, 3, 4))
        yaw = Jet(*(part[0] for part in self.heading(t, (0, 1, 2))))
        place[2] += self.place.bound()[:, 2, None] + CLEARANCE
        posture = _point(thrust, yaw)
        return Motion(place.movedim(0, -1), velocity.movedim(0, -1), thrust[0].movedim(0, -1), *posture)


def _point(thrust: list[Tensor], yaw: Jet) -> Attitude:
    """Attitude whose z lies along acceleration plus gravity; `thrust` is acceleration, jerk and snap, (3, B, T)."""
    pull, jerk, snap = thrust
    cos, sin = yaw.value.cos(), yaw.value.sin()
    ahead, left = cos * pull[0] + sin * pull[1], cos * pull[1] - sin * pull[0]
    ahead_jerk, left_jerk = cos * jerk[0] + sin * jerk[1], cos * jerk[1] - sin * jerk[0]
    ahead_snap, left_snap = cos * snap[0] + sin * snap[1], cos * snap[1] - sin * snap[0]
    ahead_rate, left_rate = ahead_jerk + yaw.rate * left, left_jerk - yaw.rate * ahead
    ahead_bend = ahead_snap + yaw.rate * (left_jerk + left_rate) + yaw.bend * left
    left_bend = left_snap - yaw.rate * (ahead_jerk + ahead_rate) - yaw.bend * ahead
    x, y = Jet(ahead, ahead_rate, ahead_bend), Jet(-left, -left_rate, -left_bend)
    z = Jet(pull[2] + GRAVITY, jerk[2], snap[2])
    return attitude(atan2_jet(y, hypot_jet(x, z)), atan2_jet(x, z), yaw)
