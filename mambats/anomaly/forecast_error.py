"""Forecast error: a row is anomalous by how far it falls from what the rows before it led to expect."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mambats.anomaly.head import SurpriseHead
from mambats.anomaly.rows import Rows, Surprise, check_rows, mean_over_channels
from mambats.anomaly.scorer import Scorer
from mambats.protocols import Encoder
from mambats.scale import RunningNorm, RunningState


class ForecastErrorState(NamedTuple):
    """All that is remembered between rows, batch first.

    Args:
        norm: Sums of the normaliser.
        encoder: State of the encoder.
        last: Last measured value of each channel, shape (B, C).
        expected: What the last row led to expect of the next, shape (B, C, P).
        unit: Running deviation at the last row, shape (B, C): what the next surprise is measured in.
        rows: Rows read, shape (B,) int64; before the first nothing is expected.
    """

    norm: RunningState
    encoder: Any
    last: Tensor
    expected: Tensor
    unit: Tensor
    rows: Tensor


class ForecastError(Scorer):
    """Forecast each row one step ahead with a causal encoder and compare.

    The head's output is laid on the last measured value, in units of the running deviation: an output of 0 is the
    last-value forecast.

    Args:
        encoder: A causal encoder of the channels.
        head: What to expect.
        norm: Running normaliser: level and deviation drift over a series, and differ between series.
        warm: First rows of a training window that are not learned from: the state is still empty.

    Raises:
        ValueError: If widths or channels disagree, or the encoder reads ahead.
    """

    mode = "online"

    def __init__(self, encoder: Encoder, head: SurpriseHead, norm: RunningNorm | None = None, warm: int = 32) -> None:
        super().__init__()
        if (head.width, head.channels) != (encoder.width, encoder.channels):
            raise ValueError(
                f"the head reads width {head.width} and {head.channels} channels, the encoder gives {encoder.width} "
                f"and reads {encoder.channels}: set both alike."
            )
        if not encoder.causal:
            raise ValueError(
                "the encoder reads ahead, so its forecast knows the row it is judged by: take a causal one."
            )
        self.encoder, self.head, self.norm, self.warm = encoder, head, norm, warm
        self.running = norm or RunningNorm()

    def init_state(self, batch: int) -> ForecastErrorState:
        """Return the state before any row."""
        device, channels = self.head.project.weight.device, self.head.channels
        last = torch.zeros(batch, channels, device=device)
        expected = last.new_zeros(batch, channels, self.head.project.out_features // channels)
        norm = self.running.init_state(batch, channels, device)
        rows = torch.zeros(batch, dtype=torch.int64, device=device)
        encoder = self.encoder.init_state(batch)
        return ForecastErrorState(norm, encoder, last, expected, torch.ones_like(last), rows)

    def loss(self, rows: Rows) -> Tensor:
        """Return the mean loss over measured values after the warm rows, in units of the running deviation."""
        expected, unit, _ = self._expect(rows, self.init_state(len(rows.values)))
        ahead = slice(self.warm + 1, None)
        seen = rows.seen[:, ahead]
        if not seen.shape[1]:
            raise ValueError(f"windows have {rows.values.shape[1]} rows, warm is {self.warm}: give longer windows.")
        each = self.head.loss(*self._scaled(expected, rows.values, unit))[:, ahead]
        return torch.where(seen, each, 0).sum() / seen.sum().clamp_min(1)

    def forward(self, rows: Rows, state: ForecastErrorState | None = None) -> tuple[Surprise, ForecastErrorState]:
        """Return the surprise of every row, from rows before it only, and the state after the last.

        Raises:
            ValueError: If shapes disagree.
        """
        check_rows(rows)
        start = self.init_state(len(rows.values)) if state is None else state
        expected, unit, after = self._expect(rows, start)
        order = start.rows[:, None] + torch.arange(rows.values.shape[1], device=rows.values.device)
        known = (order > 0)[..., None]
        seen = rows.seen & known
        score = mean_over_channels(self.head.surprise(*self._scaled(expected, rows.values, unit)), seen)
        low, high = (torch.where(known, bound, torch.nan) for bound in self.head.interval(expected))
        return Surprise(score, low, high), after

    def step(self, row: Rows, state: ForecastErrorState) -> tuple[Surprise, ForecastErrorState]:
        """Return the surprise of one row and the next state."""
        if row.values.shape[1] != 1:
            raise ValueError(f"step takes one row, values have shape {tuple(row.values.shape)}: use forward for more.")
        return self.forward(row, state)

    def _expect(self, rows: Rows, state: ForecastErrorState) -> tuple[Tensor, Tensor, ForecastErrorState]:
        """Return what was expected of each row (B, T, C, P), in which unit (B, T, C), and the state after the last."""
        values, seen = rows.values, rows.seen
        location, scale, norm = self.running(values, rows.gaps, rows.observed, state.norm)
        tokens, encoder = self._encode((values - location) / scale, rows, state.encoder)
        last = _hold(values, seen, state.last)
        ahead = self.head(tokens, last, scale)
        expected = torch.cat([state.expected[:, None], ahead], 1)
        unit = torch.cat([state.unit[:, None], scale], 1)
        held = torch.cat([state.last[:, None], last], 1)[:, -1]
        after = ForecastErrorState(norm, encoder, held, expected[:, -1], unit[:, -1], state.rows + values.shape[1])
        return expected[:, :-1], unit[:, :-1], after

    def _encode(self, x: Tensor, rows: Rows, state: Any) -> tuple[Tensor, Any]:
        observed = rows.observed
        x = x if observed is None else x * observed
        if x.shape[1] != 1 or self.training:
            return self.encoder(x, rows.gaps, observed=observed, state=state)
        gap = None if rows.gaps is None else rows.gaps[:, 0]
        token, state = self.encoder.step(
            x[:, 0], gap, observed_t=None if observed is None else observed[:, 0], state=state
        )
        return token[:, None], state

    def _scaled(self, expected: Tensor, values: Tensor, unit: Tensor) -> tuple[Tensor, Tensor]:
        """Return expectations and values less the values, in units of the deviation: quiet and loud series alike."""
        unit = unit.detach()
        return self.head.rescale(expected, values.unsqueeze(-1), unit.unsqueeze(-1)), torch.zeros_like(values)


def _hold(values: Tensor, seen: Tensor, last: Tensor) -> Tensor:
    """Return the last measured value at every row, (B, T, C)."""
    rows = torch.arange(1, values.shape[1] + 1, device=values.device)[None, :, None]
    latest = torch.where(seen, rows, 0).cummax(1).values
    return torch.cat([last[:, None], values], 1).gather(1, latest)
