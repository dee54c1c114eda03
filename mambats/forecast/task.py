"""The Lightning skin of a forecaster: how it trains, what it logs, what its checkpoint holds."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from mambats.checkpoint import check_same_model, write_entry
from mambats.forecast.losses import MSE
from mambats.forecast.metrics import MAE as MeanAbsoluteError
from mambats.forecast.metrics import MSE as MeanSquaredError
from mambats.forecast.metrics import point_forecast
from mambats.forecast.model import Forecaster, rows_of
from mambats.forecast.online import OnlineRun
from mambats.recipe import describe, rebuild, with_setting
from mambats.scale import Scaler
from mambats.series import Window
from mambats.task import Optimiser, Stage, Task


@dataclass(frozen=True)
class Dense:
    """Train a streaming model on forecasts from many rows of each window at once.

    Every sampled row is a forecast from a fresh start with as much context as lies before it, so one window trains
    all context lengths from `warm` to its lookback: that is what keeps long runs safe.

    Args:
        rows: Rows sampled per window and step; at most lookback - warm.
        warm: First rows that are never asked.
    """

    rows: int = 64
    warm: int = 16


class ForecastTask(Task):
    """Train, validate and test a `Forecaster`.

    Args:
        model: The forecaster.
        loss: What is minimised, on scaled values; `MSE` where None. A quantile model takes `Pinball`.
        optimiser: Optimiser settings.
        dense: Sampling of rows for streaming models; None trains on the forecast after each window.
        no_mixer: Leave the state-space blocks of the encoder out and keep the rest: a row of every table.
    """

    def __init__(
        self,
        model: Forecaster,
        loss: nn.Module | None = None,
        optimiser: Optimiser | None = None,
        dense: Dense | None = None,
        no_mixer: bool = False,
    ) -> None:
        super().__init__(optimiser)
        if no_mixer:
            model = rebuild(with_setting(describe(model), "no_mixer", True))
        if dense is not None and not model.streams:
            raise ValueError("dense training asks forecasts row by row: give the model a RunningNorm.")
        self.model, self.loss, self.dense, self.no_mixer = model, loss, dense, no_mixer
        self.scaler: Scaler | None = None
        self.period_ns: int | None = None
        self.source = ""
        self.fingerprint = ""
        self.scores = nn.ModuleDict(
            {f"{stage}_{name}": kind() for stage in ("val", "test") for name, kind in _SCORES.items()}
        )
        self.online: OnlineRun | None = None

    @property
    def criterion(self) -> nn.Module:
        """What is minimised."""
        return MSE() if self.loss is None else self.loss

    @property
    def reads_clock(self) -> bool:
        """Whether the model reads the time of rows, which costs the data module half its rate."""
        return self.model.cycle is not None

    def adopt(self, channels: tuple[str, ...], period_ns: int) -> None:
        """Take the channels and the reference period of the data, before weights are loaded."""
        self.scaler = Scaler(channels).to(self.device)
        self.period_ns = period_ns
        if self.model.cycle is not None:
            self.model.cycle.adapt(len(channels), period_ns)

    def setup(self, stage: str) -> None:
        """Take scaling, channels and cycle from the data module (Lightning calls this after the data's setup)."""
        data: Any = getattr(self.trainer, "datamodule", None)
        if data is None:
            return
        if stage == "fit":
            self.scaler, self.period_ns = deepcopy(data.scaler), data.period_ns
            self.source, self.fingerprint = data.name, data.fingerprint
            if self.model.cycle is not None:
                self.model.cycle.adapt(len(data.channels), data.period_ns)
                self.model.cycle.fit(*data.train_rows())
        elif self.scaler is not None and tuple(self.scaler.channels) != tuple(data.channels):
            raise ValueError(
                f"the model was trained on channels {list(self.scaler.channels)}, the data has {list(data.channels)}: "
                "give the same columns in the same order."
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write the recipe and the data's border beside the tensors, as plain values."""
        if self.scaler is None or self.period_ns is None:
            raise ValueError("the task has seen no data, so there is nothing to save: fit it first.")
        write_entry(
            checkpoint, self, self.scaler.channels, self.period_ns, source=self.source, fingerprint=self.fingerprint
        )

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another model, then make room for its scaler."""
        entry = check_same_model(checkpoint, self)
        self.adopt(tuple(entry.channels), entry.period_ns)
        self.source, self.fingerprint = entry.source, entry.fingerprint

    def forward(self, window: Window) -> Tensor:
        """Forecast windows in scaled units."""
        return self.model(window)

    def shared_step(self, batch: Window, stage: Stage) -> Tensor:
        """Return the loss of a batch; validation and test score every observed entry once."""
        if stage == "train":
            loss = self.criterion(*(self._sampled(batch) if self.dense else self._after(batch)))
            self.log("train_loss", loss, prog_bar=True, batch_size=len(batch))
            return loss
        forecast = self.test_forecast(batch)
        loss = self.criterion(forecast, batch.target, batch.target_observed)
        self.log(f"{stage}_loss", loss, batch_size=len(batch))
        for name in _SCORES:
            score: Any = self.scores[f"{stage}_{name}"]
            score.update(point_forecast(forecast, self.model.quantiles), batch.target, batch.target_observed)
            self.log(f"{stage}_{name}", score, prog_bar=True, batch_size=len(batch))
        return loss

    def test_step(self, batch: Window, batch_idx: int) -> Tensor:
        """Forecast a test batch; the report scores what is returned, on the same windows as the baselines."""
        forecast = self.test_forecast(batch)
        score: Any = self.scores["test_mse"]
        score.update(point_forecast(forecast, self.model.quantiles), batch.target, batch.target_observed)
        self.log("test_mse", score, batch_size=len(batch))
        return forecast

    def predict_step(self, batch: Window, batch_idx: int) -> Tensor:
        """Forecast in the data's units: (B, K, C[, Q])."""
        if self.scaler is None:
            raise ValueError("the model has no scaling: fit it, or load a checkpoint of a fitted one.")
        forecast = self.test_forecast(batch)
        if self.model.quantiles is None:
            return self.scaler.inverse(forecast)
        return self.scaler.inverse(forecast.movedim(-1, 0)).movedim(0, -1)

    def on_validation_epoch_start(self) -> None:
        """Start each pass over a split with a fresh run."""
        self.online = OnlineRun(self.model) if self.model.streams else None

    on_test_epoch_start = on_validation_epoch_start
    on_predict_epoch_start = on_validation_epoch_start

    def _after(self, batch: Window) -> tuple[Tensor, Tensor, Tensor | None]:
        return self.model(batch), batch.target, batch.target_observed

    def test_forecast(self, batch: Window) -> Tensor:
        """Forecast in scaled units: online where the model streams, from each lookback alone where it does not."""
        forecast = self.model(batch) if self.online is None else self.online.forecast(batch)
        return forecast[:, : batch.horizon]

    def _sampled(self, batch: Window) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return forecasts from sampled rows (B, R, K, C[, Q]) with their targets, flattened to (B*R, K, ...)."""
        settings = self.dense or Dense()
        device, length = batch.values.device, batch.lookback
        count = min(settings.rows, length - settings.warm)
        if count < 1:
            raise ValueError(f"the lookback has {length} rows, dense.warm is {settings.warm}: need a longer lookback.")
        # The last row is always asked: it has the full context that evaluation has.
        chosen = torch.randperm(length - settings.warm - 1, device=device)[: count - 1] + settings.warm
        at = torch.cat([chosen, torch.tensor([length - 1], device=device)])
        # Every row may be asked for a forecast, so every row is a token (see OnlineRun).
        rows = rows_of(replace(batch, mask=None))
        forecast, _ = self.model.roll(rows, self.model.init_state(len(batch), batch.values.shape[2]), at)
        ahead = at[:, None] + torch.arange(1, self.model.horizon + 1, device=device)
        observed = None if batch.observed is None else batch.observed[:, ahead].flatten(0, 1)
        return forecast.flatten(0, 1), batch.values[:, ahead].flatten(0, 1), observed


_SCORES = {"mse": MeanSquaredError, "mae": MeanAbsoluteError}
