"""Smooth random trajectories of 6 degrees of freedom with exact derivatives: robots, cars, drones, held devices."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from mambats_datasets.synthetic.drive import CAR, ROBOT, Drive
from mambats_datasets.synthetic.flight import Flight
from mambats_datasets.synthetic.hand import Hand
from mambats_datasets.synthetic.motion import Motion
from mambats_datasets.synthetic.pause import Paused
from mambats_datasets.synthetic.tumble import Tumble

BLOCK = 16_384  # samples; of 1k to 128k about the fastest for IMUs of 8 and 64 x 2000 samples on one core
UPRIGHT = ("robot", "courier", "car", "drone")
KINDS = (*UPRIGHT, "hand", "tumble", "rest")


class Trajectory(Protocol):
    """B trajectories: call one with times (B, T) in seconds, -1 to `duration` + 1, for its motion.

    Velocity and acceleration are the derivatives of the position, angular velocity and acceleration those of the
    rotation, in closed form (position of wheeled bodies: by quadrature to 1e-12 m), at any time asked.
    """

    @property
    def batch(self) -> int:
        """B."""
        ...

    @property
    def duration(self) -> float:
        """Seconds for which it is defined, with a second before and after."""
        ...

    def __call__(self, t: Tensor) -> Motion:
        """The motion at times t (B, T), float64 seconds on the device of the trajectory."""
        ...


def random_trajectory(kind: str, batch: int, duration: float, generator: torch.Generator) -> Trajectory:
    """Draw trajectories; the generator's device is where they live.

    Args:
        kind: `robot` (wheels: velocity along body x, circles of some metres at 1 m/s, tilts under 3 degrees),
            `courier` (a robot that stands still for the first 3 s and for 2 to 6 s in every 20), `car` (12 m/s on
            hills), `drone` (attitude follows the thrust that its acceleration needs), `hand` (turns about all axes, as
            a held device), `tumble` (laid to rest in one attitude after the other) or `rest` (in one).
        batch: How many, B.
        duration: Seconds.
        generator: Source of all randomness.

    Raises:
        ValueError: If the kind is unknown, or batch or duration is not positive.
    """
    if batch < 1 or not duration > 0:
        raise ValueError(f"batch is {batch}, duration {duration} s: both must be positive.")
    match kind:
        case "robot":
            return Drive.random(ROBOT, batch, duration, generator)
        case "car":
            return Drive.random(CAR, batch, duration, generator)
        case "drone":
            return Flight.random(batch, duration, generator)
        case "courier":
            going = Drive.random(ROBOT, batch, duration, generator)
            return Paused.random(going, batch, duration, generator)
        case "hand":
            return Hand.random(batch, duration, generator)
        case "tumble":
            return Tumble.random(batch, duration, generator)
        case "rest":
            return Tumble.random(batch, duration, generator, hold=duration + 2)
        case _:
            raise ValueError(f"there is no trajectory {kind!r}, choose of {', '.join(KINDS)}.")


def in_blocks(trajectory: Trajectory, t: Tensor, look: Callable[[Motion], Tensor]) -> Tensor:
    """What `look` sees of the motion at times t (B, T): (B, T, C), on a CPU block by block.

    A hundred intermediates of one block stay in a core's cache; on a GPU all is one block.
    """
    size = t.shape[1] if t.is_cuda else max(1, BLOCK // t.shape[0])
    if t.shape[1] <= size:
        return look(trajectory(t))
    parts = [look(trajectory(part)).movedim(-1, 0) for part in t.split(size, 1)]
    return torch.cat(parts, -1).movedim(0, -1)


def uniform_times(batch: int, duration: float, rate: float, device: torch.device | str = "cpu") -> Tensor:
    """Times 0, 1/rate, 2/rate ... below `duration`, the same for each of B trajectories: (B, T) float64 seconds."""
    count = math.ceil(duration * rate - 1e-9)
    return (torch.arange(count, dtype=torch.float64, device=device) / rate).expand(batch, count)
