"""Random processes that errors of sensors are made of, batched, along the last axis."""

from __future__ import annotations

import math

import torch
from torch import Tensor

REACH = 500.0  # correlation times in one cumulative sum: exp(500) and its inverse are floats, and sums of them


def white(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Standard normal numbers, float32: of noise, six digits are plenty, and it draws five times as fast on a CPU."""
    return torch.randn(shape, generator=generator, device=generator.device)


def random_walk(shape: tuple[int, ...], step: float, generator: torch.Generator) -> Tensor:
    """Sums of independent steps of standard deviation `step`, 0 at first: shape (..., T), float64."""
    steps = white(shape, generator)
    steps[..., :1] = 0
    return steps.cumsum(-1, dtype=torch.float64).mul_(step)


def gauss_markov(
    shape: tuple[int, ...], deviation: float, time: float, period: float, generator: torch.Generator
) -> Tensor:
    """A stationary process with covariance deviation^2 exp(-lag / time): shape (..., T), float64.

    The recursion x_k = a x_(k-1) + w_k, a = exp(-period / time), is solved as a^k times the sum of a^-j w_j, in spans
    over which a^-j stays a float.

    Args:
        shape: Of the result; the last axis is time.
        deviation: Standard deviation at any instant.
        time: Correlation time, s.
        period: Seconds from one sample to the next.
        generator: Source of all randomness.
    """
    if deviation == 0:
        return torch.zeros(shape, dtype=torch.float64, device=generator.device)
    decay = period / time
    fresh = math.sqrt(-math.expm1(-2 * decay))  # deviation of w, in those of x
    parts = list[Tensor]()
    for part in white(shape, generator).split(max(1, int(REACH / decay)), -1):
        shrink = torch.arange(part.shape[-1], device=part.device, dtype=torch.float64).mul_(-decay).exp_()
        made = part / shrink
        if parts:
            made[..., :1] += parts[-1][..., -1:] * (math.exp(-decay) / (fresh * deviation))
        else:
            made[..., :1] /= fresh
        parts.append(made.cumsum_(-1).mul_(shrink * (fresh * deviation)))
    return torch.cat(parts, -1) if len(parts) > 1 else parts[0]


def spells(shape: tuple[int, int], share: float, length: float, period: float, generator: torch.Generator) -> Tensor:
    """A two-state Markov chain that starts off: True in spells of mean `length` seconds, `share` of all time.

    Lengths of spells and of pauses are drawn from exponential distributions and laid end to end.

    Returns:
        Bool of shape (B, T).

    Raises:
        ValueError: If share lies outside [0, 1), or length is not positive.
    """
    if not (0 <= share < 1 and length > 0):
        raise ValueError(f"share {share} must lie in [0, 1) and length {length} s be positive.")
    batch, count = shape
    device = generator.device
    if share == 0:
        return torch.zeros(shape, dtype=torch.bool, device=device)
    pause = length * (1 - share) / share
    pairs = int(2 * count * period / (length + pause)) + 10  # twice as many as expected, and some: enough to the end
    drawn = (
        torch.rand((batch, pairs, 2), generator=generator, device=device, dtype=torch.float64).neg_().log1p_().neg_()
    )
    edges = (drawn * drawn.new_tensor((pause, length))).flatten(1).cumsum(-1)
    times = (torch.arange(count, device=device, dtype=torch.float64) * period).expand(shape).contiguous()
    return torch.searchsorted(edges, times, right=True) % 2 == 1
