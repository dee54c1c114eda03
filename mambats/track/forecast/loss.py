"""What training lowers: minus the log density of where bodies were, and how far the forecast's middle was off."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mambats.gaussian import Gaussian
from mambats.track.forecast.batch import Forecast

LOG_TWO_PI = math.log(2 * math.pi)


def squares(said: Gaussian, place: Tensor) -> tuple[Tensor, Tensor]:
    """Return e' P^-1 e and log det P of places (..., 2) under Gaussians (..., 2), both of shape (...).

    In closed form: factoring a million matrices of two rows takes longer than all of the network.
    """
    a, b, d = said.covariance[..., 0, 0], said.covariance[..., 0, 1], said.covariance[..., 1, 1]
    area = (a * d - b * b).clamp_min(1e-12)
    x, y = (place - said.mean).unbind(-1)
    return (d * x * x - 2 * b * x * y + a * y * y) / area, area.log()


def log_density(said: Forecast, place: Tensor) -> Tensor:
    """Return the log density of places (..., H, 2) under forecasts, horizon by horizon, shape (..., H), nats."""
    square, area = squares(Gaussian(said.mean, said.covariance), place[..., None, :, :])
    each = -0.5 * (square + area) - LOG_TWO_PI
    return (each + said.logits.log_softmax(-1)[..., None]).logsumexp(-2)


def forecast_loss(said: Forecast, truth: Tensor, asked: Tensor, time: Tensor, point: float) -> Tensor:
    """Return the mean over what is asked of minus the log density, and `point` times the distance of the middle.

    Args:
        said: Forecasts (..., K, H).
        truth: Places (..., H, 2).
        asked: Which count, shape (..., H) bool.
        time: Horizons in seconds, shape (H,): a metre counts less where it is later.
        point: Weight of the distance, in metres over 0.2 m + 0.5 m/s time.
    """
    known = torch.where(asked[..., None], truth, said.best.detach())
    likely = log_density(said, known)
    away = (said.best - known).square().sum(-1).add(1e-6).sqrt() / (0.2 + 0.5 * time)
    # Under a Gaussian one lost body would rule a batch: beyond 12 nats a second counts a tenth.
    surprise = -likely
    surprise = torch.where(surprise > 12, 12 + (surprise - 12) / 10, surprise)
    return (surprise + point * away)[asked].mean() if bool(asked.any()) else (0.0 * likely).sum()
