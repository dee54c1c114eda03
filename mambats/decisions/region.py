"""The probability that a normal variable in the plane lies in a region whose one edge is a function of the other."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

#: Variances are raised to this, m^2: a tenth of a millimetre, so that what is known exactly may have covariance zero.
FLOOR = 1e-8
#: Standard deviations to either side that are integrated: beyond lies 2e-9 of the probability.
_TAILS = 6.0


def region_probability(
    mean: Tensor,
    covariance: Tensor,
    reach: Tensor,
    edges: Callable[[Tensor], tuple[Tensor, Tensor]],
    nodes: int = 24,
) -> Tensor:
    """Return P(|y| <= reach and low(y) <= x <= high(y)) of (x, y) ~ N(mean, covariance).

    The inner integral over x is closed, the outer one over y is Gauss-Legendre between the region's ends or six
    standard deviations, whichever is nearer: with 24 nodes smooth edges are exact to 1e-6.

    Args:
        mean: Shape (..., 2).
        covariance: Shape (..., 2, 2).
        reach: Shape (...).
        edges: Gives low and high at y (..., nodes); empty where low > high.
        nodes: Of the outer integral.

    Returns:
        Probabilities, shape (...).
    """
    x, y = mean.unbind(-1)
    spread = covariance[..., 1, 1].clamp_min(FLOOR)
    along = covariance[..., 0, 1] / spread
    rest = (covariance[..., 0, 0] - along * covariance[..., 0, 1]).clamp_min(FLOOR).sqrt()
    spread = spread.sqrt()
    first = torch.maximum(-reach, y - _TAILS * spread)
    last = torch.minimum(reach, y + _TAILS * spread)
    half = 0.5 * (last - first).clamp_min(0)
    place, weight = _legendre(nodes)
    at = 0.5 * (first + last)[..., None] + half[..., None] * place.to(mean)
    low, high = edges(at)
    centre = x[..., None] + along[..., None] * (at - y[..., None])
    inside = _normal((high - centre) / rest[..., None]) - _normal((low - centre) / rest[..., None])
    density = torch.exp(-0.5 * ((at - y[..., None]) / spread[..., None]).square()) / spread[..., None]
    return (weight.to(mean) * density * inside.clamp_min(0)).sum(-1) * half / math.sqrt(2 * math.pi)


def normal_lattice(count: int, like: Tensor) -> Tensor:
    """Return `count` points (count, 2) spread evenly over the standard normal distribution of the plane.

    Source: the golden-ratio (Fibonacci) lattice, Niederreiter, Random Number Generation and Quasi-Monte Carlo
        Methods, 1992, section 5.1, put through the normal quantile.
    """
    index = torch.arange(count, dtype=torch.float64, device=like.device)
    golden = (math.sqrt(5) - 1) / 2
    even = torch.stack([(index + 0.5) / count, (index * golden + 0.5) % 1], -1)
    return (math.sqrt(2) * torch.erfinv(2 * even - 1)).to(like)


def _normal(x: Tensor) -> Tensor:
    """Return the standard normal distribution function."""
    return 0.5 * torch.erfc(-x / math.sqrt(2))


@lru_cache
def _legendre(nodes: int) -> tuple[Tensor, Tensor]:
    """Return places in (-1, 1) and weights of Gauss-Legendre integration."""
    from numpy.polynomial.legendre import leggauss

    place, weight = leggauss(nodes)
    return torch.from_numpy(place), torch.from_numpy(weight)
