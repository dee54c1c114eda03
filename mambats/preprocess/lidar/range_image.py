"""A sweep as the sensor sees it: rows of elevation, columns of azimuth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Generic, NamedTuple

import torch
from torch import Tensor

from mambats.preprocess.bridge import Batch, beside, like, tensor


class Projected(NamedTuple, Generic[Batch]):
    """ranges (H, W): metres, NaN where no point falls. source (H, W): row of the point kept, -1 where none is."""

    ranges: Batch
    source: Batch


class RangeImage:
    """Project points to cells of azimuth and elevation, the nearest point winning, and back to cell centres.

    Column 0 begins behind the sensor (azimuth pi) and turns clockwise seen from above; row 0 is the highest. For
    columns of the points take `points[source]` where source >= 0. Back-projection is exact: what comes back falls into
    the same cell at the same range.

    Args:
        rows: Of the picture; with `elevations` one each.
        columns: Of the picture, over the full turn.
        up: Upper border of elevation, radians.
        down: Lower border, radians.
        elevations: Of the beams where they are not even, falling, radians: a point goes to the nearest, within half
            the distance to its neighbour (half that of the first or last pair at the borders).
    """

    def __init__(
        self,
        rows: int = 64,
        columns: int = 2048,
        up: float = math.radians(3.0),
        down: float = math.radians(-25.0),
        elevations: Sequence[float] | None = None,
    ) -> None:
        even = [up - (up - down) * (row + 0.5) / rows for row in range(rows)]
        self.elevations = torch.tensor(even if elevations is None else list(elevations), dtype=torch.float64)
        if len(self.elevations) < 2 or columns < 1 or not bool((self.elevations.diff() < 0).all()):
            raise ValueError(
                f"there are {len(self.elevations)} elevations from {up:.4g} down to {down:.4g} rad and {columns} "
                "columns: needed at least two, falling, and one column."
            )
        self.columns = columns
        middle = (self.elevations[:-1] + self.elevations[1:]) / 2
        top, bottom = 2 * self.elevations[0] - middle[0], 2 * self.elevations[-1] - middle[-1]
        self._borders = -torch.cat([top[None], middle, bottom[None]])  # rising
        self._even = elevations is None

    @property
    def rows(self) -> int:
        """Rows of the picture."""
        return len(self.elevations)

    def cells(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cell (row * columns + column) of points (N, 3), -1 outside of the picture, and their ranges."""
        given = points[:, :3].double()
        flat = given[:, 0].square() + given[:, 1].square()
        ranges = (flat + given[:, 2].square()).sqrt()
        depth = -torch.atan2(given[:, 2], flat.sqrt())
        turned = (math.pi - torch.atan2(given[:, 1], given[:, 0])) * (self.columns / (2 * math.pi))
        column = turned.floor().long() % self.columns  # azimuth -pi and pi are one column
        borders = self._borders.to(points.device)
        if self._even:
            row = ((depth - borders[0]) * (self.rows / (borders[-1] - borders[0]))).floor()
        else:
            row = torch.bucketize(depth, borders, right=True) - 1.0
        usable = (row >= 0) & (row < self.rows) & (ranges > 0) & ranges.isfinite()
        return (row.nan_to_num(-1.0).long() * self.columns + column).where(usable, -1), ranges

    def __call__(self, points: Batch) -> Projected[Batch]:
        """Project points (N, 3 or more), metres; those not finite, at the origin or out of view are left out."""
        given = tensor(points)
        if given.ndim != 2 or given.shape[1] < 3:
            raise ValueError(f"points have shape {tuple(given.shape)}, needed (N, 3 or more).")
        cell, ranges = self.cells(given)
        # A range above 0 sorts as its bits do: range and row in one number, and the least of each cell, find the
        # nearest point in one pass that is the same on any device. Equal float32 ranges go by row.
        bits = ranges.float().view(torch.int32).long() << 32
        key = bits | torch.arange(len(given), device=given.device)
        none = torch.iinfo(torch.long).max
        size = self.rows * self.columns
        least = torch.full((size + 1,), none, dtype=torch.long, device=given.device)
        least.scatter_reduce_(0, cell.where(cell >= 0, size), key, "amin")
        index = (least[:-1] & 0xFFFFFFFF).where(least[:-1] != none, -1)
        picture = torch.full((size,), torch.nan, dtype=given.dtype, device=given.device)
        hit = index >= 0
        picture[hit] = ranges[index[hit]].to(given.dtype)
        shape = (self.rows, self.columns)
        return Projected(like(picture.view(shape), points), like(index.view(shape), points))

    def directions(self) -> Tensor:
        """Return unit vectors to the cell centres, (H, W, 3) float64."""
        azimuth = math.pi - (torch.arange(self.columns, dtype=torch.float64) + 0.5) * (2 * math.pi / self.columns)
        flat = self.elevations.cos()[:, None]
        height = self.elevations.sin()[:, None].expand(-1, self.columns)
        return torch.stack([flat * azimuth.cos(), flat * azimuth.sin(), height], -1)

    def inverse(self, ranges: Batch) -> Batch:
        """Return points (H, W, 3) at the centres of their cells, NaN where there is no range."""
        given = tensor(ranges)
        if given.shape[-2:] != (self.rows, self.columns):
            raise ValueError(f"ranges have shape {tuple(given.shape)}, needed (..., {self.rows}, {self.columns}).")
        return like(beside(self.directions(), given) * given[..., None], ranges)
