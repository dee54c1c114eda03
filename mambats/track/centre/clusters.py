"""The classical way, for comparison: clusters of what stands on the ground, a rectangle around each."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mambats.preprocess.lidar import GroundRemoval
from mambats.track.centre.model import Found

Floats = npt.NDArray[np.float64]
ANGLES = np.deg2rad(np.arange(0, 90, 3))
#: Mean length, width and height of classes by name, metres (KITTI's: Lang et al., PointPillars, CVPR 2019, 4.1).
SIZES = {"car": (3.9, 1.6, 1.56), "pedestrian": (0.8, 0.6, 1.73), "cyclist": (1.76, 0.6, 1.73)}
#: Variances of the box's seven numbers and the velocity's two: clusters do not know theirs.
VARIANCE = (0.25, 0.25, 0.04, 0.25, 0.09, 0.04, 0.3, 4.0, 4.0)


@dataclass(frozen=True)
class ClusterDetector:
    """Cluster non-ground points of the newest sweep (DBSCAN), and box what has the size of a class.

    A cluster gets the smallest rectangle around it, the class that its sides come nearest to, and that class's sides
    where it is smaller, grown away from the sensor: a LiDAR sees the near sides only. Clusters far larger than any
    class (walls, houses) are left out; the score rises with the number of points. Velocity is taken as zero.

    Args:
        classes: Names, of those that have `SIZES`.
        height: Of the sensor over the ground, metres.
        reach: Metres from a point to its neighbours.
        least: Points of a cluster.
        most: Boxes of a sweep at most.

    Raises:
        ValueError: If a class has no size.
    """

    classes: tuple[str, ...] = ("car", "pedestrian", "cyclist")
    height: float = 1.8
    reach: float = 0.8
    least: int = 4
    most: int = 64

    def __post_init__(self) -> None:
        """Check the classes."""
        if unknown := sorted(set(self.classes) - SIZES.keys()):
            raise ValueError(f"classes {unknown} have no size: known are {', '.join(SIZES)}.")

    def find(self, points: Tensor) -> Found:
        """Return the boxes in points (B, P, 3 to 5); of the fifth channel, an age, only 0 is read."""
        rows = [self._boxes(sweep.cpu().double().numpy()) for sweep in points]
        boxes = torch.zeros(len(rows), self.most, 7)
        score, labels = torch.zeros(len(rows), self.most), torch.zeros(len(rows), self.most, dtype=torch.int64)
        for number, (some, confidence, label) in enumerate(rows):
            order = np.argsort(-confidence, kind="stable")[: self.most]
            count = len(order)
            boxes[number, :count] = torch.from_numpy(some[order]).float()
            score[number, :count] = torch.from_numpy(confidence[order]).float()
            labels[number, :count] = torch.from_numpy(label[order])
        variance = torch.tensor(VARIANCE).expand(len(rows), self.most, 9)
        return Found(boxes, torch.zeros(len(rows), self.most, 2), score, labels, variance)

    def _boxes(self, points: Floats) -> tuple[Floats, Floats, npt.NDArray[np.int64]]:
        """Boxes (n, 7), scores (n,) and labels (n,) of one sweep."""
        from sklearn.cluster import DBSCAN

        kept = np.isfinite(points).all(1)
        if points.shape[1] > 4:
            kept &= points[:, 4] == 0
        points = GroundRemoval(self.height)(points[kept])[:, :3].astype(np.float64)
        made = list[tuple[Floats, float, int]]()
        if len(points) >= self.least:
            member = DBSCAN(eps=self.reach, min_samples=self.least).fit_predict(points[:, :2])
            for number in range(int(member.max()) + 1):
                if (one := self._box(points[member == number])) is not None:
                    made.append(one)
        if not made:
            return np.zeros((0, 7)), np.zeros(0), np.zeros(0, dtype=np.int64)
        boxes, score, label = zip(*made, strict=True)
        return np.stack(boxes), np.array(score), np.array(label, dtype=np.int64)

    def _box(self, points: Floats) -> tuple[Floats, float, int] | None:
        """Box, score and label of one cluster, or None where it has the size of no class."""
        centre, sides, yaw = rectangle(points[:, :2])
        tall = float(points[:, 2].max()) + self.height
        sizes = np.array([SIZES[name] for name in self.classes])
        fits = (sides[0] < 1.4 * sizes[:, 0]) & (sides[1] < 1.6 * sizes[:, 1] + 0.2) & (tall < 1.5 * sizes[:, 2])
        if not fits.any():
            return None
        missing = np.maximum(sizes - [*sides, tall], 0) / sizes
        label = int(np.where(fits, missing.sum(1), np.inf).argmin())
        whole = np.maximum(sides, sizes[label, :2])
        axes = np.array([[math.cos(yaw), math.sin(yaw)], [-math.sin(yaw), math.cos(yaw)]])
        away = np.sign(axes @ centre)  # each axis is grown to the side that the sensor does not see
        centre = centre + (away * (whole - sides) / 2) @ axes
        high = float(sizes[label, 2])
        box = np.array([*centre, high / 2 - self.height, *whole, high, yaw])
        return box, 1 - math.exp(-len(points) / 20), label


def rectangle(points: Floats) -> tuple[Floats, Floats, float]:
    """Middle (2,), sides (2,), the longer first, and yaw of the smallest rectangle around points (n, 2), by trial."""
    cos, sin = np.cos(ANGLES), np.sin(ANGLES)
    along = np.outer(points[:, 0], cos) + np.outer(points[:, 1], sin)
    across = np.outer(points[:, 1], cos) - np.outer(points[:, 0], sin)
    wide, deep = np.ptp(along, axis=0), np.ptp(across, axis=0)
    best = int(((wide + 0.1) * (deep + 0.1)).argmin())  # thin lines have no area: 10 cm tells their lengths apart
    middle = [(part[:, best].max() + part[:, best].min()) / 2 for part in (along, across)]
    centre = np.array([cos[best] * middle[0] - sin[best] * middle[1], sin[best] * middle[0] + cos[best] * middle[1]])
    yaw, sides = float(ANGLES[best]), np.array([wide[best], deep[best]])
    if sides[0] < sides[1]:
        sides, yaw = sides[::-1].copy(), yaw + math.pi / 2
    return centre, sides, yaw if yaw <= math.pi / 2 else yaw - math.pi
