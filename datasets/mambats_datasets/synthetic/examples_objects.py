"""What a table of objects is asked: who to follow, how near the nearest hull is, how many people are about."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mambats_datasets.synthetic.examples import Examples
from mambats_datasets.synthetic.robot import SimulatedRobots
from mambats_datasets.synthetic.trajectory import random_trajectory
from mambats_datasets.synthetic.world import Detections, Detector, Layout, StreetWorlds
from mambats_datasets.synthetic.world.detections import Targets
from mambats_datasets.synthetic.world.kinds import LABELS

LOOKS = 8  # numbers of an appearance vector
NEAR, SOON = 20.0, 1.0  # m, s
SEEN = math.radians(60)  # to each side of ahead: where a camera tells the class
FRESH = 0.5  # share of the objects that came into view just now: no velocity yet
UNKNOWN = -1  # class
COLUMNS = ("x", "y", "z", "l", "w", "h", "yaw", "vx", "vy", "vz", "score", "class")
QUESTIONS = ("gap [m]", "people near [1]", "operator [m]", "operator [m]")


def object_tables(count: int, generator: torch.Generator) -> Examples:
    """What a detector and a tracker say is around a robot, false boxes in between, and three questions about it.

    Asked: the gap to the nearest hull (at most 20 m), which needs where an object is, how large and how it is turned;
    how many pedestrians are within 20 m; and where the operator will be in a second, the one object that looks as the
    operator does. A camera tells the class within 60 degrees of ahead, elsewhere size must; the tracker tells no
    velocity (relative to the robot, deviation 0.3 m/s) of half of them, which are new.

    Inputs: tables (N, M, 20): columns `COLUMNS` and a0 to a7, NaN where not told, and counts (N,). Appearance is that
    of the object with noise. False boxes have velocities and looks of their own.
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
    looks, operator = _looks(found, generator)
    told = _told(speed, true, generator)
    kind = torch.where(torch.atan2(found.box[..., 1], found.box[..., 0]).abs() < SEEN, found.kind, UNKNOWN)
    parts = (found.box[..., :6], found.box[..., 6:], told, found.score[..., None], kind[..., None], looks)
    table = torch.cat([part.to(looks.dtype) for part in parts], -1).float()
    columns = (*_around(found, targets, true), *_operator(found, true, speed, operator))
    return Examples((table, found.present.sum(-1)), torch.stack([c.double() for c in columns], -1).float(), QUESTIONS)


def gaps(box: Tensor) -> Tensor:
    """Return how far the frame's origin is from the hulls (...) of boxes (..., 7) on the ground, m; 0 inside."""
    cos, sin = box[..., 6].cos(), box[..., 6].sin()
    along = (cos * box[..., 0] + sin * box[..., 1]).abs() - box[..., 3] / 2
    beside = (cos * box[..., 1] - sin * box[..., 0]).abs() - box[..., 4] / 2
    return torch.hypot(along.clamp_min(0), beside.clamp_min(0))


def _told(speed: Tensor, true: Tensor, generator: torch.Generator) -> Tensor:
    """What the tracker says of velocities (N, M, 3): with noise, of false boxes anything, of new ones nothing."""
    noise = torch.randn((*speed.shape, 2), generator=generator, device=speed.device, dtype=speed.dtype)
    told = torch.where(true[..., None], speed + 0.3 * noise[..., 0], 2 * noise[..., 1])
    fresh = torch.rand(true.shape, generator=generator, device=speed.device) < FRESH
    return told.masked_fill(fresh[..., None], torch.nan)


def _around(found: Detections, targets: Targets, true: Tensor) -> tuple[Tensor, Tensor]:
    """Gap to the nearest hull, and number of pedestrians near, of what was detected and is true."""
    index = found.identity.clamp_min(0)[..., None].expand_as(found.box)
    box = targets.box[:, 0].gather(1, index)
    gap = gaps(box).masked_fill(~true, NEAR).amin(-1).clamp_max(NEAR)
    near = true & (box[..., :2].norm(dim=-1) < NEAR)
    return gap, (near & (found.kind == LABELS.index("pedestrian"))).sum(-1)


def _operator(found: Detections, true: Tensor, speed: Tensor, operator: Tensor) -> tuple[Tensor, ...]:
    """Where the operator (row, (N,)) will be: x and y (N,)."""
    soon = found.box[..., :2] + speed[..., :2] * SOON
    where = soon.gather(1, operator[:, None, None].expand(-1, 1, 2))[:, 0]
    return torch.where(true.any(-1, keepdim=True), where, torch.zeros_like(where)).unbind(-1)


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
