"""Detections that bring their own covariance."""

from __future__ import annotations

import math

from torch import Tensor

from mambats.track.detector import BoxNoise, Detections, Detector, ScoreCalibration
from mambats.track.objects import Objects


class ToldNoise(Detector):
    """What detections are worth where they say it themselves: a centre head's variances, a simulator's.

    Their velocities over the ground are handed on, too, where they have some: of a sensor that moves and does not know
    how, they must be taken out first.

    Args:
        scale: Factor on the covariances, above 0.
        calibration: Of scores, see `Detector`.
        trust: Log odds of a detection that has no score.
        least: Log odds below which a detection is not looked at.

    Raises:
        ValueError: If the scale is not above 0.
    """

    def __init__(
        self,
        scale: float = 1.0,
        calibration: ScoreCalibration | None = None,
        trust: float = 2.0,
        least: float = -math.inf,
    ) -> None:
        if not 0 < scale < math.inf:
            raise ValueError(f"scale is {scale}: needed a finite number above 0.")
        super().__init__(BoxNoise([[0.0]] * 7), calibration, trust, least)
        self.scale = scale

    def __call__(self, objects: Objects, added: Tensor | None = None) -> tuple[Detections, list[int]]:
        """Return the detections with their own covariances; see `Detector`.

        Raises:
            ValueError: If they have none.
        """
        if objects.covariance is None:
            raise ValueError("the detections have no covariance: take `Detector`, with a `BoxNoise` fitted to them.")
        made, splits = super().__call__(objects) if added is None else super().__call__(objects, added)
        velocity = None if objects.velocity is None else objects.velocity[made.row, :2].double()
        return made._replace(covariance=self.scale * objects.covariance[made.row].double(), velocity=velocity), splits
