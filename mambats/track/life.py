"""The deleter, which tracks are given up, and the confirmer, which are told of."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from mambats.track.heading import wrapped
from mambats.track.tracks import Tracks


class Deleter:
    """Gives a track up when it is unlikely to be there, was silent for too long, or left what the sensor sees.

    Args:
        least: Log odds of existence that a track needs to live.
        silence: Seconds without a detection.
        misses: Frames without one.
        angle: Half the sensor's field of view, rad from straight ahead; None looks all around.
        distance: How far the sensor sees on the ground, metres.
    """

    def __init__(
        self,
        least: float = -math.inf,
        silence: float = math.inf,
        misses: int | None = None,
        angle: float | None = None,
        distance: float = math.inf,
    ) -> None:
        self.least, self.silence, self.misses, self.angle, self.distance = least, silence, misses, angle, distance

    def __call__(self, tracks: Tracks, pose: Tensor | None = None) -> Tensor:
        """Return which stay, shape (T,) bool, while the sensor is at a pose (4,), or one a track (T, 4).

        Without a pose it is at the origin.
        """
        kept = tracks.existence >= self.least
        if self.silence < math.inf:
            kept &= tracks.silent <= self.silence
        if self.misses is not None:
            kept &= tracks.misses <= self.misses
        if self.angle is None and self.distance == math.inf:
            return kept
        away = tracks.mean[:, :2] if pose is None else tracks.mean[:, :2] - pose[..., :2]
        if self.angle is not None:
            ahead = torch.atan2(away[:, 1], away[:, 0])
            kept &= (ahead if pose is None else wrapped(ahead - pose[..., 3])).abs() <= self.angle
        if self.distance < math.inf:
            kept &= away.square().sum(-1) <= self.distance**2
        return kept


class Confirmer(ABC):
    """Says which tracks are told of. What it has once confirmed may be doubted again."""

    @abstractmethod
    def __call__(self, tracks: Tracks) -> Tensor:
        """Return which are told of, shape (T,) bool."""


class ByExistence(Confirmer):
    """Tracks that are likely to be there.

    Args:
        least: Log odds of existence.
        evidence: Mean log odds that its detections so far must have.
        misses: Frames without a detection after which it is not told of, though it may live on.
    """

    def __init__(self, least: float = 2.0, evidence: float = -math.inf, misses: int = 0) -> None:
        self.least, self.evidence, self.misses = least, evidence, misses

    def __call__(self, tracks: Tracks) -> Tensor:
        """Return which are told of."""
        return _reliable((tracks.existence >= self.least) & (tracks.misses <= self.misses), tracks, self.evidence)


class ByHits(Confirmer):
    """Tracks that took so many detections, as most trackers count.

    Args:
        hits: Detections needed.
        misses: Frames without a detection after which it is not told of.
        evidence: Mean log odds that its detections so far must have.
    """

    def __init__(self, hits: int = 3, misses: int = 0, evidence: float = -math.inf) -> None:
        self.hits, self.misses, self.evidence = hits, misses, evidence

    def __call__(self, tracks: Tracks) -> Tensor:
        """Return which are told of."""
        return _reliable((tracks.hits >= self.hits) & (tracks.misses <= self.misses), tracks, self.evidence)


def _reliable(shown: Tensor, tracks: Tracks, evidence: float) -> Tensor:
    """Leave out those whose detections were less likely, in the mean, than `evidence`."""
    return shown if evidence == -math.inf else shown & (tracks.evidence >= evidence * tracks.hits)
