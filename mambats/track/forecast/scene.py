"""What is known of the tracks of a sequence frame by frame, beside where their bodies go: what a forecast learns of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple, Self

import torch
from torch import Tensor

from mambats.track.history import History
from mambats.track.objects import Objects
from mambats.track.tracks import SEEN

GROUND = (0, 1, SEEN, SEEN + 1)  # x, y, vx, vy of a state


@dataclass(frozen=True)
class Scene:
    """M tracks over T frames of a sequence, in the sensor's axes of each frame.

    Args:
        name: Of the sequence.
        stamps: Of the frames, shape (T,) int64 nanoseconds, rising.
        labels: Class of each track, shape (M,) int64.
        seen: Where a track is told of, shape (M, T) bool.
        mean: Filtered states: a box's seven numbers and the velocity's three, shape (M, T, 10); 0 where not seen.
        covariance: Of x, y, vx and vy, shape (M, T, 4, 4).
        age: Seconds since the track began, shape (M, T).
        body: Row of `paths` that a track follows, shape (M, T) int64, -1 where none.
        paths: True places of L bodies, shape (L, T, 2), NaN where unknown.
        own: Motion of the sensor, shape (T, 4), see `OwnMotion`; None where nobody told it yet (`with_own_motion`).
    """

    name: str
    stamps: Tensor
    labels: Tensor
    seen: Tensor
    mean: Tensor
    covariance: Tensor
    age: Tensor
    body: Tensor
    paths: Tensor
    own: Tensor | None = None

    def __post_init__(self) -> None:
        """Check shapes."""
        tracks, frames = self.seen.shape
        shapes = {"stamps": (frames,), "labels": (tracks,), "mean": (tracks, frames, 10), "body": (tracks, frames)}
        shapes |= {"covariance": (tracks, frames, 4, 4), "age": (tracks, frames)}
        shapes |= {"paths": (len(self.paths), frames, 2)}
        shapes |= {} if self.own is None else {"own": (frames, 4)}
        for name, shape in shapes.items():
            if tuple(getattr(self, name).shape) != shape:
                raise ValueError(f"{name} has shape {tuple(getattr(self, name).shape)}: needed {shape}.")

    def future(self, horizons: Sequence[float]) -> Tensor:
        """Return where the body of each track is some seconds later, as the sensor sees it then: (M, T, H, 2).

        Between frames it is interpolated; NaN where it is unknown, or nothing follows.
        """
        made = list[Tensor]()
        for horizon in horizons:
            until = self.stamps + round(horizon * 1e9)
            after = torch.searchsorted(self.stamps, until).clamp_max(len(self.stamps) - 1)
            before = (after - 1).clamp_min(0)
            part = (until - self.stamps[before]) / (self.stamps[after] - self.stamps[before]).clamp_min(1)
            start, end = self.paths[:, before], self.paths[:, after]
            place = torch.where((part >= 1)[:, None], end, start + part[:, None] * (end - start))
            place[:, until > self.stamps[-1]] = torch.nan
            made.append(place)
        return self._followed(torch.stack(made, -2))

    def _followed(self, places: Tensor) -> Tensor:
        """Places (L, T, ...) of the bodies that the tracks follow: (M, T, ...)."""
        if not len(places):
            return places.new_full((*self.seen.shape, *places.shape[2:]), torch.nan)
        frame = torch.arange(len(self.stamps)).expand_as(self.body)
        made = places[self.body.clamp_min(0), frame]
        made[self.body < 0] = torch.nan
        return made

    def between(self, begin: int, end: int) -> Self:
        """Return frames `begin` to `end` (not included) and the tracks seen in them."""
        kept = self.seen[:, begin:end].any(1)
        cut = {
            field.name: getattr(self, field.name)[kept, begin:end]
            for field in fields(self)
            if field.name not in ("name", "stamps", "labels", "paths", "own")
        }
        cut |= {"stamps": self.stamps[begin:end], "labels": self.labels[kept], "paths": self.paths[:, begin:end]}
        return type(self)(name=self.name, own=None if self.own is None else self.own[begin:end], **cut)


class Bodies(NamedTuple):
    """True paths: identities (L,), places (L, T, 2), NaN where unknown."""

    identity: Tensor
    paths: Tensor


def bodies_of(truth: Objects) -> Bodies:
    """Return the paths of all labelled bodies.

    Raises:
        ValueError: If labels have no identities.
    """
    if truth.identity is None:
        raise ValueError("labels have no identities: give tracks, not detections.")
    good = (truth.identity >= 0) & ~truth.boxes[:, 0].isnan()
    names, row = truth.identity[good].unique(return_inverse=True)
    paths = torch.full((len(names), len(truth), 2), torch.nan, dtype=torch.float64)
    paths[row, truth.frames[good]] = truth.boxes[good, :2].double()
    return Bodies(names, paths)


def scene_of(name: str, history: History, truth: Objects, label: int = 0, reach: float = 2.0) -> Scene:
    """Return the tracks of a tracker's run beside the labels of one class, each with the body nearest to it.

    Args:
        name: Of the sequence.
        history: Of `mambats.track.Tracker.run`, without poses: places are the sensor's.
        truth: Labels of the class, as many frames.
        label: Class that the tracks are given.
        reach: How far a body may be from a track that follows it, metres.

    Raises:
        ValueError: If the number of frames differs, or the history is one with poses.
    """
    frames = len(history.stamps)
    if frames != len(truth):
        raise ValueError(f"{name}: tracks have {frames} frames, labels {len(truth)}: give those of one sequence.")
    if history.poses() is not None:
        raise ValueError(f"{name}: the tracker was given poses. Run it without: a forecast is in the sensor's axes.")
    kept = torch.nonzero(history.shown)[:, 0]
    identity, row = history.tracks.identity[kept].unique(return_inverse=True)
    shape, at = (len(identity), frames), (row, history.frame[kept])
    seen = torch.zeros(shape, dtype=torch.bool)
    seen[at] = True
    mean = torch.zeros(*shape, 10, dtype=torch.float64)
    mean[at] = history.tracks.mean[kept, : SEEN + 3]
    covariance = torch.eye(4, dtype=torch.float64).repeat(*shape, 1, 1)
    ground = torch.tensor(GROUND)
    covariance[at] = history.tracks.covariance[kept][:, ground][:, :, ground]
    bodies = bodies_of(truth)
    return Scene(
        name, history.stamps, torch.full((shape[0],), label), seen, mean, covariance,
        ages(seen, history.stamps), nearest(mean[..., :2], seen, bodies.paths, reach), bodies.paths,
    )  # fmt: skip


def ages(seen: Tensor, stamps: Tensor) -> Tensor:
    """Return seconds since each track (M, T) was first seen, 0 where it is not."""
    time = (stamps - stamps[:1]).double() / 1e9
    first = time[seen.long().argmax(1)] if len(stamps) else time.new_zeros(len(seen))
    return torch.where(seen, time - first[:, None], 0.0)


def nearest(places: Tensor, seen: Tensor, paths: Tensor, reach: float) -> Tensor:
    """Return of tracks at places (M, T, 2) the row of the nearest path (L, T, 2) within reach, -1 where none."""
    if not len(paths):
        return torch.full(seen.shape, -1)
    found = torch.full(seen.shape, -1)
    for f in range(seen.shape[1]):
        rows = torch.nonzero(seen[:, f])[:, 0]
        away = (places[rows, None, f] - paths[None, :, f]).norm(dim=-1).nan_to_num(nan=torch.inf)
        value, which = away.min(1)
        found[rows, f] = torch.where(value <= reach, which, -1)
    return found


def joined(scenes: Sequence[Scene]) -> Scene:
    """Return the tracks of several classes of one sequence, as one scene.

    Raises:
        ValueError: If there is none, or stamps differ.
    """
    if not scenes or any(not torch.equal(one.stamps, scenes[0].stamps) for one in scenes):
        raise ValueError(f"scenes are {[one.name for one in scenes]}: needed one or more of the same frames.")
    first, count, bodies = scenes[0], 0, list[Tensor]()
    for one in scenes:
        bodies.append(torch.where(one.body >= 0, one.body + count, -1))
        count += len(one.paths)
    parts = {
        name: torch.cat([getattr(one, name) for one in scenes])
        for name in ("labels", "seen", "mean", "covariance", "age", "paths")
    }
    return Scene(name=first.name, stamps=first.stamps, body=torch.cat(bodies), **parts)
