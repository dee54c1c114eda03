"""Points on what stands, and where a camera sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mambats_datasets.synthetic.trajectory import Trajectory
from mambats_datasets.synthetic.world.camera import Camera
from mambats_datasets.synthetic.world.cast import cast
from mambats_datasets.synthetic.world.chance import normal, uniform
from mambats_datasets.synthetic.world.rays import towards
from mambats_datasets.synthetic.world.scene import Boxes, Scene

SKIN = 0.01  # m that may lie before a landmark: its own face, seen at a low angle in float32


class Sightings(NamedTuple):
    """L landmarks in T pictures of B scenes; the index of a landmark is its identity."""

    pixel: Tensor  # (B, T, L, 2) column and row with noise, px
    depth: Tensor  # (B, T, L) without noise, m
    visible: Tensor  # (B, T, L) bool: inside the picture, near enough, and nothing in between


@dataclass(frozen=True)
class Landmarks:
    """A detector of points that stand.

    Args:
        count: Landmarks, L a scene.
        noise: Standard deviation of column and row, px.
    """

    count: int = 200
    noise: float = 0.5

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.count < 0 or self.noise < 0:
            raise ValueError(f"count is {self.count}, noise {self.noise} px: both must be at least 0.")

    def draw(self, scene: Scene, generator: torch.Generator) -> Tensor:
        """Draw places (B, L, 3) in metres on the sides of what stands; where nothing does, of what was left out."""
        shape = (scene.batch, self.count)
        there = scene.structures.alive.double() + 1e-9
        which = torch.multinomial(there, self.count, replacement=True, generator=generator) if self.count else None
        if which is None:
            return scene.structures.centre[:, :0]
        three = which[..., None].expand(*shape, 3)
        some = Boxes(
            scene.structures.centre.gather(1, three),
            scene.structures.size.gather(1, three),
            scene.structures.yaw.gather(1, which),
            scene.structures.alive.gather(1, which),
        )
        share = uniform(generator, *shape, 1, 3, low=-0.5, high=0.5)
        side = (uniform(generator, *shape, 1) * 4).long()  # before, behind, left, right
        axis, sign = side // 2, (side % 2).double() - 0.5
        share = share.scatter(-1, axis[..., None], sign[..., None])
        return some.points(share)[:, :, 0]

    def observe(
        self, points: Tensor, camera: Camera, scene: Scene, ego: Trajectory, t: Tensor, generator: torch.Generator
    ) -> Sightings:
        """See points (B, L, 3) at times t (B, T) in seconds."""
        pose = camera.pose(ego, t)
        spread = points[:, None].expand(-1, t.shape[1], -1, -1)
        seen = camera.project(spread, pose)
        rays, far = towards(pose.position, spread, t, torch.float32)
        before = cast(scene, rays, camera.reach).reach[..., 0].double()
        free = ((before >= far - SKIN) & (far <= camera.reach)).view(seen.depth.shape)
        pixel = seen.pixel + self.noise * normal(generator, *seen.pixel.shape)
        return Sightings(pixel, seen.depth, seen.inside & free)
