"""Forecast error: a row is anomalous by how far it falls from what the rows before it led to expect."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
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
        expected: What each of the last H rows led to expect, H the longest horizon, shape (B, H, K C, P).
        unit: Running deviation at these rows, shape (B, H, C): what later surprises are measured in.
        rows: Rows read, shape (B,) int64; until as many as a horizon were, nothing is expected from it.
    """

    norm: RunningState
    encoder: Any
    last: Tensor
    expected: Tensor
    unit: Tensor
    rows: Tensor


class ForecastError(Scorer):
    """Forecast each row one or several horizons ahead with a causal encoder and compare.

    The head's output is laid on the last measured value, in units of the running deviation: an output of 0 is the
    last-value forecast. One row ahead only the edges of a shifted stretch surprise, for the model follows it; forecasts
    made before the stretch began still see that all of it is odd. A row's surprise is the mean over horizons.

    Args:
        encoder: A causal encoder of the channels.
        head: What to expect; of K horizons its `channels` are K times those of the encoder, horizon by horizon.
        norm: Running normaliser: level and deviation drift over a series, and differ between series.
        warm: First rows of a training window that are not learned from: the state is still empty.
        horizons: Rows ahead, rising, K of them; the interval shown is that of the first.

    Raises:
        ValueError: If widths, channels or horizons disagree, or the encoder reads ahead.
    """

    mode = "online"

    def __init__(
        self,
        encoder: Encoder,
        head: SurpriseHead,
        norm: RunningNorm | None = None,
        warm: int = 32,
        horizons: Sequence[int] = (1,),
    ) -> None:
        super().__init__()
        self.horizons = tuple(horizons)
        if not self.horizons or self.horizons[0] < 1 or any(b <= a for a, b in pairwise(self.horizons)):
            raise ValueError(f"horizons are {list(self.horizons)}: needed rows ahead, rising from 1 or more.")
        if (head.width, head.channels) != (encoder.width, encoder.channels * len(self.horizons)):
            raise ValueError(
                f"the head has width {head.width} and {head.channels} channels, the encoder gives {encoder.width} and "
                f"reads {encoder.channels}: set both alike, channels times the {len(self.horizons)} horizons."
            )
        if not encoder.causal:
            raise ValueError(
                "the encoder reads ahead, so its forecast knows the row it is judged by: take a causal one."
            )
        self.encoder, self.head, self.norm, self.warm = encoder, head, norm, warm
        self.running = norm or RunningNorm()

    def init_state(self, batch: int) -> ForecastErrorState:
        """Return the state before any row."""
        device, channels = self.head.project.weight.device, self.encoder.channels
        last = torch.zeros(batch, channels, device=device)
        each = self.head.project.out_features // self.head.channels
        expected = last.new_zeros(batch, self.horizons[-1], self.head.channels, each)
        norm = self.running.init_state(batch, channels, device)
        rows = torch.zeros(batch, dtype=torch.int64, device=device)
        encoder = self.encoder.init_state(batch)
        return ForecastErrorState(norm, encoder, last, expected, last.new_ones((*expected.shape[:2], channels)), rows)

    def loss(self, rows: Rows) -> Tensor:
        """Return the mean loss over measured values after the warm rows, in units of the running deviation."""
        state = self.init_state(len(rows.values))
        expected, unit, _ = self._expect(rows, state)
        length, least = rows.values.shape[1], self.warm + self.horizons[-1]
        if length <= least:
            raise ValueError(
                f"windows have {length} rows, warm is {self.warm}, the longest horizon {self.horizons[-1]}: give "
                "longer windows."
            )
        judged = self._seen(rows, state.rows - self.warm)
        each = self.head.loss(*self._scaled(expected, rows.values, unit))
        return torch.where(judged, each, 0).sum() / judged.sum().clamp_min(1)

    def forward(self, rows: Rows, state: ForecastErrorState | None = None) -> tuple[Surprise, ForecastErrorState]:
        """Return the surprise of every row, from rows before it only, and the state after the last.

        Raises:
            ValueError: If shapes disagree.
        """
        check_rows(rows)
        start = self.init_state(len(rows.values)) if state is None else state
        expected, unit, after = self._expect(rows, start)
        judged = self._seen(rows, start.rows)
        score = mean_over_channels(self.head.surprise(*self._scaled(expected, rows.values, unit)), judged)
        known = self._known(rows, start.rows)[..., :1]
        shown = (bound[..., : self.encoder.channels] for bound in self.head.interval(expected))
        low, high = (torch.where(known, bound, torch.nan) for bound in shown)
        return Surprise(score, low, high), after

    def step(self, row: Rows, state: ForecastErrorState) -> tuple[Surprise, ForecastErrorState]:
        """Return the surprise of one row and the next state."""
        if row.values.shape[1] != 1:
            raise ValueError(f"step takes one row, values have shape {tuple(row.values.shape)}: use forward for more.")
        return self.forward(row, state)

    def _expect(self, rows: Rows, state: ForecastErrorState) -> tuple[Tensor, Tensor, ForecastErrorState]:
        """Return what was expected of each row (B, T, K C, P), in which unit (same, less P), and the last state."""
        values, seen = rows.values, rows.seen
        location, scale, norm = self.running(values, rows.gaps, rows.observed, state.norm)
        tokens, encoder = self._encode((values - location) / scale, rows, state.encoder)
        last = _hold(values, seen, state.last)
        often = len(self.horizons)
        ahead = self.head(tokens, last.repeat(1, 1, often), scale.repeat(1, 1, often))
        expected = torch.cat([state.expected, ahead], 1)
        unit = torch.cat([state.unit, scale], 1)
        held = torch.cat([state.last[:, None], last], 1)[:, -1]
        kept = slice(values.shape[1], None)
        after = ForecastErrorState(norm, encoder, held, expected[:, kept], unit[:, kept], state.rows + values.shape[1])
        return self._from_past(expected, rows), self._from_past(unit.repeat(1, 1, often), rows), after

    def _from_past(self, made: Tensor, rows: Rows) -> Tensor:
        """Return of what was made at H earlier rows and these, (B, H + T, K C, ...), what each row is judged by."""
        longest, length, channels = self.horizons[-1], rows.values.shape[1], self.encoder.channels
        blocks = made.split(channels, 2)
        starts = (longest - horizon for horizon in self.horizons)
        return torch.cat([b[:, start : start + length] for b, start in zip(blocks, starts, strict=True)], 2)

    def _known(self, rows: Rows, before: Tensor) -> Tensor:
        """Return whether something was expected of each row, by horizon: (B, T, K), after `before` (B,) rows."""
        order = before[:, None] + torch.arange(rows.values.shape[1], device=rows.values.device)
        return order[..., None] >= order.new_tensor(self.horizons)

    def _seen(self, rows: Rows, before: Tensor) -> Tensor:
        """Return which expectations are judged: of measured values, once enough rows were read, (B, T, K C)."""
        known = self._known(rows, before).repeat_interleave(self.encoder.channels, -1)
        return known & rows.seen.repeat(1, 1, len(self.horizons))

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
        unit, values = unit.detach(), values.repeat(1, 1, len(self.horizons))
        return self.head.rescale(expected, values.unsqueeze(-1), unit.unsqueeze(-1)), torch.zeros_like(values)


def _hold(values: Tensor, seen: Tensor, last: Tensor) -> Tensor:
    """Return the last measured value at every row, (B, T, C)."""
    rows = torch.arange(1, values.shape[1] + 1, device=values.device)[None, :, None]
    latest = torch.where(seen, rows, 0).cummax(1).values
    return torch.cat([last[:, None], values], 1).gather(1, latest)
