"""Tracks to tell of: online, with a fixed lag, or offline."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from mambats.gaussian import Gaussian
from mambats.track.ego import to_sensor
from mambats.track.heading import wrapped
from mambats.track.history import History
from mambats.track.objects import Objects
from mambats.track.smoother import smoothed
from mambats.track.tracks import SEEN, Tracks

Mode = Literal["online", "fixed-lag", "offline"]
#: With hindsight a frame tells of what is not confirmed at it yet, where the track is confirmed with these log odds of
#: existence in so many frames of the lag. What is confirmed once and then given up is clutter more often than not: on
#: KITTI's ten sequences (LiDAR, 2 s) HOTA gains 0.1 for cars, 1.0 for pedestrians and 0.2 for cyclists over any one
#: frame, and MOTA -0.1, 6.7 and 1.0. What was confirmed is told of with hindsight where its track had those log odds in
#: some frame up to the lag's end: HOTA gains 0.2, 0.2 and 0.0, MOTA 0.6, 0.7 and -0.2 (leave-one-out).
SURE, LATER = 4.0, 3
MODES: tuple[Mode, ...] = ("online", "fixed-lag", "offline")


def tell(
    history: History, detections: Objects, mode: Mode = "online", lag: float = 2.0, *, confirmed: bool = True
) -> Objects:
    """Return the tracks of a run as boxes of its frames, as the sensor sees them; velocities are those over ground.

    Online, a frame tells of what is confirmed at it, as filtered. With hindsight boxes are smoothed, and a frame tells
    of what is sure by the lag's end: a track's first boxes, too, and gaps that it was found again behind, but not what
    was confirmed and never was sure.

    Args:
        history: Of `Tracker.run`.
        detections: That it ran on; they give pixels, and the name of the class.
        mode: What may be known: of the past, of `lag` seconds ahead, of all.
        lag: Seconds, for fixed-lag.
        confirmed: Tell of tracks that the confirmer lets pass. Figures over all recalls (sAMOTA, AMOTA) want doubtful
            ones too, and choose by score themselves: False tells of all, silent for no longer than any confirmed one.

    Returns:
        With identity, velocity, covariance, and a score, see `confidence`. Pixels are those of the detection taken, NaN
        in gaps.

    Raises:
        ValueError: If the mode is unknown or the lag below 0.
    """
    if mode not in MODES or not lag >= 0:
        raise ValueError(f"mode is {mode!r}, lag {lag}: choose one of {', '.join(MODES)}, and a lag of 0 s or more.")
    tracks, last = history.tracks, torch.arange(len(history.frame))
    shown = history.shown if confirmed else tracks.misses <= _longest(history)
    state = Gaussian(tracks.mean, tracks.covariance)
    if mode != "online":
        ahead = lag if mode == "fixed-lag" else math.inf
        state, last = smoothed(history, ahead), history.reach(ahead)
        sure, least = (shown & (tracks.existence >= SURE), LATER) if confirmed else (shown, 1)
        first = torch.searchsorted(tracks.identity, tracks.identity)
        shown = (shown & _within(sure, last, 1, first)) | _within(sure, last, least)
        shown &= _within(tracks.misses == 0, last, 1)
    rows = torch.nonzero(shown)[:, 0]
    rows = rows[torch.argsort(history.frame[rows], stable=True)]
    made = _objects(history, detections, rows, Gaussian(state.mean[rows], state.covariance[rows]))
    poses = history.poses()
    return made if poses is None else to_sensor(made, poses)


def confidence(tracks: Tracks) -> Tensor:
    """Return the score of each track (T,): log odds that its body exists, and those of its last detection, added.

    The first says whether something is there, the second how well it is seen. It ranks tracks better than the mean of
    their detections does, since clutter that lasts is seldom seen frame by frame (KITTI's ten sequences, LiDAR alone,
    2 s, sAMOTA by its definition, mean against this: pedestrians 59.8 and 72.1, cyclists 57.7 and 58.3, cars 91.3 and
    91.0, at a 3-D IoU of 0.7 80.7 and 81.1). Hindsight is left out: with the existence of the lag's end it was worse.
    """
    return tracks.existence + tracks.odds


def _longest(history: History) -> int:
    """Return the most frames that a track was silent for and told of."""
    misses = history.tracks.misses[history.shown]
    return int(misses.max()) if len(misses) else 0


def _within(flag: Tensor, last: Tensor, least: int, first: Tensor | None = None) -> Tensor:
    """Say whether a flag is set in so many rows from each row, or its first, to its last."""
    total = torch.cat([torch.zeros(1, dtype=torch.int64), flag.long().cumsum(0)])
    return total[last + 1] - total[torch.arange(len(flag)) if first is None else first] >= least


def _objects(history: History, detections: Objects, rows: Tensor, state: Gaussian) -> Objects:
    tracks, frames = history.tracks, len(history.stamps)
    counts = torch.zeros(frames + 1, dtype=torch.int64)
    counts[1:] = torch.bincount(history.frame[rows], minlength=frames).cumsum(0)
    boxes = state.mean[:, :SEEN].clone()
    boxes[:, 3:6].clamp_(min=0.05)  # metres: a track of a thin thing must not turn inside out
    boxes[:, 6] = wrapped(boxes[:, 6])
    taken, source = tracks.misses[rows] == 0, tracks.detection[rows]
    label = detections.labels[source] if len(source) else detections.labels[:0]
    pixels = detections.pixels
    return Objects(
        stamps=history.stamps,
        splits=counts,
        boxes=boxes,
        labels=label,
        classes=detections.classes,
        score=confidence(tracks)[rows],
        identity=tracks.identity[rows],
        pixels=None if pixels is None else pixels[source].where(taken[:, None], torch.nan),
        velocity=state.mean[:, SEEN : SEEN + 3],
        covariance=state.covariance[:, :SEEN, :SEEN],
    )
