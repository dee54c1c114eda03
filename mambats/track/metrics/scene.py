"""What every metric of tracks reads: one class of one sequence, boxes with identities, and how alike they are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Side:
    """Boxes of one side, labels or tracks, frame behind frame.

    Args:
        splits: Rows of frame f are `splits[f]` to `splits[f + 1]`, shape (F + 1,).
        identity: Shape (N,), one a body.
        score: Shape (N,); zeros where there are none.
        excused: Boxes that neither count nor hurt, but may be matched, shape (N,); a rule that takes such boxes out
            leaves none.
    """

    splits: Whole
    identity: Whole
    score: Floats
    excused: Flags

    def __len__(self) -> int:
        """Return how many boxes there are."""
        return len(self.identity)

    @cached_property
    def counts(self) -> Whole:
        """Boxes of every frame, shape (F,)."""
        return np.diff(self.splits)

    @cached_property
    def frames(self) -> Whole:
        """The frame of every box, shape (N,)."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    @cached_property
    def bodies(self) -> Whole:
        """Identities numbered from 0 without gaps, shape (N,)."""
        return np.unique(self.identity, return_inverse=True)[1].astype(np.int64)

    @cached_property
    def spans(self) -> Whole:
        """Boxes of every body, shape (bodies,)."""
        return np.bincount(self.bodies)

    def take(self, kept: Flags) -> Self:
        """Return some of the boxes; all frames stay."""
        splits = np.concatenate(([0], np.cumsum(kept)))[self.splits].astype(np.int64)
        return replace(
            self, splits=splits, identity=self.identity[kept], score=self.score[kept], excused=self.excused[kept]
        )


@dataclass(frozen=True)
class Scene:
    """Labels and tracks of one class of one sequence, as a rule (`KittiRule`, ...) leaves them.

    Args:
        labels: F frames.
        tracks: The same frames.
        similarity: Of every label with every track of its frame, 0 to 1: frame behind frame, label behind label.
        seconds: Between frames, on average.
    """

    labels: Side
    tracks: Side
    similarity: Floats
    seconds: float = 0.1

    def __len__(self) -> int:
        """Return how many frames there are."""
        return len(self.labels.counts)

    @cached_property
    def offsets(self) -> Whole:
        """Pairs of frame f are `offsets[f]` to `offsets[f + 1]`, shape (F + 1,)."""
        return np.concatenate(([0], np.cumsum(self.labels.counts * self.tracks.counts)))

    @cached_property
    def frames(self) -> Whole:
        """The frame of every pair, shape (P,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    @cached_property
    def rows(self) -> tuple[Whole, Whole]:
        """The row of labels and that of tracks of every pair, shapes (P,)."""
        return pair_rows(self.labels.splits, self.tracks.splits)

    @cached_property
    def bodies(self) -> tuple[Whole, Whole]:
        """The bodies of every pair, shapes (P,)."""
        label, track = self.rows
        return self.labels.bodies[label], self.tracks.bodies[track]

    @cached_property
    def couples(self) -> tuple[Whole, Whole]:
        """Which couple of bodies every pair belongs to: the couples (C,) as label times tracks + track, and (P,)."""
        label, track = self.bodies
        couples, which = np.unique(label * max(len(self.tracks.spans), 1) + track, return_inverse=True)
        return couples, which.astype(np.int64)

    def take(self, labels: Flags, tracks: Flags) -> Self:
        """Return some of the labels and some of the tracks; all frames stay."""
        label, track = self.rows
        kept = labels[label] & tracks[track]
        return replace(
            self, labels=self.labels.take(labels), tracks=self.tracks.take(tracks), similarity=self.similarity[kept]
        )


def pair_rows(labels: Whole, tracks: Whole) -> tuple[Whole, Whole]:
    """Return the rows (P,) and (P,) of all pairs of a label and a track of the same frame.

    Args:
        labels: Splits of labels, shape (F + 1,).
        tracks: Splits of tracks, shape (F + 1,).
    """
    frames = np.repeat(np.arange(len(labels) - 1), np.diff(labels))
    count = np.diff(tracks)[frames]
    begin = np.cumsum(count) - count
    label = np.repeat(np.arange(len(frames)), count)
    track = np.arange(int(count.sum())) + np.repeat(tracks[frames] - begin, count)
    return label, track
