"""The initiator: which detections that nobody took begin a track."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

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
        self._spread = torch.tensor([*(box or [0.0] * SEEN), *deviation], dtype=torch.float64).square().diag()

    def __call__(self, detections: Detections, matches: Matches, identity: int | Tensor) -> Tracks:
        """Return new tracks, numbered from `identity` on; of S scenes each from its own, shape (S,)."""
        new = (detections.odds >= self.least).index_fill_(0, matches.detection, False)
        rows = torch.nonzero(new)[:, 0]
        if not len(rows):
            return Tracks.none(SEEN + len(self.deviation), rows.device)
        taken = detections.take(rows)
        mean = torch.nn.functional.pad(taken.boxes, (0, len(self.deviation)))
        covariance = self._spread.to(mean).repeat(len(rows), 1, 1)
        if self.box is None:
            covariance[:, :SEEN, :SEEN] = taken.covariance
        zero, one = torch.zeros_like(taken.odds), torch.ones_like(rows)
        number = _numbers(identity, taken.scene, len(rows))
        odds = taken.odds
        sure = odds - self.doubt
        return Tracks(mean, covariance, number, sure, one, zero, one - 1, odds, odds, taken.row, taken.scene)


def _numbers(identity: int | Tensor, scene: Tensor | None, count: int) -> Tensor:
    if not isinstance(identity, Tensor) or scene is None:
        return int(identity) + torch.arange(count)
    births = scene.bincount(minlength=len(identity))
    before = births.cumsum(0) - births  # rows come scene by scene
    return torch.arange(count, device=scene.device) - before[scene] + identity[scene]
