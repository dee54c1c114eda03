"""What odometry minimises: minus the log density of the true motion under the estimate."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mambats.odometry.mixture import Candidates, difference
from mambats.odometry.navigation import SIZE, Navigation


def true_difference(found: Candidates, truth: Navigation) -> Tensor:
    """Return truth less reference in the candidates' axes, (..., 9): what the mean of a mixture should be."""
    return difference(found.reference, truth, found.start).float()


class GaussianLoss(nn.Module):
    """Negative log-likelihood of the error of rotation, velocity and position under the estimate's covariance.

    The squared Mahalanobis distance counts in full up to `bound`^2 and linearly beyond, so that one drive gone wrong
    does not rule a batch; a calibrated estimate is beyond 6 once in 10^4.

    Args:
        bound: Mahalanobis distance from which on errors count linearly.
        position: Weight of the squared error of position over one square metre, bounded alike, beside the likelihood.

    Source: errors on the manifold as in Forster et al., TRO 2017; linear tails as Huber, 1964.
    """

    def __init__(self, bound: float = 6.0, position: float = 0.0) -> None:
        super().__init__()
        self.bound, self.position = bound, position

    def forward(self, mean: Tensor, root: Tensor, target: Tensor) -> Tensor:
        """Return the mean over all answers, nats per number.

        Args:
            mean: Shape (..., 9).
            root: Lower Cholesky factor of the covariance, shape (..., 9, 9).
            target: The truth, shape (..., 9).
        """
        error = target - mean
        white = torch.linalg.solve_triangular(root, error[..., None], upper=False)[..., 0]
        square = white.square().sum(-1)
        log_root = root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        likelihood = (0.5 * _bounded(square, self.bound) + log_root).mean() / SIZE + 0.5 * math.log(2 * math.pi)
        if not self.position:
            return likelihood
        return likelihood + self.position * _bounded(error[..., 6:].square().sum(-1), 3.0).mean()


def _bounded(square: Tensor, bound: float) -> Tensor:
    """Squares up to bound^2, beyond it their tangent in the root."""
    far = 2 * bound * square.clamp_min(bound**2).sqrt() - bound**2
    return torch.where(square > bound**2, far, square)
