"""How well a detection fits a track, pair by pair: the less the better, and infinite where it cannot be."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt
import torch

from mambats.track.detector import Detections
from mambats.track.heading import turned_to
from mambats.track.tracks import SEEN, Tracks

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


class Affinity(ABC):
    """A cost of pairs. `reach` says how far apart, on the ground, a pair may be to be looked at at all."""

    reach: float

    @abstractmethod
    def __call__(self, tracks: Tracks, detections: Detections, pairs: tuple[Rows, Rows]) -> Floats:
        """Return the cost (K,) of K pairs, given as rows of tracks and rows of detections; inf where one is too far."""


class CentreDistance(Affinity):
    """Metres between the middles of two boxes.

    Args:
        limit: The farthest that may be one body, metres.
    """

    def __init__(self, limit: float) -> None:
        self.limit = self.reach = limit

    def __call__(self, tracks: Tracks, detections: Detections, pairs: tuple[Rows, Rows]) -> Floats:
        """Return the distance (K,)."""
        apart = tracks.mean.numpy()[pairs[0], :3] - detections.boxes.numpy()[pairs[1], :3]
        cost = np.sqrt((apart * apart).sum(1))
        cost[cost > self.limit] = np.inf
        return cost


class Overlap(Affinity):
    """Minus the generalised IoU of two boxes in space, 1 to -1.

    Args:
        least: GIoU that a pair must exceed.
        reach: How far apart their middles may be on the ground, metres.
    """

    def __init__(self, least: float = -0.2, reach: float = 10.0) -> None:
        self.least, self.reach = least, reach

    def __call__(self, tracks: Tracks, detections: Detections, pairs: tuple[Rows, Rows]) -> Floats:
        """Return minus the GIoU (K,)."""
        from mambats.track.overlap import giou_3d_of_pairs

        first, second = (torch.from_numpy(rows) for rows in pairs)
        cost = -giou_3d_of_pairs(tracks.mean[first, :SEEN], detections.boxes[second]).numpy()
        cost[cost >= -self.least] = np.inf
        return cost


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

    def __call__(self, tracks: Tracks, detections: Detections, pairs: tuple[Rows, Rows]) -> Floats:
        """Return the cost (K,)."""
        first, second = (torch.from_numpy(rows) for rows in pairs)
        mean, boxes = tracks.mean[first, :SEEN], detections.boxes[second]
        away = boxes - mean
        away[:, 6] = turned_to(boxes[:, 6], mean[:, 6]) - mean[:, 6]
        part = slice(0, self.numbers)
        spread = (tracks.covariance[first, part, part] + detections.covariance[second, part, part]).numpy()
        away = away[:, part].numpy()
        factor = np.linalg.cholesky(spread)
        white = np.linalg.solve(factor, away[..., None])[..., 0]
        square = (white * white).sum(1)
        cost = square + 2 * np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(1)
        cost[square > self.limit] = np.inf
        return cost
