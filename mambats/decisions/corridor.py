"""Where a robot can go: straight and curved corridors through an occupancy grid."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from mambats.decisions.grid import Cells, Occupancy

#: Curvatures tried, 1/m: straight, and to both sides down to a radius of 5 m.
CURVATURES = (0.0, 0.01, -0.01, 0.025, -0.025, 0.05, -0.05, 0.1, -0.1, 0.2, -0.2)


class Corridor(NamedTuple):
    """The best corridor, and all that were tried.

    Args:
        curvature: Of the longest, the widest among equals, shape (B,), 1/m, left positive.
        length: Where it ends on its axis, from the robot's origin, shape (B,), metres; 0 where the robot cannot move.
        width: Free width over that length, shape (B,), metres.
        lengths: Of every curvature, shape (B, K).
        widths: Of every curvature over its length, shape (B, K).
    """

    curvature: Tensor
    length: Tensor
    width: Tensor
    lengths: Tensor
    widths: Tensor


def free_corridor(
    grid: Occupancy,
    cells: Cells,
    width: float,
    *,
    clearance: float = 0.55,
    start: float = 0.0,
    reach: float = 30.0,
    curvatures: tuple[float, ...] = CURVATURES,
) -> Corridor:
    """Return the corridors that begin along x at the robot's origin and hold no cell that may be occupied.

    A cell blocks where it is free with less than `clearance`: what is unknown blocks, and so does what lies beyond
    the grid. This holds for each cell by itself: cells of one obstacle stand or fall together, and a corridor past
    many obstacles is free with at most the probability of its worst cell.

    Args:
        grid: Of the robot's surroundings.
        cells: Of the grid.
        width: That the robot needs, metres.
        clearance: Probability of being free that each cell must have, above 0.5. With the default `RaySensor`, one
            sweep makes cells free with 0.6, two with 0.69, six with 0.92.
        start: Where the corridor begins, metres along x, such as the robot's front; cells before do not count.
        reach: Longest corridor of interest, metres.
        curvatures: Of the axes to try, 1/m; each is followed for at most half a circle.

    Raises:
        ValueError: If a number is out of range or the grid is not of these cells.
    """
    _check(grid, cells, (width, clearance, start, reach), curvatures)
    blocked = pad(1 - grid.probability < clearance, (1, 1, 1, 1), value=True).flatten(1)[:, None]
    along, across = _coordinates(cells, curvatures, grid.log_odds)
    rim = cells.size / math.sqrt(2)  # a cell counts with its whole area: half a diagonal around its middle
    turn = torch.tensor([math.pi / max(abs(one), 1e-6) for one in curvatures]).to(along)
    ahead = (along >= start) & (along <= turn[:, None])
    ends = torch.where(blocked & ahead & (across < 0.5 * width + rim), along - rim, math.inf).amin(-1)
    lengths = torch.minimum(ends, turn.clamp_max(reach))
    lengths = torch.where(lengths > start, lengths, 0.0)
    beside = blocked & ahead & (along < lengths[..., None])
    free = torch.where(beside, across - rim, 0.5 * (cells.y[1] - cells.y[0])).amin(-1)
    widths = torch.where(lengths > 0, 2 * free.clamp_min(0), 0.0)
    # By whole cells of length first, then by width: a curve must not win by a rounding.
    chosen = ((lengths / cells.size).round() * 1e3 + widths).argmax(-1, keepdim=True)
    length, wide = (each.gather(1, chosen)[:, 0] for each in (lengths, widths))
    return Corridor(torch.tensor(curvatures).to(along)[chosen[:, 0]], length, wide, lengths, widths)


def _coordinates(cells: Cells, curvatures: tuple[float, ...], like: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far along and across each axis the cells lie, shape (K, (X + 2) * (Y + 2)), with a ring around."""
    x_ends, y_ends = ((low - cells.size, high + cells.size) for low, high in (cells.x, cells.y))
    ring = Cells(x_ends, y_ends, cells.size)
    x, y = ring.centres(like).flatten(0, 1).unbind(-1)
    parts = [_arc(x, y, curvature) for curvature in curvatures]
    along, across = (torch.stack(part) for part in zip(*parts, strict=True))
    return along, across


def _arc(x: Tensor, y: Tensor, curvature: float) -> tuple[Tensor, Tensor]:
    """Return arc length and distance of places from the circle that leaves the origin along x."""
    if abs(curvature) < 1e-6:
        return x, y.abs()
    radius = 1 / abs(curvature)
    side = y if curvature > 0 else -y
    angle = torch.atan2(x, radius - side)
    return radius * angle, (torch.hypot(x, radius - side) - radius).abs()


def _check(
    grid: Occupancy, cells: Cells, numbers: tuple[float, float, float, float], curvatures: tuple[float, ...]
) -> None:
    """Refuse numbers out of range and grids of other cells."""
    width, clearance, start, reach = numbers
    if grid.log_odds.ndim != 3 or tuple(grid.log_odds.shape[1:]) != cells.shape:
        raise ValueError(f"grid has shape {tuple(grid.log_odds.shape)}, cells {cells.shape}: need (B, *{cells.shape}).")
    if not (width > 0 and 0.5 < clearance < 1 and 0 <= start < reach):
        raise ValueError(
            f"width is {width} m, clearance {clearance}, start {start} m, reach {reach} m: need width above 0, "
            "clearance within (0.5, 1) and 0 <= start < reach."
        )
    if not curvatures or not all(math.isfinite(one) for one in curvatures):
        raise ValueError(f"curvatures are {curvatures}: need at least one finite number, 1/m.")
