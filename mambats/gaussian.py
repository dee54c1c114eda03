"""A normal distribution, batched: what an estimator, a head and a fusion hand to each other."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Gaussian(NamedTuple):
    """Mean and covariance of n numbers; any leading axes.

    Args:
        mean: Shape (..., n).
        covariance: Symmetric positive definite, shape (..., n, n), in the squared units of the mean.
    """

    mean: Tensor
    covariance: Tensor

    @property
    def deviation(self) -> Tensor:
        """Standard deviation of each number, shape (..., n)."""
        return self.covariance.diagonal(dim1=-2, dim2=-1).clamp_min(0).sqrt()

    def part(self, start: int, stop: int) -> Gaussian:
        """Return the marginal distribution of numbers `start` to `stop` (not included)."""
        return Gaussian(self.mean[..., start:stop], self.covariance[..., start:stop, start:stop])

    def nll(self, value: Tensor) -> Tensor:
        """Return minus the log density at value (..., n), shape (...), in nats."""
        factor = torch.linalg.cholesky(self.covariance)
        white = torch.linalg.solve_triangular(factor, (value - self.mean).unsqueeze(-1), upper=False).squeeze(-1)
        log_root = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return 0.5 * (white.square().sum(-1) + value.shape[-1] * 1.8378770664093453) + log_root  # log(2 pi)
