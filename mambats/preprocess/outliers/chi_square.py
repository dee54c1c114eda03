"""Innovations that a filter should not believe."""

from __future__ import annotations

from typing import Any, Generic, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mambats.preprocess.bridge import Batch, beside, like, tensor
from mambats.preprocess.extra import needs


class Gated(NamedTuple, Generic[Batch]):
    """Which innovations pass, shape (...), and their squared Mahalanobis distance (NIS), NaN where nothing is seen."""

    accepted: Batch
    distance: Batch


class ChiSquareGate:
    """Accept an innovation whose squared Mahalanobis distance is within the chi-square quantile of its length.

    Absent components (NaN) are left out of distance and degrees of freedom; a row without any is not accepted.

    Args:
        probability: Of accepting a true measurement, above 0 and below 1.

    Source: Bar-Shalom, Li, Kirubarajan, Estimation with Applications to Tracking and Navigation, 2001, section 5.4.
    """

    def __init__(self, probability: float = 0.99) -> None:
        needs("scipy", "robot")
        from scipy.special import gammaincinv

        if not 0 < probability < 1:
            raise ValueError(f"probability is {probability}, needed between 0 and 1.")
        self.probability = probability
        self._quantile = lambda degrees: 2 * gammaincinv(degrees / 2, probability)

    def limit(self, degrees: int) -> float:
        """Return the largest accepted distance with so many components."""
        return float(self._quantile(degrees))

    def __call__(self, innovation: Batch, covariance: npt.NDArray[Any] | Tensor) -> Gated[Batch]:
        """Gate innovations (..., D) with covariances (..., D, D), broadcast; arrays or tensors.

        Raises:
            ValueError: If shapes disagree, or (not checked on a GPU, where it is not accepted) a covariance is not
                positive definite; names the row.
        """
        given = tensor(innovation)
        spread = beside(covariance, given)
        width = given.shape[-1] if given.ndim else 0
        if spread.shape[-2:] != (width, width):
            raise ValueError(
                f"innovation has shape {tuple(given.shape)} and covariance {tuple(spread.shape)}: needed (..., D) "
                "and (..., D, D)."
            )
        seen = given.isfinite()
        eye = torch.eye(width, dtype=given.dtype, device=given.device)
        both = seen[..., :, None] & seen[..., None, :]
        factor, wrong = torch.linalg.cholesky_ex(torch.where(both, spread, eye))
        if not wrong.is_cuda and bool(wrong.any()):
            raise ValueError(
                f"covariance {torch.nonzero(torch.atleast_1d(wrong))[0].tolist()} is not positive definite: keep it "
                "symmetric, add the measurement noise, or use a filter in square-root form."
            )
        whitened = torch.linalg.solve_triangular(factor, given.where(seen, 0)[..., None], upper=False)[..., 0]
        degrees = seen.sum(-1)
        limits = beside(np.array([self.limit(d) if d else -1.0 for d in range(width + 1)]), given)
        distance = whitened.square().sum(-1).where(degrees > 0, torch.nan)
        return Gated(like(distance <= limits[degrees], innovation), like(distance, innovation))
