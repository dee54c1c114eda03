"""Tell the ground from what stands on it."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from mambats.preprocess.lidar.crop import columns, keep_rows
from mambats.preprocess.outliers.plane import RansacPlane, signed_distance
from mambats.series import RaggedStream


class GroundRemoval:
    """Fit the ground plane among points near the expected height, and drop what lies on it or below.

    A sweep in which no plane is found keeps all its points.

    Args:
        height: Of the sensor above the ground, metres.
        band: Points within so much of the expected ground are tried, metres: tilt times range must fit in.
        clearance: Points up to so much above the plane are ground, metres.
        radius: Points within so much of the sensor are tried, metres: beyond, roads rise and fall.
        tilt: Largest tilt of the ground against the sensor's z axis, radians.
        trials: Of the search, see `RansacPlane`.
        seed: Of the search.
    """

    def __init__(
        self,
        height: float,
        band: float = 1.0,
        clearance: float = 0.2,
        radius: float = 40.0,
        tilt: float = math.radians(10),
        trials: int = 60,
        seed: int = 0,
    ) -> None:
        self.height = height
        self.band = band
        self.clearance = clearance
        self.radius = radius
        self.plane = RansacPlane(clearance / 2, trials, (0.0, 0.0, 1.0), tilt, seed, degenerate="absent")

    def ground(self, points: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
        """Tell which points (N, 3 or more) of one sweep are ground, (N,)."""
        near = np.abs(points[:, 2] + self.height) <= self.band
        near &= points[:, 0] ** 2 + points[:, 1] ** 2 <= self.radius**2
        plane = self.plane(np.ascontiguousarray(points[near, :3]))
        with np.errstate(invalid="ignore"):
            return signed_distance(plane, points) <= self.clearance  # NaN, no plane: no ground

    def __call__(self, points: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Return the points of one sweep (N, 3 or more) that are not ground."""
        return points[~self.ground(points)]

    def ragged(self, sweeps: RaggedStream) -> RaggedStream:
        """Drop the ground of each sweep of a stream with channels x y z."""
        points = columns(sweeps)
        parts = [self.ground(points[begin:end]) for begin, end in zip(sweeps.splits, sweeps.splits[1:], strict=False)]
        return keep_rows(sweeps, ~np.concatenate([np.zeros(0, dtype=bool), *parts]))
