"""A repeating profile, fitted on the training rows and taken out before the model, put back after it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Cycle(nn.Module):
    """The mean course of each channel over a repeating period, such as the 24 hours of a day.

    Fitted once in closed form on the scaled training rows: the mean of each phase less the mean of the channel.
    The model then reads and forecasts what differs from the usual course. The profile is a buffer, so checkpoint and
    stream carry it. On ETTh1 it lowers the error of ridge itself (README, table of ETTh1).

    Args:
        period: Rows of the reference period in one turn, P; 24 for hourly rows and days.
        channels: Number of channels, C.

    Source: the idea of a recurrent cycle is CycleNet's (Lin et al., NeurIPS 2024), which learns it by gradient.
    """

    profile: Tensor

    def __init__(self, period: int, channels: int) -> None:
        super().__init__()
        if period < 2:
            raise ValueError(f"period is {period}: a cycle needs at least 2 rows.")
        self.period, self.channels = period, channels
        self.register_buffer("profile", torch.zeros(period, channels))

    @torch.no_grad()
    def fit(self, values: Tensor, clock: Tensor, observed: Tensor | None = None) -> None:
        """Fit on scaled training rows.

        Args:
            values: Rows (n, C).
            clock: Time of each row in whole reference periods, shape (n,) int64.
            observed: Which values exist, (n, C) bool, or None where all do.

        Raises:
            ValueError: If the data has another number of channels.
        """
        if values.shape[1] != self.channels:
            raise ValueError(f"values have {values.shape[1]} channels, the cycle {self.channels}: set cycle.channels.")
        weight = torch.ones_like(values) if observed is None else observed.to(values.dtype)
        phase = clock % self.period
        total = values.new_zeros(self.period, self.channels).index_add_(0, phase, values * weight)
        count = values.new_zeros(self.period, self.channels).index_add_(0, phase, weight)
        mean = (values * weight).sum(0) / weight.sum(0).clamp_min(1)
        # A phase never seen keeps the channel's mean, that is a profile of 0.
        self.profile.copy_(torch.where(count > 0, total / count.clamp_min(1) - mean, 0))

    def forward(self, clock: Tensor) -> Tensor:
        """Return the usual course (..., C) at clock (...)."""
        return self.profile[clock % self.period]
