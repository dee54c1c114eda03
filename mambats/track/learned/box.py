"""How far off a detection's box is, by range, score and the side it is seen from, with errors that go together.

On KITTI a car's length and width err together (correlation 0.7), as do width and height (0.5), and a cyclist's length
and height (0.8): a diagonal covariance put 80 % of innovations inside the 95 % band, this one alone 82 %.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mambats.track.detector import BoxNoise, log_range, turns

#: What deviations depend on: range, its square, log odds in four pieces, and the angle of sight to the box's heading.
FEATURES = ("one", "log_range", "log_range_2", "odds_to_2", "odds_to_5", "odds_to_8", "odds_to_12", "ahead", "aslant")
SIZE = 7


def box_features(boxes: Tensor, odds: Tensor) -> Tensor:
    """Return what the deviations of boxes (..., 7) with log odds (...) depend on, shape (..., 9)."""
    away = log_range(boxes)
    seen = 2 * (boxes[..., 6] - torch.atan2(boxes[..., 1], boxes[..., 0]))
    pieces = [odds.clamp(-4.0, 2.0), *((odds - low).clamp(0.0, wide) for low, wide in ((2, 3), (5, 3), (8, 4)))]
    return torch.stack([torch.ones_like(away), away, away.square(), *pieces, seen.cos(), seen.sin().abs()], -1)


def correlation_root(lower: Tensor) -> Tensor:
    """Return the Cholesky factors of correlation matrices from free numbers below their diagonals (..., 7, 7)."""
    rows = torch.eye(SIZE, dtype=lower.dtype, device=lower.device) + lower.tril(-1)
    return rows / rows.norm(dim=-1, keepdim=True)


def box_covariance(deviation: Tensor, root: Tensor, yaw: Tensor) -> Tensor:
    """Return covariances (..., 7, 7) of boxes that stand at `yaw` (...).

    Args:
        deviation: Along the box: of x along its length, of y across, then z, sizes and yaw, shape (..., 7).
        root: Cholesky factors of the correlations, shape (7, 7) or (..., 7, 7).
        yaw: Rad.
    """
    own = deviation[..., None] * root
    made = torch.cat([turns(yaw) @ own[..., :2, :], own[..., 2:, :]], -2)
    return made @ made.mT


class AspectNoise(BoxNoise):
    """Standard deviations of a box as exp of a sum over `FEATURES`, and the correlations between its seven numbers.

    Takes the place of `BoxNoise` in a recipe: what `NoiseTask` fits, as plain numbers.

    Args:
        weights: Seven rows of nine, see `FEATURES`.
        lower: Free numbers below the diagonal of the correlations' Cholesky factor, seven rows of seven; None for
            errors that do not go together.

    Raises:
        ValueError: If rows do not fit.

    Example:
        noise = AspectNoise([[-2.0] + [0.0] * 8] * 7)
    """

    def __init__(self, weights: Sequence[Sequence[float]], lower: Sequence[Sequence[float]] | None = None) -> None:
        if len(weights) != SIZE or any(len(row) != len(FEATURES) for row in weights):
            raise ValueError(f"weights have {[len(row) for row in weights]} numbers: needed seven rows of nine.")
        if lower is not None and (len(lower) != SIZE or any(len(row) != SIZE for row in lower)):
            raise ValueError(f"lower has {[len(row) for row in lower]} numbers: needed seven rows of seven.")
        super().__init__([[row[0]] for row in weights])
        self.weights, self.lower = weights, lower
        self._table = torch.tensor([list(row) for row in weights], dtype=torch.float64)
        free = torch.zeros(SIZE, SIZE) if lower is None else torch.tensor([list(row) for row in lower])
        self._root = correlation_root(free.double())

    def __call__(self, boxes: Tensor, odds: Tensor) -> Tensor:
        """Return covariances (D, 7, 7) of the errors of boxes (D, 7) with log odds (D,)."""
        deviation = (box_features(boxes, odds) @ self._table.T.to(boxes.device)).exp()
        return box_covariance(deviation, self._root.to(boxes.device), boxes[:, 6])
