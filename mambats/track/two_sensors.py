"""Two sensors in one filter: boxes in space and boxes in the picture, each at its own time; either may be silent."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from mambats.track.camera import CameraEvidence
from mambats.track.detector import Detections
from mambats.track.ego import check_poses, to_world
from mambats.track.history import Frame, History
from mambats.track.objects import Objects
from mambats.track.picture_box import Pictured, PictureSensor
from mambats.track.picture_claim import InPicture
from mambats.track.picture_start import Looked, Waiting
from mambats.track.projection import Picture
from mambats.track.tracker import Tracker, TrackerState
from mambats.track.tracks import Tracks
from mambats.track.updater import Told


@torch.no_grad()
def run_pictured(
    tracker: Tracker,
    evidence: CameraEvidence,
    objects: Objects,
    picture: Picture,
    *,
    poses: Tensor | None = None,
    added: Tensor | None = None,
    silent: Tensor | None = None,
) -> History:
    """Track a sequence of detections of one class in space, some or all of them in the picture alone.

    Args:
        tracker: That follows what is seen in space.
        evidence: Whose `alone` moves tracks by what only the camera saw, and whose `heir` says which new track is an
            old one's, and whose `claims` say whose a box is; where all are None, this is `Tracker.run`.
        objects: Detections; rows without a place in space are boxes in the picture, as `evidence` gives them. A frame
            may hold either kind or both: sensors that look at different times have frames of their own.
        picture: What the camera draws, see `mambats.track.projection.Picture`.
        poses: As of `Tracker.run`.
        added: As of `Tracker.run`.
        silent: Frames at which the sensor in space did not look, shape (F,) bool: that it found nothing there makes no
            track less likely. None: it looked at all.

    Returns:
        As of `Tracker.run`.

    Raises:
        ValueError: If objects have no pixels or no scores, silent does not fit, or as of `Tracker.run`.
    """
    if objects.pixels is None or objects.score is None:
        raise ValueError("objects have no pixels or no scores: both are needed to follow them in the picture.")
    if silent is not None and silent.shape != (len(objects),):
        raise ValueError(f"silent has shape {tuple(silent.shape)}: needed one a frame, ({len(objects)},).")
    detector = tracker.detector if evidence.claims is None else tracker.detector.unbounded()
    detections, splits = detector(objects, added)
    poses = None if poses is None else check_poses(poses, len(objects))
    sensor = PictureSensor(picture._replace(camera=picture.camera.double()))
    shared = _Shared(tracker, evidence, objects.pixels, sensor, torch.arange(len(objects.boxes)), {})
    state, frames, waiting = tracker.init_state(), list[Frame](), Waiting.none()
    for f, (stamp, (begin, end)) in enumerate(zip(objects.stamps.tolist(), pairwise(splits), strict=True)):
        pose, free = None if poses is None else poses[f], Pictured.of(objects, f)
        if silent is not None and bool(silent[f]):
            state, frame = _waited(tracker, state, stamp, pose)
        else:
            seen, free = shared(state, stamp, detections.take(torch.arange(begin, end)), free, pose)
            state, frame = tracker.step(state, stamp, seen, pose)
        tracks = shared.told(frame.tracks, stamp)
        if evidence.heir is not None:
            tracks = evidence.heir(tracks, objects.pixels, sensor, pose, shared.placed(tracks))
            shared.look(tracks, stamp)
        if evidence.alone is not None:
            tracks = evidence.alone(tracks, free, sensor, pose)
            if evidence.alone.start is not None:
                looked = Looked(free, evidence.alone.odds(free.score), evidence.alone.covariance(free.pixels))
                waiting, born = evidence.alone.start(waiting, tracks, looked, sensor, pose)
                tracks = Tracks.joined([tracks, born._replace(identity=born.identity + state.identity)])
                state = state._replace(identity=state.identity + len(born.identity))
            # No frame in space bounds it while the sensor there is silent.
            tracks = tracks._replace(existence=tracks.existence.clamp_max(tracker.updater.existence.most))
        if tracks is not frame.tracks:
            frame = frame._replace(tracks=tracks, shown=tracker.confirmer(tracks))
            state = state._replace(tracks=tracks)
        frames.append(frame)
    return History(frames, tracker.predictor)


class _Shared(NamedTuple):
    """Who has which of the camera's boxes, moment by moment, where `evidence` leaves it to the tracks.

    Args:
        tracker: That follows them.
        evidence: What a box is worth, and whose it is.
        pixels: Of all rows of the detections, shape (N, 4).
        sensor: Of the camera.
        shown: Row of the box in the picture of each row (N,), itself where it has no other; filled moment by moment.
        looked: When each identity was seen in space for the last time, nanoseconds.
    """

    tracker: Tracker
    evidence: CameraEvidence
    pixels: Tensor
    sensor: PictureSensor
    shown: Tensor
    looked: dict[int, int]

    def __call__(
        self, state: TrackerState, stamp: int, seen: Detections, free: Pictured, pose: Tensor | None
    ) -> tuple[Detections, Pictured]:
        """Return the detections with what the camera says of them, those likely enough, and the boxes that are left."""
        claims, expected = self.evidence.claims, state.tracks
        if claims is None:
            return seen, free
        if state.stamp is not None:
            expected = self.tracker.predictor(expected, (stamp - state.stamp) / 1e9)
        waits = [
            (stamp - self.looked[one]) / 1e9 if one in self.looked else math.inf for one in expected.identity.tolist()
        ]
        lost = torch.tensor(waits, dtype=torch.float64)
        world = seen if pose is None else to_world(seen, pose.expand(len(seen.row), -1))
        box = claims(expected, world, InPicture(self.pixels[seen.row], free.pixels, self.sensor, lost, pose))
        has = torch.nonzero(box >= 0)[:, 0]
        odds = seen.odds.index_add(0, has, self.evidence.worth(free.score[box[has]]).to(seen.odds))
        kept = odds >= self.tracker.detector.least
        has = has[kept[has]]
        self.shown[seen.row[has]] = free.row[box[has]]
        left = torch.nonzero(torch.ones(len(free.row), dtype=torch.bool).index_fill(0, box[has], False))[:, 0]
        return seen._replace(odds=odds).take(torch.nonzero(kept)[:, 0]), Pictured(*(part[left] for part in free))

    def told(self, tracks: Tracks, stamp: int) -> Tracks:
        """Return tracks that name the camera's box of what they took, where it had one."""
        self.look(tracks, stamp)
        return tracks if self.evidence.claims is None else tracks._replace(detection=self.shown[tracks.detection])

    def look(self, tracks: Tracks, stamp: int) -> None:
        """Write down which tracks are seen in space now."""
        self.looked.update((one, stamp) for one in tracks.identity[tracks.misses == 0].tolist())

    def placed(self, tracks: Tracks) -> Tensor:
        """Return which tracks were ever seen in space, shape (T,) bool."""
        return torch.tensor([one in self.looked for one in tracks.identity.tolist()], dtype=torch.bool)


def _waited(tracker: Tracker, state: TrackerState, stamp: int, pose: Tensor | None) -> tuple[TrackerState, Frame]:
    """Move tracks to a moment at which the sensor in space did not look."""
    tracks, rate = state.tracks, state.rate
    if state.stamp is not None:
        elapsed = (stamp - state.stamp) / 1e9
        tracks = tracker.predictor(tracks, elapsed)
        if tracker.base_rate is not None and rate is not None:
            rate = tracker.base_rate.faded(rate, elapsed)
        tracks = tracks.take(tracker.deleter(tracks, None if pose is None else pose.expand(len(tracks.mean), -1)))
    frame = Frame(stamp, tracks, tracker.confirmer(tracks), Told.nothing(tracks.mean), pose)
    return state._replace(tracks=tracks, stamp=stamp, rate=rate), frame
