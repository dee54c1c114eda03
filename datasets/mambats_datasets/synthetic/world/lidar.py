"""A spinning LiDAR: rings of rays, cast column by column while the body moves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mambats.series import Rigid
from mambats_datasets.synthetic.clock import Timing
from mambats_datasets.synthetic.trajectory import Trajectory
from mambats_datasets.synthetic.world.cast import cast
from mambats_datasets.synthetic.world.kinds import GROUND, table
from mambats_datasets.synthetic.world.pose import sensor_pose, turned
from mambats_datasets.synthetic.world.rays import EARTH, NOTHING, Hits, Rays
from mambats_datasets.synthetic.world.scene import Scene

TIMING = Timing(10.0)
MOUNT = Rigid("base_link", "lidar", (0.0, 0.0, 1.8))
BLOCK = 1 << 22  # rays at once, about 0.5 GB; a constant, because the order of random numbers depends on it
GLITTER = 0.02  # standard deviation of the intensity


class Sweep(NamedTuple):
    """T sweeps of R = columns x rings rays in each of B scenes; rays lie in the order in which they leave."""

    points: Tensor  # (B, T, R, 3) in the LiDAR's frame at each ray's own time, m; zeros where nothing came back
    intensity: Tensor  # (B, T, R) 0 to 1
    object: Tensor  # (B, T, R) int64: object, EARTH or NOTHING
    kind: Tensor  # (B, T, R) int64: index into KINDS of what was hit; 0 where nothing
    returned: Tensor  # (B, T, R) bool: whether anything came back
    ring: Tensor  # (R,) int64, from the lowest
    t: Tensor  # (R,) float64 seconds after the sweep's stamp


@dataclass(frozen=True)
class Lidar:
    """Rings at equal steps of elevation, turning left about its z axis once a sweep, from straight behind.

    The defaults are near a Velodyne HDL-32E (data sheet: 32 rings from -30.67 to 10.67 degrees, 10 Hz, 2 cm, 100 m),
    with 10,240 rays a sweep.

    Args:
        rings: Rays of one column.
        columns: Columns of a sweep.
        elevation: Lowest and highest ray, rad over the sensor's x-y plane, between -pi/2 and pi/2.
        timing: Rate and clock; a stamp is that of the sweep's first column.
        reach: Longest range, metres.
        noise: Standard deviation of the range, metres.
        dropout: Share of the rays whose return is lost.
        mount: Where it sits on the body.
    """

    rings: int = 32
    columns: int = 320
    elevation: tuple[float, float] = (-0.535, 0.186)
    timing: Timing = TIMING
    reach: float = 100.0
    noise: float = 0.02
    dropout: float = 0.02
    mount: Rigid = MOUNT

    def __post_init__(self) -> None:
        """Check the numbers."""
        low, high = self.elevation
        if min(self.rings, self.columns) < 1 or not -math.pi / 2 < low <= high < math.pi / 2:
            raise ValueError(
                f"rings are {self.rings}, columns {self.columns}, elevation {self.elevation} rad: needed at least 1 "
                "of each and a rising pair between -pi/2 and pi/2."
            )
        if self.reach <= 0 or self.noise < 0 or not 0 <= self.dropout <= 1:
            raise ValueError(
                f"reach is {self.reach} m, noise {self.noise} m, dropout {self.dropout}: needed above 0, at least 0, "
                "and 0 to 1."
            )

    def times(self, device: torch.device | str = "cpu") -> Tensor:
        """When each column is sent, (columns,) float64 seconds after the stamp."""
        return 1 / (self.timing.rate * self.columns) * torch.arange(self.columns, dtype=torch.float64, device=device)

    def directions(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors (columns, rings, 3) of all rays, and the normals (columns, 3) of their columns, in its frame."""
        turn = 2 * torch.pi * torch.arange(self.columns, device=like.device, dtype=like.dtype) / self.columns - torch.pi
        up = torch.linspace(*self.elevation, self.rings, device=like.device, dtype=like.dtype)
        flat = torch.stack([turn.cos(), turn.sin(), torch.zeros_like(turn)], -1)
        rays = torch.cat([flat[:, None, :2] * up.cos()[:, None], up.sin()[None, :, None].expand(len(turn), -1, -1)], -1)
        return rays, torch.stack([-flat[:, 1], flat[:, 0], flat[:, 2]], -1)

    def rays(self, ego: Trajectory, begins: Tensor, dtype: torch.dtype = torch.float32) -> Rays:
        """All rays of sweeps that begin at true times (B, T): B x (T columns) columns of `rings` rays in the world.

        Args:
            ego: B trajectories.
            begins: Beginnings of the sweeps, shape (B, T), float64 seconds.
            dtype: Of directions and so of ranges. float32 keeps 0.01 mm of 100 m: origins stay in float64.
        """
        t = (begins[..., None] + self.times(begins.device)).flatten(1)
        pose = sensor_pose(ego(t), self.mount)
        rays, across = self.directions(pose.position)
        rays, across = rays.repeat(begins.shape[1], 1, 1), across.repeat(begins.shape[1], 1)
        normals = turned(pose.rotation, across[:, None])[:, :, 0]
        return Rays(pose.position, turned(pose.rotation, rays.to(dtype)), normals, t)

    def sweep(
        self,
        scene: Scene,
        ego: Trajectory,
        begins: Tensor,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
    ) -> Sweep:
        """Cast sweeps that begin at true times (B, T) in seconds, with noise from a generator on the same device."""
        step = max(1, BLOCK // (begins.shape[0] * self.columns * self.rings))
        parts = [self._sweep(scene, ego, some, generator, dtype) for some in begins.split(step, 1)]
        *fields, ring, t = zip(*parts, strict=True)
        points, intensity, met, kind, returned = (torch.cat(field, 1) for field in fields)
        return Sweep(points, intensity, met, kind, returned, ring[0], t[0])

    def _sweep(
        self, scene: Scene, ego: Trajectory, begins: Tensor, generator: torch.Generator, dtype: torch.dtype
    ) -> Sweep:
        rays = self.rays(ego, begins, dtype)
        hits = cast(scene, rays, self.reach)
        shape = hits.reach.shape
        lost = torch.rand(shape, generator=generator, device=begins.device) < self.dropout
        returned = (hits.object != NOTHING) & ~lost
        noise = torch.randn((2, *shape), generator=generator, device=begins.device, dtype=dtype)
        reach = (hits.reach + self.noise * noise[0]).clamp_min(0).where(returned, 0.0)
        own = self.directions(reach)[0].repeat(begins.shape[1], 1, 1)
        kind = kinds_of(scene, hits)
        bright = table("reflectivity", reach)[kind] * (hits.normal * rays.direction).sum(-1).abs()
        bright = (bright + GLITTER * noise[1]).clamp(0, 1).where(returned, 0.0)
        points = (reach[..., None] * own).reshape(*begins.shape, -1, 3)
        parts = (bright, hits.object, kind.where(returned, 0), returned)
        ring = torch.arange(self.rings, device=begins.device).repeat(self.columns)
        t = self.times(begins.device).repeat_interleave(self.rings)
        bright, met, kind, returned = (part.reshape(points.shape[:3]) for part in parts)
        return Sweep(points, bright, met, kind, returned, ring, t)


def kinds_of(scene: Scene, hits: Hits) -> Tensor:
    """Index into `KINDS` (B, K, n) of what was hit; that of the ground where nothing was."""
    rows = hits.object.flatten(1).clamp_min(0)
    return torch.where(hits.object <= EARTH, GROUND, scene.kind.gather(1, rows).view_as(hits.object))
