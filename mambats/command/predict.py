"""What `mambats predict` writes: forecasts in the data's units, one row a value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch.distributed
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from mambats.forecast.ahead import long_columns
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
            from mambats.formats.long import write_long

            columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            print(f"predictions: {write_long(self.path, columns, columns.pop('ds'))} ({len(columns['step'])} rows)")
