"""The updater: what tracks are once they have taken their detections."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mambats.track.association import Matches
from mambats.track.detector import Detections
from mambats.track.existence import Existence
from mambats.track.heading import turned_to
from mambats.track.tracks import SEEN, Tracks
from mambats_kernels.kalman import kalman_update


class Told(NamedTuple):
    """What the updates of a frame say of the filter's consistency, of each pair.

    Args:
        residual: Measured less predicted, shape (M, 7).
        covariance: Of the residual, shape (M, 7, 7).
        nis: Normalised innovation squared, shape (M,); 7 in the mean where the filter is consistent.
        row: Which detection it was, shape (M,) int64.
    """

    residual: Tensor
    covariance: Tensor
    nis: Tensor
    row: Tensor


class Updater:
    """Kalman's update of all tracks that took a detection, in one call; yaw unwrapped, and turned by pi if need be.

    Args:
        existence: How sure it makes us that a body is there.
        surprise: Normalised innovation squared from which on the prediction is doubted: its covariance is raised until
            the pair is as likely as this, so that a track which swerved is caught at once. None trusts the model.

    Raises:
        ValueError: If surprise is not above 0.
    """

    def __init__(self, existence: Existence, surprise: float | None = None) -> None:
        if surprise is not None and not surprise > 0:
            raise ValueError(f"surprise is {surprise}: needed a number above 0, 20 say, or None.")
        self.existence, self.surprise = existence, surprise

    def __call__(self, tracks: Tracks, detections: Detections, matches: Matches, elapsed: float) -> tuple[Tracks, Told]:
        """Return all tracks, those that took a detection moved, and what their updates say."""
        rows, taken = torch.from_numpy(matches.track), detections.take(torch.from_numpy(matches.detection))
        mean, covariance = tracks.mean[rows], tracks.covariance[rows]
        boxes = taken.boxes.clone()
        boxes[:, 6] = turned_to(boxes[:, 6], mean[:, 6])
        seen = torch.eye(SEEN, mean.shape[1], dtype=mean.dtype)
        made = kalman_update(mean, covariance, boxes, seen, taken.covariance)
        told = Told(made.residual, made.innovation, made.nis, taken.row)
        if self.surprise is not None and bool((made.nis > self.surprise).any()):
            doubt = (made.nis / self.surprise).clamp_min(1.0)[:, None, None]
            made = kalman_update(mean, covariance * doubt, boxes, seen, taken.covariance)
        found = Tracks(
            tracks.mean.index_copy(0, rows, made.mean),
            tracks.covariance.index_copy(0, rows, made.covariance),
            tracks.identity,
            tracks.existence,
            tracks.hits.index_add(0, rows, torch.ones_like(rows)),
            tracks.silent.index_fill(0, rows, 0.0),
            tracks.misses.index_fill(0, rows, 0),
            tracks.evidence.index_add(0, rows, taken.odds),
            tracks.detection.index_copy(0, rows, taken.row),
        )
        return self.existence(found, detections, matches, elapsed), told
