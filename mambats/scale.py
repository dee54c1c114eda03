"""Scaling: fitted on the training rows, per lookback window, or running along a stream.

All three are nn.Modules, so a checkpoint and a stream carry them. `Scaler` belongs to the data and is undone
at the border; `InstanceNorm` and `RunningNorm` belong to the model and are undone after its head.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

# A float64 (CHUNK, CHUNK) decay matrix a sequence bounds memory at 0.5 MB a row of the batch.
CHUNK = 256


class Scaler(nn.Module):
    """Standardise each channel with a mean and a standard deviation fitted once, on the training rows.

    Args:
        channels: Channel names, in order; a table with other channels is refused.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, channels: tuple[str, ...]) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.register_buffer("mean", torch.zeros(len(channels)))
        self.register_buffer("scale", torch.ones(len(channels)))

    @classmethod
    def fit(
        cls,
        values: npt.NDArray[np.floating],
        observed: npt.NDArray[np.bool_] | None = None,
        channels: tuple[str, ...] | None = None,
    ) -> Self:
        """Fit on values (C, n), ignoring unobserved ones; population deviation, constant channels keep scale 1."""
        names = channels or tuple(f"channel_{i}" for i in range(values.shape[0]))
        scaler = cls(names)
        for index, row in enumerate(values):
            kept = row if observed is None else row[observed[index]]
            if kept.size == 0:
                raise ValueError(
                    f"channel {names[index]!r} has no observed value in the {row.size} training rows: "
                    "drop the channel or move the split."
                )
            exact = kept.astype(np.float64)
            deviation = float(exact.std())
            scaler.mean[index] = float(exact.mean())
            # A channel that never moves in training must not be blown up later: scale 1 keeps its unit.
            scaler.scale[index] = deviation if deviation > 1e-8 * max(1.0, abs(float(exact.mean()))) else 1.0
        return scaler

    def transform(self, values: Tensor) -> Tensor:
        """Scale values (..., C)."""
        return (values - self.mean.to(values)) / self.scale.to(values)

    def inverse(self, values: Tensor) -> Tensor:
        """Return values (..., C) to their units."""
        return values * self.scale.to(values) + self.mean.to(values)


class InstanceNorm(nn.Module):
    """Centre and scale each lookback window by its own statistics (RevIN without the learned affine).

    A model with this normaliser reads a fixed lookback, so it refuses `step`; models that stream use `RunningNorm`.

    Args:
        center: `mean` of the window, or its `last` observed value (NLinear).
        eps: Added to the variance, in squared scaled units; 1e-5 is RevIN's.

    Source: Kim et al., Reversible Instance Normalization, ICLR 2022; Zeng et al., Are Transformers Effective for
        Time Series Forecasting?, AAAI 2023 (`last`).
    """

    streams = False

    def __init__(self, center: str = "mean", eps: float = 1e-5) -> None:
        super().__init__()
        if center not in ("mean", "last"):
            raise ValueError(f"center is {center!r}: need 'mean' or 'last'.")
        self.center = center
        self.eps = eps

    def forward(self, values: Tensor, observed: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return location and scale (B, 1, C) of values (B, L, C)."""
        if observed is None:
            mean = values.mean(1, keepdim=True)
            variance = values.var(1, keepdim=True, unbiased=False)
            location = values[:, -1:] if self.center == "last" else mean
            return location, (variance + self.eps).sqrt()
        weight = observed.to(values.dtype)
        count = weight.sum(1, keepdim=True).clamp_min(1)
        mean = (values * weight).sum(1, keepdim=True) / count
        variance = ((values - mean).square() * weight).sum(1, keepdim=True) / count
        location = last_observed(values, observed, mean) if self.center == "last" else mean
        return location, (variance + self.eps).sqrt()


def last_observed(values: Tensor, observed: Tensor, otherwise: Tensor) -> Tensor:
    """Return the last observed value of each channel, (B, 1, C), or `otherwise` where none is."""
    rows = torch.arange(values.shape[1], device=values.device)[None, :, None]
    latest = torch.where(observed, rows, -1).amax(1, keepdim=True)
    found = values.gather(1, latest.clamp_min(0))
    return torch.where(latest >= 0, found, otherwise)


class RunningState(NamedTuple):
    """Sums of a running normaliser: decayed count, sum and sum of squares, each (B, C) float64."""

    count: Tensor  # pyright: ignore[reportIncompatibleMethodOverride]  # hides tuple.count, which no one needs
    total: Tensor
    square: Tensor


class RunningNorm(nn.Module):
    """Centre and scale by an exponentially weighted mean and deviation of the past, the present row included.

    s_t = lambda^gap_t s_{t-1} + o_t (1, x_t, x_t^2), mean = s_x / s_1, var = s_xx / s_1 - mean^2. The sums start as
    if `weight` rows with the training statistics (mean 0, deviation 1 after `Scaler`) had been seen, so the first
    rows are already sensible. Sums are kept in float64: the variance is a difference of two near numbers.

    Args:
        half_life: Reference periods after which a row counts half.
        weight: Rows that the training statistics count for at the start.
        eps: Added to the variance; 1e-2 keeps a sensor that stands still from being amplified over tenfold.
    """

    streams = True

    def __init__(self, half_life: float = 336.0, weight: float = 96.0, eps: float = 1e-2) -> None:
        super().__init__()
        if not half_life > 0 or not weight > 0:
            raise ValueError(f"half_life is {half_life} and weight {weight}: both must be above 0.")
        self.half_life = half_life
        self.weight = weight
        self.eps = eps

    def init_state(self, batch: int, channels: int, device: torch.device | None = None) -> RunningState:
        """Return the sums before any row."""
        ones = torch.full((batch, channels), float(self.weight), dtype=torch.float64, device=device)
        return RunningState(ones, torch.zeros_like(ones), ones.clone())

    def forward(
        self, values: Tensor, gaps: Tensor | None, observed: Tensor | None, state: RunningState
    ) -> tuple[Tensor, Tensor, RunningState]:
        """Return location and scale (B, T, C) at every row of values (B, T, C), and the sums after the last."""
        exact = values.double()
        seen = torch.ones_like(exact) if observed is None else observed.double()
        terms = torch.stack([seen, seen * exact, seen * exact * exact], -1).flatten(2)  # (B, T, 3C)
        log_decay = -math.log(2.0) / self.half_life
        gap = torch.ones_like(exact[..., 0]) if gaps is None else gaps.double()
        carry = torch.stack(state, -1).flatten(1)  # (B, 3C)
        sums, carry = decayed_sums(terms, gap * log_decay, carry)
        location, scale = self._moments(sums.unflatten(-1, (-1, 3)))
        return location.to(values.dtype), scale.to(values.dtype), RunningState(*carry.unflatten(-1, (-1, 3)).unbind(-1))

    def _moments(self, sums: Tensor) -> tuple[Tensor, Tensor]:
        count, total, square = sums.unbind(-1)
        mean = total / count
        return mean, ((square / count - mean * mean).clamp_min(0) + self.eps).sqrt()


def decayed_sums(terms: Tensor, log_decay: Tensor, carry: Tensor) -> tuple[Tensor, Tensor]:
    """Return s_t = exp(log_decay_t) s_{t-1} + terms_t at every row (B, T, F), and the last.

    One matrix product a chunk: exp of a difference of running sums of log_decay (B, T) <= 0 never overflows.
    """
    outputs: list[Tensor] = []
    for part, decay in zip(terms.split(CHUNK, 1), log_decay.split(CHUNK, 1), strict=True):
        level = decay.cumsum(1)  # (B, c)
        lower = torch.ones(level.shape[1], level.shape[1], dtype=torch.bool, device=level.device).tril()
        weights = (level[:, :, None] - level[:, None, :]).masked_fill(~lower, -torch.inf).exp()
        sums = weights @ part + level.exp()[..., None] * carry[:, None]
        outputs.append(sums)
        carry = sums[:, -1] if part.shape[1] else carry
    return torch.cat(outputs, 1), carry
