"""Tracks that a camera begins: a box in the picture that is nobody's, at the distance that its height says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mambats.track.ego import sensor_turn
from mambats.track.overlap import iou_2d
from mambats.track.picture_box import Pictured, PictureSensor, most_alike, there
from mambats.track.tracks import SEEN, Tracks

# Pixels from the picture's rim within which an edge may be cut: the height of such a box says no distance.
_RIM = 2.0
# Times that the distance is set right by the height of the drawn box: its near side is larger than its middle.
_ROUNDS = 4


class Waiting(NamedTuple):
    """K boxes that belong to nothing yet.

    Args:
        pixels: Left, top, right, bottom at the last moment, shape (K, 4).
        seen: Moments that each was there, shape (K,) int64.
        odds: Log odds of all of them added, shape (K,).
    """

    pixels: Tensor
    seen: Tensor
    odds: Tensor

    @staticmethod
    def none() -> Waiting:
        """Return no box."""
        nothing = torch.zeros(0, dtype=torch.float64)
        return Waiting(nothing.reshape(0, 4), nothing.long(), nothing)


class Looked(NamedTuple):
    """Boxes in the picture and what they are worth.

    Args:
        boxes: P of them.
        odds: Log odds that each is a body's, shape (P,).
        noise: Covariance of what edges are off by, shape (P, 4, 4).
    """

    boxes: Pictured
    odds: Tensor
    noise: Tensor


class PictureStart:
    """Begins a track where a camera's box stays for some moments and no track is near it in the picture.

    Its distance is that at which a body of the class's mean size looks as high as the box: uncertain by the spread of
    heights and by what edges are off. Along the ray the covariance is therefore large, and the height shares it: once a
    sensor in space says where the body is, the track knows how high it is. The heading is the sensor's.

    Args:
        size: Length, width and height of the class in the mean, metres.
        spread: Their standard deviations.
        speed: Standard deviations of vx, vy, vz along the sensor's axes, m/s, and of what else a state holds.
        turn: Standard deviation of the yaw, rad.
        moments: At which the box must have been there, one behind another.
        least: Overlap with its box of the moment before.
        apart: Overlap with a track's drawn box from which on it may be that track's.
        doubt: Taken from the log odds of existence at the start.

    Raises:
        ValueError: If there are not three sizes and spreads above 0, or no moment.

    Source: the distance from a class's size as Weng and Kitani, A Baseline for 3D Multi-Object Tracking, 2019, have it
        for monocular detectors; its covariance is linear in what makes it, see Civera, Davison and Montiel, Inverse
        Depth Parametrization for Monocular SLAM, IEEE T-RO 24, 2008, for when that holds (spreads of a tenth).
    """

    def __init__(
        self,
        size: Sequence[float],
        spread: Sequence[float],
        speed: Sequence[float],
        turn: float = 0.5,
        moments: int = 3,
        least: float = 0.4,
        apart: float = 0.3,
        doubt: float = 3.0,
    ) -> None:
        if len(size) != 3 or len(spread) != 3 or not all(one > 0 for one in (*size, *spread, *speed, turn)):
            raise ValueError(f"size is {list(size)}, spread {list(spread)}: needed three numbers above 0 each.")
        if moments < 1:
            raise ValueError(f"moments is {moments}: a box must have been there at one at least.")
        self.size, self.spread, self.speed, self.turn = size, spread, speed, turn
        self.moments, self.least, self.apart, self.doubt = moments, least, apart, doubt

    def __call__(
        self, waiting: Waiting, tracks: Tracks, free: Looked, sensor: PictureSensor, pose: Tensor | None = None
    ) -> tuple[Waiting, Tracks]:
        """Return the boxes that wait on, and new tracks, numbered from 0 on.

        Args:
            waiting: Boxes of the moment before.
            tracks: After all else of this moment.
            free: Boxes that no detection in space had at this moment.
            sensor: Of the camera.
            pose: Of the sensor in the world, shape (4,); None where tracks are as it sees them.
        """
        size = SEEN + len(self.speed)
        turn = sensor_turn(pose, size)
        drawn = sensor((tracks.mean - turn.offset) @ turn.matrix.mT).nan_to_num(-1.0)
        boxes = free.boxes.pixels
        taken = torch.isin(free.boxes.row, tracks.detection[tracks.misses == 0])
        near = (iou_2d(boxes, drawn) >= self.apart).any(-1)
        left = torch.nonzero(~taken & ~near & _whole(boxes, sensor.picture.size))[:, 0]
        overlap = iou_2d(boxes[left], waiting.pixels)
        new, old = most_alike(overlap, overlap >= self.least)
        seen = torch.ones_like(left).index_add(0, new, waiting.seen[old])
        odds = free.odds[left].index_add(0, new, waiting.odds[old])
        ripe = (seen >= self.moments) & (odds > self.doubt)
        kept, rows = Waiting(boxes[left][~ripe], seen[~ripe], odds[~ripe]), left[ripe]
        if not len(rows):
            return kept, Tracks.none(size)
        mean, covariance = self.placed(boxes[rows], free.noise[rows], sensor)
        back, zero = turn.matrix.mT, torch.zeros(len(rows), dtype=torch.float64)
        now = there(free.odds[rows], mean, covariance)
        born = Tracks(
            mean @ turn.matrix + turn.offset, back @ covariance @ back.mT, torch.arange(len(rows)),
            odds[ripe] - self.doubt, seen[ripe], zero, zero.long(), odds[ripe], now, free.boxes.row[rows],
        )  # fmt: skip
        return kept, born

    def placed(self, pixels: Tensor, noise: Tensor, sensor: PictureSensor) -> tuple[Tensor, Tensor]:
        """Return means (K, n) and covariances (K, n, n) of the states behind boxes, as the sensor sees them.

        Args:
            pixels: Shape (K, 4).
            noise: Covariance of what their edges are off by, shape (K, 4, 4).
            sensor: Of the camera.
        """
        count, more = len(pixels), len(self.speed)
        box = torch.tensor([*self.size, 0.0], dtype=torch.float64).expand(count, 4)
        middle, high = (pixels[:, :2] + pixels[:, 2:]) / 2, pixels[:, 3] - pixels[:, 1]
        focal = sensor.picture.camera[1, 1].double()
        away, aim = focal * self.size[2] / high, middle
        for _ in range(_ROUNDS):
            drawn = sensor(torch.cat([_on_ray(aim, away, sensor), box], -1))
            away = away * ((drawn[:, 3] - drawn[:, 1]) / high).nan_to_num(1.0).clamp(0.5, 2.0)
            aim = aim + (middle - (drawn[:, :2] + drawn[:, 2:]) / 2).nan_to_num(0.0)
        place = _on_ray(aim, away, sensor)
        # Along the ray the place goes with the height of the body and against that of the box; across, with its middle.
        edge, scale = noise.diagonal(0, 1, 2), (away / focal).square()
        by_body = place * (self.spread[2] / self.size[2])
        by_box = place * ((edge[:, 1] + edge[:, 3]).sqrt() / high)[:, None]
        spread = torch.tensor([*[0.0] * 3, *self.spread, self.turn, *self.speed], dtype=torch.float64).square()
        covariance = spread.diag().repeat(count, 1, 1)
        covariance[:, :3, :3] = by_body[:, :, None] * by_body[:, None] + by_box[:, :, None] * by_box[:, None]
        covariance[:, 1, 1] += scale * (edge[:, 0] + edge[:, 2]) / 4
        covariance[:, 2, 2] += scale * (edge[:, 1] + edge[:, 3]) / 4
        covariance[:, :3, 5] = covariance[:, 5, :3] = by_body * self.spread[2]
        return torch.cat([place, box, torch.zeros(count, more, dtype=torch.float64)], -1), covariance


def _on_ray(middle: Tensor, away: Tensor, sensor: PictureSensor) -> Tensor:
    """Return the places (K, 3) at distances ahead (K,) that the camera draws at pixels (K, 2)."""
    camera = sensor.picture.camera.double()
    scale = away + camera[2, 3]
    right = (middle[:, 0] * scale - camera[0, 2] * away - camera[0, 3]) / camera[0, 0]
    down = (middle[:, 1] * scale - camera[1, 2] * away - camera[1, 3]) / camera[1, 1]
    return torch.stack([away, -right, -down], -1)


def _whole(pixels: Tensor, size: tuple[float, float]) -> Tensor:
    """Say which boxes (P, 4) are not cut at the picture's rim."""
    far = pixels.new_tensor(size) - _RIM
    return (pixels[:, :2] > _RIM).all(-1) & (pixels[:, 2:] < far).all(-1)
