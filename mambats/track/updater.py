"""The updater: what tracks are once they have taken their detections."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from mambats.track.association import Matches
from mambats.track.detector import Detections
from mambats.track.existence import Existence
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

    @staticmethod
    def nothing(like: Tensor) -> Told:
        """Return what no pair says, on the device of a tensor of float64."""
        nis = like.new_zeros(0)
        return Told(nis.reshape(0, SEEN), nis.reshape(0, SEEN, SEEN), nis, nis.long())


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

    def __call__(
        self, tracks: Tracks, detections: Detections, matches: Matches, elapsed: float | Tensor
    ) -> tuple[Tracks, Told]:
        """Return all tracks, those that took a detection moved, and what their updates say."""
        if not len(matches.track):
            return self.existence(tracks, detections, matches, elapsed), Told.nothing(tracks.mean)
        which = matches.of_tracks(len(tracks.identity))
        hit, which = which >= 0, which.clamp_min(0)
        # Any detection for those that took none: the mask keeps them as they are.
        boxes, noise = detections.boxes.index_select(0, which), detections.covariance.index_select(0, which)
        yaw = boxes.select(1, 6)  # as `turned_to`, in place: a frame of five tracks pays by the operation
        yaw.sub_(yaw.sub(tracks.mean.select(1, 6)).div_(math.pi).round_().mul_(math.pi))
        seen, noise = self.measured(tracks, noise)
        made = kalman_update(tracks.mean, tracks.covariance, boxes, seen, noise, mask=hit)
        rows = matches.track
        told = Told(
            made.residual.index_select(0, rows),
            made.innovation.index_select(0, rows),
            made.nis.index_select(0, rows),
            detections.row.index_select(0, matches.detection),
        )
        if self.surprise is not None and float(made.nis.max()) > self.surprise:  # of those that took none it is 0
            raised = tracks.covariance * (made.nis / self.surprise).clamp_min(1.0)[:, None, None]
            made = kalman_update(tracks.mean, raised, boxes, seen, noise, mask=hit)
        odds = detections.odds.index_select(0, which)
        found = tracks._replace(
            mean=made.mean,
            covariance=made.covariance,
            hits=tracks.hits + hit,
            silent=tracks.silent.masked_fill(hit, 0.0),
            misses=tracks.misses.masked_fill(hit, 0),
            evidence=tracks.evidence + hit * odds,
            odds=odds.where(hit, tracks.odds),
            detection=tracks.detection.index_copy(0, rows, told.row),
        )
        return self.existence(found, detections, matches, elapsed), told

    def measured(self, tracks: Tracks, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return what a box shows of a state, (7, n), or of each (T, 7, n), and the noise beside it (T, 7, 7).

        Args:
            tracks: T of them.
            noise: Covariance of the error of what each took, shape (T, 7, 7).
        """
        return _seen(tracks.mean.shape[1], tracks.mean.device), noise


@functools.cache
def _seen(size: int, device: torch.device) -> Tensor:
    """What a box shows of a state, shape (7, n)."""
    return torch.eye(SEEN, size, dtype=torch.float64, device=device)
