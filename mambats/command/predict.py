"""What `mambats predict` writes: forecasts in the data's units, one row a value."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch.distributed
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from mambats.forecast.metrics import point_forecast
from mambats.series import Window


class PredictionFile(Callback):
    """Collect forecasts and write them when the last batch is done, each window once, whatever the number of ranks.

    Columns: unique_id, ds, channel, step (1 to K), forecast, and one column a quantile (q0.05, ...).

    Args:
        path: `.parquet` or `.csv`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.parts: list[dict[str, Any]] = []

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Window,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the forecasts of a batch, (B, K, C[, Q])."""
        data: Any = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]
        stamps = data.window_stamps(batch, "predict")[:, batch.lookback :]
        ids = [data.panel.ids[int(series)] for series in ([] if batch.series is None else batch.series.tolist())]
        self.parts.append(long_columns(outputs.cpu(), ids, stamps, data.channels, pl_module.model.quantiles))  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather what the ranks forecast and write the file."""
        parts = self.parts
        if trainer.world_size > 1:
            shares: list[list[dict[str, Any]]] = [[] for _ in range(trainer.world_size)]
            torch.distributed.all_gather_object(shares, parts)
            parts = [part for share in shares for part in share]
        if trainer.is_global_zero and parts:
            # Only here: a machine without polars can still fit and test from a cache.

            # Only here: a machine without polars can still fit and test from a cache.
            from mambats.formats.long import write_long

            columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            print(f"predictions: {write_long(self.path, columns, columns.pop('ds'))} ({len(columns['step'])} rows)")


def long_columns(
    forecast: torch.Tensor,
    ids: Sequence[str],
    stamps: np.ndarray,
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
