"""Motion laws that a filter can have exactly: constant velocity under white acceleration, and arcs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from mambats_datasets.synthetic.world.chance import normal
from mambats_datasets.synthetic.world.kinds import CAR, table
from mambats_datasets.synthetic.world.mover import Movers, MoverState

Three = tuple[float, float, float]


class Start(NamedTuple):
    """Where M bodies of B scenes are at times of their own."""

    kind: Tensor  # (B, M) int64: index into KINDS
    pivot: Tensor  # (B, M) row of the times at which the rest holds, int64
    place: Tensor  # (B, M, 2) m
    heading: Tensor  # (B, M) rad
    speed: Tensor  # (B, M) m/s


class MotionLaw(Protocol):
    """How bodies go on from where they are."""

    def draw(self, start: Start, times: Tensor, generator: torch.Generator) -> MoverState:
        """Draw their motion at times (B, T) in seconds, rising; all are alive."""
        ...


@dataclass(frozen=True)
class Straight:
    """Constant velocity under white noise of acceleration, drawn exactly for any time step.

    Over a step dt, position and velocity of each axis gain noise of covariance q [[dt^3/3, dt^2/2], [dt^2/2, dt]]
    (Bar-Shalom et al., Estimation with Applications to Tracking and Navigation, 2001, section 6.2.2). The yaw starts
    along the velocity and is a random walk of its own; height and size are constant.

    Args:
        density: q of cars, pedestrians and cyclists, m^2/s^3.
        turn: Density of the yaw's walk, rad^2/s.
    """

    density: Three = (0.5, 0.1, 0.3)
    turn: float = 1e-4

    def __post_init__(self) -> None:
        """Check the numbers."""
        if min(*self.density, self.turn) < 0:
            raise ValueError(f"density is {self.density} m^2/s^3, turn {self.turn} rad^2/s: needed at least 0.")

    def draw(self, start: Start, times: Tensor, generator: torch.Generator) -> MoverState:
        """Draw motion at times (B, T); see `MotionLaw`."""
        shape = (*times.shape, start.kind.shape[1])
        step = torch.nn.functional.pad(times.diff(dim=1), (1, 0))[..., None, None]
        root = start.place.new_tensor(self.density)[start.kind - CAR].sqrt()[:, None, :, None]
        one, two = normal(generator, 2, *shape, 2)
        gain = root * step.sqrt() * one
        slip = root * step.pow(1.5) * (one / 2 + two / 12**0.5)  # with `gain`: the covariance above, by its root
        ahead = torch.stack([start.heading.cos(), start.heading.sin()], -1)[:, None] * start.speed[:, None, :, None]
        velocity = ahead + _from_pivot(gain.cumsum(1), start.pivot)
        before = torch.cat([velocity[:, :1], velocity[:, :-1]], 1)
        place = start.place[:, None] + _from_pivot((before * step + slip).cumsum(1), start.pivot)
        walk = (self.turn * step[..., 0]).sqrt() * normal(generator, *shape)
        yaw = start.heading[:, None] + _from_pivot(walk.cumsum(1)[..., None], start.pivot)[..., 0]
        alive = torch.ones(shape, dtype=torch.bool, device=times.device)
        return MoverState(place, yaw, velocity, torch.zeros_like(yaw), alive)


@dataclass(frozen=True)
class Arcs:
    """Constant turn rate and speed, without noise; curvatures are normal, by class as in `KINDS`.

    Args:
        curvature: Factor on the classes' deviations of curvature; 0 is constant velocity.
    """

    curvature: float = 3.0

    def draw(self, start: Start, times: Tensor, generator: torch.Generator) -> MoverState:
        """Draw motion at times (B, T); see `MotionLaw`."""
        bend = self.curvature * table("curvature", start.heading)[start.kind] * normal(generator, *start.kind.shape)
        zero = torch.zeros_like(bend)
        pivot = times.gather(1, start.pivot)
        life = torch.stack([zero - torch.inf, pivot, zero + torch.inf], -1)
        swing = torch.stack([zero, zero + 1, zero], -1)
        size = zero[..., None].expand(*zero.shape, 3)
        return Movers(start.place, start.heading, bend, start.speed, swing, life, size).at(times)


def _from_pivot(walk: Tensor, pivot: Tensor) -> Tensor:
    """Walks (B, T, M, n) less what they are at rows (B, M)."""
    row = pivot[:, None, :, None].expand(-1, 1, -1, walk.shape[-1])
    return walk - walk.gather(1, row)
