"""What the Kalman functions are tested on."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mambats_kernels.case import generator


def covariance(random: torch.Generator, *sizes: int) -> Tensor:
    """Return well-conditioned covariances (..., k, k) in float64."""
    root = torch.randn(*sizes, sizes[-1], generator=random, dtype=torch.float64)
    return root @ root.mT / sizes[-1] + 0.3 * torch.eye(sizes[-1], dtype=torch.float64)


def problem(batch: int, n: int, m: int, shared: bool, seed: int = 0, holes: bool = False) -> tuple[Tensor, ...]:
    """Make arguments of `kalman_step` from a seed, in float64; half the cells of F are zero.

    Args:
        batch: B.
        n: States.
        m: Measured numbers.
        shared: Whether all rows have the same F, Q, H and R.
        seed: Same seed, same numbers.
        holes: Whether a third of the measured numbers are NaN.

    Returns:
        x, P, z, F, Q, H and R.
    """
    random = generator(seed)
    rows = () if shared else (batch,)

    def normal(*sizes: int) -> Tensor:
        return torch.randn(sizes, generator=random, dtype=torch.float64)

    z = normal(batch, m)
    if holes:
        z[torch.rand(batch, m, generator=random) > 0.7] = math.nan
    move = normal(*rows, n, n) / n**0.5
    move[..., torch.rand(n, n, generator=random) > 0.5] = 0
    return (
        normal(batch, n), covariance(random, batch, n), z, move, covariance(random, *rows, n),
        normal(*rows, m, n), covariance(random, *rows, m),
    )  # fmt: skip
