"""Random numbers in float64 on the device of their generator."""

from __future__ import annotations

import torch
from torch import Tensor


def uniform(generator: torch.Generator, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Draw uniform numbers from `low` to `high`."""
    made = torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float64)
    return low + (high - low) * made


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    """Draw standard normal numbers."""
    return torch.randn(shape, generator=generator, device=generator.device, dtype=torch.float64)


def choice(generator: torch.Generator, options: tuple[int, ...], shares: tuple[float, ...], *shape: int) -> Tensor:
    """Draw from options with given shares, int64."""
    edges = torch.tensor(shares, device=generator.device, dtype=torch.float64).cumsum(0)
    rank = torch.bucketize(uniform(generator, *shape), edges, right=True).clamp_max(len(options) - 1)
    return torch.tensor(options, device=generator.device)[rank]
