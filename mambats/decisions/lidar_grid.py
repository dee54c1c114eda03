"""Occupancy from rays: what a ray passed is free, where it ended something stands."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mambats.decisions.grid import LIMIT, Cells, Occupancy


@dataclass(frozen=True)
class RaySensor:
    """How much a ray says.

    Args:
        band: Heights of what the robot would hit, metres in the robot's frame: a return between them is an obstacle.
            Ground that rises into the band is one too: take its points out first where that is not meant.
        hit: Probability that a cell with a return is occupied.
        miss: Probability that a cell that was only passed is occupied.
        spread: Angle between neighbouring rays in the plane, rad: a ray clears what lies nearer to it than to its
            neighbours. 0 is a line, which far away leaves cells between the rays unknown.
        clears: A ray clears a cell only while it is above the ground of the band and below this height, metres: it
            passes over what is lower than itself.

    Source: probabilities of Hornung et al., OctoMap, Autonomous Robots 34, 2013, section 4: 0.7 and 0.4.
    """

    band: tuple[float, float] = (0.3, 2.0)
    hit: float = 0.7
    miss: float = 0.4
    spread: float = 0.0
    clears: float = 1.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        low, high = self.band
        if not (low < self.clears <= high and 0 < self.miss < 0.5 < self.hit < 1 and 0 <= self.spread < 0.5):
            raise ValueError(
                f"band is {self.band} m, clears {self.clears} m, hit {self.hit}, miss {self.miss}, spread "
                f"{self.spread} rad: need a rising band, clears within it, 0 < miss < 0.5 < hit < 1, spread 0 to 0.5."
            )


def grid_from_rays(
    points: Tensor, origin: Tensor, cells: Cells, sensor: RaySensor | None = None, mask: Tensor | None = None
) -> Occupancy:
    """Return the evidence of one sweep.

    A cell with any return is hit, whatever else passed it; else, passed by any ray, it is missed; else unknown.

    Args:
        points: Where rays ended in the robot's frame, shape (B, N, 3), metres; corrected for the robot's own motion.
        origin: Where they began, shape (B, 3) or (3,), metres.
        cells: Of the grid.
        sensor: How much a ray says.
        mask: Rays that came back, shape (B, N) bool; one that did not says nothing. None for all.

    Raises:
        ValueError: If shapes disagree, or a point that came back is not finite.
    """
    sensor = sensor or RaySensor()
    points, origin, mask = _check(points, origin, mask)
    rows, columns = cells.shape
    hit = torch.zeros(len(points), rows * columns, dtype=torch.bool, device=points.device)
    passed = hit.clone()
    tall = (points[..., 2] >= sensor.band[0]) & (points[..., 2] <= sensor.band[1]) & mask
    _mark(hit, tall.nonzero()[:, 0], points[tall], cells)
    way = (points - origin[:, None])[..., :2]
    length = way.norm(dim=-1).clamp_min(1e-6)
    begin, end = _stretch(points, origin, (sensor.band[0], sensor.clears))
    # Ends half a cell before the return, so that a wall's own cell is not cleared where the hit fell into the next.
    begin, end = begin * length, torch.minimum(end * length, length - 0.5 * cells.size)
    direction = way / length[..., None]
    # Places this close, along a beam and across it, leave out no cell that the beam covers.
    step = cells.size / math.sqrt(2)
    for k in range(_steps(cells, origin, step)):
        gone = k * step
        series, ray = (mask & (begin <= gone) & (gone <= end)).nonzero(as_tuple=True)
        ahead = direction[series, ray]
        left = torch.stack([-ahead[:, 1], ahead[:, 0]], -1)
        for share in _offsets(sensor.spread * gone, step):
            _mark(passed, series, origin[series, :2] + gone * (ahead + share * sensor.spread * left), cells)
    odds = torch.where(hit, math.log(sensor.hit / (1 - sensor.hit)), 0.0)
    odds = torch.where(passed & ~hit, math.log(sensor.miss / (1 - sensor.miss)), odds)
    return Occupancy(odds.view(-1, rows, columns).to(points).clamp(-LIMIT, LIMIT))


def _check(points: Tensor, origin: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return points without holes, origins (B, 3) and a mask."""
    if points.ndim != 3 or points.shape[-1] != 3:
        raise ValueError(f"points have shape {tuple(points.shape)}: need (B, N, 3).")
    if origin.shape not in ((3,), (len(points), 3)):
        raise ValueError(f"origin has shape {tuple(origin.shape)}: need (3,) or ({len(points)}, 3).")
    mask = torch.ones_like(points[..., 0], dtype=torch.bool) if mask is None else mask
    if mask.shape != points.shape[:2] or mask.dtype != torch.bool:
        raise ValueError(f"mask is {mask.dtype} {tuple(mask.shape)}: need bool {tuple(points.shape[:2])}.")
    if (~torch.isfinite(points).all(-1) & mask).any():
        raise ValueError("a point is not finite: set mask False for rays that did not come back.")
    points = torch.where(mask[..., None], points, 0.0)
    return points, origin.to(points).expand(len(points), 3), mask


def _mark(marks: Tensor, series: Tensor, places: Tensor, cells: Cells) -> None:
    """Set the marks (B, X * Y) of the cells in which places (P, 2) of series (P,) lie."""
    flat, inside = cells.index(places[:, 0], places[:, 1])
    marks.view(-1).index_fill_(0, (flat + series * marks.shape[1])[inside], True)


def _offsets(width: float, step: float) -> list[float]:
    """Return the shares of a beam's width, -0.5 to 0.5, at which lines no farther apart than a step fill it."""
    count = math.ceil(width / step)
    return [(k + 0.5) / count - 0.5 for k in range(count)] if count > 1 else [0.0]


def _stretch(points: Tensor, origin: Tensor, band: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Return between which shares of its length a ray lies in the band, shape (B, N) each."""
    start, climb = origin[:, None, 2], points[..., 2] - origin[:, None, 2]
    level = climb.abs() < 1e-9
    climb = torch.where(level, 1.0, climb)
    one, two = (band[0] - start) / climb, (band[1] - start) / climb
    within = ((start >= band[0]) & (start <= band[1])).expand_as(climb)
    begin = torch.where(level, torch.where(within, 0.0, 1.0), torch.minimum(one, two))
    end = torch.where(level, torch.where(within, 1.0, 0.0), torch.maximum(one, two))
    return begin.clamp_min(0), end.clamp_max(1)


def _steps(cells: Cells, origin: Tensor, step: float) -> int:
    """Return how many steps reach the farthest corner from any origin."""
    if not len(origin):
        return 0
    corners = torch.tensor([[x, y] for x in cells.x for y in cells.y]).to(origin)
    return int((corners - origin[:, None, :2]).norm(dim=-1).max().item() / step) + 2
