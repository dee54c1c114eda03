"""Sigma points: what becomes of a normal distribution under a function, from a few of its values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mambats.gaussian import Gaussian


class Carried(NamedTuple):
    """A normal distribution after a function, as a linear map of its error with an error of its own.

    Args:
        mean: Shape (B, m).
        matrix: The best linear map of the error, A, shape (B, m, n).
        noise: Covariance of what is not linear, shape (B, m, m), positive semi-definite; the covariance of the outcome
            is A P A' + noise.
    """

    mean: Tensor
    matrix: Tensor
    noise: Tensor


@dataclass(frozen=True)
class SigmaPoints:
    """Scaled sigma points: the mean, and n pairs at alpha sqrt(n + kappa) standard deviations from it.

    The weighted sums of the published transform are written over differences from the middle point, which is the same
    in exact numbers: no weight is negative where beta >= alpha^2, so covariances stay positive definite in float32
    too. (Over the mean, the middle point's weight is 1 - 1 / alpha^2 and more, about -10^6 at alpha = 10^-3.)

    Args:
        alpha: How far out the points lie. 1 for all of the distribution; small ones see the mean's surroundings alone.
        beta: What is known of the fourth moment; 2 for normal distributions.
        kappa: The other scale, above -n: 0, or 3 - n, which gets the fourth moment of one axis right.

    Raises:
        ValueError: If alpha is not above 0 or beta below its square.

    Source: van der Merwe, Sigma-Point Kalman Filters for Probabilistic Inference in Dynamic State-Space Models, 2004,
        table 3.2.
    """

    alpha: float = 1.0
    beta: float = 2.0
    kappa: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not (self.alpha > 0 and self.beta >= self.alpha**2):
            raise ValueError(
                f"alpha is {self.alpha}, beta {self.beta}: need alpha above 0 and beta at least alpha^2, else "
                "covariances need not stay positive definite."
            )

    def carry(
        self,
        given: Gaussian,
        function: Callable[[Tensor], Tensor],
        difference: Callable[[Tensor, Tensor], Tensor] = torch.sub,
    ) -> Carried:
        """Return what becomes of a distribution.

        Args:
            given: Mean (B, n) and covariance (B, n, n), positive definite.
            function: Of rows (B (2n + 1), n), rows of one series together; gives (B (2n + 1), m).
            difference: Of two outcomes; wraps angles where there are any.

        Raises:
            ValueError: If kappa is not above -n.
        """
        batch, n = given.mean.shape
        if self.kappa <= -n:
            raise ValueError(f"kappa is {self.kappa} for a state of {n} numbers: need one above -{n}.")
        far = self.alpha * (n + self.kappa) ** 0.5
        factor = torch.linalg.cholesky(given.covariance)
        out = far * factor.mT
        points = given.mean[:, None] + torch.cat([torch.zeros_like(out[:, :1]), out, -out], 1)
        values = function(points.flatten(0, 1)).unflatten(0, (batch, 2 * n + 1))
        middle = values[:, :1]
        away = difference(values[:, 1:], middle.expand(-1, 2 * n, -1))
        plus, minus = away[:, :n], away[:, n:]
        slope, bend = plus - minus, plus + minus
        shift = bend.sum(1) / (2 * far**2)
        matrix = torch.linalg.solve_triangular(factor, slope.mT / (2 * far), upper=False, left=False)
        noise = bend.mT @ bend / (4 * far**2)
        rest = (self.beta - self.alpha**2) * shift.unsqueeze(-1) * shift.unsqueeze(-2)
        return Carried(middle[:, 0] + shift, matrix, noise + rest)
