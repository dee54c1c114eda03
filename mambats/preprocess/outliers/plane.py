"""The plane that most points lie on, whatever the others do."""

from __future__ import annotations

import math
from typing import Any, Generic, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mambats.preprocess.bridge import Batch, beside, like, tensor

# Points that trials are judged by. On a 120,000-point sweep 4096 give the inlier share to 1 % and the same plane after
# the refit to all inliers, 25 times as fast.
JUDGES = 4096
FLAT = 1e-6  # second spread by the first below which points count as lying on one line


class DegenerateError(ValueError):
    """No plane goes through these points; the message names the set and says why."""


class Plane(NamedTuple, Generic[Batch]):
    """Planes normal . p + offset = 0: unit normals (*batch, 3), offsets (*batch), and points within the tolerance."""

    normal: Batch
    offset: Batch
    inliers: Batch


class RansacPlane:
    """Find the plane with the most points within a tolerance: random triples, then least squares on what agrees.

    Seeded: the same points give the same plane, alone or in a batch, on any device up to rounding. Points that are not
    finite are never inliers.

    Args:
        tolerance: Largest distance of an inlier, metres.
        trials: Triples; 100 find a plane that holds 35 % of the points with 98.8 % probability.
        up: Direction that the normal must point to, None for any (then its largest component is positive).
        tilt: Largest angle between normal and `up`, radians.
        seed: Of the draws.
        degenerate: `refuse` raises for sets without a plane, `absent` returns NaN for them and no inliers.

    Source: Fischler and Bolles, Random sample consensus, CACM 1981.
    """

    def __init__(
        self,
        tolerance: float = 0.1,
        trials: int = 100,
        up: tuple[float, float, float] | None = None,
        tilt: float = math.radians(15),
        seed: int = 0,
        degenerate: Literal["refuse", "absent"] = "refuse",
    ) -> None:
        if not tolerance > 0 or trials < 1 or degenerate not in ("refuse", "absent"):
            raise ValueError(
                f"tolerance is {tolerance}, trials {trials}, degenerate {degenerate!r}: needed above 0, from 1 on, and "
                "'refuse' or 'absent'."
            )
        self.tolerance = tolerance
        self.trials = trials
        self.up = None if up is None else tuple(float(v) for v in np.asarray(up) / np.linalg.norm(up))
        self.tilt = tilt
        self.seed = seed
        self.degenerate = degenerate

    def __call__(self, points: Batch) -> Plane[Batch]:
        """Fit planes to sets of points (*batch, N, 3 or more columns), metres.

        Raises:
            DegenerateError: If a set has no plane: under three points, all on a line, or none within the tilt.
        """
        given = tensor(points)
        if given.ndim < 2 or given.shape[-1] < 3:
            raise ValueError(f"points have shape {tuple(given.shape)}, needed (..., N, 3).")
        shape = given.shape[:-2]
        sets = given[..., :3].reshape(math.prod(shape), given.shape[-2], 3)
        found = [self._fit(one, index) for index, one in enumerate(sets)]
        if not found:
            empty = given.new_zeros(*shape, 3), given.new_zeros(shape), given.new_zeros(given.shape[:-1]).bool()
            return Plane(*(like(part, points) for part in empty))
        parts = (torch.stack(part).reshape((*shape, *part[0].shape)) for part in zip(*found, strict=True))
        return Plane(*(like(part, points) for part in parts))

    def _fit(self, points: Tensor, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Fit one set (N, 3)."""
        finite = points.isfinite().all(-1)
        kept = points[finite]
        reason = self._why_not(kept)
        normal = None if reason else self._best(kept)
        if normal is None:
            return self._without(points, index, reason or f"no triple gave a normal within {self.tilt:.3g} rad of up")
        direction, offset = normal
        for _ in range(2):  # the second refit is to the inliers of the first
            direction, offset = self._refit(kept, direction, offset)
        near = (points.nan_to_num(0.0) @ direction + offset).abs() <= self.tolerance
        return direction, offset, near & finite

    def _why_not(self, points: Tensor) -> str:
        if len(points) < 3:
            return f"has {len(points)} finite points, a plane needs 3"
        spread = torch.linalg.svdvals(_few(points - points.mean(0)))
        if float(spread[1]) <= FLAT * float(spread[0]) or float(spread[0]) == 0:
            return "has all points on one line"
        return ""

    def _best(self, points: Tensor) -> tuple[Tensor, Tensor] | None:
        draw = torch.Generator().manual_seed(self.seed)
        share = torch.rand(self.trials, 3, generator=draw, dtype=torch.float64)
        corners = points[(share * len(points)).long().to(points.device)]  # (K, 3, 3)
        normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        length = normals.norm(dim=-1, keepdim=True)
        normals = normals / length.clamp_min(torch.finfo(points.dtype).tiny)
        offsets = -(normals * corners[:, 0]).sum(-1)
        judges = (torch.rand(JUDGES, generator=draw, dtype=torch.float64) * len(points)).long().to(points.device)
        judged = points if len(points) <= JUDGES else points[judges]
        score = ((judged @ normals.T + offsets).abs() <= self.tolerance).sum(0)
        usable = length[:, 0] > 0
        if self.up is not None:
            usable &= (normals @ beside(self.up, points)).abs() >= math.cos(self.tilt)
        score = score.where(usable, -1)
        best = int(score.argmax())
        return (normals[best], offsets[best]) if int(score[best]) >= 0 else None

    def _refit(self, points: Tensor, direction: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        """Take the direction of least spread of the inliers; keep the old one where they do not span a plane."""
        chosen = points[(points @ direction + offset).abs() <= self.tolerance]
        middle = chosen.mean(0)
        around = (chosen - middle).double()
        spread, axes = torch.linalg.eigh(around.T @ around)
        if len(chosen) >= 3 and float(spread[1]) > FLAT**2 * float(spread[2]):
            direction = axes[:, 0].to(points)
            offset = -(direction * middle).sum()
        return self._orient(direction, offset)

    def _orient(self, direction: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        toward = direction[direction.abs().argmax()] if self.up is None else direction @ beside(self.up, direction)
        sign = torch.where(toward < 0, -1.0, 1.0).to(direction)
        return direction * sign, offset * sign

    def _without(self, points: Tensor, index: int, reason: str) -> tuple[Tensor, Tensor, Tensor]:
        if self.degenerate == "refuse":
            raise DegenerateError(f"set {index} of {tuple(points.shape)} {reason}. Give more, or degenerate='absent'.")
        nothing = points.new_full((3,), torch.nan)
        return nothing, nothing[0], torch.zeros(len(points), dtype=torch.bool, device=points.device)


def _few(points: Tensor) -> Tensor:
    """Take evenly spread rows: enough to see whether points lie on a line."""
    return points[:: max(1, len(points) // JUDGES)]


def signed_distance(plane: Plane[Any], points: Batch) -> Batch:
    """Return distances of points (*batch, N, 3) to their planes, positive on the side of the normal, metres."""
    given = tensor(points)[..., :3]
    made = (given @ beside(plane.normal, given)[..., None])[..., 0] + beside(plane.offset, given)[..., None]
    return like(made, points)
