"""Occupancy of the ground around a robot, cell by cell, free and unknown told apart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

#: Log-odds beyond which more evidence changes nothing, so that what moved is noticed again: 0.03 to 0.97.
LIMIT = 3.5


@dataclass(frozen=True)
class Cells:
    """A rectangle of square cells in the robot's frame, x ahead and y to the left.

    Args:
        x: Its two ends, metres.
        y: Its two ends, metres.
        size: Of a cell, metres.
    """

    x: tuple[float, float] = (-10.0, 40.0)
    y: tuple[float, float] = (-15.0, 15.0)
    size: float = 0.25

    def __post_init__(self) -> None:
        """Check the numbers."""
        numbers = (*self.x, *self.y, self.size)
        if not all(math.isfinite(n) for n in numbers) or not (self.x[0] < self.x[1] and self.y[0] < self.y[1]):
            raise ValueError(f"cells reach over x {self.x} and y {self.y}: need rising pairs of finite metres.")
        if not self.size > 0 or min(self.shape) < 1:
            raise ValueError(f"size is {self.size} m: need one above 0 and below the ends of x and y.")

    @property
    def shape(self) -> tuple[int, int]:
        """Cells along x and along y."""
        return round((self.x[1] - self.x[0]) / self.size), round((self.y[1] - self.y[0]) / self.size)

    def centres(self, like: Tensor) -> Tensor:
        """Return the middle of every cell, shape (X, Y, 2), metres."""
        rows, columns = self.shape
        x = self.x[0] + (torch.arange(rows, device=like.device) + 0.5) * self.size
        y = self.y[0] + (torch.arange(columns, device=like.device) + 0.5) * self.size
        return torch.stack(torch.meshgrid(x, y, indexing="ij"), -1).to(like)

    def index(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the number of the cell of each place, row by row, and whether there is one; shape of x."""
        rows, columns = self.shape
        i, j = ((x - self.x[0]) / self.size).floor(), ((y - self.y[0]) / self.size).floor()
        inside = (i >= 0) & (i < rows) & (j >= 0) & (j < columns)
        flat = torch.where(inside, i * columns + j, 0.0)
        return flat.long(), inside


class Occupancy(NamedTuple):
    """What is known of the cells.

    Args:
        log_odds: log(p / (1 - p)) of a cell being occupied, shape (B, X, Y); 0 where nothing is known.
    """

    log_odds: Tensor

    @property
    def probability(self) -> Tensor:
        """That a cell is occupied, shape (B, X, Y); a half where nothing is known."""
        return self.log_odds.sigmoid()

    def free(self, below: float = 0.45) -> Tensor:
        """Return the cells that are occupied with less than this probability, shape (B, X, Y) bool."""
        return self.probability < below

    def occupied(self, above: float = 0.55) -> Tensor:
        """Return the cells that are occupied with more than this probability, shape (B, X, Y) bool."""
        return self.probability > above

    def unknown(self, below: float = 0.45, above: float = 0.55) -> Tensor:
        """Return the cells that are neither, shape (B, X, Y) bool."""
        return ~(self.free(below) | self.occupied(above))


def fuse_grids(before: Occupancy, now: Occupancy, memory: float = 1.0) -> Occupancy:
    """Add the evidence of a new sweep to what was known, both in the same frame.

    Args:
        before: From `moved_grid`, where the robot moved.
        now: Of the new sweep.
        memory: Share of the old evidence that still holds, 0 to 1: less than 1 where things move.

    Source: Moravec and Elfes 1985 as log-odds; limits as Hornung et al., OctoMap, Autonomous Robots 34, 2013, eq. 4.
    """
    if not 0 <= memory <= 1:
        raise ValueError(f"memory is {memory}: need a share, 0 to 1.")
    return Occupancy((memory * before.log_odds + now.log_odds).clamp(-LIMIT, LIMIT))


def moved_grid(grid: Occupancy, cells: Cells, motion: Tensor) -> Occupancy:
    """Return a grid as seen from where the robot moved to; what enters from outside is unknown.

    Args:
        grid: In the robot's frame of before.
        cells: Of the grid.
        motion: The new frame's x, y in metres and yaw in rad, in the old frame, shape (B, 3).
    """
    if motion.shape != (len(grid.log_odds), 3):
        raise ValueError(f"motion has shape {tuple(motion.shape)}: need (B, 3) = ({len(grid.log_odds)}, 3).")
    x, y, yaw = motion[:, None, None].unbind(-1)
    ahead, left = cells.centres(grid.log_odds).unbind(-1)
    old_x, old_y = x + yaw.cos() * ahead - yaw.sin() * left, y + yaw.sin() * ahead + yaw.cos() * left
    ends = ((cells.y, old_y), (cells.x, old_x))
    places = torch.stack([2 * (place - low) / (high - low) - 1 for (low, high), place in ends], -1)
    made = grid_sample(grid.log_odds[:, None], places.to(grid.log_odds), align_corners=False)
    return Occupancy(made[:, 0])
