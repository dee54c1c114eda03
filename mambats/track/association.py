"""The associator: which detection is of which track. Gates come first: cost grows with tracks, not their square."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mambats.track.affinity import Affinity, Floats, Rows
from mambats.track.detector import Detections
from mambats.track.tracks import Tracks

#: Pairs that a table may have before it is parted into groups which share no pair.
TABLE = 10_000


class Matches(NamedTuple):
    """Pairs of rows: the k-th track took the k-th detection, both (M,) int64."""

    track: Rows
    detection: Rows


class Assignment(ABC):
    """Chooses among pairs with finite costs so that no track and no detection is taken twice."""

    @abstractmethod
    def __call__(self, pairs: tuple[Rows, Rows], cost: Floats) -> Rows:
        """Return which of K pairs are chosen, shape (M,)."""


class Greedy(Assignment):
    """The cheapest pair first, then the cheapest of what is left."""

    def __call__(self, pairs: tuple[Rows, Rows], cost: Floats) -> Rows:
        """Return the chosen pairs."""
        first, second, chosen = set[int](), set[int](), list[int]()
        tracks, detections = pairs[0].tolist(), pairs[1].tolist()
        for k in np.argsort(cost, kind="stable").tolist():
            if tracks[k] not in first and detections[k] not in second:
                first.add(tracks[k])
                second.add(detections[k])
                chosen.append(k)
        return np.array(chosen, dtype=np.int64)


class Nearest(Assignment):
    """Each track takes the detection nearest to it, unless another track is nearer to that one."""

    def __call__(self, pairs: tuple[Rows, Rows], cost: Floats) -> Rows:
        """Return the chosen pairs."""
        order = np.argsort(cost, kind="stable")
        of_track = order[np.unique(pairs[0][order], return_index=True)[1]]
        of_both = of_track[np.argsort(cost[of_track], kind="stable")]
        return of_both[np.unique(pairs[1][of_both], return_index=True)[1]]


class Hungarian(Assignment):
    """As many pairs as can be, and of these the least sum of costs.

    Groups of tracks and detections that share no pair are solved apart: a crowd costs what its groups cost.
    """

    def __call__(self, pairs: tuple[Rows, Rows], cost: Floats) -> Rows:
        """Return the chosen pairs."""
        height, width = int(pairs[0].max()) + 1, int(pairs[1].max()) + 1
        if height * width <= TABLE:
            return _solve(pairs, cost)
        group = _groups(pairs, height, width)
        order = np.argsort(group, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
        return np.concatenate([part[_solve((pairs[0][part], pairs[1][part]), cost[part])] for part in parts])


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
        least: float = -np.inf,
        most: float = np.inf,
    ) -> None:
        self.affinity, self.assignment, self.least, self.most = affinity, assignment, least, most

    def __call__(self, tracks: Tracks, detections: Detections) -> Matches:
        """Return who took what."""
        free = np.flatnonzero(tracks.silent.numpy() <= self.most), np.flatnonzero(detections.odds.numpy() >= self.least)
        return self.among(tracks, detections, free)

    def among(self, tracks: Tracks, detections: Detections, free: tuple[Rows, Rows]) -> Matches:
        """Return who took what among some tracks and some detections."""
        pairs = near(tracks, detections, free, self.affinity.reach)
        if not len(pairs[0]):
            return Matches(*pairs)
        cost = self.affinity(tracks, detections, pairs)
        can = np.isfinite(cost)
        pairs = pairs[0][can], pairs[1][can]
        if not len(pairs[0]):
            return Matches(*pairs)
        chosen = self.assignment(pairs, cost[can])
        return Matches(pairs[0][chosen], pairs[1][chosen])


class Cascade(Associator):
    """Passes one behind another: what one leaves, the next may take. Low scores rescue tracks, and disturb no other.

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
        silent, odds, found = tracks.silent.numpy(), detections.odds.numpy(), list[Matches]()
        waiting, open_ = np.ones(len(silent), np.bool_), np.ones(len(odds), np.bool_)
        for one in self.passes:
            free = np.flatnonzero(waiting & (silent <= one.most)), np.flatnonzero(open_ & (odds >= one.least))
            made = one.among(tracks, detections, free)
            waiting[made.track] = open_[made.detection] = False
            found.append(made)
        return Matches(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def near(tracks: Tracks, detections: Detections, free: tuple[Rows, Rows], reach: float) -> tuple[Rows, Rows]:
    """Return the pairs whose middles lie within `reach` metres of each other on the ground."""
    here, there = tracks.mean.numpy()[free[0], :2], detections.boxes.numpy()[free[1], :2]
    if len(here) * len(there) <= TABLE:
        apart = here[:, None] - there[None]
        rows, columns = np.nonzero((apart * apart).sum(-1) <= reach * reach)
    else:
        from scipy.spatial import KDTree

        lists = KDTree(there).query_ball_point(here, reach)
        rows = np.repeat(np.arange(len(here)), [len(one) for one in lists])
        columns = np.concatenate([np.array(one, dtype=np.int64) for one in lists])
    return free[0][rows], free[1][columns]


def _solve(pairs: tuple[Rows, Rows], cost: Floats) -> Rows:
    from scipy.optimize import linear_sum_assignment

    rows, height = _places(pairs[0])
    columns, width = _places(pairs[1])
    low, high = float(cost.min()), float(cost.max())
    # One pair left out must cost more than any choice among those there are.
    table = np.full((height, width), (high - low + 1) * (min(height, width) + 1))
    table[rows, columns] = cost - low
    which = np.full((height, width), -1)
    which[rows, columns] = np.arange(len(cost))
    chosen = which[linear_sum_assignment(table)]
    return chosen[chosen >= 0]


def _places(rows: Rows) -> tuple[Rows, int]:
    values, places = np.unique(rows, return_inverse=True)
    return places, len(values)


def _groups(pairs: tuple[Rows, Rows], height: int, width: int) -> Rows:
    """Of each pair, the number of its group."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    size = height + width
    graph = coo_array((np.ones(len(pairs[0])), (pairs[0], height + pairs[1])), shape=(size, size))
    return connected_components(graph, directed=False)[1][pairs[0]].astype(np.int64)
