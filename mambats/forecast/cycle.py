"""A repeating profile, fitted on the training rows and taken out before the model, put back after it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

DAY_NS = 86_400 * 10**9


class Cycle(nn.Module):
    """The mean course of each channel over a repeating period, such as the 24 hours of a day.

    Fitted once in closed form on the scaled training rows: the mean of each phase less the mean of the channel.
    The model then reads and forecasts what differs from the usual course. The profile is a buffer, so checkpoint and
    stream carry it. On ETTh1 it lowers the error of ridge itself (`ridge_cycle` in the README's tables).

    Args:
        period: Rows of the reference period in one turn, P; 24 for hourly rows and days. None takes a day's rows, where
            the data's period divides a day; else there is no cycle.
        channels: Number of channels, C, or None to take the data's.

    Source: the idea of a recurrent cycle is CycleNet's (Lin et al., NeurIPS 2024), which learns it by gradient.
    """

    profile: Tensor

    def __init__(self, period: int | None = None, channels: int | None = None) -> None:
        super().__init__()
        if period is not None and period < 2:
            raise ValueError(f"period is {period}: a cycle needs at least 2 rows.")
        self.period, self.channels = period, channels
        self.register_buffer("profile", torch.zeros(period or 1, channels or 1))

    def adapt(self, channels: int, period_ns: int) -> None:
        """Make room for the data's channels and period, where they were left open.

        Args:
            channels: Channels of the data.
            period_ns: Reference period of the data in nanoseconds.

        Raises:
            ValueError: If the cycle was made for another number of channels.
        """
        if self.channels not in (None, channels):
            raise ValueError(f"the data has {channels} channels, the cycle {self.channels}: set cycle.channels.")
        even = period_ns < DAY_NS and DAY_NS % period_ns == 0
        rows = self.period or (DAY_NS // period_ns if even else 1)
        if self.profile.shape != (rows, channels):
            self.profile = self.profile.new_zeros(rows, channels)

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
        rows, channels = self.profile.shape
        if values.shape[1] != channels:
            raise ValueError(f"values have {values.shape[1]} channels, the cycle {channels}: set cycle.channels.")
        weight = torch.ones_like(values) if observed is None else observed.to(values.dtype)
        phase = clock % rows
        total = values.new_zeros(rows, channels).index_add_(0, phase, values * weight)
        count = values.new_zeros(rows, channels).index_add_(0, phase, weight)
        mean = (values * weight).sum(0) / weight.sum(0).clamp_min(1)
        # A phase never seen keeps the channel's mean, that is a profile of 0.
        self.profile.copy_(torch.where(count > 0, total / count.clamp_min(1) - mean, 0))

    def forward(self, clock: Tensor) -> Tensor:
        """Return the usual course (..., C) at clock (...)."""
        return self.profile[clock % self.profile.shape[0]]
