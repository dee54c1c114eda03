"""What a filter is told of the world: how the state moves, what a sensor sees of it, and how noisy both are."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Noise(nn.Module, ABC):
    """A covariance: constant, grown with time, or set by a network. One interface for Q and R of every filter."""

    #: Numbers that it is the covariance of, k.
    size: int

    @abstractmethod
    def forward(self, elapsed: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return the covariance (B, k, k), symmetric positive semi-definite.

        Args:
            elapsed: Seconds it has had to grow, shape (B,); a measurement's noise does not read it.
            scale: Factor on each standard deviation, shape (B, k), or None for 1: what a network sets.
        """


class Motion(nn.Module, ABC):
    """How a state (B, n) moves by itself."""

    size: int
    noise: Noise

    @abstractmethod
    def forward(self, x: Tensor, elapsed: Tensor) -> Tensor:
        """Return the state (B, n) after `elapsed` seconds (B,)."""

    def jacobian(self, x: Tensor, elapsed: Tensor) -> Tensor:
        """Return d forward / d x, shape (B, n, n); by automatic differentiation unless a model knows better."""
        move = torch.func.jacfwd(lambda row, time: self(row[None], time[None])[0])
        return torch.func.vmap(move)(x, elapsed)


class Sensor(nn.Module, ABC):
    """What a sensor measures of a state (B, n): m numbers. It may be a network."""

    size: int
    noise: Noise

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Return the measurement (B, m) of state x (B, n) without noise."""

    def residual(self, value: Tensor, predicted: Tensor) -> Tensor:
        """Return measured less predicted, shape (B, m); a sensor of angles wraps them here."""
        return value - predicted

    def jacobian(self, x: Tensor) -> Tensor:
        """Return d forward / d x, shape (B, m, n); by automatic differentiation unless a model knows better."""
        return torch.func.vmap(torch.func.jacfwd(lambda row: self(row[None])[0]))(x)
