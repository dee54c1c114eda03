"""Which new track is an old one's: a body stays where it was in the picture when its depth jumps."""

from __future__ import annotations

import torch
from torch import Tensor

from mambats.track.ego import sensor_turn
from mambats.track.overlap import iou_2d
from mambats.track.picture_box import PictureSensor, most_alike
from mambats.track.tracks import SEEN, Tracks


class PictureHeir:
    """Gives what was begun of late to an older track that fell silent at the same place in the picture.

    A detector's boxes jump in depth, where it sees little, and all at once where the sensor turns: in the picture they
    stay where they were. The track that a detection began there goes on with the silent one's identity and velocity.

    Args:
        least: Overlap of the new detection's pixels with the silent track's predicted box.
        depth: Share of its distance that the new one may be nearer or farther than the silent one.
        most: Seconds that the silent one may have been so.
        hits: Detections that the new one may have taken.
        sure: Standard deviations of the silent one's distance that the new one may be off, however far that is.
    """

    def __init__(
        self, least: float = 0.5, depth: float = 0.2, most: float = 0.5, hits: int = 5, sure: float = 0.0
    ) -> None:
        self.least, self.depth, self.most, self.hits, self.sure = least, depth, most, hits, sure

    def __call__(
        self,
        tracks: Tracks,
        pixels: Tensor,
        sensor: PictureSensor,
        pose: Tensor | None = None,
        placed: Tensor | None = None,
    ) -> Tracks:
        """Return the tracks, those that were begun again without their second identity.

        Args:
            tracks: After a frame.
            pixels: Of the sequence's detections, shape (N, 4).
            sensor: Of the camera.
            pose: As of `PictureUpdater`.
            placed: Which tracks were ever seen in space, shape (T,) bool: the distance of the others is a guess, and
                the new one may be at any. None: all.
        """
        new = torch.nonzero((tracks.hits <= self.hits) & (tracks.misses == 0))[:, 0]
        old = torch.nonzero((tracks.misses > 0) & (tracks.silent <= self.most) & (tracks.hits > 1))[:, 0]
        if not len(new) or not len(old):
            return tracks
        turn = sensor_turn(pose, tracks.mean.shape[1])
        mean = (tracks.mean - turn.offset) @ turn.matrix.mT
        overlap = iou_2d(sensor(mean[old]).nan_to_num(-1.0), pixels[tracks.detection[new]])
        away = mean[:, :2].norm(dim=-1)
        apart = (away[old][:, None] - away[new]).abs()
        ray = mean[old, :2] / away[old][:, None]
        spread = (turn.matrix @ tracks.covariance[old] @ turn.matrix.mT)[:, :2, :2]
        deep = (ray[:, None] @ spread @ ray[..., None])[:, 0].sqrt()
        close = (apart <= self.depth * away[new]) | (apart <= self.sure * deep)
        if placed is not None:
            close |= ~placed[old][:, None]
        older = tracks.identity[old][:, None] < tracks.identity[new]
        rows, columns = most_alike(overlap, (overlap >= self.least) & close & older)
        if not len(rows):
            return tracks
        heir, gone = old[rows], new[columns]
        one, odds = torch.ones_like(gone), tracks.evidence[gone] / tracks.hits[gone]
        mean = torch.cat([tracks.mean[gone, :SEEN], tracks.mean[heir, SEEN:]], -1)
        passed = tracks._replace(
            mean=tracks.mean.index_copy(0, heir, mean),
            covariance=tracks.covariance.index_copy(0, heir, tracks.covariance[gone]),
            existence=tracks.existence.index_add(0, heir, odds),
            hits=tracks.hits.index_add(0, heir, one),
            silent=tracks.silent.index_fill(0, heir, 0.0),
            misses=tracks.misses.index_fill(0, heir, 0),
            evidence=tracks.evidence.index_add(0, heir, odds),
            odds=tracks.odds.index_copy(0, heir, tracks.odds[gone]),
            detection=tracks.detection.index_copy(0, heir, tracks.detection[gone]),
        )
        return passed.take(torch.ones(len(tracks.hits), dtype=torch.bool).index_fill(0, gone, False))
