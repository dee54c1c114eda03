"""The updater: what tracks are once they have taken their detections."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mambats.estimators.gate import thresholds
from mambats.track.association import Matches
from mambats.track.detector import Detections
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
        gate: Probability of letting in the box of a true pair; one beyond it still says that the body is there, but
            does not move it. None lets all in.
    """

    def __init__(self, gate: float | None = None) -> None:
        self.gate = gate
        self._gate = None if gate is None else thresholds(gate, SEEN)

    def __call__(self, tracks: Tracks, detections: Detections, matches: Matches) -> tuple[Tracks, Told]:
        """Return all tracks, those that took a detection moved, and what their updates say."""
        rows, taken = torch.from_numpy(matches.track), detections.take(torch.from_numpy(matches.detection))
        mean, covariance = tracks.mean[rows], tracks.covariance[rows]
        boxes = taken.boxes.clone()
        boxes[:, 6] = turned_to(boxes[:, 6], mean[:, 6])
        seen = torch.eye(SEEN, mean.shape[1], dtype=mean.dtype)
        made = kalman_update(mean, covariance, boxes, seen, taken.covariance, gate=self._gate)
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
        return found, Told(made.residual, made.innovation, made.nis, taken.row)
