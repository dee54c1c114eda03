"""A street along a trajectory: what stands beside it and what moves near it, without collisions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mambats_datasets.synthetic.motion import Motion
from mambats_datasets.synthetic.trajectory import Trajectory, uniform_times
from mambats_datasets.synthetic.world.chance import choice, normal, uniform
from mambats_datasets.synthetic.world.crowd import beside, blocks, collisions, draw_movers, ego_way, footprints, thin
from mambats_datasets.synthetic.world.ground import Ground
from mambats_datasets.synthetic.world.kinds import BUILDING, POLE, STANDING, WALL, draw_sizes
from mambats_datasets.synthetic.world.mover import Movers
from mambats_datasets.synthetic.world.scene import Boxes, Scene

RATE = 10.0  # Hz at which collisions are looked for: at 14 m/s a car moves a third of its length between two looks
SHARES = (0.4, 0.25, 0.35)  # of buildings, walls, poles
BESIDE = {BUILDING: (8.0, 25.0), WALL: (5.0, 14.0), POLE: (3.5, 9.0)}  # m from the ego's way to the near side
BEYOND = (30.0, 80.0)  # m that the street goes on before the way's beginning and after its end, straight on


@dataclass(frozen=True)
class Layout:
    """How to draw a world around a trajectory.

    Args:
        objects: Things that move, M a scene, of which those that would collide never appear.
        structures: Things that stand, S >= 1 a scene; those in the way of what moves are left out.
        relief: How high the waves of the ground reach, metres; 0 is a plane.
    """

    objects: int = 24
    structures: int = 48
    relief: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.objects < 0 or self.structures < 1 or not 0 <= self.relief <= 2:
            raise ValueError(
                f"objects are {self.objects}, structures {self.structures}, relief {self.relief} m: needed at least "
                "0, at least 1, and 0 to 2 m (sensors sit about 2 m over the ground)."
            )

    def draw(self, generator: torch.Generator, ego: Trajectory) -> Scene:
        """Draw B scenes around B trajectories, in float64 on the device of both.

        The ground lies as low as the lowest place of the ego, at most at 0: a body on hills of its own, or one that
        flies, has its sensors over it.
        """
        t = uniform_times(ego.batch, ego.duration + 1 / RATE, RATE, generator.device)
        motion = ego(t)
        level = motion.position[..., 2].amin(1).clamp_max(0.0) - self.relief
        ground = Ground.draw(generator, level, self.relief)
        movers, kind = draw_movers(generator, motion, t, self.objects)
        movers = thin(movers, motion, t)
        structures, standing = self._structures(generator, motion, ground)
        structures = structures._replace(alive=_clear(structures, movers, motion, t))
        return Scene(movers, structures, torch.cat([kind, standing], 1), ground)

    def _structures(self, generator: torch.Generator, ego: Motion, ground: Ground) -> tuple[Boxes, Tensor]:
        shape = (ego.position.shape[0], self.structures)
        kind = choice(generator, STANDING, SHARES, *shape)
        size = draw_sizes(kind, generator)
        row, ahead = _along(generator, ego, self.structures)
        place, way = ego_way(ego, row)
        least, most = (torch.tensor([BESIDE[k][i] for k in STANDING], device=kind.device)[kind - 1] for i in (0, 1))
        left = size[..., 1] / 2 + least + (most - least) * uniform(generator, *shape)
        left = left * (uniform(generator, *shape) - 0.5).sign()
        centre = beside(place, way, ahead, left)
        size[..., 2] += 2 * self.relief  # rooted below the lowest ground, so that no light passes underneath
        height = ground.height(centre) + size[..., 2] / 2 - 2 * self.relief
        yaw = way + 0.05 * normal(generator, *shape)
        return Boxes(torch.cat([centre, height[..., None]], -1), size, yaw, kind > 0), kind


def _along(generator: torch.Generator, ego: Motion, count: int) -> tuple[Tensor, Tensor]:
    """Draw spots that are uniform along the way: rows (B, count) of the motion, and metres ahead of there."""
    step = ego.position[:, 1:, :2] - ego.position[:, :-1, :2]
    way = torch.nn.functional.pad(step.norm(dim=-1).cumsum(1), (1, 0))  # (B, T)
    whole = way[:, -1:] + sum(BEYOND)
    spot = uniform(generator, way.shape[0], count) * whole - BEYOND[0]
    row = torch.searchsorted(way, spot).clamp_max(way.shape[1] - 1)
    return row, spot - way.gather(1, row)


def _clear(structures: Boxes, movers: Movers, ego: Motion, t: Tensor) -> Tensor:
    """Whether structures (B, S) stay clear of the ego and of all that moves, at times t (B, T)."""
    hit = torch.zeros_like(structures.alive)
    still = (structures.centre[..., :2], structures.size[..., :2], structures.yaw)
    for some in blocks(t, (movers.speed.shape[1] + 1) * structures.yaw.shape[1]):
        hit |= collisions(footprints(movers, ego, t, some), still).any(1)
    return ~hit
