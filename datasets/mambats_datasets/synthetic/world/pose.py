"""Where a sensor on a moving body is."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mambats.series import Rigid
from mambats_datasets.synthetic.motion import Motion, rotate


class Pose(NamedTuple):
    """Poses of a frame in the world: p_world = rotation p_frame + position."""

    rotation: Tensor  # (B, K, 3, 3)
    position: Tensor  # (B, K, 3) m

    def out(self, points: Tensor) -> Tensor:
        """Take points (B, K, n, 3) of the frame to the world."""
        return points @ self.rotation.mT + self.position[:, :, None]

    def into(self, points: Tensor) -> Tensor:
        """Take points (B, K, n, 3) of the world into the frame."""
        return (points - self.position[:, :, None]) @ self.rotation


def sensor_pose(body: Motion, mount: Rigid) -> Pose:
    """Poses of a sensor that sits at `mount` on a body."""
    edge = torch.from_numpy(mount.matrix).to(body.position)
    arm = edge[:3, 3].expand_as(body.position)
    return Pose(body.rotation @ edge[:3, :3], body.position + rotate(body.quaternion, arm))


def turned(rotation: Tensor, vectors: Tensor) -> Tensor:
    """Turn vectors (K, n, 3) by rotations (B, K, 3, 3), in the dtype of the vectors: shape (B, K, n, 3).

    By products and sums, not as a matrix product: on a GPU that may be told to round float32 to 10 bits.
    """
    x, y, z = rotation.to(vectors)[:, :, None].unbind(-1)
    return x * vectors[..., 0, None] + y * vectors[..., 1, None] + z * vectors[..., 2, None]


def yaw_of(rotation: Tensor) -> Tensor:
    """Heading (...) in rad of the x axes of rotations (..., 3, 3)."""
    return torch.atan2(rotation[..., 1, 0], rotation[..., 0, 0])
