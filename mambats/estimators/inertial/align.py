"""Where a real robot starts: attitude from gravity at rest, heading from two fixes under way."""

from __future__ import annotations

import torch
from torch import Tensor

from mambats.estimators.inertial.state import needs_floats
from mambats.preprocess.imu import so3


def level(force: Tensor, heading: Tensor) -> Tensor:
    """Return the attitude of which resting (or evenly moving) bodies read this specific force.

    Args:
        force: Mean of the accelerometers over a second or more, shape (B, 3), m/s^2.
        heading: Of the body's x axis, counter-clockwise from the world's x, shape (B,), rad.

    Returns:
        Quaternion (B, 4), body to world.

    Raises:
        ValueError: If shapes differ, or a force is shorter than half of gravity: then the sensor is not at rest, or
            its unit is not m/s^2.
    """
    needs_floats("force", force, (len(force), 3))
    needs_floats("heading", heading, (len(force),))
    if not bool((force.norm(dim=-1) > 4.9).all()):
        raise ValueError(
            f"force is {force.norm(dim=-1).min().item():.3g} m/s^2 long: need about 9.8, of a body at rest, in m/s^2."
        )
    x, y, z = force.unbind(-1)
    roll, pitch = torch.atan2(y, z), torch.atan2(-x, (y.square() + z.square()).sqrt())
    zero = torch.zeros_like(x)
    turns = (torch.stack([roll, zero, zero], -1), torch.stack([zero, pitch, zero], -1))
    about_x, about_y = (so3.exponential(turn) for turn in turns)
    about_z = so3.exponential(torch.stack([zero, zero, heading], -1))
    return so3.product(about_z, so3.product(about_y, about_x))


def resting(readings: Tensor, heading: Tensor) -> tuple[Tensor, Tensor]:
    """Return attitude (B, 4) and bias (B, 6) of bodies at rest, whose gyroscopes read their bias and nothing else.

    Args:
        readings: Shape (B, T, 6), a second or more.
        heading: Shape (B,), rad.
    """
    mean = readings.mean(1)
    return level(mean[:, 3:], heading), torch.cat([mean[:, :3], torch.zeros_like(mean[:, 3:])], -1)


def driving(force: Tensor, first: Tensor, second: Tensor, elapsed: Tensor) -> tuple[Tensor, Tensor]:
    """Return attitude (B, 4) and velocity (B, 3) of bodies that drive along their x axis from one fix to the next.

    Args:
        force: Mean of the accelerometers meanwhile, shape (B, 3), m/s^2; at even speed.
        first: Position, shape (B, 3), m.
        second: Position later, shape (B, 3), m.
        elapsed: Seconds between them, shape (B,).

    Raises:
        ValueError: If a body moved less than a metre: its course says nothing of its heading.
    """
    way = second - first
    if not bool((way[:, :2].norm(dim=-1) > 1.0).all()):
        raise ValueError(
            f"the fixes are {way[:, :2].norm(dim=-1).min().item():.3g} m apart: need more than 1 m of drive for a "
            "heading; wait for the next fix, or give the heading to `level`."
        )
    heading = torch.atan2(way[:, 1], way[:, 0])
    return level(force, heading), way / elapsed[:, None]
