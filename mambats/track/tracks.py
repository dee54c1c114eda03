"""What a tracker knows between frames: a Gaussian a body, and how sure it is that the body exists."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

#: Numbers of a state that a box shows, the first ones of every state: see `mambats.track.objects.BOX`.
SEEN = 7


class Tracks(NamedTuple):
    """T bodies at one moment. The state begins with the seven numbers of a box, then vx, vy, vz in m/s.

    Args:
        mean: Shape (T, n) float64; yaw is not wrapped here.
        covariance: Shape (T, n, n).
        identity: Shape (T,) int64, never used twice.
        existence: Log odds that the body exists, shape (T,).
        hits: Detections taken so far, shape (T,) int64.
        silent: Seconds since the last one, shape (T,).
        misses: Frames since the last one, shape (T,) int64.
        evidence: Sum over its detections of their log odds to be true, shape (T,).
        detection: Row of the sequence's detections that was taken last, shape (T,) int64.
    """

    mean: Tensor
    covariance: Tensor
    identity: Tensor
    existence: Tensor
    hits: Tensor
    silent: Tensor
    misses: Tensor
    evidence: Tensor
    detection: Tensor

    def take(self, rows: Tensor) -> Tracks:
        """Return some of them, by index or mask."""
        return Tracks(*(part[rows] for part in self))

    @staticmethod
    def none(size: int) -> Tracks:
        """Return no track of a state of `size` numbers."""
        real, whole = torch.zeros(0, dtype=torch.float64), torch.zeros(0, dtype=torch.int64)
        mean, covariance = real.reshape(0, size), real.reshape(0, size, size)
        return Tracks(mean, covariance, whole, real, whole, real, whole, real, whole)

    @staticmethod
    def joined(parts: list[Tracks]) -> Tracks:
        """Return tracks of several, one behind another."""
        return Tracks(*(torch.cat(columns) for columns in zip(*parts, strict=True)))
