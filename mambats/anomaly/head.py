"""Heads that say what to expect of a row, and how surprising it then is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mambats.calibration import check_quantiles, pinball

#: Standard deviations from the middle to a bound of the 90 % interval of a normal distribution.
_NINETY = 1.6448536269514722
# A model may be sure, but not infinitely: a deviation below a thousandth of the running one is a sensor at rest.
_LEAST = 1e-3


class SurpriseHead(nn.Module, ABC):
    """Turn tokens into expectations of C values: P numbers each."""

    width: int
    channels: int
    project: nn.Linear

    def forward(self, tokens: Tensor, base: Tensor, scale: Tensor) -> Tensor:
        """Return expectations (B, T, C, P) in the units of the rows.

        Args:
            tokens: Shape (B, T, width).
            base: What an output of 0 stands for, shape (B, T, C).
            scale: What an output of 1 adds, shape (B, T, C).
        """
        raw = self.project(tokens).unflatten(-1, (self.channels, -1))
        return self.place(raw, base.unsqueeze(-1), scale.unsqueeze(-1))

    @abstractmethod
    def place(self, raw: Tensor, base: Tensor, scale: Tensor) -> Tensor:
        """Return expectations (B, T, C, P) from raw outputs, base and scale (B, T, C, 1)."""

    @abstractmethod
    def rescale(self, expected: Tensor, base: Tensor, unit: Tensor) -> Tensor:
        """Return expectations of (value - base) / unit, with base and unit (B, T, C, 1)."""

    @abstractmethod
    def loss(self, expected: Tensor, values: Tensor) -> Tensor:
        """Return the training loss of each value, shape (B, T, C)."""

    @abstractmethod
    def surprise(self, expected: Tensor, values: Tensor) -> Tensor:
        """Return how far values (B, T, C) are from expectations: standard deviations, or nats above the least."""

    @abstractmethod
    def interval(self, expected: Tensor) -> tuple[Tensor, Tensor]:
        """Return the bounds (B, T, C) of the 90 % interval, or of the widest there is."""


class GaussianHead(SurpriseHead):
    """Expect a mean and a deviation; trained by the log score.

    Args:
        width: Width of the tokens.
        channels: Channels C of a row.
        score: `z` for |value - mean| / deviation; `nll` for minus the log density above that of the mean of a deviation
            of 1 (it also rises where the model is unsure).
    """

    def __init__(self, width: int, channels: int, score: str = "z") -> None:
        super().__init__()
        if score not in ("z", "nll"):
            raise ValueError(f"score is {score!r}: choose 'z' or 'nll'.")
        self.width, self.channels, self.score = width, channels, score
        self.project = nn.Linear(width, 2 * channels)

    def place(self, raw: Tensor, base: Tensor, scale: Tensor) -> Tensor:
        """Return mean and deviation."""
        middle, spread = raw.split(1, -1)
        deviation = scale * (nn.functional.softplus(spread) + _LEAST)
        return torch.cat([base + scale * middle, deviation], -1)

    def rescale(self, expected: Tensor, base: Tensor, unit: Tensor) -> Tensor:
        """Move the mean, scale both."""
        mean, deviation = expected.split(1, -1)
        return torch.cat([(mean - base) / unit, deviation / unit], -1)

    def loss(self, expected: Tensor, values: Tensor) -> Tensor:
        """Return minus the log density less its constant."""
        mean, deviation = expected.unbind(-1)
        return 0.5 * ((values - mean) / deviation).square() + deviation.log()

    def surprise(self, expected: Tensor, values: Tensor) -> Tensor:
        """Return the z-score without sign, or the loss where it is above 0."""
        if self.score == "nll":
            return self.loss(expected, values).clamp_min(0)
        mean, deviation = expected.unbind(-1)
        return ((values - mean) / deviation).abs()

    def interval(self, expected: Tensor) -> tuple[Tensor, Tensor]:
        """Return the 90 % interval."""
        mean, deviation = expected.unbind(-1)
        return mean - _NINETY * deviation, mean + _NINETY * deviation


class QuantileHead(SurpriseHead):
    """Expect quantiles; trained by the pinball loss, which a single wild value does not pull.

    The surprise is the distance from the median in units of the distance to the outer quantile on that side, times
    that quantile's place in a normal distribution: the z-score where the distribution is normal.

    Args:
        width: Width of the tokens.
        channels: Channels C of a row.
        quantiles: Levels, rising, symmetric about 0.5 and with 0.5.
    """

    def __init__(self, width: int, channels: int, quantiles: Sequence[float] = (0.05, 0.25, 0.5, 0.75, 0.95)) -> None:
        super().__init__()
        levels = check_quantiles(quantiles)
        if len(levels) < 3 or 0.5 not in levels or abs(levels[0] + levels[-1] - 1) > 1e-6:
            raise ValueError(f"quantiles are {levels}: needed the median between levels symmetric about it.")
        self.width, self.channels, self.quantiles = width, channels, levels
        self.project = nn.Linear(width, len(levels) * channels)
        self._middle = levels.index(0.5)
        self._reach = float(torch.special.ndtri(torch.tensor(levels[-1], dtype=torch.float64)))

    def place(self, raw: Tensor, base: Tensor, scale: Tensor) -> Tensor:
        """Return quantile values that never cross: steps up and down from the median."""
        middle, steps = self._middle, nn.functional.softplus(raw)
        below = -steps[..., :middle].flip(-1).cumsum(-1).flip(-1)
        above = steps[..., middle + 1 :].cumsum(-1)
        median = raw[..., middle : middle + 1]
        return base + scale * torch.cat([median + below, median, median + above], -1)

    def rescale(self, expected: Tensor, base: Tensor, unit: Tensor) -> Tensor:
        """Move and scale every quantile."""
        return (expected - base) / unit

    def loss(self, expected: Tensor, values: Tensor) -> Tensor:
        """Return the pinball loss, averaged over levels."""
        return pinball(expected, values, self.quantiles).mean(-1)

    def surprise(self, expected: Tensor, values: Tensor) -> Tensor:
        """Return the distance from the median in deviations."""
        off = values - expected[..., self._middle]
        reach = torch.where(off > 0, expected[..., -1] - expected[..., self._middle], 0)
        reach = reach + torch.where(off > 0, 0, expected[..., self._middle] - expected[..., 0])
        return off.abs() / reach.clamp_min(torch.finfo(reach.dtype).tiny) * self._reach

    def interval(self, expected: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outer quantiles."""
        return expected[..., 0], expected[..., -1]
