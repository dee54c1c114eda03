"""How well a detection fits a track, pair by pair: the less the better, and infinite where it cannot be."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mambats.track.detector import Detections
from mambats.track.gate import Pairs
from mambats.track.matching import Array
from mambats.track.tracks import SEEN, Tracks


class Affinity(ABC):
    """A cost of pairs. `reach` says how far apart, on the ground, a pair may be to be looked at at all.

    Pairs are tensors, or NumPy arrays of few pairs on a CPU, where a call takes half the time so (49 us in place of 107
    of `Mahalanobis`, nine pairs); costs are of the same kind.
    """

    reach: float

    @abstractmethod
    def __call__(self, tracks: Tracks, detections: Detections, pairs: Pairs) -> Array:
        """Return the cost (K,) of K pairs, given as rows of tracks and rows of detections; inf where one is too far."""

    def settings(self) -> tuple[object, ...]:
        """Return what tells this affinity from others: those with the same settings give the same costs."""
        return (id(self),)


def like(part: Tensor, rows: Array) -> Array:
    """Return a tensor as what rows are: an array beside arrays."""
    return part if isinstance(rows, Tensor) else part.numpy(force=part.requires_grad)


class CentreDistance(Affinity):
    """Metres between the middles of two boxes.

    Args:
        limit: The farthest that may be one body, metres.
    """

    def __init__(self, limit: float) -> None:
        self.limit = self.reach = limit

    def __call__(self, tracks: Tracks, detections: Detections, pairs: Pairs) -> Array:
        """Return the distance (K,)."""
        mean, boxes = (like(part, pairs[0]) for part in (tracks.mean, detections.boxes))
        apart = mean[pairs[0], :3] - boxes[pairs[1], :3]
        cost = (apart * apart).sum(-1) ** 0.5
        cost[cost > self.limit] = math.inf
        return cost

    def settings(self) -> tuple[object, ...]:
        """Return its numbers."""
        return type(self), self.limit


class Overlap(Affinity):
    """Minus the generalised IoU of two boxes in space, 1 to -1.

    Args:
        least: GIoU that a pair must exceed.
        reach: How far apart their middles may be on the ground, metres.
    """

    def __init__(self, least: float = -0.2, reach: float = 10.0) -> None:
        self.least, self.reach = least, reach

    def __call__(self, tracks: Tracks, detections: Detections, pairs: Pairs) -> Array:
        """Return minus the GIoU (K,)."""
        from mambats.track.overlap import giou_3d_of_pairs

        first, second = (torch.as_tensor(rows) for rows in pairs)
        cost = -giou_3d_of_pairs(tracks.mean[first, :SEEN], detections.boxes[second])
        return like(cost.masked_fill(cost >= -self.least, torch.inf), pairs[0])

    def settings(self) -> tuple[object, ...]:
        """Return its numbers."""
        return type(self), self.least, self.reach


class Mahalanobis(Affinity):
    """Minus twice the log likelihood of a detection under a track, up to a constant: d' S^-1 d + log det S.

    Without the determinant a track that is lost would win, for everything is near to it.

    Args:
        limit: The greatest d' S^-1 d that is let in; 99.9 % of a true pair's lie below 24.3 for seven numbers.
        reach: How far apart their middles may be on the ground, metres.
        numbers: How many of a box's seven are compared, from x on: 3 looks at the place alone.
    """

    def __init__(self, limit: float = 24.3, reach: float = 10.0, numbers: int = SEEN) -> None:
        if not 1 <= numbers <= SEEN:
            raise ValueError(f"numbers is {numbers}: needed 1 to {SEEN}, of a box from x on.")
        self.limit, self.reach, self.numbers = limit, reach, numbers

    def __call__(self, tracks: Tracks, detections: Detections, pairs: Pairs) -> Array:
        """Return the cost (K,)."""
        (first, second), part = pairs, slice(0, self.numbers)
        xp: Any = torch if isinstance(first, Tensor) else np  # what is called below is the same in both
        mean, boxes = like(tracks.mean, first), like(detections.boxes, first)
        away = boxes[second] - mean[first, :SEEN]
        away[:, 6] -= math.pi * xp.round(away[:, 6] / math.pi)  # as `least_turn`
        spread = (
            like(tracks.covariance, first)[first, part, part] + like(detections.covariance, first)[second, part, part]
        )
        factor = xp.linalg.cholesky(spread)
        white = xp.linalg.solve(factor, away[:, part, None])[..., 0]
        square = (white * white).sum(-1)
        cost = square + 2 * xp.log(xp.diagonal(factor, 0, 1, 2)).sum(-1)
        cost[square > self.limit] = math.inf
        return cost

    def settings(self) -> tuple[object, ...]:
        """Return its numbers."""
        return type(self), self.limit, self.reach, self.numbers
