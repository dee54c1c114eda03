"""What a learned forecast must beat: staying, constant velocity, and arcs of the sensor told from all tracks."""

from __future__ import annotations

import torch

from mambats.track.forecast.batch import Forecast, ForecastBatch
from mambats.track.forecast.course import Course
from mambats.track.forecast.model import TrajectoryForecaster
from mambats.track.forecast.own_motion import OwnMotion

FILTER, SCALED, TURNING, STAYING = (
    "constant velocity, the filter's covariance",
    "constant velocity, scaled covariance",
    "constant velocity, the sensor's turn taken out",
    "constant position",
)


def baselines(model: TrajectoryForecaster, batch: ForecastBatch) -> dict[str, Forecast]:
    """Return the forecasts of the baselines, by name, with the horizons and classes of a model.

    The covariance of what does not move is that of the place and of a speed as large as it seems.
    """
    plain = model.plain(batch)
    zero = torch.zeros_like(batch.age)
    own = OwnMotion.of(batch.own)
    turning = Course(batch.mean[..., :2], batch.mean[..., 7:9], own.velocity, own.turn, zero, zero, zero)
    seems = batch.mean[..., 7:9, None] * batch.mean[..., None, 7:9]
    wide = plain.covariance + seems[..., None, None, :, :] * model.time.square()[:, None, None]
    stays = batch.mean[..., None, None, :2].expand(plain.mean.shape)
    return {
        FILTER: model.plain(batch, scaled=False),
        SCALED: plain,
        TURNING: plain._replace(mean=turning.after(model.time)[..., None, :, :]),
        STAYING: plain._replace(mean=stays, covariance=wide),
    }
