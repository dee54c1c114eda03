"""What an inertial unit on wheels is asked: how far did the robot go in two seconds, and how did it turn?"""

from __future__ import annotations

import torch

from mambats_datasets.synthetic.examples import Examples
from mambats_datasets.synthetic.imu import Imu
from mambats_datasets.synthetic.robot import SimulatedRobots
from mambats_datasets.synthetic.rolling_imu import RollingImu

WAY = ("ahead [m]", "to the left [m]", "turn [rad]")


def inertial_windows(
    count: int, generator: torch.Generator, *, duration: float = 2.0, imu: Imu | None = None
) -> Examples:
    """Two seconds of the inertial unit of a robot that is under way already; where it is then, seen from the beginning.

    The speed at the beginning is not told. The turn adds up from the gyroscope's samples; the way needs a speed, which
    the shaking of the wheels tells (`RollingImu`, taken where `imu` is None). Bias, scale, mount, wheel and floor are
    others in each drive.

    Inputs: samples (N, T, 6) float32 and stamps (N, T) int64 nanoseconds after the beginning.
    """
    robots = SimulatedRobots("robot", series=1, duration=duration + 0.1, sensors={"imu": imu or RollingImu()})
    drives = robots.batch(count, generator)
    reading = drives.readings["imu"]
    inside = reading.ticks.time[0] <= duration
    stamps = (reading.ticks.stamp[:, inside] * 1e9).round().long().clamp_min(1)
    times = torch.tensor([0.0, duration], dtype=torch.float64, device=generator.device).expand(count, 2)
    motion = drives.trajectory(times)
    ahead = motion.rotation[..., 0]  # the body's x axis in the world, (N, 2, 3)
    first, last = torch.atan2(ahead[..., 1], ahead[..., 0]).unbind(1)
    x, y, _ = (motion.position[:, 1] - motion.position[:, 0]).unbind(-1)
    turn = last - first
    way = (x * first.cos() + y * first.sin(), y * first.cos() - x * first.sin(), torch.atan2(turn.sin(), turn.cos()))
    return Examples((reading.values[:, inside].float(), stamps), torch.stack(way, -1).float(), WAY)
