"""Rays in columns, and what they meet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

NOTHING, EARTH = -2, -1  # indices of what a ray meets besides objects


@dataclass(frozen=True)
class Rays:
    """K columns of n rays in each of B scenes.

    Args:
        origin: Where a column's rays leave, shape (B, K, 3), metres.
        direction: Unit vectors in the world, shape (B, K, n, 3); their dtype is that of the ranges.
        across: Unit normal of the half plane that holds a column's rays, shape (B, K, 3).
        time: When they leave, shape (B, G), seconds: K / G columns behind one another share a time.
    """

    origin: Tensor
    direction: Tensor
    across: Tensor
    time: Tensor

    @property
    def share(self) -> int:
        """Columns that share a time."""
        return self.direction.shape[1] // max(1, self.time.shape[1])

    def part(self, rows: slice, first: int, last: int) -> Rays:
        """The columns of some scenes at the times `first` to `last`."""
        columns = slice(first * self.share, last * self.share)
        origin, direction, across = (field[rows, columns] for field in (self.origin, self.direction, self.across))
        return Rays(origin, direction, across, self.time[rows, first:last])


class Hits(NamedTuple):
    """What rays meet first."""

    reach: Tensor  # (B, K, n) range, metres, infinite where nothing
    object: Tensor  # (B, K, n) int64: object, EARTH or NOTHING
    normal: Tensor  # (B, K, n, 3) of the surface in the world, outwards, zeros where nothing
    local: Tensor  # (B, K, n, 3) place in the object's axes from its centre, on the ground in the world, metres


def towards(origin: Tensor, points: Tensor, time: Tensor, dtype: torch.dtype) -> tuple[Rays, Tensor]:
    """Rays from origins (B, T, 3) at times (B, T) to points (B, T, n, 3): T n columns of one ray.

    Returns:
        The rays, and the distances (B, T n) of the points in metres.
    """
    away = (points - origin[:, :, None]).flatten(1, 2)
    far = away.norm(dim=-1)
    along = away / far.clamp_min(1e-9)[..., None]
    # Any normal of the ray will do: the cross product with the axis that it leans least to.
    least = torch.nn.functional.one_hot(along.abs().argmin(-1), 3).to(along)
    across = torch.nn.functional.normalize(torch.linalg.cross(along, least), dim=-1)
    count = points.shape[2]
    return Rays(origin.repeat_interleave(count, 1), along[:, :, None].to(dtype), across, time), far
