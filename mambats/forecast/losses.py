"""Training losses: a mean over the entries that were observed, in scaled units."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import huber_loss

from mambats.calibration import check_quantile_values, check_quantiles, pinball


class Loss(nn.Module, ABC):
    """Mean of an error over observed entries; 0, with a gradient of 0, where none was observed."""

    #: Levels that the forecast must carry on its last axis, or None for a point forecast.
    quantiles: tuple[float, ...] | None = None

    def forward(self, forecast: Tensor, target: Tensor, observed: Tensor | None = None) -> Tensor:
        """Return the loss, a scalar in float32 (float64 for float64 input).

        Args:
            forecast: Shape (B, K, C), or (B, K, C, Q) where the loss has quantiles.
            target: Truth, shape (B, K, C); any value, NaN too, where it was not observed.
            observed: Which entries exist, shape (B, K, C) bool, or None where all do.

        Raises:
            ValueError: If shapes disagree.
        """
        if self.quantiles is None:
            check_point(forecast, target)
        else:
            check_quantile_values(forecast, target, self.quantiles)
        # bfloat16 has 8 bits: a sum over a batch would stop growing.
        dtype = torch.promote_types(forecast.dtype, torch.float32)
        kept, present = keep_observed(target, observed)
        errors = self.error(forecast.to(dtype), kept.to(dtype)) * present
        return errors.sum() / present.sum().clamp(min=1)

    @abstractmethod
    def error(self, forecast: Tensor, target: Tensor) -> Tensor:
        """Return the error of each entry, shape (B, K, C)."""


class MSE(Loss):
    """Squared error."""

    def error(self, forecast: Tensor, target: Tensor) -> Tensor:
        """Return (forecast - target) squared."""
        return (forecast - target).square()


class MAE(Loss):
    """Absolute error."""

    def error(self, forecast: Tensor, target: Tensor) -> Tensor:
        """Return |forecast - target|."""
        return (forecast - target).abs()


class Huber(Loss):
    """Half the squared error up to `delta`, then linear with slope `delta`.

    Args:
        delta: Where the error turns linear, > 0, in scaled units.

    Raises:
        ValueError: If delta is not positive.
    """

    def __init__(self, delta: float = 1.0) -> None:
        super().__init__()
        if not delta > 0:
            raise ValueError(f"delta is {delta}: need a positive number of scaled units, e.g. 1.0.")
        self.delta = delta

    def error(self, forecast: Tensor, target: Tensor) -> Tensor:
        """Return the Huber error."""
        return huber_loss(forecast, target, reduction="none", delta=self.delta)


class Pinball(Loss):
    """Pinball loss, averaged over the levels: what makes the outputs quantiles.

    Args:
        quantiles: Levels of the forecast's last axis, within (0, 1), rising.

    Raises:
        ValueError: If the levels are not such.
    """

    def __init__(self, quantiles: Sequence[float] = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)) -> None:
        super().__init__()
        self.quantiles = check_quantiles(quantiles)

    def error(self, forecast: Tensor, target: Tensor) -> Tensor:
        """Return the mean pinball loss over the levels."""
        levels = check_quantiles(self.quantiles or ())
        return pinball(forecast, target, levels).mean(-1)


def check_point(forecast: Tensor, target: Tensor) -> None:
    """Refuse a point forecast of another shape than its target.

    Raises:
        ValueError: If the shapes differ (also where they would broadcast).
    """
    if forecast.shape != target.shape:
        raise ValueError(
            f"forecast has shape {tuple(forecast.shape)}, target {tuple(target.shape)}: need the same. "
            "A forecast with quantiles needs a loss or metric that is given them (Pinball, quantiles=...)."
        )


def keep_observed(target: Tensor, observed: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the target with absent entries set to 0 (NaN times 0 is NaN), and which entries are present (bool).

    Raises:
        ValueError: If observed is not a bool tensor of the target's shape.
    """
    if observed is None:
        return target, torch.ones_like(target, dtype=torch.bool)
    if observed.shape != target.shape or observed.dtype != torch.bool:
        raise ValueError(
            f"observed has shape {tuple(observed.shape)} and dtype {observed.dtype}, target {tuple(target.shape)}: "
            "need the same shape and torch.bool."
        )
    return torch.where(observed, target, 0), observed
