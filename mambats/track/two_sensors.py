"""Two sensors in one filter: boxes in space and boxes in the picture, each at its own time; either may be silent."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from mambats.track.camera import CameraEvidence
from mambats.track.ego import check_poses
from mambats.track.history import Frame, History
from mambats.track.objects import Objects
from mambats.track.picture_box import Pictured, PictureSensor
from mambats.track.projection import Picture
from mambats.track.tracker import Tracker, TrackerState
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
            old one's; where both are None, this is `Tracker.run`.
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
    detections, splits = tracker.detector(objects, added)
    poses = None if poses is None else check_poses(poses, len(objects))
    sensor = PictureSensor(picture._replace(camera=picture.camera.double()))
    state, frames = tracker.init_state(), list[Frame]()
    for f, (stamp, (begin, end)) in enumerate(zip(objects.stamps.tolist(), pairwise(splits), strict=True)):
        pose = None if poses is None else poses[f]
        if silent is not None and bool(silent[f]):
            state, frame = _waited(tracker, state, stamp, pose)
        else:
            state, frame = tracker.step(state, stamp, detections.take(torch.arange(begin, end)), pose)
        tracks = frame.tracks
        if evidence.heir is not None:
            tracks = evidence.heir(tracks, objects.pixels, sensor, pose)
        if evidence.alone is not None:
            tracks = evidence.alone(tracks, Pictured.of(objects, f), sensor, pose)
        if tracks is not frame.tracks:
            frame = frame._replace(tracks=tracks, shown=tracker.confirmer(tracks))
            state = state._replace(tracks=tracks)
        frames.append(frame)
    return History(frames, tracker.predictor)


def _waited(tracker: Tracker, state: TrackerState, stamp: int, pose: Tensor | None) -> tuple[TrackerState, Frame]:
    """Move tracks to a moment at which the sensor in space did not look."""
    tracks = state.tracks
    if state.stamp is not None:
        tracks = tracker.predictor(tracks, (stamp - state.stamp) / 1e9)
        tracks = tracks.take(tracker.deleter(tracks, None if pose is None else pose.expand(len(tracks.mean), -1)))
    frame = Frame(stamp, tracks, tracker.confirmer(tracks), Told.nothing(tracks.mean), pose)
    return TrackerState(tracks, stamp, state.identity), frame
