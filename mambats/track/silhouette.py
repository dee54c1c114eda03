"""How wide a body looks in the picture beside the cuboid around it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Of the height of a box: below this error a box weighs no more in `Silhouette.fitted`, which thereby fits medians.
_FINE = 0.01


class Silhouette:
    """The box in the picture around what is seen of a body, beside the box around its cuboid.

    Both have the same middle and the same height. A cuboid's corners stand out beside a round body: a pedestrian's
    projected detection is 1.5 times as wide as the label in the picture (KITTI, PointRCNN, ten sequences: median of
    width over height 0.59 and 0.39, overlap 0.64 in the mean), a car's as wide as it.

    Args:
        across: Share of the cuboid's width in the picture that remains.
        upright: Width that is added, a unit of the box's height.

    Raises:
        ValueError: If one is negative or not finite, or both are 0.

    Example:
        >>> Silhouette(across=0.5)(torch.tensor([[10.0, 0.0, 30.0, 40.0]])).tolist()
        [[15.0, 0.0, 25.0, 40.0]]
    """

    def __init__(self, across: float = 1.0, upright: float = 0.0) -> None:
        if not (0 <= across < math.inf and 0 <= upright < math.inf and across + upright > 0):
            raise ValueError(f"across is {across}, upright {upright}: needed two shares of at least 0, not both 0.")
        self.across, self.upright = across, upright

    @property
    def plain(self) -> bool:
        """Whether bodies look as wide as their cuboids."""
        return self.across == 1.0 and self.upright == 0.0

    def __call__(self, edges: Tensor) -> Tensor:
        """Return left, top, right, bottom (..., 4) of silhouettes, from those of cuboids."""
        if self.plain:
            return edges
        left, top, right, bottom = edges.unbind(-1)
        middle, half = (left + right) / 2, (self.across * (right - left) + self.upright * (bottom - top)) / 2
        return torch.stack([middle - half, top, middle + half, bottom], -1)

    @staticmethod
    def fitted(drawn: Tensor, seen: Tensor, rounds: int = 30) -> Silhouette:
        """Return the silhouette of least mean absolute error of width, a unit of height.

        Args:
            drawn: Boxes around cuboids in the picture, not cut at its rims, shape (N, 4).
            seen: Boxes around what is seen, shape (N, 4).
            rounds: Of iteratively reweighted least squares (Schlossmacher 1973).

        Raises:
            ValueError: If there are fewer than two.
        """
        if len(drawn) < 2:
            raise ValueError(f"there are {len(drawn)} boxes: needed two or more to fit a silhouette.")
        height = drawn[:, 3] - drawn[:, 1]
        rows = torch.stack([(drawn[:, 2] - drawn[:, 0]) / height, torch.ones_like(height)], -1).double()
        width, weight = ((seen[:, 2] - seen[:, 0]) / height).double(), torch.ones(len(drawn), dtype=torch.float64)
        found = rows.new_zeros(2)
        for _ in range(rounds):
            found = torch.linalg.lstsq(rows * weight[:, None], width * weight).solution.clamp_min(0.0)
            weight = ((rows @ found - width).abs() + _FINE).rsqrt()
        across, upright = found.tolist()
        return Silhouette(across, upright)
