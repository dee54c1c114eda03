"""Small tasks from the simulated worlds, each for one kind of raw input: what a feature extractor is judged by."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mambats.preprocess.imu.so3 import logarithm
from mambats_datasets.synthetic.motion import GRAVITY, Motion, compose, unrotate
from mambats_datasets.synthetic.robot import SimulatedRobots
from mambats_datasets.synthetic.trajectory import Trajectory, random_trajectory
from mambats_datasets.synthetic.world import Camera, Detections, Detector, Layout, Lidar, StreetWorlds
from mambats_datasets.synthetic.world.kinds import LABELS

APART = 0.3  # s between two sweeps or pictures: a robot at 1 m/s moves 0.3 m, and turns 0.06 rad (deviation)
LIDAR = Lidar(rings=8, columns=120, elevation=(-0.12, 0.08))
CAMERA = Camera(width=48, height=32)
LOOKS = 8  # numbers of an appearance vector
NEAR, SOON = 20.0, 1.0  # m, s
EGO_MOTION = ("speed [m/s]", "yaw rate [rad/s]")
COLUMNS = ("x", "y", "z", "l", "w", "h", "yaw", "vx", "vy", "vz", "score", "class")


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


def inertial_windows(
    count: int, generator: torch.Generator, *, kind: str = "hand", duration: float = 2.0, imu: str = "consumer"
) -> Examples:
    """Two seconds of a held device's IMU; how it turned, what velocity it gained and how far it moved by that.

    All as seen from where it began, and without gravity taken off, as preintegration has it: what an IMU can know.
    Inputs: samples (N, T, 6) float32 and stamps (N, T) int64 nanoseconds after the beginning.
    """
    robots = SimulatedRobots(kind, series=1, duration=duration + 0.1, imu=imu, sensors=("imu",))
    drives = robots.batch(count, generator)
    reading = drives.readings["imu"]
    inside = reading.ticks.time[0] <= duration
    stamps = (reading.ticks.stamp[:, inside] * 1e9).round().long().clamp_min(1)
    times = torch.tensor([0.0, duration], dtype=torch.float64, device=generator.device).expand(count, 2)
    motion = drives.trajectory(times)
    first, last = motion.quaternion[:, 0], motion.quaternion[:, 1]
    turn = logarithm(compose(first * first.new_tensor([-1, -1, -1, 1]), last))
    up = turn.new_tensor([0, 0, GRAVITY])
    begun, moved = motion.velocity[:, 0], motion.position[:, 1] - motion.position[:, 0]
    gained = unrotate(first[:, None], (motion.velocity[:, 1] - begun + up * duration)[:, None])[:, 0]
    moved = unrotate(first[:, None], (moved - begun * duration + up * duration**2 / 2)[:, None])[:, 0]
    names = ("turn [rad]",) * 3 + ("velocity [m/s]",) * 3 + ("way [m]",) * 3
    return Examples((reading.values[:, inside].float(), stamps), torch.cat([turn, gained, moved], -1).float(), names)


def object_tables(count: int, generator: torch.Generator) -> Examples:
    """What a tracker says is around a robot, false boxes in between; questions about it that one part each answers.

    Inputs: tables (N, M, 20): columns `COLUMNS` and a0 to a7, and counts (N,). Velocity is relative to the robot
    (deviation 0.3 m/s); appearance is that of the object with noise. One object looks as the operator does: it is the
    one to follow, and asked is where it will be in a second. False boxes have velocities and looks of their own.
    """
    robots = SimulatedRobots("robot", series=1, duration=0.2, sensors=("imu",))
    worlds = StreetWorlds(robots, layout=Layout(objects=16), detector=Detector(clutter=3.0), sensors=())
    ego = random_trajectory("robot", count, robots.duration, generator)
    scene = worlds.layout.draw(generator, ego)
    times = torch.full((count, 1), 0.1, dtype=torch.float64, device=generator.device)
    targets = worlds.detector.targets(scene, ego, times)
    found = worlds.detector.detect(targets, generator)
    found = Detections(*(part[:, 0] for part in found))
    true, index = found.identity >= 0, found.identity.clamp_min(0)
    moving = targets.velocity[:, 0] - ego(times).body_velocity
    speed = moving.gather(1, index[..., None].expand(-1, -1, 3))
    noise = torch.randn((*speed.shape, 2), generator=generator, device=speed.device, dtype=speed.dtype)
    told = torch.where(true[..., None], speed + 0.3 * noise[..., 0], 2 * noise[..., 1])
    looks, operator = _looks(found, generator)
    parts = (found.box[..., :6], found.box[..., 6:], told, found.score[..., None], found.kind[..., None], looks)
    table = torch.cat([part.to(looks.dtype) for part in parts], -1).float()
    return Examples((table, found.present.sum(-1)), *_answers(found, true, speed, operator))


def _answers(found: Detections, true: Tensor, speed: Tensor, operator: Tensor) -> tuple[Tensor, tuple[str, ...]]:
    """Counts near the robot, and where the operator will be, of what was detected and is true."""
    flat = found.box[..., :2]
    near = true & (flat.norm(dim=-1) < NEAR)
    people = near & (found.kind == LABELS.index("pedestrian"))
    soon = flat + speed[..., :2] * SOON
    where = soon.gather(1, operator[:, None, None].expand(-1, 1, 2))[:, 0]
    where = torch.where(true.any(-1, keepdim=True), where, torch.zeros_like(where))
    columns = (near.sum(-1), people.sum(-1), where[:, 0], where[:, 1])
    names = ("near [1]", "people near [1]", "operator [m]", "operator [m]")
    return torch.stack([column.double() for column in columns], -1).float(), names


def _looks(found: Detections, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw an appearance (N, M, 8) of each box; a true one, of row (N,), is the operator, who always looks alike."""
    shape = found.score.shape
    looks = torch.randn((*shape, LOOKS), generator=generator, device=generator.device)
    draw = torch.rand(shape, generator=generator, device=generator.device).masked_fill(found.identity < 0, -1.0)
    operator = draw.argmax(-1)
    known = looks.new_tensor([1.0, -1.0] * (LOOKS // 2))
    own = (found.identity >= 0) & (torch.arange(shape[1], device=operator.device) == operator[:, None])
    noise = 0.3 * torch.randn((*shape, LOOKS), generator=generator, device=generator.device)
    return torch.where(own[..., None], known + noise, looks), operator


def _two_moments(count: int, generator: torch.Generator) -> tuple[Trajectory, Tensor]:
    """Draw robots' ways, and the times (N, 2) of a first and a second look."""
    ego = random_trajectory("robot", count, APART + 0.2, generator)
    times = torch.tensor([0.0, APART], dtype=torch.float64, device=generator.device)
    return ego, times.expand(count, 2)


def _ego_motion(motion: Motion) -> Tensor:
    """Return mean forward speed and yaw rate (N, 2) between two moments."""
    return torch.stack([motion.body_velocity[..., 0].mean(1), motion.angular_velocity[..., 2].mean(1)], -1).float()
