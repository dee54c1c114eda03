"""How good forecasts of places are: displacement errors, log score, and how often their regions hold the truth."""

from __future__ import annotations

import torch
from torch import Tensor

from mambats.gaussian import Gaussian
from mambats.track.forecast.batch import Forecast
from mambats.track.forecast.loss import log_density, squares

LEVELS = (0.5, 0.9, 0.95)
MISSED = 2.0  # metres, as the motion forecasting challenges count (Argoverse, CVPR 2019, section 4.3)
DRAWS = 200  # of a mixture, for its regions: a coverage of 0.9 is then known to 0.002 over ten thousand forecasts


def middle_error(said: Forecast, truth: Tensor) -> Tensor:
    """Return how far the mean of the mixture is from places (..., H, 2), shape (..., H), metres."""
    return (said.best - truth).norm(dim=-1)


def mode_errors(said: Forecast, truth: Tensor) -> Tensor:
    """Return how far each mode is from places (..., H, 2), shape (..., K, H), metres."""
    return (said.mean - truth[..., None, :, :]).norm(dim=-1)


def min_ade(said: Forecast, truth: Tensor) -> Tensor:
    """Return the mean error over the horizons of the mode for which it is least, shape (...): minADE of K modes.

    Source: A. Gupta et al., Social GAN, CVPR 2018, section 4.
    """
    return mode_errors(said, truth).mean(-1).amin(-1)


def min_fde(said: Forecast, truth: Tensor) -> Tensor:
    """Return the error at the last horizon of the mode that is nearest there, shape (...): minFDE of K modes."""
    return mode_errors(said, truth)[..., -1].amin(-1)


def region_level(said: Forecast, truth: Tensor, draws: int = DRAWS, seed: int = 0) -> Tensor:
    """Return the probability of the smallest region that just holds places (..., H, 2), shape (..., H).

    The region of highest density: an ellipse of one Gaussian, in closed form; of a mixture the share of draws that are
    likelier than the place. Where forecasts are calibrated it is uniform, and below p in a share p of all.

    Args:
        said: Forecasts.
        truth: Places.
        draws: Of a mixture.
        seed: Of the draws.

    Source: R. J. Hyndman, Computing and graphing highest density regions, The American Statistician 50, 1996.
    """
    if said.mean.shape[-3] == 1:
        square, _ = squares(Gaussian(said.mean[..., 0, :, :], said.covariance[..., 0, :, :, :]), truth)
        return -torch.expm1(-square / 2)
    here = log_density(said, truth)
    generator = torch.Generator(truth.device).manual_seed(seed)
    root, below = torch.linalg.cholesky(said.covariance), torch.zeros_like(here)
    chance = said.logits.softmax(-1).cumsum(-1)
    for _ in range(draws):
        pick = torch.rand(said.logits.shape[:-1], device=truth.device, generator=generator)
        mode = (pick[..., None] > chance).sum(-1).clamp_max(said.mean.shape[-3] - 1)
        noise = torch.randn(truth.shape, device=truth.device, generator=generator).to(truth)
        place = _of_mode(said.mean, mode) + (_of_mode(root, mode) @ noise[..., None])[..., 0]
        below += log_density(said, place) > here
    return below / draws


def _of_mode(parts: Tensor, mode: Tensor) -> Tensor:
    """Of (..., K, H, ...) those of modes (...)."""
    axis = mode.ndim
    index = mode.reshape(*mode.shape, *[1] * (parts.ndim - axis)).expand(*mode.shape, 1, *parts.shape[axis + 1 :])
    return parts.gather(axis, index).squeeze(axis)


def forecast_scores(said: Forecast, truth: Tensor, asked: Tensor) -> list[dict[str, float]]:
    """Return the scores of forecasts, horizon by horizon; NaN where nothing is asked.

    `fde` is the mean error of the mixture's middle in metres, `miss` the share that is over 2 m off, `nll` minus the
    mean log density in nats, `coverage_90` the share within the region of 90 %. At the last horizon `min_ade_K` and
    `min_fde_K` are of the K modes over all horizons, where the truth is known at all of them.

    Args:
        said: Forecasts (n, K, H).
        truth: Places (n, H, 2).
        asked: Which count, shape (n, H) bool.
    """
    known, made = truth.nan_to_num(), list[dict[str, float]]()
    error, likely, level = middle_error(said, known), -log_density(said, known), region_level(said, known)
    for step in range(truth.shape[-2]):
        rows = asked[:, step]
        far, inside = error[rows, step], level[rows, step]
        scores = {"fde": far.mean(), "miss": (far > MISSED).double().mean(), "nll": likely[rows, step].mean()}
        scores |= {f"coverage_{100 * one:g}": (inside <= one).double().mean() for one in LEVELS}
        made.append({name: float(value) for name, value in scores.items()})
    whole, modes = asked.all(-1), said.mean.shape[-3]
    made[-1][f"min_ade_{modes}"] = float(min_ade(said, known)[whole].mean())
    made[-1][f"min_fde_{modes}"] = float(min_fde(said, known)[whole].mean())
    return made
