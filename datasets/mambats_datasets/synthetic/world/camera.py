"""A pinhole camera: small pictures of the world, with depth and object of every pixel, and where points fall."""

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
from mambats_datasets.synthetic.world.lidar import BLOCK
from mambats_datasets.synthetic.world.pose import Pose, sensor_pose, turned
from mambats_datasets.synthetic.world.rays import Rays
from mambats_datasets.synthetic.world.scene import Scene
from mambats_datasets.synthetic.world.shade import shade

CLOSE = 0.1  # m, nearest depth that is seen
OPTICAL = (-0.5, 0.5, -0.5, 0.5)  # REP-103: x right, y down, z forward of a body with x forward, y left, z up
TIMING = Timing(10.0)
MOUNT = Rigid("base_link", "camera", (1.2, 0.0, 1.5), OPTICAL)


class Picture(NamedTuple):
    """T pictures in each of B scenes."""

    image: Tensor  # (B, T, H, W, 3) uint8, red green blue
    depth: Tensor  # (B, T, H, W) m along the optical axis, infinite in the sky
    object: Tensor  # (B, T, H, W) int64: object, EARTH or NOTHING


class Seen(NamedTuple):
    """Where points fall in a picture."""

    pixel: Tensor  # (B, T, n, 2) column and row; 0 is the centre of the first pixel
    depth: Tensor  # (B, T, n) m along the optical axis
    inside: Tensor  # (B, T, n) bool: before the camera and inside its picture


@dataclass(frozen=True)
class Camera:
    """A camera without distortion and with a global shutter.

    Args:
        width: Pixels.
        height: Pixels.
        view: Horizontal angle of view, rad, under pi.
        timing: Rate and clock.
        reach: Farthest that is seen, metres; behind it is sky.
        noise: Standard deviation of each colour, of 255 steps.
        mount: Where its optical frame sits on the body.
    """

    width: int = 96
    height: int = 64
    view: float = 1.4
    timing: Timing = TIMING
    reach: float = 120.0
    noise: float = 2.0
    mount: Rigid = MOUNT

    def __post_init__(self) -> None:
        """Check the numbers."""
        if min(self.width, self.height) < 1 or not 0 < self.view < math.pi:
            raise ValueError(
                f"width x height is {self.width} x {self.height}, view {self.view} rad: needed at least 1 x 1, and "
                "between 0 and pi."
            )
        if self.reach <= CLOSE or self.noise < 0:
            raise ValueError(f"reach is {self.reach} m, noise {self.noise}: needed over {CLOSE} m, and at least 0.")

    @property
    def focal(self) -> float:
        """Focal length, pixels."""
        return self.width / 2 / math.tan(self.view / 2)

    def intrinsics(self) -> Tensor:
        """Camera matrix (3, 3) float64 in pixels; the pixel (0, 0) has its centre at 0, 0, as OpenCV has it."""
        middle = ((self.width - 1) / 2, (self.height - 1) / 2)
        rows = [[self.focal, 0.0, middle[0]], [0.0, self.focal, middle[1]], [0.0, 0.0, 1.0]]
        return torch.tensor(rows, dtype=torch.float64)

    def pose(self, ego: Trajectory, t: Tensor) -> Pose:
        """Poses of the optical frame at times t (B, T)."""
        return sensor_pose(ego(t), self.mount)

    def project(self, points: Tensor, pose: Pose) -> Seen:
        """Where points (B, T, n, 3) of the world fall in T pictures."""
        x, y, z = pose.into(points).unbind(-1)
        safe = z.clamp_min(CLOSE)
        column = self.focal * x / safe + (self.width - 1) / 2
        row = self.focal * y / safe + (self.height - 1) / 2
        inside = (z >= CLOSE) & _within(column, self.width) & _within(row, self.height)
        return Seen(torch.stack([column, row], -1), z, inside)

    def directions(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Rays (width, height, 3) through the centres of all pixels, of depth 1, and normals (width, 3) of columns."""
        column = torch.arange(self.width, device=like.device, dtype=like.dtype)
        row = torch.arange(self.height, device=like.device, dtype=like.dtype)
        x, y = (column - (self.width - 1) / 2) / self.focal, (row - (self.height - 1) / 2) / self.focal
        rays = torch.stack([x[:, None].expand(-1, len(y)), y.expand(len(x), -1), like.new_ones(len(x), len(y))], -1)
        across = torch.stack([like.new_ones(len(x)), torch.zeros_like(x), -x], -1)
        return rays, torch.nn.functional.normalize(across, dim=-1)

    def rays(self, pose: Pose, t: Tensor, dtype: torch.dtype = torch.float32) -> Rays:
        """Rays of all pixels of T pictures at times t (B, T): B x (T width) columns of `height` rays in the world."""
        rays, across = self.directions(pose.position)
        rays = torch.nn.functional.normalize(rays, dim=-1)
        rays, across = rays.repeat(t.shape[1], 1, 1), across.repeat(t.shape[1], 1)
        rotation = pose.rotation.repeat_interleave(self.width, 1)
        normals = turned(rotation, across[:, None])[:, :, 0]
        return Rays(pose.position.repeat_interleave(self.width, 1), turned(rotation, rays.to(dtype)), normals, t)

    def render(
        self,
        scene: Scene,
        ego: Trajectory,
        t: Tensor,
        generator: torch.Generator,
        dtype: torch.dtype = torch.float32,
    ) -> Picture:
        """Render pictures at times t (B, T) in seconds, with noise from a generator on the same device."""
        step = max(1, BLOCK // (t.shape[0] * self.width * self.height))
        parts = [self._render(scene, ego, some, generator, dtype) for some in t.split(step, 1)]
        return Picture(*(torch.cat(field, 1) for field in zip(*parts, strict=True)))

    def _render(
        self, scene: Scene, ego: Trajectory, t: Tensor, generator: torch.Generator, dtype: torch.dtype
    ) -> Picture:
        rays = self.rays(self.pose(ego, t), t, dtype)
        hits = cast(scene, rays, self.reach)
        colour = 255 * shade(scene, hits, rays.direction)
        colour = colour + self.noise * torch.randn(colour.shape, generator=generator, device=t.device, dtype=dtype)
        along = self.directions(hits.reach)[0].norm(dim=-1).repeat(t.shape[1], 1)
        parts = (colour.round().clamp(0, 255).to(torch.uint8), hits.reach / along, hits.object)
        return Picture(*(part.unflatten(1, (t.shape[1], self.width)).transpose(2, 3).contiguous() for part in parts))


def _within(pixel: Tensor, size: int) -> Tensor:
    return (pixel >= -0.5) & (pixel < size - 0.5)
