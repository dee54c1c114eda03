"""A camera's boxes as measurements of tracks that nothing else sees: they live on in the picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mambats.track.detector import ScoreCalibration
from mambats.track.ego import sensor_turn
from mambats.track.overlap import iou_2d
from mambats.track.picture_box import Pictured, PictureSensor, most_alike, there
from mambats.track.picture_start import PictureStart
from mambats.track.tracks import Tracks
from mambats_kernels.kalman import kalman_update


class PictureUpdater:
    """Moves tracks that no detection in space was found for by the boxes that the camera alone saw.

    A box is worth its calibrated log odds, as a detection in space is. An edge is off by exp(a) h^b pixels, h being the
    height of the box: what hides a body in part cuts its box.

    Args:
        calibration: Log odds of a box that only the camera saw.
        edges: a and b of the four edges left, top, right, bottom.
        least: Overlap of a box with the predicted one that makes a pair.
        limit: Normalised innovation squared of four numbers beyond which a pair is none.
        existence: Log odds of existence that a track needs to take part.
        prior: Log odds of any box before its score is looked at, as of `Existence`.
        repeats: Factor on the edges' standard deviations: what a body's edges are off by repeats from moment to moment,
            and a track that only the camera moves must not grow sure of its distance. 2 gains cars on KITTI's ten
            sequences 0.1 HOTA over 1.
        start: Begins tracks with boxes that are nobody's; None begins none.

    Raises:
        ValueError: If there are not four pairs of edges.

    Source: the extended Kalman filter's update, with the projection as measurement model.
    """

    def __init__(
        self,
        calibration: ScoreCalibration,
        edges: Sequence[Sequence[float]],
        least: float = 0.4,
        limit: float = 25.0,
        existence: float = -1.0,
        prior: float = 0.0,
        repeats: float = 1.0,
        start: PictureStart | None = None,
    ) -> None:
        if len(edges) != 4 or any(len(edge) != 2 for edge in edges):
            raise ValueError(f"edges are {edges}: needed a and b of left, top, right and bottom, four pairs.")
        self.calibration, self.edges, self.least, self.limit = calibration, edges, least, limit
        self.existence, self.prior, self.repeats, self.start = existence, prior, repeats, start
        self._edges = torch.tensor(edges, dtype=torch.float64)

    def covariance(self, pixels: Tensor) -> Tensor:
        """Return what boxes (P, 4) are off by, shape (P, 4, 4)."""
        height = (pixels[:, 3] - pixels[:, 1]).clamp_min(1.0).log()
        deviation = self.repeats * (self._edges[:, 0] + self._edges[:, 1] * height[:, None]).exp()
        return torch.diag_embed(deviation.square())

    def odds(self, score: Tensor) -> Tensor:
        """Return what boxes of these scores (P,) add to log odds, shape (P,)."""
        return self.calibration(score).double() - self.prior

    def __call__(self, tracks: Tracks, seen: Pictured, sensor: PictureSensor, pose: Tensor | None = None) -> Tracks:
        """Return all tracks, those that took a box moved.

        Args:
            tracks: After the detections in space of the same moment, if there were any.
            seen: Boxes that no detection in space has.
            sensor: Of the camera.
            pose: Of the sensor in the world, shape (4,); None where tracks are as it sees them.
        """
        waiting = torch.nonzero((tracks.misses > 0) & (tracks.existence >= self.existence))[:, 0]
        if not len(waiting) or not len(seen.row):
            return tracks
        turn = sensor_turn(pose, tracks.mean.shape[1])
        mean = (tracks.mean[waiting] - turn.offset) @ turn.matrix.mT
        drawn = sensor(mean)
        track, box = self._pairs(drawn, seen.pixels)
        rows, mean, drawn = waiting[track], mean[track], drawn[track]
        slopes = sensor.jacobian(mean) @ turn.matrix
        state, value = tracks.mean[rows], seen.pixels[box]
        linear = value - drawn + (slopes @ state[..., None])[..., 0]
        made = kalman_update(state, tracks.covariance[rows], linear, slopes, self.covariance(value))
        good = made.nis <= self.limit
        return self._taken(tracks, rows[good], made.mean[good], made.covariance[good], seen, box[good])

    def _pairs(self, drawn: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
        overlap = iou_2d(drawn.nan_to_num(-1.0), pixels)
        return most_alike(overlap, overlap >= self.least)

    def _taken(
        self, tracks: Tracks, rows: Tensor, mean: Tensor, covariance: Tensor, seen: Pictured, box: Tensor
    ) -> Tracks:
        odds = self.calibration(seen.score[box]).double()
        return tracks._replace(
            mean=tracks.mean.index_copy(0, rows, mean),
            covariance=tracks.covariance.index_copy(0, rows, covariance),
            existence=tracks.existence.index_add(0, rows, odds - self.prior),
            hits=tracks.hits.index_add(0, rows, torch.ones_like(rows)),
            silent=tracks.silent.index_fill(0, rows, 0.0),
            misses=tracks.misses.index_fill(0, rows, 0),
            evidence=tracks.evidence.index_add(0, rows, odds),
            odds=tracks.odds.index_copy(0, rows, there(odds, mean, covariance)),
            detection=tracks.detection.index_copy(0, rows, seen.row[box]),
        )
