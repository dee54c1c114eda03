"""Clouds of weighted particles: their moments, how many carry the weight, and drawing them anew."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from mambats.estimators import draws
from mambats.gaussian import Gaussian


class ParticleState(NamedTuple):
    """A cloud.

    Args:
        particles: Shape (B, N, n).
        log_weights: Logarithms of weights that add up to 1, shape (B, N).
        keys: Of the random numbers to come, shape (B,) int64.
    """

    particles: Tensor
    log_weights: Tensor
    keys: Tensor


def effective(cloud: ParticleState) -> Tensor:
    """Return how many particles carry the weight, 1 / sum of squared weights, shape (B,)."""
    return torch.exp(-torch.logsumexp(2 * cloud.log_weights, -1))


def moments(cloud: ParticleState) -> Gaussian:
    """Return weighted mean (B, n) and covariance (B, n, n)."""
    weights = cloud.log_weights.exp()[..., None]
    mean = (weights * cloud.particles).sum(1)
    away = (cloud.particles - mean[:, None]) * weights.sqrt()
    return Gaussian(mean, away.mT @ away)


def scatter(keys: Tensor, covariance: Tensor, count: int) -> Tensor:
    """Return draws (B, count, n) of N(0, covariance (B, n, n)), which may be singular or zero."""
    white = draws.normal(keys, count, covariance.shape[-1]).to(covariance)
    return white @ _root(covariance).mT


def kernel_width(count: int, size: int) -> float:
    """Return the standard deviation of the best Gaussian kernel for `count` draws of N(0, I) in `size` dimensions.

    Source: Silverman, Density Estimation for Statistics and Data Analysis, 1986, equation 4.14.
    """
    return (4 / (size + 2) / count) ** (1 / (size + 4))


def redraw(cloud: ParticleState, spread: Gaussian) -> ParticleState:
    """Draw particles anew by their weights, shrink them towards the mean, and spread them with a kernel.

    Args:
        cloud: N particles; those drawn have equal weights.
        spread: Mean and covariance of the cloud, which stay.
    """
    count, size = cloud.particles.shape[1:]
    width = kernel_width(count, size)
    start = draws.uniform(cloud.keys, 1)
    places = (torch.arange(count, device=start.device) + start) / count
    heaped = cloud.log_weights.detach().double().exp().cumsum(-1)
    chosen = torch.searchsorted(heaped, places * heaped[:, -1:]).clamp_max(count - 1)
    drawn = cloud.particles.gather(1, chosen[..., None].expand_as(cloud.particles))
    keys, mean = draws.next_keys(cloud.keys), spread.mean[:, None]
    # The kernel adds width^2 of the covariance, and shrinking takes it away.
    made = mean + math.sqrt(1 - width**2) * (drawn - mean) + width * scatter(keys, spread.covariance, count)
    return ParticleState(made, torch.full_like(cloud.log_weights, -math.log(count)), draws.next_keys(keys))


def _root(covariance: Tensor) -> Tensor:
    """Return a factor of a covariance that may be singular, or zero: its correlations are raised a little."""
    tiny = torch.finfo(covariance.dtype)
    size = covariance.diagonal(dim1=-2, dim2=-1).clamp_min(tiny.tiny).sqrt()
    even = covariance / size.unsqueeze(-1) / size.unsqueeze(-2)
    raised = even + 8 * covariance.shape[-1] * tiny.eps * torch.eye(covariance.shape[-1]).to(even)
    return torch.linalg.cholesky(raised) * size.unsqueeze(-1)
