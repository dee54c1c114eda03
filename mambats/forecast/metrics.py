"""Forecast metrics: a mean over entries, never over batches, so that the batch size changes no score.

Each metric adds up a sum and a count over the entries that were observed, in float64, and divides at the end;
over several processes the sums are added. `horizon=K` keeps the K steps apart: the error-by-horizon curve.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from mambats.calibration import (
    check_quantile_values,
    check_quantiles,
    covered,
    crps_from_quantiles,
    interval_columns,
)
from mambats.forecast.losses import check_point, keep_observed


class EntryMetric(Metric, ABC):
    """A sum over entries divided by a count over entries; subclasses say of what.

    Args:
        quantiles: Levels of the forecast's last axis, or None for a point forecast.
        horizon: K to get one value a step, or None for one value.
    """

    is_differentiable = False
    full_state_update = False
    higher_is_better: bool | None = False

    total: Tensor
    count: Tensor

    def __init__(self, quantiles: Sequence[float] | None = None, horizon: int | None = None) -> None:
        super().__init__()
        self.quantiles = None if quantiles is None else check_quantiles(quantiles)
        self.horizon = horizon
        zeros = torch.zeros(() if horizon is None else (horizon,), dtype=torch.float64)
        self.add_state("total", default=zeros, dist_reduce_fx="sum")
        self.add_state("count", default=zeros.clone(), dist_reduce_fx="sum")

    def update(self, forecast: Tensor, target: Tensor, observed: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            forecast: Shape (B, K, C), or (B, K, C, Q) with quantiles.
            target: Truth, shape (B, K, C).
            observed: Which entries exist, shape (B, K, C) bool, or None where all do.

        Raises:
            ValueError: If shapes disagree.
        """
        exact, truth, present = self.prepare(forecast, target, observed)
        self.add(self.error(exact, truth), self.weight(truth), present)

    def compute(self) -> Tensor:
        """Return the mean, a scalar or shape (K,), float64; NaN where nothing was counted."""
        return self.total / self.count

    @abstractmethod
    def error(self, forecast: Tensor, target: Tensor) -> Tensor:
        """Return the error of each entry, shape (B, K, C)."""

    def weight(self, target: Tensor) -> Tensor | None:
        """Return what each entry adds to the count, shape (B, K, C), or None for 1."""
        return None

    def prepare(
        self, forecast: Tensor, target: Tensor, observed: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return forecast and target in float32 or wider and which entries count (None: all), after checking shapes."""
        if self.quantiles is None:
            check_point(forecast, target)
        else:
            check_quantile_values(forecast, target, self.quantiles)
        if self.horizon is not None and target.shape[1] != self.horizon:
            raise ValueError(
                f"the batch has {target.shape[1]} steps, the metric horizon={self.horizon}: give the same."
            )
        kept, present = keep_observed(target, observed)
        # An entry's error keeps its seven digits; it is the sum over millions of them that needs float64.
        dtype = torch.promote_types(forecast.dtype, torch.float32)
        return forecast.to(dtype), kept.to(dtype), None if observed is None else present

    def add(self, errors: Tensor, weights: Tensor | None, present: Tensor | None) -> None:
        """Add errors and weights (B, K, C) of the present entries; None means 1 and all."""
        if present is not None:
            errors = torch.where(present, errors, 0)
            weights = present if weights is None else torch.where(present, weights, 0)
        steps = errors.double().sum(0).sum(-1)
        count = torch.full_like(steps, errors[:, 0].numel()) if weights is None else weights.double().sum(0).sum(-1)
        # Not in place: a task validated under inference mode may be fitted next.
        self.total = self.total + (steps.sum() if self.horizon is None else steps)
        self.count = self.count + (count.sum() if self.horizon is None else count)


class MSE(EntryMetric):
    """Mean squared error of the point (the median of quantiles), in squared units of the target."""

    def error(self, forecast: Tensor, target: Tensor) -> Tensor:
        """Return (forecast - target) squared."""
        return (point_forecast(forecast, self.quantiles) - target).square()


class MAE(EntryMetric):
    """Mean absolute error of the point (the median of quantiles), in units of the target."""

    def error(self, forecast: Tensor, target: Tensor) -> Tensor:
        """Return |forecast - target|."""
        return (point_forecast(forecast, self.quantiles) - target).abs()


class SMAPE(EntryMetric):
    """Mean of |f - y| / (|f| + |y|), within [0, 1]; 0 where both are 0. For unscaled values with a true zero.

    Source: the form that utilsforecast computes; the M4 competition prints 200 times this.
    """

    def error(self, forecast: Tensor, target: Tensor) -> Tensor:
        """Return the relative error of each entry."""
        point = point_forecast(forecast, self.quantiles)
        size = point.abs() + target.abs()
        return torch.where(size > 0, (point - target).abs() / size, 0)


class MASE(EntryMetric):
    """Mean of |f - y| over the in-sample error of the seasonal naive forecast of that channel.

    Below 1 beats repeating the last season. A channel whose naive error is 0 or NaN (constant in training) has no
    scale and is left out.

    Args:
        naive_error: From `seasonal_naive_error`, shape (C,), or (S, C) for S series, in units of the target.
        quantiles: As in `EntryMetric`.
        horizon: As in `EntryMetric`.

    Source: Hyndman and Koehler, Another look at measures of forecast accuracy, 2006, section 3.
    """

    naive_error: Tensor

    def __init__(
        self,
        naive_error: Tensor | Sequence[float],
        quantiles: Sequence[float] | None = None,
        horizon: int | None = None,
    ) -> None:
        super().__init__(quantiles, horizon)
        # A buffer, not a state: `reset` must keep it and processes must not add it up.
        self.register_buffer("naive_error", torch.as_tensor(naive_error, dtype=torch.float64), persistent=False)
        self._all_usable = bool(_usable(self.naive_error).all())

    def update(
        self, forecast: Tensor, target: Tensor, observed: Tensor | None = None, series: Tensor | None = None
    ) -> None:
        """Add a batch, as `EntryMetric.update`.

        Args:
            forecast: Shape (B, K, C), or (B, K, C, Q) with quantiles.
            target: Truth, shape (B, K, C).
            observed: Which entries exist, shape (B, K, C) bool, or None where all do.
            series: Series of each window, shape (B,) int64; needed where naive_error has one row a series.

        Raises:
            ValueError: If shapes disagree, or series is missing.
        """
        exact, truth, present = self.prepare(forecast, target, observed)
        scale = self._scale(truth, series)
        if not self._all_usable:
            usable = _usable(scale).expand_as(truth)
            present = usable if present is None else present & usable
        self.add(self.error(exact, truth) / scale, None, present)

    def error(self, forecast: Tensor, target: Tensor) -> Tensor:
        """Return |forecast - target|, not yet scaled."""
        return (point_forecast(forecast, self.quantiles) - target).abs()

    def _scale(self, target: Tensor, series: Tensor | None) -> Tensor:
        """Return the naive error of each entry, shape (1 or B, 1, C)."""
        scale = self.naive_error.to(target)
        if scale.ndim == 2 and series is None:
            raise ValueError(f"naive_error has shape {tuple(scale.shape)}, one row a series: give series, shape (B,).")
        if scale.shape[-1] != target.shape[-1]:
            raise ValueError(f"naive_error has {scale.shape[-1]} channels, target {target.shape[-1]}: need the same.")
        return scale.view(1, 1, -1) if scale.ndim == 1 else scale[series].unsqueeze(1)


class QuantileMetric(EntryMetric, ABC):
    """A metric that needs quantiles.

    Args:
        quantiles: Levels of the forecast's last axis.
        horizon: As in `EntryMetric`.
    """

    quantiles: tuple[float, ...]

    def __init__(self, quantiles: Sequence[float], horizon: int | None = None) -> None:
        super().__init__(quantiles, horizon)


class CRPS(QuantileMetric):
    """Continuous ranked probability score: twice the mean pinball loss, in units of the target."""

    def error(self, forecast: Tensor, target: Tensor) -> Tensor:
        """Return the score of each entry."""
        return crps_from_quantiles(forecast, target, self.quantiles)


class WeightedQuantileLoss(CRPS):
    """CRPS over the mean size of the target: 2 sum(pinball) / sum(|y|), dimensionless. For unscaled values."""

    def weight(self, target: Tensor) -> Tensor:
        """Return |target|."""
        return target.abs()


class Coverage(QuantileMetric):
    """Share of entries inside the central interval; calibrated where it equals `level`.

    Args:
        quantiles: Levels of the forecast's last axis, with (1 - level) / 2 and (1 + level) / 2 among them.
        level: Share of probability inside the interval.
        horizon: As in `EntryMetric`.

    Raises:
        ValueError: If the interval's bounds are not among the quantiles.
    """

    higher_is_better = None

    def __init__(self, quantiles: Sequence[float], level: float = 0.9, horizon: int | None = None) -> None:
        super().__init__(quantiles, horizon)
        self.level = level
        self._low, self._high = interval_columns(self.quantiles, level)

    def error(self, forecast: Tensor, target: Tensor) -> Tensor:
        """Return 1 inside the interval, 0 outside."""
        return covered(forecast[..., self._low], forecast[..., self._high], target).to(target.dtype)


def point_forecast(forecast: Tensor, quantiles: Sequence[float] | None) -> Tensor:
    """Return the point of a forecast: itself, or the median drawn straight between the levels around 0.5.

    Args:
        forecast: Shape (B, K, C), or (B, K, C, Q) with quantiles.
        quantiles: The levels, or None for a point forecast.

    Returns:
        Shape (B, K, C). Where all levels lie on one side of 0.5, the nearest.
    """
    if quantiles is None:
        return forecast
    above = next((i for i, level in enumerate(quantiles) if level >= 0.5), len(quantiles) - 1)
    below = max(above - 1, 0)
    if above == below or quantiles[above] <= 0.5:
        return forecast[..., above]
    share = (0.5 - quantiles[below]) / (quantiles[above] - quantiles[below])
    return torch.lerp(forecast[..., below], forecast[..., above], share)


def seasonal_naive_error(values: Tensor, season: int, observed: Tensor | None = None) -> Tensor:
    """Return the mean of |y_t - y_{t - season}| over the training rows, the scale of MASE.

    Args:
        values: Training rows of one series, shape (T, C), any units.
        season: Rows in a season, >= 1.
        observed: Which values exist, shape (T, C) bool, or None where all do; a difference needs both ends.

    Returns:
        Shape (C,), float64; NaN for a channel without a pair of rows.

    Raises:
        ValueError: If season is not positive.
    """
    if season < 1:
        raise ValueError(
            f"season is {season}: need a number of rows >= 1, e.g. 24 for hourly values with a daily cycle."
        )
    exact, present = keep_observed(values, observed)
    pairs = present[season:] & present[:-season]
    steps = (exact[season:].double() - exact[:-season].double()).abs()
    return (steps * pairs).sum(0) / pairs.sum(0)


def forecast_metrics(
    naive_error: Tensor | Sequence[float], quantiles: Sequence[float] | None = None, level: float = 0.9
) -> MetricCollection:
    """Return the metrics of a result table, fed with the forecast as the model gives it.

    Args:
        naive_error: From `seasonal_naive_error`.
        quantiles: Levels of the model, or None for a point forecast.
        level: The interval whose coverage is counted where its bounds are among the quantiles.

    Returns:
        mse, mae and mase; with quantiles also crps and, e.g. for level 0.9, coverage_90. Update it with
        `metrics.update(forecast, target, observed=..., series=...)`.
    """
    metrics: dict[str, Metric | MetricCollection] = {
        "mse": MSE(quantiles),
        "mae": MAE(quantiles),
        "mase": MASE(naive_error, quantiles),
    }
    if quantiles is not None:
        metrics["crps"] = CRPS(quantiles)
        if _bounds_known(quantiles, level):
            metrics[f"coverage_{level * 100:g}"] = Coverage(quantiles, level)
    # Compute groups share one state between metrics whose states were equal after the first batch (all errors 0 or 1
    # is enough), and are wrong from the second on.
    return MetricCollection(metrics, compute_groups=False)


def _usable(naive_error: Tensor) -> Tensor:
    """Return which naive errors can be divided by."""
    return (naive_error > 0) & naive_error.isfinite()


def _bounds_known(quantiles: Sequence[float], level: float) -> bool:
    """Return whether the bounds of the central interval are among the quantiles."""
    try:
        interval_columns(quantiles, level)
    except ValueError:
        return False
    return True
