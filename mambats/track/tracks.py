"""What a tracker knows between frames: a Gaussian a body, and how sure it is that the body exists."""

from __future__ import annotations

import functools
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
        identity: Shape (T,) int64, never used twice in a scene.
        existence: Log odds that the body exists, shape (T,).
        hits: Detections taken so far, shape (T,) int64.
        silent: Seconds since the last one, shape (T,).
        misses: Frames since the last one, shape (T,) int64.
        evidence: Sum over its detections of their log odds to be true, shape (T,).
        odds: Log odds to be true of the detection that was taken last, shape (T,).
        detection: Row of the sequence's detections that was taken last, shape (T,) int64.
        scene: In which of many scenes each is, shape (T,) int64; None where there is one.
    """

    mean: Tensor
    covariance: Tensor
    identity: Tensor
    existence: Tensor
    hits: Tensor
    silent: Tensor
    misses: Tensor
    evidence: Tensor
    odds: Tensor
    detection: Tensor
    scene: Tensor | None = None

    def take(self, rows: Tensor) -> Tracks:
        """Return some of them, by index or mask; themselves where a mask leaves none out."""
        if rows.dtype == torch.bool:
            rows = torch.nonzero(rows)[:, 0]
            if len(rows) == len(self.identity):
                return self
        scene = None if self.scene is None else self.scene.index_select(0, rows)
        return Tracks(*(part.index_select(0, rows) for part in self[:-1]), scene=scene)

    @staticmethod
    @functools.cache
    def none(size: int, device: torch.device | None = None) -> Tracks:
        """Return no track of a state of `size` numbers."""
        real = torch.zeros(0, dtype=torch.float64, device=device)
        whole = torch.zeros(0, dtype=torch.int64, device=device)
        mean, covariance = real.reshape(0, size), real.reshape(0, size, size)
        return Tracks(mean, covariance, whole, real, whole, real, whole, real, real, whole)

    @staticmethod
    def joined(parts: list[Tracks]) -> Tracks:
        """Return tracks of several, one behind another; of one scene, or each with its scenes."""
        filled = [one for one in parts if len(one.identity)] or parts[:1]
        if len(filled) == 1:
            return filled[0]
        scenes = [one.scene for one in filled if one.scene is not None]
        columns = zip(*(one[:-1] for one in filled), strict=True)
        return Tracks(*(torch.cat(column) for column in columns), scene=torch.cat(scenes) if scenes else None)
