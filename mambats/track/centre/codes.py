"""Boxes as the ten numbers that a cell of the top view regresses, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

#: Numbers of a code: x, y [m from the cell's middle], z [m], logarithms of length, width, height, sine and cosine of
#: twice the yaw, velocity along x and y [m/s].
CODE = 10
#: Numbers that have a variance: the box's seven and the velocity's two.
VARIED = 9


class Cells(Protocol):
    """The grid of a top view, as `mambats.encoders.features.PointGrid` has it."""

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    size: tuple[float, float, float]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Cells along x, y and z."""
        ...


@dataclass(frozen=True)
class BoxCode:
    """Codes of boxes in the cells of a grid.

    Twice the yaw tells the axis of a box without its front: a box looks the same from both ends, and the mean of two
    opposite yaws points nowhere. The front is the end that the velocity points to.

    Args:
        cells: The grid of the top view; rows along y, columns along x.
    """

    cells: Cells

    def cell(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Column and row (..., 2) int64 of the cells that hold the middles of boxes (..., 7), and whether inside."""
        low, size = (boxes.new_tensor(part[:2]) for part in (self.cells.low, self.cells.size))
        cell = ((boxes[..., :2] - low) / size).floor()
        inside = ((cell >= 0) & (cell < boxes.new_tensor(self.cells.shape[:2]))).all(-1)
        return torch.where(inside[..., None], cell, 0.0).long(), inside

    def middle(self, cell: Tensor) -> Tensor:
        """Middles (..., 2) in metres of cells (..., 2)."""
        low, size = (torch.tensor(part[:2], device=cell.device) for part in (self.cells.low, self.cells.size))
        return low + (cell + 0.5) * size

    def encode(self, boxes: Tensor, velocity: Tensor, cell: Tensor) -> Tensor:
        """Codes (..., 10) of boxes (..., 7) with velocities (..., 2), as told from cells (..., 2)."""
        turn = 2 * boxes[..., 6:7]
        away = boxes[..., :2] - self.middle(cell).to(boxes)
        size = boxes[..., 3:6].clamp_min(0.01).log()
        return torch.cat([away, boxes[..., 2:3], size, turn.sin(), turn.cos(), velocity], -1)

    def decode(self, code: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (..., 7) and velocities (..., 2) of codes (..., 10) in cells (..., 2)."""
        place = self.middle(cell).to(code) + code[..., :2]
        size = code[..., 3:6].clamp(-4, 4).exp()
        yaw = torch.atan2(code[..., 6], code[..., 7]) / 2
        velocity = code[..., 8:10]
        back = velocity[..., 0] * yaw.cos() + velocity[..., 1] * yaw.sin() < 0
        yaw = torch.where(back, yaw - torch.full_like(yaw, torch.pi).copysign(yaw), yaw)
        return torch.cat([place, code[..., 2:3], size, yaw[..., None]], -1), velocity


def residual(boxes: Tensor, velocity: Tensor, truth: Tensor, moving: Tensor) -> Tensor:
    """Errors (..., 9) of boxes (..., 7) and velocities (..., 2): m, rad between axes, m/s."""
    error = boxes - truth
    turn = (torch.remainder(error[..., 6:] + torch.pi / 2, torch.pi) - torch.pi / 2).clone()
    return torch.cat([error[..., :6], turn, velocity - moving], -1)
