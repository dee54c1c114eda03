"""Occupied voxels of many sweeps, without waiting for the device: every shape is known beforehand."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mambats.encoders.features.grid import PointGrid


class Occupied(NamedTuple):
    """Occupied voxels of N sweeps, each sweep's first and padded behind.

    Attributes:
        cells: Of each voxel, shape (N, V, 3) int64, zeros where there is none.
        mask: Which exist, shape (N, V) bool.
        slots: Voxel of each point, shape (N, P) int64; V where a point lies in none.
    """

    cells: Tensor
    mask: Tensor
    slots: Tensor


def find_voxels(cells: Tensor, inside: Tensor, grid: PointGrid, most: int | None = None) -> Occupied:
    """Number the occupied voxels of each sweep in the order of `grid.number`.

    Args:
        cells: Of points, shape (N, P, 3) int64.
        inside: Points to count, shape (N, P) bool.
        grid: The cells.
        most: Voxels that are kept, those nearest to the sensor (ties by number); None keeps all.
    """
    numbers = grid.number(cells).masked_fill(~inside, grid.volume)
    sorted_numbers, order = numbers.sort(dim=1, stable=True)
    first = torch.ones_like(inside)
    first[:, 1:] = sorted_numbers[:, 1:] != sorted_numbers[:, :-1]
    real = sorted_numbers < grid.volume
    room = min(cells.shape[1], grid.volume)
    ranks = (first.cumsum(1) - 1).masked_fill(~real, room)
    slots = torch.empty_like(ranks).scatter(1, order, ranks)
    held = torch.full((len(cells), room + 1), grid.volume, dtype=torch.int64, device=cells.device)
    held = held.scatter(1, ranks, sorted_numbers)[:, :room]  # the points of one voxel write one number
    if most is not None and most < room:
        held, slots = _keep_nearest(held, slots, grid, most)
    mask = held < grid.volume
    return Occupied(_cells_of(held.masked_fill(~mask, 0), grid), mask, slots)


def _cells_of(numbers: Tensor, grid: PointGrid) -> Tensor:
    """Undo `grid.number`."""
    nx, ny, _ = grid.shape
    rest = numbers // nx
    return torch.stack([numbers % nx, rest % ny, rest // ny], -1)


def _keep_nearest(held: Tensor, slots: Tensor, grid: PointGrid, most: int) -> tuple[Tensor, Tensor]:
    """Keep `most` voxels a sweep, in the order of their numbers."""
    far = grid.centres(_cells_of(held.clamp_max(grid.volume - 1), grid)).square().sum(-1)
    near = far.masked_fill(held == grid.volume, torch.inf).sort(dim=1, stable=True).indices[:, :most]
    near = near.sort(dim=1).values
    places = torch.arange(most, device=held.device).expand_as(near)
    moved = torch.full((len(held), held.shape[1] + 1), most, dtype=torch.int64, device=held.device)
    return held.gather(1, near), moved.scatter(1, near, places).gather(1, slots)
