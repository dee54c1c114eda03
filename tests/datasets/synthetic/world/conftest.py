"""Small worlds, and trajectories that a test can work out by hand."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from mambats_datasets.synthetic.motion import Motion
from mambats_datasets.synthetic.trajectory import random_trajectory
from mambats_datasets.synthetic.world.ground import Ground
from mambats_datasets.synthetic.world.kinds import BUILDING, CAR
from mambats_datasets.synthetic.world.layout import Layout
from mambats_datasets.synthetic.world.mover import Movers
from mambats_datasets.synthetic.world.rays import EARTH, NOTHING
from mambats_datasets.synthetic.world.scene import Boxes, Scene


@dataclass(frozen=True)
class Line:
    """Constant velocity [m/s] along a straight line from the origin, without turning."""

    velocity: tuple[float, float, float] = (0.0, 0.0, 0.0)
    batch: int = 1
    duration: float = 10.0

    def __call__(self, t: Tensor) -> Motion:
        velocity = torch.tensor(self.velocity, dtype=torch.float64).expand(*t.shape, 3)
        turn = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64).expand(*t.shape, 4)
        zero = torch.zeros_like(velocity)
        return Motion(t[..., None] * velocity, velocity, zero, turn, zero, zero)


def build(standing, moving=(), relief=0.0):
    """One scene: boxes that stand as (x y z l w h yaw), and those that move as (x y heading speed l w h)."""
    boxes = torch.tensor(standing, dtype=torch.float64).view(1, -1, 7)
    cars = torch.tensor(moving, dtype=torch.float64).view(1, -1, 7)
    zero = torch.zeros_like(cars[..., 0])
    swing = torch.stack([zero, zero + 1, zero], -1)
    life = torch.stack([zero - 1e3, zero, zero + 1e3], -1)
    movers = Movers(cars[..., :2], cars[..., 2], zero, cars[..., 3], swing, life, cars[..., 4:])
    there = torch.ones_like(boxes[..., 0], dtype=torch.bool)
    kind = torch.cat([zero.long() + CAR, there.long() * BUILDING], 1)
    ground = Ground.draw(torch.Generator().manual_seed(1), torch.zeros(1, dtype=torch.float64), relief)
    return Scene(movers, Boxes(boxes[..., :3], boxes[..., 3:6], boxes[..., 6], there), kind, ground)


def in_boxes(points, boxes, slack=0.0):
    """Whether points (B, K, n, 3) lie in each of boxes (B, K, X): (B, K, n, X)."""
    away = points[..., None, :] - boxes.centre[:, :, None]
    cos, sin = boxes.yaw.cos()[:, :, None], boxes.yaw.sin()[:, :, None]
    x, y, z = away.unbind(-1)
    local = torch.stack([cos * x + sin * y, cos * y - sin * x, z], -1).abs()
    return (local < boxes.size[:, :, None] / 2 - slack).all(-1) & boxes.alive[:, :, None]


def cast_slowly(scene, rays, limit):
    """Each ray against each of the six planes of each box, and against the ground by bisection after dense samples."""
    boxes = Boxes(*(part.repeat_interleave(rays.share, 1) for part in scene.boxes(rays.time)))
    origin, along = rays.origin[:, :, None], rays.direction
    reach = torch.full(along.shape[:3], math.inf, dtype=torch.float64)
    index = torch.full(reach.shape, NOTHING)
    for x, axis, side in itertools.product(range(boxes.yaw.shape[2]), range(3), (-0.5, 0.5)):
        yaw, zero = boxes.yaw[:, :, x], torch.zeros_like(boxes.yaw[:, :, x])
        rows = [(yaw.cos(), yaw.sin(), zero), (-yaw.sin(), yaw.cos(), zero), (zero, zero, zero + 1)]
        axes = torch.stack([torch.stack(row, -1) for row in rows], -2)  # (B, K, 3, 3)
        centre, size = boxes.centre[:, :, x], boxes.size[:, :, x]
        corner = centre + side * size[..., axis, None] * axes[:, :, axis]
        normal = axes[:, :, axis, None]
        range_ = (normal * (corner[:, :, None] - origin)).sum(-1) / (normal * along).sum(-1)
        local = torch.einsum("bkij,bknj->bkni", axes, origin + range_[..., None] * along - centre[:, :, None])
        others = [i for i in range(3) if i != axis]
        on = (local[..., others].abs() <= size[:, :, None, others] / 2).all(-1) & boxes.alive[:, :, x, None]
        nearer = on & (range_ > 0) & (range_ < reach)
        reach, index = torch.where(nearer, range_, reach), index.masked_fill(nearer, x)
    ground = slow_ground(scene.ground, origin, along, limit)
    earth = ground < reach
    reach, index = torch.where(earth, ground, reach), index.masked_fill(earth, EARTH)
    gone = reach > limit
    return reach.masked_fill(gone, math.inf), index.masked_fill(gone, NOTHING)


def slow_ground(ground, origin, along, limit):
    def over(range_):
        place = origin + range_[..., None] * along
        return place[..., 2] - ground.height(place[..., :2])

    grid = torch.linspace(0, limit, 1001, dtype=torch.float64)
    below = torch.stack([over(range_.expand(along.shape[:3])) < 0 for range_ in grid])
    first = below.byte().argmax(0)
    low, high = grid[(first - 1).clamp_min(0)], grid[first]
    for _ in range(60):
        middle = (low + high) / 2
        above = over(middle) > 0
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return torch.where(below.any(0), low, math.inf)


@pytest.fixture(scope="session")
def slow():
    return cast_slowly


@pytest.fixture(scope="session")
def inside():
    return in_boxes


@pytest.fixture(scope="session")
def scene_of():
    return build


@pytest.fixture(scope="session")
def line():
    return Line


@pytest.fixture(params=["car", "drone"])
def drawn(request):
    """A drawn world of two scenes, hills under the car, its trajectories and a generator."""
    generator = torch.Generator().manual_seed(3)
    ego = random_trajectory(request.param, 2, 4.0, generator)
    relief = 0.4 if request.param == "car" else 0.0
    return Layout(objects=12, structures=24, relief=relief).draw(generator, ego), ego, generator
