"""The initiator: which detections that nobody took begin a track."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from mambats.track.association import Matches
from mambats.track.detector import Detections
from mambats.track.tracks import SEEN, Tracks


class Initiator:
    """Begins a track at rest at every detection that was not taken and is likely enough.

    Args:
        deviation: Standard deviations of the numbers of a state behind the box's: vx, vy, vz in m/s, and so on.
        least: Log odds that a detection needs.
        doubt: Taken from its log odds: that something new is there is less likely than that something stays.
        box: Standard deviations of the box's seven numbers at the start; None for those of the detection.

    Raises:
        ValueError: If a deviation is not above 0.
    """

    def __init__(
        self,
        deviation: Sequence[float],
        least: float = -math.inf,
        doubt: float = 0.0,
        box: Sequence[float] | None = None,
    ) -> None:
        if not all(one > 0 for one in (*deviation, *(box or ()))):
            raise ValueError(f"deviation is {list(deviation)}: needed numbers above 0.")
        self.deviation, self.least, self.doubt, self.box = deviation, least, doubt, box

    def __call__(self, detections: Detections, matches: Matches, identity: int) -> Tracks:
        """Return new tracks, numbered from `identity` on."""
        new = detections.odds.numpy() >= self.least
        new[matches.detection] = False
        taken = detections.take(torch.from_numpy(np.flatnonzero(new)))
        count, size = len(taken.boxes), SEEN + len(self.deviation)
        mean, covariance = taken.boxes.new_zeros(count, size), taken.boxes.new_zeros(count, size, size)
        mean[:, :SEEN] = taken.boxes
        covariance.diagonal(dim1=1, dim2=2)[:, SEEN:] = mean.new_tensor(self.deviation).square()
        if self.box is None:
            covariance[:, :SEEN, :SEEN] = taken.covariance
        else:
            covariance.diagonal(dim1=1, dim2=2)[:, :SEEN] = mean.new_tensor(self.box).square()
        number = torch.arange(identity, identity + count)
        zero, one = torch.zeros_like(taken.odds), torch.ones_like(number)
        return Tracks(mean, covariance, number, taken.odds - self.doubt, one, zero, one - 1, taken.odds, taken.row)
