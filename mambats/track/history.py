"""What a tracker knew frame by frame, laid out by track."""

from __future__ import annotations

from typing import NamedTuple

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


class History:
    """A run of a tracker, its rows sorted by track and then by time.

    Args:
        frames: In the order of time.
        predictor: That moved the tracks.
    """

    def __init__(self, frames: list[Frame], predictor: Predictor) -> None:
        self.frames, self.predictor = frames, predictor
        self.stamps = torch.tensor([one.stamp for one in frames], dtype=torch.int64)
        tracks = Tracks.joined([one.tracks for one in frames] or [Tracks.none(predictor.size)])
        counts = torch.tensor([len(one.tracks.identity) for one in frames], dtype=torch.int64)
        frame = torch.repeat_interleave(torch.arange(len(frames)), counts)
        shown = torch.cat([one.shown for one in frames]) if frames else torch.zeros(0, dtype=torch.bool)
        order = torch.argsort(tracks.identity * (len(frames) + 1) + frame)
        self.tracks, self.frame, self.shown = tracks.take(order), frame[order], shown[order]

    def reach(self, lag: float) -> Tensor:
        """Return of each row the last row of its track that is known `lag` seconds later, shape (N,) int64."""
        if not len(self.frame):
            return self.frame
        until = self.stamps + (torch.iinfo(torch.int64).max // 4 if lag == float("inf") else round(lag * 1e9))
        last_frame = torch.searchsorted(self.stamps, until, right=True) - 1
        key = self.tracks.identity * (len(self.stamps) + 1)
        return torch.searchsorted(key + self.frame, key + last_frame[self.frame], right=True) - 1

    def poses(self) -> Tensor | None:
        """Return the sensor's poses (F, 4) in the world of the tracks, or None where it stood still."""
        found = [one.pose for one in self.frames if one.pose is not None]
        return torch.stack(found) if len(found) == len(self.frames) and found else None

    def consistency(self) -> Told:
        """Return what all updates said, in the order of time."""
        return Told(*(torch.cat(parts) for parts in zip(*(one.told for one in self.frames), strict=True)))
