"""Small tasks from the simulated worlds, each for one kind of raw input: what a feature extractor is judged by."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mambats_datasets.synthetic.motion import Motion
from mambats_datasets.synthetic.trajectory import Trajectory, random_trajectory
from mambats_datasets.synthetic.world import Camera, Layout, Lidar

APART = 0.3  # s between two sweeps or pictures: a robot at 1 m/s moves 0.3 m, and turns 0.06 rad (deviation)
LIDAR = Lidar(rings=8, columns=120, elevation=(-0.12, 0.08))
CAMERA = Camera(width=48, height=32)
EGO_MOTION = ("speed [m/s]", "yaw rate [rad/s]")


class Examples(NamedTuple):
    """N examples.

    Attributes:
        inputs: Tensors of N rows each.
        target: Shape (N, k), float32.
        names: Of the k targets, with units; numbers of one name are a vector's.
    """

    inputs: tuple[Tensor, ...]
    target: Tensor
    names: tuple[str, ...]


def sweep_pairs(count: int, generator: torch.Generator) -> Examples:
    """Two LiDAR sweeps of a robot, 0.3 s apart, in one table; the motion of the robot in between.

    Inputs: points (N, 1920, 5): x y z [m] in the LiDAR's frame at the time, intensity, and 0 or 1 for the sweep; NaN
    where nothing came back.
    """
    ego, times = _two_moments(count, generator)
    scene = Layout().draw(generator, ego)
    sweep = LIDAR.sweep(scene, ego, times, generator)
    which = torch.arange(2, device=times.device)[:, None].expand_as(sweep.intensity)
    points = torch.cat([sweep.points, sweep.intensity[..., None], which[..., None]], -1).float()
    points = points.masked_fill(~sweep.returned[..., None], torch.nan).flatten(1, 2)
    return Examples((points,), _ego_motion(ego(times)), EGO_MOTION)


def picture_pairs(count: int, generator: torch.Generator) -> Examples:
    """Two pictures of a robot's camera, 0.3 s apart; its motion in between. Inputs: (N, 6, 32, 48) uint8."""
    ego, times = _two_moments(count, generator)
    scene = Layout().draw(generator, ego)
    image = CAMERA.render(scene, ego, times, generator).image
    return Examples((image.movedim(-1, 2).flatten(1, 2),), _ego_motion(ego(times)), EGO_MOTION)


def _two_moments(count: int, generator: torch.Generator) -> tuple[Trajectory, Tensor]:
    """Draw robots' ways, and the times (N, 2) of a first and a second look."""
    ego = random_trajectory("robot", count, APART + 0.2, generator)
    times = torch.tensor([0.0, APART], dtype=torch.float64, device=generator.device)
    return ego, times.expand(count, 2)


def _ego_motion(motion: Motion) -> Tensor:
    """Return mean forward speed and yaw rate (N, 2) between two moments."""
    return torch.stack([motion.body_velocity[..., 0].mean(1), motion.angular_velocity[..., 2].mean(1)], -1).float()
