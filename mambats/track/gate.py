"""Which tracks and detections are near enough to be looked at: by a grid, so that cost grows with their number."""

from __future__ import annotations

import torch
from torch import Tensor

from mambats.track.detector import Detections
from mambats.track.matching import Array
from mambats.track.tracks import Tracks

#: Pairs up to which a whole table is cheaper than the grid.
TABLE = 10_000
#: Cells along an axis at most: what lies beyond shares the last one.
CELLS = 1 << 20

Pairs = tuple[Array, Array]


def near(tracks: Tracks, detections: Detections, reach: float) -> Pairs:
    """Return the pairs of one scene whose middles lie within `reach` metres of each other on the ground.

    Returns:
        Rows of tracks and rows of detections, (K,) int64 each, tracks rising: NumPy arrays of few pairs on a CPU, else
        tensors.
    """
    if tracks.scene is None and tracks.mean.is_cpu and len(tracks.mean) * len(detections.boxes) <= TABLE:
        apart = tracks.mean.detach().numpy()[:, None, :2] - detections.boxes.detach().numpy()[:, :2]
        apart *= apart
        rows = (apart[..., 0] + apart[..., 1] <= reach * reach).nonzero()
        return rows[0], rows[1]
    here, there = tracks.mean[:, :2], detections.boxes[:, :2]
    if not len(here) or not len(there):
        empty = detections.row[:0]
        return empty, empty
    first, second = _neighbours(*_cells(tracks, detections, reach))
    apart = here.index_select(0, first) - there.index_select(0, second)
    close = torch.nonzero(apart.square().sum(-1) <= reach * reach)[:, 0]
    return first[close], second[close]


def _cells(tracks: Tracks, detections: Detections, reach: float) -> tuple[Tensor, Tensor, int]:
    """Return the numbers of the cells of both, and how many there are in a column.

    Cells are a hair wider than the reach, so that no rounding puts a pair two cells apart. Around all there is a rim of
    empty ones: a column's neighbour above is not the next column's first.
    """
    both = torch.cat([tracks.mean[:, :2], detections.boxes[:, :2]])
    low = detections.boxes[:, :2].amin(0)
    grid = ((both - low) / (reach * (1 + 1e-9))).floor().clamp(-1, CELLS).long() + 2
    wide, high = (grid.amax(0) + 2).tolist()
    column = grid[:, 0]
    if tracks.scene is not None and detections.scene is not None:
        column = torch.cat([tracks.scene, detections.scene]) * wide + column
    cell = column * high + grid[:, 1]
    return cell[: len(tracks.mean)], cell[len(tracks.mean) :], high


def _neighbours(here: Tensor, there: Tensor, high: int) -> Pairs:
    """Return all pairs whose cells touch: three columns, in each a run of three cells among the sorted detections."""
    cells, order = torch.sort(there)
    columns = (here[:, None] + high * torch.arange(-1, 2, device=here.device)).flatten()
    begin = torch.searchsorted(cells, columns - 1)
    count = torch.searchsorted(cells, columns + 1, right=True) - begin
    run = torch.repeat_interleave(torch.arange(len(columns), device=here.device), count)
    within = torch.arange(len(run), device=here.device) - (count.cumsum(0) - count)[run]
    return torch.div(run, 3, rounding_mode="floor"), order[begin[run] + within]
