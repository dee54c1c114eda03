"""One pass over the test windows scores the model and every baseline on exactly the same entries."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torchmetrics import Metric, MetricCollection

from mambats.forecast.baselines import Baseline, target_present
from mambats.forecast.metrics import MSE, forecast_metrics
from mambats.series import Window


class Scoreboard:
    """Scores of several contestants, added up batch by batch.

    Args:
        quantiles: Quantile levels by contestant; None for point forecasts.
        naive_error: Scale of MASE, see `mambats.forecast.metrics.seasonal_naive_error`.
        horizon: Steps scored, K.
    """

    def __init__(self, quantiles: Mapping[str, tuple[float, ...] | None], naive_error: Tensor, horizon: int) -> None:
        self.scores: dict[str, MetricCollection] = {
            name: forecast_metrics(naive_error, levels) for name, levels in quantiles.items()
        }
        self.steps: dict[str, Metric] = {name: MSE(levels, horizon=horizon) for name, levels in quantiles.items()}
        self.windows = 0

    def add(self, forecasts: Mapping[str, Tensor], window: Window) -> None:
        """Add the forecasts of one batch, (B, K, C[, Q]) by contestant."""
        self.windows += len(window)
        observed = target_present(window)
        for name, forecast in forecasts.items():
            device = window.values.device
            self.scores[name].to(device).update(forecast, window.target, observed=observed, series=window.series)
            self.steps[name].to(device).update(forecast, window.target, observed)

    def values(self) -> dict[str, dict[str, float]]:
        """Return values by contestant and metric."""
        return {
            name: {metric: float(value) for metric, value in scores.compute().items()}
            for name, scores in self.scores.items()
        }

    def by_step(self) -> dict[str, list[float]]:
        """Return the mean squared error of each step of the horizon by contestant."""
        return {name: [float(v) for v in steps.compute()] for name, steps in self.steps.items()}


def forecast_baselines(baselines: Mapping[str, Baseline], window: Window) -> dict[str, Tensor]:
    """Return each baseline's forecast (B, K, C) of a batch."""
    return {name: baseline.forecast(window) for name, baseline in baselines.items()}
