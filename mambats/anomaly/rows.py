"""What a detector reads and what it says of each row."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Rows(NamedTuple):
    """Rows of B series. Every row is a token: one without any observed value asks, and is never anomalous.

    Args:
        values: Shape (B, T, C); what was not measured is 0 where `observed` is False.
        gaps: Time since the previous row in reference periods, shape (B, T), or None where all are 1.
        observed: Which values were measured, shape (B, T, C) bool, or None where all were.
    """

    values: Tensor
    gaps: Tensor | None = None
    observed: Tensor | None = None

    @property
    def seen(self) -> Tensor:
        """Which values were measured, shape (B, T, C) bool."""
        return torch.ones_like(self.values, dtype=torch.bool) if self.observed is None else self.observed

    def part(self, begin: int, end: int) -> Rows:
        """Return rows from `begin` up to `end`: a chunk, or one row for `step`."""
        return Rows(*(None if value is None else value[:, begin:end] for value in self))  # pyright: ignore[reportArgumentType]


class Surprise(NamedTuple):
    """How far rows were from what a model expected.

    Args:
        score: One number a row, the mean over its measured values, shape (B, T); 0 where nothing was measured or
            nothing was expected yet.
        low: Lower bound of the 90 % interval that was expected, shape (B, T, C), NaN where nothing was.
        high: Upper bound.
    """

    score: Tensor
    low: Tensor
    high: Tensor


def mean_over_channels(values: Tensor, seen: Tensor) -> Tensor:
    """Return the mean (B, T) of values (B, T, C) over what was seen; 0 where nothing was."""
    return torch.where(seen, values, 0).sum(-1) / seen.sum(-1).clamp_min(1)


def check_rows(rows: Rows) -> None:
    """Refuse rows of the wrong shape.

    Raises:
        ValueError: If values are not (B, T, C), or gaps and observed do not fit them.
    """
    shape = tuple(rows.values.shape)
    gaps, observed = (None if value is None else tuple(value.shape) for value in (rows.gaps, rows.observed))
    if len(shape) != 3 or gaps not in (None, shape[:2]) or observed not in (None, shape):
        raise ValueError(
            f"values have shape {shape}, gaps {gaps}, observed {observed}: needed (B, T, C), (B, T) or None, and "
            "(B, T, C) or None."
        )
