"""Where a robot is, how fast, which way round, and how sure that is; and how far that lies from the truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from mambats.preprocess.imu import so3
from mambats.series import SensorRows

#: Places of the error's parts: rotation (body frame, R Exp(e)), velocity and position (world), as the filter has them.
ROTATION, VELOCITY, POSITION = slice(0, 3), slice(3, 6), slice(6, 9)
SIZE = 9


class Navigation(NamedTuple):
    """Pose and velocity with the covariance of their error; any leading axes."""

    quaternion: Tensor  #: (..., 4) x y z w, body to world
    velocity: Tensor  #: (..., 3) in the world, m/s
    position: Tensor  #: (..., 3) in the world, m
    covariance: Tensor  #: (..., 9, 9) of rotation (body, rad), velocity, position (world)

    def error(self, truth: Navigation) -> Tensor:
        """Return truth less estimate, shape (..., 9), in the order and frames of the covariance."""
        turned = so3.logarithm(so3.product(so3.conjugate(self.quaternion), truth.quaternion))
        return torch.cat([turned, truth.velocity - self.velocity, truth.position - self.position], -1)

    @property
    def yaw(self) -> Tensor:
        """Heading about the world's z, shape (...), rad."""
        return yaw_of(self.quaternion)


def yaw_of(quaternion: Tensor) -> Tensor:
    """Return the heading (...) of quaternions (..., 4): of body x on the world's floor."""
    x, y, z, w = quaternion.unbind(-1)
    return torch.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))


def about_z(angle: Tensor) -> Tensor:
    """Return matrices (..., 3, 3) that turn by angles (...) about z."""
    sine, cosine = torch.sin(angle), torch.cos(angle)
    none, one = torch.zeros_like(angle), torch.ones_like(angle)
    return torch.stack([cosine, -sine, none, sine, cosine, none, none, none, one], -1).unflatten(-1, (3, 3))


def turn(matrix: Tensor, vector: Tensor) -> Tensor:
    """Turn vectors (..., 3) by matrices (..., 3, 3)."""
    return (matrix @ vector[..., None])[..., 0]


def truth_at(truth: Mapping[str, SensorRows], stamps: Tensor) -> Navigation:
    """Interpolate the truth at stamps (B, T) int64 nanoseconds; its covariance is zero.

    Args:
        truth: `pose` (px py pz qx qy qz qw) and, where known, `velocity`; else the pose's differences stand for it.
        stamps: Since the window's start.

    Raises:
        ValueError: If there is no pose.
    """
    if "pose" not in truth:
        raise ValueError(
            f"the window has no ground truth 'pose', it has {sorted(truth)}: an error needs a truth. "
            "Give the data module truth: [pose], or ask for the estimate alone."
        )
    pose = truth["pose"]
    values = _between(pose, stamps)
    quaternion = values[..., 3:] / values[..., 3:].norm(dim=-1, keepdim=True).clamp_min(1e-9)
    if "velocity" in truth:
        velocity = _between(truth["velocity"], stamps)
    else:
        half = 50_000_000
        last = pose.stamps.amax(1, keepdim=True)
        early, late = (stamps - half).clamp_min(0), torch.minimum(stamps + half, last)
        velocity = (_between(pose, late) - _between(pose, early))[..., :3] / ((late - early)[..., None] * 1e-9)
    return Navigation(quaternion, velocity, values[..., :3], values.new_zeros(*values.shape[:-1], SIZE, SIZE))


def _between(rows: SensorRows, stamps: Tensor) -> Tensor:
    """Values (B, T, C) float64 between the two rows around each stamp; the nearest beyond the ends."""
    clock = torch.where(rows.mask, rows.stamps, torch.iinfo(torch.int64).max).contiguous()
    last = (rows.mask.sum(1, keepdim=True) - 1).clamp_min(0)
    after = torch.searchsorted(clock, stamps.contiguous())
    after, before = torch.minimum(after, last), torch.minimum((after - 1).clamp_min(0), last)
    begin, end = clock.gather(1, before), clock.gather(1, after)
    share = ((stamps - begin).double() / (end - begin).clamp_min(1).double()).clamp(0, 1)[..., None]
    wide = rows.values.double()
    low, high = (wide.gather(1, at[..., None].expand(-1, -1, wide.shape[2])) for at in (before, after))
    if wide.shape[2] == 7:
        # Quaternions of opposite sign are one rotation.
        flip = torch.where((low[..., 3:] * high[..., 3:]).sum(-1, keepdim=True) < 0, -1.0, 1.0)
        high = torch.cat([high[..., :3], high[..., 3:] * flip], -1)
    return low + share * (high - low)
