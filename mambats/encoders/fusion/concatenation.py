"""Concatenation: every stream held onto the clock of one, side by side through one causal encoder. The baseline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from mambats.encoders.causal import CausalEncoder, CausalState
from mambats.encoders.compact import blank_removed
from mambats.encoders.fusion.absence import drop_streams
from mambats.encoders.fusion.clock import NEVER, Pauses, StreamClock, run_clock
from mambats.encoders.fusion.lineup import check_share, check_streams, line_up, pick_events
from mambats.encoders.fusion.plan import Ages
from mambats.mixers import MixerSettings
from mambats.protocols import Event, FusionEncoder
from mambats.series import SensorRows
from mambats_kernels import hold, read_held
from mambats_kernels.hold import Held


class ConcatenationState(NamedTuple):
    """What concatenation carries.

    Attributes:
        clock: When each stream last measured.
        values: The last row of every stream side by side, shape (B, C of all), 0 where not observed.
        seen: Which of them were observed, same shape, bool.
        token: The last token of the clock's stream, shape (B, width).
        encoder: Of the causal encoder.
    """

    clock: StreamClock
    values: Tensor
    seen: Tensor
    token: Tensor
    encoder: CausalState


class ConcatenationFusion(FusionEncoder):
    """At every row of one stream, the clock, lay the last rows of all streams side by side and encode that sequence.

    What most systems do: the other streams are resampled by holding their last row, with its age. Rows of other streams
    are answered by the last token of the clock. Where the clock falls silent, nothing new is known. To resample onto a
    fixed grid, name a stream of no channels as the clock and give it rows at the grid's instants.

    Args:
        streams: Channels C of each stream by name; 0 for one that only asks. The order settles equal stamps.
        width: Width of the tokens.
        layers: Number of blocks.
        period_ns: Nanoseconds that count as a gap of 1.
        clock: Name of the stream whose rows are the clock.
        mixer: The mixer of each block; None is `MambaSettings()`.
        dropout: Share of each block's output dropped in training.
        stream_dropout: Probability that a stream is removed from a series in training (never all of them).

    Raises:
        ValueError: If a size is below 1, a share outside [0, 1), or the clock no stream.

    Example:
        encoder = ConcatenationFusion({"imu": 6, "gnss": 3}, 64, 2, period_ns=10_000_000, clock="imu")
        tokens, state = encoder(window.streams, window.length_ns)
    """

    causal = True
    lookahead = 0.0

    def __init__(
        self,
        streams: Mapping[str, int],
        width: int,
        layers: int,
        *,
        period_ns: int,
        clock: str,
        mixer: MixerSettings | None = None,
        dropout: float = 0.0,
        stream_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_streams(streams, width, layers, period_ns)
        check_share("stream_dropout", stream_dropout)
        if clock not in streams:
            raise ValueError(f"clock is {clock!r}, streams are {', '.join(streams)}: name one of them.")
        self.streams = dict(streams)
        self.width = width
        self.layers = layers
        self.period_ns = period_ns
        self.clock = clock
        self.mixer = mixer
        self.dropout = dropout
        self.stream_dropout = stream_dropout
        self._beat = list(streams).index(clock)
        self._aged = [k for k, channels in enumerate(streams.values()) if channels and k != self._beat]
        channels = sum(streams.values()) + len(self._aged)
        self.encoder = CausalEncoder(channels, width, layers, mixer=mixer, dropout=dropout)

    def forward(
        self, rows: Mapping[str, SensorRows], length_ns: int, *, state: ConcatenationState | None = None
    ) -> tuple[dict[str, Tensor], ConcatenationState]:
        """Encode a window; see `mambats.protocols.FusionEncoder.forward`."""
        batch = None if state is None else len(state.token)
        given = line_up(self.streams, rows, length_ns, self.encoder.embedding.weight, batch)
        if self.training and self.stream_dropout:
            given = drop_streams(given, self.stream_dropout)
        if state is None:
            state = self.init_state(given[0].mask.shape[0])
        pauses, clock = run_clock(state.clock, given, length_ns)
        beat = given[self._beat]
        x, observed = self._resample(given, state)
        gaps = pauses[self._beat].gaps(self.period_ns, self._dtype()).masked_fill(~beat.mask, 0)
        token, encoder = self.encoder(x, gaps, observed=observed, mask=beat.mask, state=state.encoder)
        said = torch.cat([state.token.unsqueeze(1), token], 1)
        answers = {name: self._answer(k, given, state, said) for k, name in enumerate(self.streams) if name in rows}
        final = self._final(given, state, clock, said, encoder)
        return {name: token if name == self.clock else answers[name] for name in rows}, final

    def _resample(self, rows: tuple[SensorRows, ...], state: ConcatenationState) -> tuple[Tensor, Tensor]:
        """Hold every stream onto the clock: values and ages (B, T, channels), and which are known."""
        beat, columns, known = rows[self._beat], list[Tensor](), list[Tensor]()
        ages: list[Ages] = []
        parts = zip(rows, *self._by_stream(state), strict=True)
        for stream, (row, value, seen) in enumerate(parts):
            flags = torch.ones_like(row.values, dtype=torch.bool) if row.observed is None else row.observed
            if stream == self._beat:
                columns.append(row.values)
                known.append(flags)
                continue
            held = self._hold(stream, self._beat, rows, state)
            columns.append(read_held(torch.cat([value.unsqueeze(1), row.values], 1), held))
            known.append(read_held(torch.cat([seen.unsqueeze(1), flags], 1), held))
            if stream in self._aged:
                ages.append(Ages.of(held.age, held.found, self.period_ns, self._dtype()))
        columns += [age.log.unsqueeze(2).to(beat.values.dtype) for age in ages]
        return torch.cat(columns, 2), torch.cat(known + [age.found.unsqueeze(2) for age in ages], 2)

    def _hold(self, source: int, target: int, rows: tuple[SensorRows, ...], state: ConcatenationState) -> Held:
        """Find the last row of `source` before each row of `target`; place 0 is the state's."""
        start, stamps = state.clock.stamps()[:, source].unsqueeze(1), rows[target].stamps
        held = hold(
            stamps,
            torch.cat([start.clamp_max(-1), rows[source].stamps], 1),
            ties=source < target,
            source_mask=torch.cat([start > NEVER, rows[source].mask], 1),
        )
        return held._replace(age=torch.where(held.place == 0, stamps - start, held.age).clamp_min(0))

    def _answer(self, stream: int, rows: tuple[SensorRows, ...], state: ConcatenationState, said: Tensor) -> Tensor:
        """Answer rows of a stream with the last token of the clock."""
        if stream == self._beat:
            return said[:, 1:]
        return blank_removed(read_held(said, self._hold(self._beat, stream, rows, state)), rows[stream].mask)

    def _final(
        self,
        rows: tuple[SensorRows, ...],
        state: ConcatenationState,
        clock: StreamClock,
        said: Tensor,
        encoder: CausalState,
    ) -> ConcatenationState:
        """Remember the last of everything."""
        values: list[Tensor] = []
        seen: list[Tensor] = []
        parts = zip(rows, *self._by_stream(state), strict=True)
        for row, value, flag in parts:
            flags = torch.ones_like(row.values, dtype=torch.bool) if row.observed is None else row.observed
            shown = torch.where(flags, row.values, torch.zeros_like(row.values))
            values.append(_last(torch.cat([value.unsqueeze(1), shown], 1), row.mask))
            seen.append(_last(torch.cat([flag.unsqueeze(1), flags], 1), row.mask))
        token = _last(said, rows[self._beat].mask)
        return ConcatenationState(clock, torch.cat(values, 1), torch.cat(seen, 1), token, encoder)

    def _by_stream(self, state: ConcatenationState) -> list[tuple[Tensor, ...]]:
        """Take the last values of all streams, and their flags, apart."""
        return [part.split(list(self.streams.values()), 1) for part in (state.values, state.seen)]

    def _dtype(self) -> torch.dtype:
        return torch.promote_types(self.encoder.embedding.weight.dtype, torch.float32)

    def init_state(self, batch: int) -> ConcatenationState:
        """Return the state before any row, on the device of the parameters."""
        weight = self.encoder.embedding.weight
        values = weight.new_zeros((batch, sum(self.streams.values())))
        clock = StreamClock.start(batch, len(self.streams), weight.device)
        token = weight.new_zeros((batch, self.width))
        return ConcatenationState(clock, values, values.bool(), token, self.encoder.init_state(batch))

    def step(
        self, events: Mapping[str, Event], elapsed_ns: Tensor, *, state: ConcatenationState
    ) -> tuple[dict[str, Tensor], ConcatenationState]:
        """Take what was measured at one moment; see `mambats.protocols.FusionEncoder.step`."""
        clock, values, seen, token, encoder = state
        clock = clock.after(elapsed_ns)
        tokens: dict[str, Tensor] = {}
        for stream, name, event in pick_events(self.streams, events, elapsed_ns, len(token)):
            values, seen = self._replace(stream, event, values, seen)
            if stream == self._beat:
                gap = Pauses(clock.since[:, stream], clock.fresh[:, stream]).gaps(self.period_ns, self._dtype())
                gap = gap if event.mask is None else gap.masked_fill(~event.mask, 0)
                ages = Ages.of(clock.since[:, self._aged], ~clock.fresh[:, self._aged], self.period_ns, self._dtype())
                x, known = torch.cat([values, ages.log.to(values.dtype)], 1), torch.cat([seen, ages.found], 1)
                new, encoder = self.encoder.step(x, gap, observed_t=known, mask_t=event.mask, state=encoder)
                token = new if event.mask is None else torch.where(event.mask.unsqueeze(1), new, token)
            clock = clock.measured(stream, event.mask)
            tokens[name] = blank_removed(token, event.mask)
        return tokens, ConcatenationState(clock, values, seen, token, encoder)

    def _replace(self, stream: int, event: Event, values: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Put a stream's new row in the place of its last."""
        sizes = list(self.streams.values())
        start, stop = sum(sizes[:stream]), sum(sizes[: stream + 1])
        flags = torch.ones_like(event.values, dtype=torch.bool) if event.observed is None else event.observed
        row = torch.where(flags, event.values, torch.zeros_like(event.values))
        if event.mask is not None:
            there = event.mask.unsqueeze(1)
            row = torch.where(there, row, values[:, start:stop])
            flags = torch.where(there, flags, seen[:, start:stop])
        return (
            torch.cat([values[:, :start], row, values[:, stop:]], 1),
            torch.cat([seen[:, :start], flags, seen[:, stop:]], 1),
        )


def _last(rows: Tensor, mask: Tensor) -> Tensor:
    """Pick from rows (B, 1 + T, C), the first of which is the state's, the last that is kept, (B, C)."""
    place = torch.arange(1, rows.shape[1], device=rows.device)
    last = torch.where(mask, place, 0).amax(1) if mask.shape[1] else mask.new_zeros(len(mask), dtype=torch.int64)
    flat = last + rows.shape[1] * torch.arange(len(last), device=rows.device)
    return rows.flatten(0, 1).index_select(0, flat)
