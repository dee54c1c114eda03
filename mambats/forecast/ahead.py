"""The forecast of what comes next, as columns that any frame library takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mambats.forecast.metrics import point_forecast
from mambats.forecast.task import ForecastTask
from mambats.series import Stamps


@torch.no_grad()
def forecast_ahead(task: ForecastTask, data: Any) -> dict[str, Any]:
    """Forecast the rows after the end of each series, in the data's units.

    Args:
        task: A fitted task, or one from `mambats.checkpoint.load_task`.
        data: The `WindowDataModule` of the fit, or one over newer rows of the same channels: these are then scaled as
            the task was trained. Where a model reads covariates too, their scaling comes with the checkpoint only:
            use `mambats predict` for newer rows of those.

    Returns:
        Columns of equal length for `polars.DataFrame(...)` or `pandas.DataFrame(...)`: unique_id, ds (datetime64, ns),
        channel, step (1 to K), forecast, and one column a quantile (q0.05, ...).

    Raises:
        ValueError: If the task was not fitted.
        DataError: If the channels differ, or a series is shorter than the lookback.

    Example:
        frame = polars.DataFrame(forecast_ahead(task, data))
    """
    if task.scaler is None or task.period_ns is None:
        raise ValueError("the task has no scaling: fit it, or load a checkpoint of a fitted one.")
    data.setup("predict")
    data.adopt(task.scaler, task.period_ns)
    training = task.training
    task.eval().on_predict_epoch_start()
    parts: list[dict[str, Any]] = []
    for index, batch in enumerate(data.predict_dataloader()):
        forecast = task.predict_step(batch.to(task.device), index).cpu()
        stamps = data.window_stamps(batch, "predict")[:, batch.lookback :]
        ids = [data.panel.ids[series] for series in batch.series.tolist()]
        parts.append(long_columns(forecast, ids, stamps, data.channels, task.model.quantiles))
    task.train(training)
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return columns | {"ds": columns["ds"].astype("datetime64[ns]")}


def long_columns(
    forecast: Tensor,
    ids: Sequence[str],
    stamps: Stamps,
    channels: Sequence[str],
    quantiles: tuple[float, ...] | None,
) -> dict[str, Any]:
    """Lay forecasts out as columns of B * C * K rows: series, then channel, then step.

    Args:
        forecast: Shape (B, K, C[, Q]), in the data's units.
        ids: Name of each window's series.
        stamps: Times of the rows forecast, int64 nanoseconds, shape (B, K).
        channels: Names of the channels.
        quantiles: Levels of the last axis, or None.
    """
    count, horizon = stamps.shape
    width = len(channels)
    points = point_forecast(forecast, quantiles)
    columns: dict[str, Any] = {
        "unique_id": np.repeat(np.array(ids), width * horizon),
        "ds": np.repeat(stamps[:, None], width, axis=1).ravel(),
        "channel": np.tile(np.repeat(np.array(channels), horizon), count),
        "step": np.tile(np.arange(1, horizon + 1), count * width),
        "forecast": points.transpose(1, 2).flatten().numpy(),
    }
    for index, level in enumerate(quantiles or ()):
        columns[f"q{level:g}"] = forecast[..., index].transpose(1, 2).flatten().numpy()
    return columns
