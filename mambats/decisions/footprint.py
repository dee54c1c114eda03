"""Shapes of two bodies that may touch, as what the one's centre must not enter around the other's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor


class Footprint(ABC):
    """The convex region of relative positions at which two bodies touch, symmetric about zero.

    A line in direction d (..., K, 2) that passes zero at distance c (..., K, J) to its left crosses the region along
    a chord.
    """

    @abstractmethod
    def reach(self, direction: Tensor) -> Tensor:
        """Return the largest |c| at which lines of direction (..., K, 2) touch, shape (..., K), metres."""

    @abstractmethod
    def chord(self, direction: Tensor, across: Tensor) -> tuple[Tensor, Tensor]:
        """Return where the chords begin and end along the direction, (..., K, J) each, metres; begin > end if none."""


@dataclass(frozen=True)
class Discs(Footprint):
    """Two discs.

    Args:
        radius: Sum of the two radii, shape (...), metres.
    """

    radius: Tensor

    def reach(self, direction: Tensor) -> Tensor:
        """Return the radius."""
        return self.radius[..., None].expand(direction.shape[:-1]).to(direction)

    def chord(self, direction: Tensor, across: Tensor) -> tuple[Tensor, Tensor]:
        """Return where the lines enter and leave the disc."""
        square = self.radius[..., None, None].to(across).square() - across.square()
        half = square.clamp_min(1e-12).sqrt()
        return torch.where(square < 0, 1.0, -half), torch.where(square < 0, -1.0, half)


@dataclass(frozen=True)
class Boxes(Footprint):
    """Two oriented rectangles whose headings do not change.

    Args:
        own: Length and width of the robot, which lies along x, shape (..., 2), metres.
        other: Length and width of the other body, shape (..., 2), metres.
        yaw: Heading of the other body, counter-clockwise from x, shape (...), rad.

    Source: the separating axes of two boxes, Gottschalk, Lin and Manocha, OBBTree, 1996, section 5.
    """

    own: Tensor
    other: Tensor
    yaw: Tensor

    def reach(self, direction: Tensor) -> Tensor:
        """Return the sum of the half widths of both boxes as seen along the direction."""
        normal = torch.stack([-direction[..., 1], direction[..., 0]], -1)
        return self._half(normal)

    def chord(self, direction: Tensor, across: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is left of the lines between four pairs of parallel sides."""
        normal = torch.stack([-direction[..., 1], direction[..., 0]], -1)
        axes = self._axes().to(direction)
        half = self._half(axes)[..., None, None, :]
        slope = (axes[..., None, :, :] * direction[..., None, :]).sum(-1)[..., None, :]
        shift = (axes[..., None, :, :] * normal[..., None, :]).sum(-1)[..., None, :] * across[..., None]
        parallel = slope.abs() < 1e-9
        slope = torch.where(parallel, 1.0, slope)
        one, two = (-half - shift) / slope, (half - shift) / slope
        outside = torch.where(shift.abs() > half, torch.inf, -torch.inf)
        low = torch.where(parallel, outside, torch.minimum(one, two))
        high = torch.where(parallel, -outside, torch.maximum(one, two))
        return low.amax(-1), high.amin(-1)

    def _axes(self) -> Tensor:
        """Return the four directions across the sides, shape (..., 4, 2)."""
        cos, sin = self.yaw.cos(), self.yaw.sin()
        one, none = torch.ones_like(cos), torch.zeros_like(cos)
        rows = [(one, none), (none, one), (cos, sin), (-sin, cos)]
        return torch.stack([torch.stack(row, -1) for row in rows], -2)

    def _half(self, axes: Tensor) -> Tensor:
        """Return the reach of both boxes together along unit vectors (..., K, 2), shape (..., K)."""
        own = (self.own[..., None, :].to(axes) * axes.abs()).sum(-1)
        turned = (self._axes()[..., None, 2:, :].to(axes) * axes[..., None, :]).sum(-1).abs()
        return 0.5 * (own + (self.other[..., None, :].to(axes) * turned).sum(-1))
