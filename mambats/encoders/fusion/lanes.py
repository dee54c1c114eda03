"""What stream fusion and estimate fusion share: a sequence a stream, and hearings between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mambats.encoders.compact import blank_removed
from mambats.encoders.embed import Embedding
from mambats.encoders.fusion.absence import drop_streams
from mambats.encoders.fusion.clock import Pauses, StreamClock
from mambats.encoders.fusion.hearing import Hearing, HearingState
from mambats.encoders.fusion.lineup import check_share, check_streams, line_up, pick_events
from mambats.encoders.fusion.plan import Ages, Plan, others
from mambats.encoders.fusion.scans import StreamBlocks
from mambats.mixers import MixerSettings
from mambats.protocols import Event, FusionEncoder, State
from mambats.series import SensorRows


class LaneState(NamedTuple):
    """What an encoder with a sequence a stream carries.

    Attributes:
        clock: When each stream last measured.
        scans: Of each layer, of each stream, a mixer state, batch first.
        heard: Of each hearing, what streams remember of one another.
    """

    clock: StreamClock
    scans: tuple[tuple[State, ...], ...]
    heard: tuple[HearingState, ...]


class LaneEncoder(FusionEncoder):
    """Embed rows, scan every stream by itself, and let streams hear one another after the last layers.

    Who inherits gives the hearings: one after each of as many of the last layers.

    Args:
        streams: Channels C of each stream by name.
        width: Width D of the tokens.
        layers: Number of scans a stream.
        period_ns: Nanoseconds that count as a gap of 1.
        mixer: Of each block, or `Shared`.
        dropout: Share of each block's output dropped in training.
        stream_dropout: Probability that a stream is removed from a series in training.
    """

    causal = True
    lookahead = 0.0
    _others: Tensor

    def __init__(
        self,
        streams: Mapping[str, int],
        width: int,
        layers: int,
        *,
        period_ns: int,
        mixer: MixerSettings | None,
        dropout: float,
        stream_dropout: float,
    ) -> None:
        super().__init__()
        check_streams(streams, width, layers, period_ns)
        check_share("dropout", dropout)
        check_share("stream_dropout", stream_dropout)
        self.streams = dict(streams)
        self.width = width
        self.layers = layers
        self.period_ns = period_ns
        self.mixer = mixer
        self.dropout = dropout
        self.stream_dropout = stream_dropout
        count = len(self.streams)
        self.embeddings = nn.ModuleList(Embedding(channels, width) for channels in streams.values())
        self.scans = nn.ModuleList(StreamBlocks(count, width, mixer, dropout) for _ in range(layers))
        self.hearings = nn.ModuleList()
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.register_buffer("_others", others(count), persistent=False)

    def forward(
        self, rows: Mapping[str, SensorRows], length_ns: int, *, state: LaneState | None = None
    ) -> tuple[dict[str, Tensor], LaneState]:
        """Encode a window; see `mambats.protocols.FusionEncoder.forward`."""
        token, plan, state = self._open(rows, length_ns, state)
        scans: list[tuple[State, ...]] = []
        heard: list[HearingState] = []
        for depth, scan in enumerate(self.scans):
            token, left = scan(token, plan, state.scans[depth])
            scans.append(left)
            if (hearing := self._hearing(depth)) is not None:
                token, said = hearing(token, plan, state.heard[len(heard)])
                heard.append(said)
        tokens = dict(zip(self.streams, plan.unpack(self.norm(token)), strict=True))
        return {name: tokens[name] for name in rows}, LaneState(plan.clock, tuple(scans), tuple(heard))

    def reliability(
        self, rows: Mapping[str, SensorRows], length_ns: int, *, state: LaneState | None = None
    ) -> dict[str, Tensor]:
        """Return how much each stream counts for each row's token, as the exchange weighs them.

        Args:
            rows: As in `forward`.
            length_ns: Of the window.
            state: Of the windows before, or None.

        Returns:
            Of each stream given, shape (B, T, S) in the order of `streams`, in [0, 1], the mean over layers; 0 in
            masked rows and for what was never heard.
        """
        token, plan, state = self._open(rows, length_ns, state)
        total = token.new_zeros((1, token.shape[1], len(self.streams)))
        for depth, scan in enumerate(self.scans):
            token, _ = scan(token, plan, state.scans[depth])
            if (hearing := self._hearing(depth)) is not None:
                before = state.heard[depth - len(self.scans)]
                total = total + torch.cat(hearing.weigh(token, plan, before), 1) / len(self.hearings)
                token, _ = hearing(token, plan, before)
        weights = dict(zip(self.streams, plan.unpack(total), strict=True))
        return {name: weights[name] for name in rows}

    def _hearing(self, depth: int) -> Hearing | None:
        """Return the hearing that follows a layer."""
        place = depth - len(self.scans) + len(self.hearings)
        return self.hearings[place] if place >= 0 else None  # type: ignore[return-value]

    def _open(
        self, rows: Mapping[str, SensorRows], length_ns: int, state: LaneState | None
    ) -> tuple[Tensor, Plan, LaneState]:
        """Check a window, plan it and embed its rows: packed tokens (1, L, width) of all streams."""
        batch = None if state is None else len(state.clock.since)
        given = line_up(self.streams, rows, length_ns, self.norm.weight, batch)
        if self.training and self.stream_dropout:
            given = drop_streams(given, self.stream_dropout)
        if state is None:
            state = self.init_state(given[0].mask.shape[0])
        plan, pauses = Plan.of(given, state.clock, length_ns, self.period_ns, self._dtype())
        tokens = [
            embedding(stream.values, between.gaps(self.period_ns, self._dtype()), stream.observed)
            for embedding, stream, between in zip(self.embeddings, given, pauses, strict=True)
        ]
        return plan.pack(tokens), plan, state

    def _dtype(self) -> torch.dtype:
        return torch.promote_types(self.norm.weight.dtype, torch.float32)

    def init_state(self, batch: int) -> LaneState:
        """Return the state before any row, on the device of the parameters."""
        clock = StreamClock.start(batch, len(self.streams), self.norm.weight.device)
        scans, heard = (
            tuple(part.init_state(batch) for part in parts)  # type: ignore[operator]
            for parts in (self.scans, self.hearings)
        )
        return LaneState(clock, scans, heard)

    def step(
        self, events: Mapping[str, Event], elapsed_ns: Tensor, *, state: LaneState
    ) -> tuple[dict[str, Tensor], LaneState]:
        """Take what was measured at one moment; see `mambats.protocols.FusionEncoder.step`."""
        clock, scans, heard = state.clock.after(elapsed_ns), list(state.scans), list(state.heard)
        tokens: dict[str, Tensor] = {}
        for stream, name, event in pick_events(self.streams, events, elapsed_ns, len(clock.since)):
            pause = Pauses(clock.since[:, stream], clock.fresh[:, stream])
            gap = pause.gaps(self.period_ns, self._dtype())
            away = clock.pick(self._others[stream])
            ages = Ages.of(away.since, ~away.fresh, self.period_ns, self._dtype())
            token = self.embeddings[stream](event.values, gap, event.observed)
            for depth, scan in enumerate(self.scans):
                token, scans[depth] = scan.step(stream, token, gap, event.mask, scans[depth])  # type: ignore[operator]
                if (hearing := self._hearing(depth)) is not None:
                    place = depth - len(self.scans)
                    token, heard[place] = hearing.step(stream, token, ages, gap, event.mask, heard[place])
            clock = clock.measured(stream, event.mask)
            tokens[name] = blank_removed(self.norm(token), event.mask)
        return tokens, LaneState(clock, tuple(scans), tuple(heard))
