"""Heads that answer with a number and an interval, each with the score it is trained by."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mambats.calibration import check_quantiles, interval_columns, pinball
from mambats.protocols import Head


class Estimate(NamedTuple):
    """A number with its interval, each of one shape."""

    point: Tensor
    low: Tensor
    high: Tensor


class IntervalHead(Head):
    """Turn a token into numbers that say where the target lies."""

    @abstractmethod
    def estimate(self, answer: Tensor, level: float) -> Estimate:
        """Return point and bounds of the central interval of share `level`, of an answer (..., A): each (...)."""

    @abstractmethod
    def loss(self, answer: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each answer (..., A) at target (...), shape (...), scaled units."""


class QuantileHead(IntervalHead):
    """A mean and quantiles that cannot cross.

    The point is trained by squared error and the quantiles by the pinball loss, side by side: the median of a skewed
    answer has not the least squared error.

    Args:
        width: Width of the token.
        quantiles: Levels in (0, 1), rising.
        hidden: Units of a hidden layer; 0 reads the token linearly.
        dropout: Share of the token and of the hidden layer dropped in training.
        weight: Of the pinball loss against the squared error.
    """

    def __init__(
        self,
        width: int,
        quantiles: Sequence[float] = (0.05, 0.25, 0.5, 0.75, 0.95),
        hidden: int = 0,
        dropout: float = 0.0,
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.width, self.hidden, self.dropout, self.weight = width, hidden, dropout, weight
        self.quantiles = check_quantiles(quantiles)
        self.middle = min(range(len(self.quantiles)), key=lambda i: abs(self.quantiles[i] - 0.5))
        self.project = layers(width, 1 + len(self.quantiles), hidden, dropout)

    def forward(self, token: Tensor) -> Tensor:
        """Return the mean, then the quantiles, shape (..., 1 + Q)."""
        raw = self.project(token)
        middle, steps = raw[..., 1 + self.middle, None], F.softplus(raw[..., 1:])
        above = middle + steps[..., self.middle + 1 :].cumsum(-1)
        below = middle - steps[..., : self.middle].flip(-1).cumsum(-1).flip(-1)
        return torch.cat([raw[..., :1], below, middle, above], -1)

    def estimate(self, answer: Tensor, level: float) -> Estimate:
        """Return the mean and the two quantiles of `level`."""
        low, high = interval_columns(self.quantiles, level)
        return Estimate(answer[..., 0], answer[..., 1 + low], answer[..., 1 + high])

    def loss(self, answer: Tensor, target: Tensor) -> Tensor:
        """Return squared error plus the mean pinball loss over the levels."""
        errors = pinball(answer[..., 1:], target, self.quantiles).mean(-1)
        return (answer[..., 0] - target).square() + self.weight * errors


class GaussianHead(IntervalHead):
    """A mean and a standard deviation.

    Args:
        width: Width of the token.
        hidden: Units of a hidden layer; 0 reads the token linearly.
        dropout: Share of the token and of the hidden layer dropped in training.
        beta: Power of the variance that weighs each entry: 0 is the plain likelihood, which neglects the mean where
            it is sure to be wrong, 1 gives the mean the gradient of squared error.

    Source: Seitzer et al., On the Pitfalls of Heteroscedastic Uncertainty Estimation, ICLR 2022, equation 4.
    """

    def __init__(self, width: int, hidden: int = 0, dropout: float = 0.0, beta: float = 0.5) -> None:
        super().__init__()
        self.width, self.hidden, self.dropout, self.beta = width, hidden, dropout, beta
        self.project = layers(width, 2, hidden, dropout)

    def forward(self, token: Tensor) -> Tensor:
        """Return mean and deviation, shape (..., 2)."""
        mean, raw = self.project(token).unbind(-1)
        # From 1e-2 deviations of the target up: below it is rounding that would be learned.
        return torch.stack([mean, F.softplus(raw) + 1e-2], -1)

    def estimate(self, answer: Tensor, level: float) -> Estimate:
        """Return mean and mean +- z deviations."""
        mean, deviation = answer.unbind(-1)
        reach = math.sqrt(2) * float(torch.erfinv(torch.tensor(level, dtype=torch.float64))) * deviation
        return Estimate(mean, mean - reach, mean + reach)

    def loss(self, answer: Tensor, target: Tensor) -> Tensor:
        """Return the negative log likelihood, weighed by the variance to the power of beta."""
        mean, deviation = answer.unbind(-1)
        nll = deviation.log() + 0.5 * ((target - mean) / deviation).square()
        return deviation.detach() ** (2 * self.beta) * nll


def layers(width: int, outputs: int, hidden: int, dropout: float) -> nn.Module:
    """Return a linear map, or two with SiLU between, with dropout before each."""
    if hidden < 1:
        return nn.Sequential(nn.Dropout(dropout), nn.Linear(width, outputs))
    first = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, hidden), nn.SiLU())
    return nn.Sequential(*first, nn.Dropout(dropout), nn.Linear(hidden, outputs))
