"""The forecaster: normaliser, encoder, head and an optional linear skip, in parallel and row by row."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mambats.forecast.cycle import Cycle
from mambats.forecast.head import DirectHead
from mambats.forecast.skip import LinearSkip, SkipState
from mambats.protocols import Encoder
from mambats.scale import InstanceNorm, RunningNorm, RunningState
from mambats.series import Window


class StreamingError(ValueError):
    """Raised when a model that reads fixed windows is asked to run recurrently."""


class ForecasterState(NamedTuple):
    """All that a streaming forecaster remembers, batch first. `skip` is empty where the model has none."""

    norm: RunningState
    encoder: Any
    skip: SkipState | tuple[()]


class Rows(NamedTuple):
    """Rows of B series as the model reads them.

    values (B, T, C); gaps (B, T) or None; observed (B, T, C) bool or None; mask (B, T) bool or None;
    past (B, T, P) or None; future (B, T + K, F) or None: the rows themselves and the K after them; static (B, S);
    clock (B, T) int64, whole reference periods, needed where the model has a cycle.
    """

    values: Tensor
    gaps: Tensor | None = None
    observed: Tensor | None = None
    mask: Tensor | None = None
    past: Tensor | None = None
    future: Tensor | None = None
    static: Tensor | None = None
    clock: Tensor | None = None

    def part(self, begin: int, end: int) -> Rows:
        """Return rows from `begin` up to `end`: a chunk for `roll`, or one row for `step`."""

        def cut(value: Tensor | None) -> Tensor | None:
            return None if value is None else value[:, begin:end]

        values, future = self.values[:, begin:end], self.future
        if future is not None:
            # Each row comes with the K rows after it.
            future = future[:, begin : end + future.shape[1] - self.values.shape[1]]
        gaps, observed, mask, past, clock = map(cut, (self.gaps, self.observed, self.mask, self.past, self.clock))
        return Rows(values, gaps, observed, mask, past, future, self.static, clock)


class Course(NamedTuple):
    """What was taken from the rows: the cycle over each horizon (B, R, K, C), and the sign (B, 1, C) of mirroring."""

    ahead: Tensor | None
    sign: Tensor | None


class Forecaster(nn.Module):
    """Forecast the next K rows of C channels from what was observed so far.

    forecast = skip(last rows) + scale * head(encoder((x - location) / scale)), or with the location in place of the
    skip where there is none. With `InstanceNorm` it reads windows and refuses `step`; with `RunningNorm` it streams,
    and `roll` over any chunking equals `step` row by row.

    Args:
        encoder: Reads 1 channel (independent) or C channels (mixing), then P past and F known-future covariates.
        head: Reads the encoder's last token.
        norm: How values are centred and scaled.
        skip: Linear map added to the head, or None.
        mixing: False: every channel is a sequence of its own and all share the weights. True: one sequence of C.
        series_channels: C, for a learned identity of each channel in the shared model; 0 learns none.
        cycle: Repeating profile taken out before and put back after, or None.
        mirror: Chance that a channel is turned upside down in training and its forecast turned back. It keeps the
            model from learning the drift of the training years, which goes on differently after them (trials on ETTh1).
    """

    def __init__(
        self,
        encoder: Encoder,
        head: DirectHead,
        norm: InstanceNorm | RunningNorm,
        skip: LinearSkip | None = None,
        mixing: bool = False,
        series_channels: int = 0,
        cycle: Cycle | None = None,
        mirror: float = 0.0,
    ) -> None:
        super().__init__()
        if head.width != encoder.width:
            raise ValueError(
                f"the head reads tokens of width {head.width}, the encoder gives {encoder.width}: set head.width to it."
            )
        if skip is not None and skip.horizon != head.horizon:
            raise ValueError(f"skip forecasts {skip.horizon} rows, head {head.horizon}: give both the same horizon.")
        if norm.streams and not encoder.causal:
            raise ValueError("a running normaliser needs a causal encoder: this one reads ahead. Use InstanceNorm.")
        levels = head.quantiles or ()
        if mirror and any(abs(a + b - 1) > 1e-6 for a, b in zip(levels, reversed(levels), strict=True)):
            raise ValueError(f"quantiles are {levels}: mirroring needs levels that are symmetric about 0.5.")
        if mixing and series_channels:
            raise ValueError("series_channels tells channels apart in a shared model: with mixing leave it at 0.")
        self.encoder, self.head, self.norm, self.skip = encoder, head, norm, skip
        self.mixing, self.series_channels, self.cycle, self.mirror = mixing, series_channels, cycle, mirror
        self.identity = nn.Parameter(torch.zeros(series_channels, encoder.width)) if series_channels else None

    @property
    def horizon(self) -> int:
        """Rows forecast, K."""
        return self.head.horizon

    @property
    def quantiles(self) -> tuple[float, ...] | None:
        """Quantile levels, or None for a point forecast."""
        return self.head.quantiles

    @property
    def streams(self) -> bool:
        """Whether the model can carry a state."""
        return self.norm.streams

    def forward(self, window: Window) -> Tensor:
        """Forecast the rows after each window's lookback.

        Returns:
            (B, K, C), or (B, K, C, Q) for quantiles, in scaled units.
        """
        rows = rows_of(window)
        if rows.mask is not None:
            # A forecast asked where nothing was measured is a query token: there, with no channel observed.
            rows = rows._replace(mask=torch.cat([rows.mask[:, :-1], torch.ones_like(rows.mask[:, -1:])], 1))
        last = torch.tensor([window.lookback - 1], device=window.values.device)
        if isinstance(self.norm, RunningNorm):
            return self.roll(rows, self.init_state(*rows.values.shape[::2]), last)[0][:, 0]
        rows, course = self._enter(rows, last)
        location, scale = self.norm(rows.values, rows.observed)
        tokens, _ = self._encode(rows, location, scale, None)
        base = location[:, -1:, None]
        if self.skip is not None:
            start = self.skip.init_state(rows.values.shape[0], rows.values.shape[2])
            base, _ = self.skip.roll(rows.values, rows.gaps, _seen(rows), start, last)
        return self._leave(self._decode(tokens[:, last], base, scale[:, -1:], rows, last), course)[:, 0]

    def init_state(self, batch: int, channels: int) -> ForecasterState:
        """Return the state before any row of `batch` series with `channels` channels."""
        if not isinstance(self.norm, RunningNorm):
            raise StreamingError(
                "this model was trained with InstanceNorm over a fixed lookback, so it cannot run row by row. "
                "Train it with mambats.scale.RunningNorm to stream."
            )
        sequences = batch if self.mixing else batch * channels
        device = self.head.project.weight.device
        skip = () if self.skip is None else self.skip.init_state(batch, channels)
        norm = self.norm.init_state(batch, channels, device)
        return ForecasterState(norm, self.encoder.init_state(sequences), skip)

    def roll(self, rows: Rows, state: ForecasterState, at: Tensor | None = None) -> tuple[Tensor, ForecasterState]:
        """Read rows in parallel and forecast after each.

        Args:
            rows: Rows of B series.
            state: State before the first row.
            at: Rows to forecast from, shape (R,) int64; None forecasts from every row.

        Returns:
            Forecasts (B, R, K, C[, Q]) and the state after the last row. Forecasts at rows whose mask is False
            mean nothing: ask with a query row (mask True, nothing observed).
        """
        if at is None:
            at = torch.arange(rows.values.shape[1], device=rows.values.device)
        rows, course = self._enter(rows, at)
        location, scale, norm = self.norm(rows.values, rows.gaps, rows.observed, state.norm)
        tokens, encoder = self._encode(rows, location, scale, state.encoder)
        base, skip = self._skip(rows, state, at, location)
        out = self._leave(self._decode(tokens[:, at], base, scale[:, at], rows, at), course)
        return out, ForecasterState(norm, encoder, skip)

    def step(self, row: Rows, state: ForecasterState) -> tuple[Tensor, ForecasterState]:
        """Read one row (T = 1) and forecast after it: (B, K, C[, Q]) and the next state."""
        here = torch.zeros(1, dtype=torch.long, device=row.values.device)
        row, course = self._enter(row, here)
        location, scale, norm = self.norm(row.values, row.gaps, row.observed, state.norm)
        x, observed = self._inputs(row, location, scale)
        fold = None if self.mixing else row.values.shape[2]
        gap, mask = (_fold(v, fold) for v in (row.gaps, None if self.encoder.grid else row.mask))
        token, encoder = self.encoder.step(
            x[:, 0],
            None if gap is None else gap[:, 0],
            observed_t=None if observed is None else observed[:, 0],
            mask_t=None if mask is None else mask[:, 0],
            state=state.encoder,
        )
        base, skip = self._skip(row, state, here, location)
        out = self._leave(self._decode(token[:, None], base, scale, row, here), course)
        return out[:, 0], ForecasterState(norm, encoder, skip)

    def _enter(self, rows: Rows, at: Tensor) -> tuple[Rows, Course]:
        """Return rows less the usual course, some of them mirrored, and what `_leave` needs to undo it."""
        ahead = sign = None
        if self.cycle is not None:
            if rows.clock is None:
                raise ValueError(
                    "the model has a cycle, the rows no clock: give clock (B, T), whole reference periods."
                )
            steps = torch.arange(1, self.horizon + 1, device=at.device)
            ahead = self.cycle(rows.clock[:, at][..., None] + steps)
            rows = rows._replace(values=rows.values - self.cycle(rows.clock))
        if self.training and self.mirror:
            turned = torch.rand_like(rows.values[:, :1]) < self.mirror
            sign = torch.where(turned, -1.0, 1.0)
            rows = rows._replace(values=rows.values * sign)
        return rows, Course(ahead, sign)

    def _leave(self, forecast: Tensor, course: Course) -> Tensor:
        """Turn forecasts (B, R, K, C[, Q]) back and add the usual course."""
        ahead, sign = course
        if sign is not None:
            sign = sign[:, None] if self.quantiles is None else sign[:, None, ..., None]
            # Upside down, the highest quantile is the lowest.
            turned = -forecast if self.quantiles is None else -forecast.flip(-1)
            forecast = torch.where(sign > 0, forecast, turned)
        if ahead is not None:
            forecast = forecast + (ahead if self.quantiles is None else ahead[..., None])
        return forecast

    def _skip(
        self, rows: Rows, state: ForecasterState, at: Tensor, location: Tensor
    ) -> tuple[Tensor, SkipState | tuple[()]]:
        if self.skip is None or not isinstance(state.skip, SkipState):
            return location[:, at][:, :, None], ()
        if rows.gaps is not None and rows.values.shape[1] == 1 and at.shape[0] == 1:
            return self.skip.step(rows.values, rows.gaps, _seen(rows), state.skip)
        return self.skip.roll(rows.values, rows.gaps, _seen(rows), state.skip, at)

    def _inputs(self, rows: Rows, location: Tensor, scale: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the encoder's input and flags, one sequence a channel unless mixing."""
        x = (rows.values - location) / scale
        if rows.observed is not None:
            x = x * rows.observed
        length, fold = x.shape[1], None if self.mixing else x.shape[2]
        parts, flags = [_split(x, fold)], [None if rows.observed is None else _split(rows.observed, fold)]
        for extra in (rows.past, None if rows.future is None else rows.future[:, :length]):
            if extra is not None:
                parts.append(_repeat(extra, fold))
                flags.append(None if flags[0] is None else torch.ones_like(parts[-1], dtype=torch.bool))
        joined = torch.cat(parts, -1)
        if joined.shape[-1] != self.encoder.channels:
            raise ValueError(
                f"the encoder reads {self.encoder.channels} channels, the data gives {joined.shape[-1]} "
                f"({parts[0].shape[-1]} values, the rest covariates): set encoder.channels to {joined.shape[-1]}."
            )
        return joined, None if flags[0] is None else torch.cat([f for f in flags if f is not None], -1)

    def _encode(self, rows: Rows, location: Tensor, scale: Tensor, state: Any) -> tuple[Tensor, Any]:
        x, observed = self._inputs(rows, location, scale)
        fold = None if self.mixing else rows.values.shape[2]
        # On a grid an absent row keeps its place: none of its values is observed.
        gaps, mask = (_fold(v, fold) for v in (rows.gaps, None if self.encoder.grid else rows.mask))
        return self.encoder(x, gaps, observed=observed, mask=mask, state=state)

    def _decode(self, tokens: Tensor, base: Tensor, scale: Tensor, rows: Rows, at: Tensor) -> Tensor:
        """Return forecasts (B, R, K, C[, Q]) from tokens (B or B*C, R, D), base (B, R, K or 1, C), scale (B, R, C)."""
        channels = rows.values.shape[2]
        fold = None if self.mixing else channels
        if self.identity is not None:
            tokens = (tokens.unflatten(0, (-1, channels)) + self.identity[:, None]).flatten(0, 1)
        future = None
        if self.head.future and rows.future is not None:
            ahead = at[:, None] + torch.arange(1, self.horizon + 1, device=at.device)
            future = _fold(rows.future[:, ahead], fold)
        static = None if rows.static is None or not self.head.static else _fold(rows.static[:, None], fold)
        out = self.head(tokens, future, static)  # (B', R, K, O[, Q])
        if fold is not None:
            out = out.unflatten(0, (-1, channels)).squeeze(4).movedim(1, 3)  # (B, R, K, C[, Q])
        spread = scale[:, :, None]
        if self.quantiles is not None:
            spread, base = spread[..., None], base[..., None]
        return base + spread * out


def rows_of(window: Window) -> Rows:
    """Return the rows a model may read of a window: its lookback, and covariates known in advance."""
    past = slice(0, window.lookback)
    return Rows(
        window.values[:, past],
        None if window.gaps is None else window.gaps[:, past],
        None if window.observed is None else window.observed[:, past],
        None if window.mask is None else window.mask[:, past],
        None if window.past is None else window.past[:, past],
        window.future,
        window.static,
        None if window.clock is None else window.clock[:, past],
    )


def _seen(rows: Rows) -> Tensor:
    seen = torch.ones_like(rows.values, dtype=torch.bool) if rows.observed is None else rows.observed
    return seen if rows.mask is None else seen & rows.mask[..., None]


def _split(x: Tensor, fold: int | None) -> Tensor:
    """(B, T, C) -> (B*C, T, 1): each channel a sequence."""
    return x if fold is None else x.transpose(1, 2).flatten(0, 1)[..., None]


def _repeat(x: Tensor, fold: int | None) -> Tensor:
    return x if fold is None else x.repeat_interleave(fold, 0)


def _fold(x: Tensor | None, fold: int | None) -> Tensor | None:
    return None if x is None else _repeat(x, fold)
