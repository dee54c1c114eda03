"""The associator: which detection is of which track. Gates come first: cost grows with tracks, not their square."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mambats.track.affinity import Affinity, CentreDistance, like
from mambats.track.assignment import Assignment, Greedy, Hungarian, Nearest
from mambats.track.detector import Detections
from mambats.track.gate import Pairs, near
from mambats.track.matching import Array, rows_where
from mambats.track.tracks import Tracks

__all__ = ["Assignment", "Associator", "Cascade", "Greedy", "Hungarian", "Matches", "Nearest", "SinglePass"]


class Matches(NamedTuple):
    """Pairs of rows, tracks rising: the k-th track took the k-th detection, both (M,) int64."""

    track: Tensor
    detection: Tensor

    def of_tracks(self, count: int) -> Tensor:
        """Return of each of so many tracks the detection that it took, -1 for none, shape (T,) int64."""
        return self.detection.new_full((count,), -1).index_copy(0, self.track, self.detection)


class Associator(ABC):
    """Says which detection is of which track."""

    @abstractmethod
    def __call__(self, tracks: Tracks, detections: Detections) -> Matches:
        """Return who took what."""


class SinglePass(Associator):
    """One pass of association.

    Args:
        affinity: Cost of a pair.
        assignment: Who chooses.
        least: Log odds that a detection must reach to take part.
        most: Seconds that a track may have been silent to take part.
    """

    def __init__(
        self,
        affinity: Affinity,
        assignment: Assignment,
        least: float = -math.inf,
        most: float = math.inf,
    ) -> None:
        self.affinity, self.assignment, self.least, self.most = affinity, assignment, least, most

    def __call__(self, tracks: Tracks, detections: Detections) -> Matches:
        """Return who took what."""
        return Cascade([self])(tracks, detections)


class Cascade(Associator):
    """Passes one behind another: what one leaves, the next may take. Low scores rescue tracks, and disturb no other.

    Pairs are looked for once, and affinities of the same settings are worked out once.

    Args:
        passes: In their order.

    Raises:
        ValueError: If there is none.

    Source: Zhang et al., ByteTrack: Multi-Object Tracking by Associating Every Detection Box, ECCV 2022, section 3.
    """

    def __init__(self, passes: Sequence[SinglePass]) -> None:
        if not passes:
            raise ValueError("passes is empty: give one pass or more.")
        self.passes = passes

    def __call__(self, tracks: Tracks, detections: Detections) -> Matches:
        """Return who took what."""
        reach = max(one.affinity.reach for one in self.passes)
        pairs = first, second = near(tracks, detections, reach)
        silent, odds = like(tracks.silent, first), like(detections.odds, first)
        waiting, free = silent == silent, odds == odds  # all of them
        costs, found = dict[tuple[object, ...], Array](), [rows_where(first < 0)]
        for one in self.passes:
            can = (waiting & (silent <= one.most))[first] & (free & (odds >= one.least))[second]
            if not can.any():
                continue
            name = one.affinity.settings()
            if name not in costs:
                costs[name] = _cost(one.affinity, tracks, detections, pairs, reach)
            rows = rows_where(can & (costs[name] < math.inf))
            if len(rows):
                chosen = rows[one.assignment((first[rows], second[rows]), costs[name][rows])]
                waiting[first[chosen]] = free[second[chosen]] = False
                found.append(chosen)
        rows = torch.cat(found).sort().values if isinstance(first, Tensor) else np.sort(np.concatenate(found))
        return Matches(torch.as_tensor(first[rows]), torch.as_tensor(second[rows]))


def _cost(affinity: Affinity, tracks: Tracks, detections: Detections, pairs: Pairs, reach: float) -> Array:
    """Return the costs of pairs that lie within `reach`, infinite where they are out of the affinity's own."""
    cost = affinity(tracks, detections, pairs)
    if affinity.reach < reach and not isinstance(affinity, CentreDistance):  # that has no other limit than its reach
        apart = like(tracks.mean, cost)[pairs[0], :2] - like(detections.boxes, cost)[pairs[1], :2]
        cost[(apart * apart).sum(-1) > affinity.reach**2] = math.inf
    return cost
