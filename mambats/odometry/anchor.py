"""Which candidate to count the others from: one that has not run away, by what the satellites say."""

from __future__ import annotations

import torch
from torch import Tensor

from mambats.odometry.navigation import Navigation
from mambats.series import SensorRows

#: A distance to a fix counts up to here, and the mean over fixes forgets by this share with each: some two seconds.
_FAR, _FORGET = 50.0, 0.1
#: Another candidate takes the first one's place where it is nearer to the fixes by this much, m: slow errors of a
#: receiver are of some metres, and the first is the best where nothing is broken.
_AHEAD = 8.0


def distances(rows: SensorRows, ticks: Tensor, each: Navigation, before: Tensor) -> Tensor:
    """Return how far candidates have lately been from the fixes, at every tick.

    Args:
        rows: Of `gnss`.
        ticks: Shape (B, T) int64, rising.
        each: Estimates with axes (B, T, C).
        before: The distances at the window's start, shape (B, C), m.

    Returns:
        Shape (B, T, C), m: running means of distances, each bounded; without fixes they stay as they were.
    """
    there = rows.mask & rows.values.isfinite().all(-1)
    cell = torch.searchsorted(ticks, rows.stamps.contiguous()).clamp_max(ticks.shape[1] - 1)
    at = each.position.gather(1, cell[..., None, None].expand(-1, -1, *each.position.shape[2:]))
    gap = (rows.values.double()[:, :, None] - at).norm(dim=-1).nan_to_num(_FAR, _FAR, _FAR).clamp_max(_FAR)
    zeros = gap.new_zeros(*ticks.shape, gap.shape[-1])
    wide = cell[..., None].expand_as(gap)
    count = zeros.scatter_add(1, wide, there[..., None].expand_as(gap).to(gap))
    mean = zeros.scatter_add(1, wide, torch.where(there[..., None], gap, 0.0)) / count.clamp_min(1)
    made, last = list[Tensor](), before
    for now, some in zip(mean.unbind(1), (count > 0).unbind(1), strict=True):
        last = torch.where(some, last + _FORGET * (now - last), last)
        made.append(last)
    return torch.stack(made, 1)


def anchor_of(far: Tensor) -> Tensor:
    """Return which candidate to count from, (...), by distances (..., C): the first, unless another is far nearer."""
    nearest = far.argmin(-1)
    return torch.where(far[..., 0] > far.amin(-1) + _AHEAD, nearest, 0)
