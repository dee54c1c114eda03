"""A camera's boxes as measurements of bodies in space: a track lives on in the picture where nothing else sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from mambats.estimators import ConstantNoise, Sensor
from mambats.track.assignment import Greedy
from mambats.track.detector import ScoreCalibration
from mambats.track.ego import sensor_turn
from mambats.track.objects import Objects
from mambats.track.overlap import iou_2d
from mambats.track.projection import Picture, project
from mambats.track.tracks import SEEN, Tracks
from mambats_kernels.kalman import kalman_update

if TYPE_CHECKING:
    from mambats.track.picture_start import PictureStart

# Metres and radians to either side where slopes of the projection are taken.
_STEP = 1e-4


class PictureSensor(Sensor):
    """The box in the picture of a body whose state begins with a box in space: left, top, right, bottom in pixels.

    An edge at the picture's rim does not move with the body, so its row of the Jacobian is 0: it tells nothing.

    Args:
        picture: What the camera draws.
        deviation: Standard deviation of an edge in pixels, for `Filter`; `PictureUpdater` has one that grows with size.
    """

    size = 4

    def __init__(self, picture: Picture, deviation: float = 3.0) -> None:
        super().__init__()
        self.picture, self.deviation = picture, deviation
        self.noise = ConstantNoise([deviation] * 4)

    def forward(self, x: Tensor) -> Tensor:
        """Return the boxes (B, 4) of states (B, n); NaN where a body is not in the picture."""
        return project(x[:, :SEEN], self.picture)

    def jacobian(self, x: Tensor) -> Tensor:
        """Return d forward / d x, shape (B, 4, n), by central differences of the seven numbers of the box."""
        steps = torch.eye(SEEN, x.shape[1], dtype=x.dtype) * _STEP
        moved = torch.stack([x[:, None] + steps, x[:, None] - steps])
        ahead, behind = self(moved.reshape(-1, x.shape[1])).reshape(2, len(x), SEEN, 4)
        slopes = (ahead - behind).mT / (2 * _STEP)
        return torch.nn.functional.pad(slopes, (0, x.shape[1] - SEEN))


class Pictured(NamedTuple):
    """P boxes in the picture at one moment that nothing in space belongs to.

    Args:
        pixels: Left, top, right, bottom, shape (P, 4).
        score: Of the camera's detector, shape (P,).
        row: Where each stands among the sequence's detections, shape (P,) int64.
    """

    pixels: Tensor
    score: Tensor
    row: Tensor

    @staticmethod
    def of(objects: Objects, frame: int) -> Pictured:
        """Return the rows of a frame that have pixels and a score, and no place in space.

        Raises:
            ValueError: If objects have no pixels or no scores.
        """
        if objects.pixels is None or objects.score is None:
            raise ValueError("objects have no pixels or no scores: both are needed to follow them in the picture.")
        rows = torch.arange(int(objects.splits[frame]), int(objects.splits[frame + 1]))
        rows = rows[objects.boxes[rows].isnan().all(-1) & objects.pixels[rows].isfinite().all(-1)]
        return Pictured(objects.pixels[rows], objects.score[rows], rows)


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


def there(odds: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    """Return log odds that a body is there and that its box is in its place, to a quarter of its length, shape (T,).

    A camera is sure of a body and unsure of its distance: what it alone sees ranks behind what is seen in space.

    Args:
        odds: Log odds that there is a body at all, shape (T,).
        mean: Of the states, shape (T, n).
        covariance: Shape (T, n, n).
    """
    deviation = torch.linalg.eigvalsh(covariance[:, :2, :2])[:, -1].sqrt()
    inside = torch.erf(mean[:, 3].clamp_min(0.1) / 4 / (2**0.5 * deviation))
    return torch.logit(odds.sigmoid() * inside, eps=1e-9)


def most_alike(overlap: Tensor, can: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows and columns of the pairs that are chosen of those that can be, the most alike first."""
    rows, columns = can.nonzero(as_tuple=True)
    chosen = Greedy()((rows, columns), -overlap[rows, columns])
    return rows[chosen], columns[chosen]
