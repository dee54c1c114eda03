"""How well a detection fits a track, pair by pair: the less the better, and infinite where it cannot be."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from mambats.track.detector import Detections
from mambats.track.heading import least_turn
from mambats.track.tracks import SEEN, Tracks


class Affinity(ABC):
    """A cost of pairs. `reach` says how far apart, on the ground, a pair may be to be looked at at all."""

    reach: float

    @abstractmethod
    def __call__(self, tracks: Tracks, detections: Detections, pairs: tuple[Tensor, Tensor]) -> Tensor:
        """Return the cost (K,) of K pairs, given as rows of tracks and rows of detections; inf where one is too far."""

    def settings(self) -> tuple[object, ...]:
        """Return what tells this affinity from others: those with the same settings give the same costs."""
        return (id(self),)


class CentreDistance(Affinity):
    """Metres between the middles of two boxes.

    Args:
        limit: The farthest that may be one body, metres.
    """

    def __init__(self, limit: float) -> None:
        self.limit = self.reach = limit

    def __call__(self, tracks: Tracks, detections: Detections, pairs: tuple[Tensor, Tensor]) -> Tensor:
        """Return the distance (K,)."""
        apart = (tracks.mean[:, :3][pairs[0]] - detections.boxes[:, :3][pairs[1]]).norm(dim=-1)
        return apart.masked_fill(apart > self.limit, torch.inf)

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

    def __call__(self, tracks: Tracks, detections: Detections, pairs: tuple[Tensor, Tensor]) -> Tensor:
        """Return minus the GIoU (K,)."""
        from mambats.track.overlap import giou_3d_of_pairs

        cost = -giou_3d_of_pairs(tracks.mean[:, :SEEN][pairs[0]], detections.boxes[pairs[1]])
        return cost.masked_fill(cost >= -self.least, torch.inf)

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

    def __call__(self, tracks: Tracks, detections: Detections, pairs: tuple[Tensor, Tensor]) -> Tensor:
        """Return the cost (K,)."""
        first, second, part = *pairs, slice(0, self.numbers)
        away = detections.boxes[second] - tracks.mean[:, :SEEN][first]
        away[:, 6] = least_turn(away[:, 6])
        spread = tracks.covariance[:, part, part][first] + detections.covariance[:, part, part][second]
        factor = torch.linalg.cholesky(spread)
        white = torch.linalg.solve_triangular(factor, away[:, part, None], upper=False)[..., 0]
        square = white.square().sum(-1)
        cost = square + 2 * factor.diagonal(dim1=1, dim2=2).log().sum(-1)
        return cost.masked_fill(square > self.limit, torch.inf)

    def settings(self) -> tuple[object, ...]:
        """Return its numbers."""
        return type(self), self.limit, self.reach, self.numbers
