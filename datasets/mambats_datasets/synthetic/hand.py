"""A device held in the hand: moves within an arm's reach and turns about all axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from mambats_datasets.synthetic.attitude import Jet, attitude
from mambats_datasets.synthetic.motion import Motion
from mambats_datasets.synthetic.wave import Waves

PLACE = ({0: 0.6, 2: 4.0}, {0: 0.6, 2: 4.0}, {0: 0.4, 2: 3.0})  # m and m/s^2 of each axis: brisk, within arm's reach
TURN = ({1: 2.0}, {0: 1.2, 1: 1.5}, {1: 2.5})  # rad and rad/s of roll, pitch and yaw; pitch stays away from 90 degrees
BAND = (0.1, 2.0)  # Hz
HEIGHT = 1.2  # m


@dataclass(frozen=True)
class Hand:
    """Position and roll, pitch, yaw are each a sum of sinusoids: closed forms throughout.

    Args:
        duration: Seconds.
        place: Waves of the three coordinates.
        turn: Waves of roll, pitch and yaw.
    """

    duration: float
    place: Waves
    turn: Waves

    @classmethod
    def random(cls, batch: int, duration: float, generator: torch.Generator) -> Self:
        """Draw B of them."""
        place = Waves.random(batch, BAND, PLACE, generator)
        turn = Waves.random(batch, BAND, TURN, generator)
        return cls(duration, place, turn)

    @property
    def batch(self) -> int:
        """B."""
        return self.place.frequency.shape[0]

    def __call__(self, t: Tensor) -> Motion:
        """The motion at times t (B, T) in seconds."""
        position, velocity, acceleration = (part.movedim(0, -1) for part in self.place(t, (0, 1, 2)))
        angles = self.turn(t, (0, 1, 2))
        roll, pitch, yaw = (Jet(*(order[axis] for order in angles)) for axis in range(3))
        position = position + position.new_tensor((0.0, 0.0, HEIGHT))
        return Motion(position, velocity, acceleration, *attitude(roll, pitch, yaw))
