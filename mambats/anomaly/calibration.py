"""From surprises to scores that mean the same all along a series: how unusual is this much surprise, here, so far?"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mambats.scale import decayed_sums


class CalibrationState(NamedTuple):
    """Sums that a running calibration carries, batch first, float64.

    Args:
        short: Decayed count and sum of the short mean, shape (B, 2).
        long: Decayed count, sum and sum of squares of the short mean, shape (B, 3).
    """

    short: Tensor
    long: Tensor


class RunningCalibration(nn.Module):
    """Turn surprises into deviations from their own past: (s - mean) / deviation of all rows before this one.

    s is a short exponential mean of log(1 + surprise): the logarithm keeps one wild row from raising the threshold
    for long, the mean finds anomalies that are many small surprises in a row. Mean and deviation are exponential
    ones over the past, this row not included, so a threshold on the result is one from the past only.

    Args:
        half_life: Rows after which a past row counts half.
        smooth: Half-life in rows of the short mean; 0 takes each row alone.
        weight: Rows that the start (mean 0.6, deviation 0.4: those of log(1 + |z|) of a normal z, rounded) counts for.
        least: Smallest deviation: below it a score that hardly ever moves would alarm at any rounding.

    Source: after the anomaly likelihood of Ahmad, Lavin, Purdy and Agha, Unsupervised real-time anomaly detection for
        streaming data, Neurocomputing 2017, section 3.2, with exponential windows in the place of fixed ones.
    """

    def __init__(
        self, half_life: float = 2000.0, smooth: float = 0.0, weight: float = 50.0, least: float = 0.02
    ) -> None:
        super().__init__()
        if not half_life > 0 or smooth < 0 or not weight > 0 or not least > 0:
            raise ValueError(
                f"half_life is {half_life}, smooth {smooth}, weight {weight}, least {least}: needed all above 0, "
                "smooth 0 or more."
            )
        self.half_life, self.smooth, self.weight, self.least = half_life, smooth, weight, least

    def init_state(self, batch: int, device: torch.device | None = None) -> CalibrationState:
        """Return the sums before any row."""
        short = torch.zeros(batch, 2, dtype=torch.float64, device=device)
        moments = torch.tensor([1.0, 0.6, 0.4**2 + 0.6**2], dtype=torch.float64, device=device)
        return CalibrationState(short, (self.weight * moments).repeat(batch, 1))

    def forward(
        self, surprise: Tensor, seen: Tensor | None = None, state: CalibrationState | None = None
    ) -> tuple[Tensor, CalibrationState]:
        """Return calibrated scores (B, T) and the sums after the last row; any chunking gives the same.

        Args:
            surprise: Zero or more, shape (B, T).
            seen: Rows that were measured, shape (B, T) bool, or None for all; others score 0 and teach nothing.
            state: Sums before the first row, or None for the start.

        Raises:
            ValueError: If a surprise is negative or NaN (on the CPU), or shapes disagree.
        """
        if surprise.ndim != 2 or (seen is not None and seen.shape != surprise.shape):
            raise ValueError(f"surprise has shape {tuple(surprise.shape)}: needed (B, T), and seen alike.")
        if not surprise.is_cuda and not bool((surprise >= 0).all()):
            raise ValueError("a surprise is negative or NaN: give distances, 0 for what cannot be judged.")
        before = self.init_state(len(surprise), surprise.device) if state is None else state
        present = torch.ones_like(surprise, dtype=torch.bool) if seen is None else seen
        short, mean = self._short_mean(surprise.double().log1p(), present, before.short)
        weight = present.double()
        terms = torch.stack([weight, weight * mean, weight * mean.square()], -1)
        sums, long = decayed_sums(terms, _log_decay(mean, self.half_life), before.long)
        past = torch.cat([before.long[:, None], sums], 1)[:, :-1]
        count, total, square = past.unbind(-1)
        centre = total / count
        deviation = (square / count - centre.square()).clamp_min(self.least**2).sqrt()
        scores = torch.where(present, (mean - centre) / deviation, 0)
        return scores.to(surprise.dtype), CalibrationState(short, long)

    def _short_mean(self, values: Tensor, present: Tensor, carry: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sums after the last row and the short mean at every row."""
        if self.smooth == 0:
            return carry, values
        weight = present.double()
        sums, carry = decayed_sums(torch.stack([weight, weight * values], -1), _log_decay(values, self.smooth), carry)
        count, total = sums.unbind(-1)
        return carry, total / count.clamp_min(torch.finfo(torch.float64).tiny)


def _log_decay(values: Tensor, half_life: float) -> Tensor:
    return torch.full_like(values, -math.log(2.0) / half_life)
