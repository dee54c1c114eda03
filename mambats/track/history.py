"""What a tracker knew frame by frame, laid out by track."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple, overload

import torch
from torch import Tensor

from mambats.track.predictor import Predictor
from mambats.track.tracks import Tracks
from mambats.track.updater import Told


class Frame(NamedTuple):
    """What was known right after a frame.

    Args:
        stamp: Nanoseconds.
        tracks: All of them.
        shown: Which the confirmer tells of, shape (T,) bool.
        told: What the updates said of the filter's consistency.
        pose: x, y, z and yaw of the sensor in the world of the tracks, shape (4,); None where it stands still.
    """

    stamp: int
    tracks: Tracks
    shown: Tensor
    told: Told
    pose: Tensor | None = None


class Frames(Sequence[Frame]):
    """Frames one behind another in one table, each cut out when it is asked for.

    Args:
        stamps: Shape (F,) int64, nanoseconds.
        tracks: Of all frames, N rows.
        shown: Shape (N,) bool.
        told: Of all frames, M rows.
        counts: How many tracks and how many updates each frame has, shape (F, 2) int64.
        poses: Shape (F, 4), or None.
    """

    def __init__(
        self, stamps: Tensor, tracks: Tracks, shown: Tensor, told: Told, counts: Tensor, poses: Tensor | None = None
    ) -> None:
        self.stamps, self.tracks, self.shown, self.told = stamps, tracks, shown, told
        self.counts, self.poses = counts, poses

    @staticmethod
    def of(frames: Sequence[Frame], size: int) -> Frames:
        """Return frames as one table; states have `size` numbers."""
        if isinstance(frames, Frames):
            return frames
        tracks = Tracks.joined([one.tracks for one in frames] or [Tracks.none(size)])
        told = [one.told for one in frames] or [Told.nothing(tracks.mean)]
        poses = [one.pose for one in frames if one.pose is not None]
        return Frames(
            torch.tensor([one.stamp for one in frames], dtype=torch.int64),
            tracks,
            torch.cat([one.shown for one in frames]) if frames else torch.zeros(0, dtype=torch.bool),
            Told(*(torch.cat(parts) for parts in zip(*told, strict=True))),
            torch.tensor([[len(o.tracks.identity), len(o.told.row)] for o in frames], dtype=torch.int64).reshape(-1, 2),
            torch.stack(poses) if frames and len(poses) == len(frames) else None,
        )

    @functools.cached_property
    def _ends(self) -> list[list[int]]:
        """Rows of tracks and of updates that each frame begins at, and those behind the last."""
        return torch.nn.functional.pad(self.counts.cumsum(0), (0, 0, 1, 0)).tolist()

    def __len__(self) -> int:
        """Return how many frames there are."""
        return len(self.stamps)

    @overload
    def __getitem__(self, index: int) -> Frame: ...
    @overload
    def __getitem__(self, index: slice) -> list[Frame]: ...
    def __getitem__(self, index: int | slice) -> Frame | list[Frame]:
        """Return a frame, or some."""
        if isinstance(index, slice):
            return [self[f] for f in range(*index.indices(len(self)))]
        f = range(len(self))[index]
        (first, one), (last, two) = self._ends[f], self._ends[f + 1]
        tracks, told = self.tracks.take(torch.arange(first, last)), Told(*(part[one:two] for part in self.told))
        pose = None if self.poses is None else self.poses[f]
        return Frame(int(self.stamps[f]), tracks, self.shown[first:last], told, pose)

    def __iter__(self) -> Iterator[Frame]:
        """Go through them in order."""
        return (self[f] for f in range(len(self)))


class History:
    """A run of a tracker, its rows sorted by track and then by time.

    Args:
        frames: In the order of time.
        predictor: That moved the tracks.
    """

    def __init__(self, frames: Sequence[Frame], predictor: Predictor) -> None:
        self.frames, self.predictor = frames, predictor
        self._table = table = Frames.of(frames, predictor.size)
        self.stamps = table.stamps
        frame = torch.repeat_interleave(torch.arange(len(table)), table.counts[:, 0])
        order = torch.argsort(table.tracks.identity * (len(table) + 1) + frame)
        self.tracks, self.frame, self.shown = table.tracks.take(order), frame[order], table.shown[order]

    def reach(self, lag: float) -> Tensor:
        """Return of each row the last row of its track that is known `lag` seconds later, shape (N,) int64."""
        if not len(self.frame):
            return self.frame
        until = self.stamps + (torch.iinfo(torch.int64).max // 4 if lag == float("inf") else round(lag * 1e9))
        last_frame = torch.searchsorted(self.stamps, until, right=True) - 1
        key = self.tracks.identity * (len(self.stamps) + 1)
        return torch.searchsorted(key + self.frame, key + last_frame[self.frame], right=True) - 1

    def step(self, rows: Tensor, mean: Tensor, elapsed: float) -> tuple[Tensor, Tensor]:
        """Return the matrices and the noise by which the states of rows, at `mean`, went on for some seconds."""
        return self.predictor.step(mean, elapsed)

    def poses(self) -> Tensor | None:
        """Return the sensor's poses (F, 4) in the world of the tracks, or None where it stood still."""
        return self._table.poses

    def consistency(self) -> Told:
        """Return what all updates said, in the order of time."""
        return self._table.told
