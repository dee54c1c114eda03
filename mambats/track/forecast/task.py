"""The Lightning skin of a forecast of tracks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from mambats.task import Optimiser, Stage, StreamsTask
from mambats.track.forecast.batch import Forecast, ForecastBatch, batch_of
from mambats.track.forecast.loss import forecast_loss
from mambats.track.forecast.model import TrajectoryForecaster
from mambats.track.forecast.report import ForecastReport


class TrackForecastTask(StreamsTask):
    """Train, validate and test a `TrajectoryForecaster` on scenes (`ForecastModule`).

    Args:
        model: The forecaster; its classes and horizons are those of the data.
        optimiser: Optimiser settings.
        point: Weight of the distance of the forecast's middle beside the log density, see `forecast_loss`.
        mirror: Share of training pieces in which left and right are swapped.

    Raises:
        ValueError: If `mirror` is no share or `point` below 0; from `setup`, if the data has other classes or horizons.
    """

    def __init__(
        self, model: TrajectoryForecaster, optimiser: Optimiser | None = None, point: float = 1.0, mirror: float = 0.5
    ) -> None:
        super().__init__(optimiser)
        if not 0 <= mirror <= 1 or point < 0:
            raise ValueError(f"mirror is {mirror}, point {point}: needed 0 to 1, and 0 or more.")
        self.model, self.point, self.mirror = model, point, mirror

    def setup(self, stage: str) -> None:
        """Calibrate constant velocity on the training scenes, and note what the data is."""
        data: Any = getattr(self.trainer, "datamodule", None)
        if data is None:
            return
        if tuple(data.classes) != self.model.classes or tuple(data.horizons) != self.model.horizons:
            raise ValueError(
                f"{data.name} has classes {data.classes} and horizons {data.horizons} s, the model "
                f"{self.model.classes} and {self.model.horizons} s: name the same."
            )
        if stage == "fit":
            scenes = [one for one in data.scenes("train") if len(one.labels)]
            self.model.calibrate(batch_of(scenes, [one.future(data.horizons) for one in scenes]).to(self.device))
            self.source, self.fingerprint = data.name, data.fingerprint
            self.channels, self.period_ns = tuple(data.channels), data.period_ns

    def shared_step(self, batch: ForecastBatch, stage: Stage) -> Tensor:
        """Return the loss of a batch, and log it."""
        if stage == "train" and self.mirror:
            pieces = int(batch.piece[-1]) + 1
            batch = batch.mirrored(torch.rand(pieces, device=batch.mean.device) < self.mirror)
        loss = forecast_loss(self.model(batch), batch.truth, batch.asked, self.model.time, self.point)
        self.log(f"{stage}_loss", loss, prog_bar=True, batch_size=max(1, int(batch.asked.sum())))
        return loss

    def test_step(self, batch: ForecastBatch, batch_idx: int) -> Forecast:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the forecasts, which the report scores beside the baselines."""
        return self.model(batch)

    def report(self, name: str, folder: Path) -> Callback:
        """Return what writes the table and picture of a test."""
        return ForecastReport(name, folder)
