"""A linear map from the last rows to the horizon: the ridge baseline as a layer, in windows and in streams."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class SkipState(NamedTuple):
    """The last `lookback` rows of a stream, oldest first: values (B, L, C) and whether each was observed."""

    values: Tensor
    observed: Tensor


class LinearSkip(nn.Module):
    """Forecast by one linear map over the last `lookback` rows, shared by all channels.

    y = mean + W (x - mean) with the mean of the observed rows: the same function as the ridge row of the tables, so
    a model that has it starts from the linear bar. Rows are placed by time: after a gap of three periods the map
    sees two absent rows, which weigh nothing. Every gap counts as a whole number of periods, the nearest: jitter does
    not add up, and of rows that come faster than one in half a period the last counts.

    Args:
        lookback: Rows it reads, L.
        horizon: Rows it forecasts, K.
    """

    def __init__(self, lookback: int, horizon: int) -> None:
        super().__init__()
        self.lookback = lookback
        self.horizon = horizon
        # Zero: the first forecast is the mean of the window, and the map grows from there.
        self.weight = nn.Parameter(torch.zeros(horizon, lookback))

    def init_state(self, batch: int, channels: int) -> SkipState:
        """Return an empty history."""
        empty = self.weight.new_zeros(batch, self.lookback, channels)
        return SkipState(empty, torch.zeros_like(empty, dtype=torch.bool))

    def forward(self, values: Tensor, observed: Tensor) -> Tensor:
        """Forecast (..., K, C) from the last `lookback` rows (..., L, C), absent where `observed` is False."""
        weight = observed.to(values.dtype)
        mean = (values * weight).sum(-2, keepdim=True) / weight.sum(-2, keepdim=True).clamp_min(1)
        return mean + self.weight @ ((values - mean) * weight)

    def roll(
        self, values: Tensor, gaps: Tensor | None, observed: Tensor, state: SkipState, rows: Tensor
    ) -> tuple[Tensor, SkipState]:
        """Forecast (B, R, K, C) at the given rows of values (B, T, C), continuing a history; returns the new one."""
        history, seen = torch.cat([state.values, values], 1), torch.cat([state.observed, observed], 1)
        if gaps is None:
            ends = rows + self.lookback
            lags = torch.arange(1 - self.lookback, 1, device=values.device)
            index = ends[:, None] + lags  # (R, L)
            windows, flags = history[:, index], seen[:, index]
            last = slice(history.shape[1] - self.lookback, None)
            return self(windows, flags), SkipState(history[:, last], seen[:, last])
        # Each gap is rounded by itself, as a step must: rounding their sum would make the answer depend on the chunks.
        place = torch.cat([self._history_places(values.shape[0]), gaps.round().long().cumsum(1)], 1)
        at = self._rows_at(place, rows + self.lookback)
        windows, flags = self._gather(history, seen, *at)
        end = rows.new_full((1,), place.shape[1] - 1)
        last = self._gather(history, seen, *self._rows_at(place, end))
        return self(windows, flags), SkipState(last[0][:, 0], last[1][:, 0])

    def step(self, values: Tensor, gaps: Tensor, observed: Tensor, state: SkipState) -> tuple[Tensor, SkipState]:
        """Forecast (B, 1, K, C) from one row (B, 1, C), gaps (B, 1) after the one before: `roll`, without its search.

        The history moves by as many places as periods passed, so that exporters need no search in sorted places.
        """
        # The newest place holds this row, also where no time passed: two rows of one stamp leave the later value.
        source = gaps.round().long() + torch.arange(self.lookback - 1, device=values.device)  # (B, L - 1)
        there = (source < self.lookback)[..., None]
        index = source.clamp(0, self.lookback - 1)[..., None].expand(-1, -1, values.shape[2])
        history = torch.cat([state.values.gather(1, index), values], 1)
        flags = torch.cat([state.observed.gather(1, index) & there, observed], 1)
        return self(history, flags)[:, None], SkipState(history, flags)

    def _history_places(self, batch: int) -> Tensor:
        return torch.arange(1 - self.lookback, 1, device=self.weight.device).expand(batch, -1)

    def _rows_at(self, place: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the row standing at each of the L places up to those of `rows` (R,), and whether there is one."""
        ends = place[:, rows]
        lags = torch.arange(1 - self.lookback, 1, device=place.device)
        wanted = (ends[..., None] + lags).flatten(1)  # (B, R * L)
        # The last row at a place wins, two rows of one stamp hold the later value; but none behind the row that asks.
        index = (torch.searchsorted(place.contiguous(), wanted.contiguous(), right=True) - 1).clamp_min(0)
        index = torch.minimum(index, rows.repeat_interleave(self.lookback))
        there = place.gather(1, index) == wanted
        shape = (*ends.shape, self.lookback)
        return index.view(shape), there.view(shape)

    @staticmethod
    def _gather(history: Tensor, seen: Tensor, index: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        batch = torch.arange(history.shape[0], device=history.device)[:, None, None]
        return history[batch, index], seen[batch, index] & there[..., None]
