"""The box of space that a point encoder reads, cut into cells."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PointGrid:
    """A box around the sensor in equal cells; cell = floor((p - low) / size), found in float64 for any dtype.

    Args:
        low: Corner of cell (0, 0, 0), metres.
        high: Opposite corner, metres; not part of the box.
        size: Edges of a cell, metres; the box holds a whole number of them along each axis.

    Raises:
        ValueError: If a side is empty or not a whole number of cells.
    """

    low: tuple[float, float, float] = (-32.0, -32.0, -3.0)
    high: tuple[float, float, float] = (32.0, 32.0, 5.0)
    size: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        """Check the numbers."""
        for low, high, size in zip(self.low, self.high, self.size, strict=True):
            if not (size > 0 and high > low) or abs((high - low) / size - round((high - low) / size)) > 1e-6:
                raise ValueError(
                    f"grid goes from {self.low} to {self.high} m in cells of {self.size} m: need sizes above 0 and a "
                    "whole number of cells, at least one, along each axis."
                )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Cells along x, y and z."""
        sides = (round((high - low) / size) for low, high, size in zip(self.low, self.high, self.size, strict=True))
        nx, ny, nz = sides
        return nx, ny, nz

    @property
    def bits(self) -> int:
        """Bits that hold the cell number of any axis, at least 1."""
        return max(1, (max(self.shape) - 1).bit_length())

    @property
    def volume(self) -> int:
        """Number of cells."""
        return math.prod(self.shape)

    def cells(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cells (..., 3) int64 of points (..., 3), 0 where outside, and whether they are inside (...)."""
        # Numbers, not tensors of the box's corners: making one on a GPU would wait for it.
        axes = zip(points.double().unbind(-1), self.low, self.size, strict=True)
        cells = [((along - low) / size).floor() for along, low, size in axes]
        inside = torch.ones_like(points[..., 0], dtype=torch.bool)
        for axis, count in zip(cells, self.shape, strict=True):
            inside &= (axis >= 0) & (axis < count)  # not a number compares as False
        return torch.stack([torch.where(inside, axis, 0.0) for axis in cells], -1).long(), inside

    def number(self, cells: Tensor) -> Tensor:
        """Return one number (...) for cells (..., 3): x runs fastest, then y, then z."""
        nx, ny, _ = self.shape
        return (cells[..., 2] * ny + cells[..., 1]) * nx + cells[..., 0]

    def centres(self, cells: Tensor) -> Tensor:
        """Return the middles (..., 3) of cells (..., 3), metres, float64."""
        axes = zip(cells.double().unbind(-1), self.low, self.size, strict=True)
        return torch.stack([(axis + 0.5) * size + low for axis, low, size in axes], -1)

    def offsets(self, points: Tensor, cells: Tensor) -> Tensor:
        """Return points (..., 3) as seen from the middles of their cells (..., 3), in cells, float64."""
        apart = (points.double() - self.centres(cells)).unbind(-1)
        return torch.stack([axis / size for axis, size in zip(apart, self.size, strict=True)], -1)

    def normalised(self, points: Tensor) -> Tensor:
        """Return points (..., 3) as -1 to 1 across the box, float64."""
        axes = zip(points.double().unbind(-1), self.low, self.high, strict=True)
        return torch.stack([(2 * axis - low - high) / (high - low) for axis, low, high in axes], -1)
